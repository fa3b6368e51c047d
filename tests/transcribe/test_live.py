"""``asr transcribe --stream`` and ``asr listen``, with a model that hears tones and a microphone of paper."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from asr.audio import RawFormat
from asr.cli.live import LiveText, follow
from asr.errors import UserError
from asr.live import open_pipe
from asr.transcript import Segment, Word

RATE = 16_000
Record = Callable[..., Path]
Speak = Callable[..., np.ndarray]
Run = Callable[..., Any]


@pytest.fixture
def stream(run_asr: Run, tone_stream_model: Path) -> Run:
    return lambda *arguments: run_asr("transcribe", "--stream", "--model", tone_stream_model, *arguments)


@pytest.fixture
def said(speak: Speak) -> Callable[..., np.ndarray]:
    """Texts with a second of silence after each."""
    silence = np.zeros(RATE, np.float32)

    def say(*texts: str) -> np.ndarray:
        return np.concatenate([part for text in texts for part in (speak(text), silence)])

    return say


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def give(monkeypatch: pytest.MonkeyPatch, data: io.RawIOBase | bytes) -> None:
    raw = io.BytesIO(data) if isinstance(data, bytes) else io.BufferedReader(data)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))  # type: ignore[type-var]


def messages(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "words show" not in line]


def test_a_line_for_each_pause_and_the_latency_on_stderr(stream: Run, said: Speak, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", said("HELLO WORLD", "AGAIN"), RATE)
    ran = stream(tmp_path / "a.wav")
    assert (ran.status, ran.stdout) == (0, "HELLO WORLD\nAGAIN\n")
    assert ran.stderr == (
        "asr: words show 0.4 s after they are said; they settle 0.4 s after a pause of 0.6 s, "
        "or after 15 s without one\n"
    )


def test_several_files_are_named_and_a_bad_one_harms_no_other(
    stream: Run, said: Speak, tmp_path: Path
) -> None:
    for name, texts in (("a.wav", ("ONE", "TWO")), ("c.flac", ("THREE",))):
        soundfile.write(tmp_path / name, said(*texts), RATE)
    (tmp_path / "b.wav").write_text("not audio")
    ran = stream(*(tmp_path / name for name in ("a.wav", "b.wav", "c.flac", "none")))
    lines = [("a.wav", "ONE"), ("a.wav", "TWO"), ("c.flac", "THREE")]
    assert ran.stdout == "".join(f"{tmp_path / name}\t{text}\n" for name, text in lines)
    assert ran.status == 1
    assert len(messages(ran.stderr)) == 3
    assert messages(ran.stderr)[-1] == "asr: 2 of 4 failed"


def test_a_bidirectional_model_has_its_look_ahead(
    run_asr: Run, tone_model: Path, said: Speak, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", said("HELLO", "WORLD"), RATE)
    ran = run_asr("transcribe", "--stream", "--look-ahead", "0.6", "--model", tone_model, tmp_path / "a.wav")
    assert ran.stdout == "HELLO\nWORLD\n"
    assert "settle 1.0 s after" in ran.stderr


def test_what_does_not_go_with_a_stream_is_refused(
    stream: Run, run_asr: Run, tone_model: Path, record: Record, tmp_path: Path
) -> None:
    path = record(tmp_path / "a.wav", "ABC")
    for flags in (
        ("--format", "srt"),
        ("--output-dir", tmp_path / "out"),
        ("--channel", "all"),
        ("--nbest", 2),
        ("--batch-seconds", 10),
        ("--look-ahead", 1),
    ):
        ran = stream(*flags, path)
        assert (ran.status, ran.stdout) == (1, "")
        assert str(flags[0]) in ran.stderr
        assert ran.stderr.count("\n") == 1
    ran = run_asr("transcribe", "--model", tone_model, "--look-ahead", 1, path)
    assert (ran.status, ran.stderr) == (1, "asr: --look-ahead: goes with --stream\n")


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"]
)
@pytest.mark.parametrize("format", ["WAV", "WAVEX"])
def test_every_wave_is_read_as_it_comes(speak: Speak, subtype: str, format: str) -> None:
    samples = np.stack([speak("AB"), -0.5 * speak("AB")], 1)
    file = io.BytesIO()
    soundfile.write(file, samples, 44_100, format=format, subtype=subtype)
    expected, _ = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")

    def unexpected(message: str) -> None:
        raise AssertionError(message)

    with open_pipe(Dribble(file.getvalue()), None, unexpected) as reader:
        assert (reader.info.sample_rate, reader.info.channels) == (44_100, 2)
        found = np.concatenate(list(reader.blocks()))
    np.testing.assert_array_equal(found, expected)


class Dribble(io.RawIOBase):
    """Bytes that come 997 at a time, and Ctrl-C after them if wished."""

    def __init__(self, data: bytes, interrupt: bool = False) -> None:
        self._data, self._interrupt = io.BytesIO(data), interrupt

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._data.read(min(len(buffer), 997))
        if not data and self._interrupt:
            raise KeyboardInterrupt
        buffer[: len(data)] = data
        return len(data)


def test_sizes_in_a_wave_header(speak: Speak) -> None:
    samples = pcm(speak("AB"))

    def heard(size: int, data: bytes) -> int:
        header = b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE"
        header += b"LIST" + struct.pack("<I", 3) + b"abc\0"  # of odd size, so padded
        header += b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
        with open_pipe(io.BytesIO(header + b"data" + struct.pack("<I", size) + data), None, print) as reader:
            return sum(map(len, reader.blocks()))

    whole = len(samples) // 2
    # Whoever writes to a pipe does not know the size.
    for size in (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000):
        assert heard(size, samples) == whole
    assert heard(len(samples), samples + b"LIST....") == whole
    assert heard(len(samples) + 100, samples) == whole
    assert heard(0, samples + b"\1") == whole  # half a sample
    assert heard(0, b"") == 0


@pytest.mark.parametrize(
    "data",
    [
        b"RIFF",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 85, 1, RATE, 0, 0, 0) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 0, RATE, 0, 0, 16) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 1, 1, 0, 0, 0, 16) + b"data\0\0\0\0",
        b"",
        b"neither",
    ],
)
def test_broken_headers_are_one_line(stream: Run, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    give(monkeypatch, data)
    ran = stream("-")
    assert (ran.status, ran.stdout) == (1, "")
    errors = [line for line in messages(ran.stderr) if "heard when it has come to its end" not in line]
    assert len(errors) == 1
    assert errors[0].startswith("asr: standard input: ")


def test_a_huge_header_chunk_takes_no_memory() -> None:
    header = b"RIFF\0\0\0\0WAVE" + b"LIST" + struct.pack("<I", 0xFFFFFFF0) + b"abc"
    with pytest.raises(UserError, match="without samples"), open_pipe(io.BytesIO(header), None, print):
        pass


@pytest.mark.parametrize("format", ["WAV", "FLAC", "RAW"])
def test_a_part_of_a_named_pipe(stream: Run, said: Speak, tmp_path: Path, format: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, said("HELLO", "WORLD"), RATE, format=format, subtype="PCM_16")
    os.mkfifo(tmp_path / "pipe")
    offset = 2.0  # behind HELLO
    entry = {"audio_filepath": "pipe", "offset": offset, "duration": 2.0}
    (tmp_path / "part.jsonl").write_text(json.dumps(entry) + "\n")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(file.getvalue()))
    writer.start()
    ran = stream(tmp_path / "part.jsonl", *(["--raw"] if format == "RAW" else []))
    writer.join()
    assert (ran.status, ran.stdout) == (0, "WORLD\n"), ran.stderr


def test_standard_input(stream: Run, said: Speak, speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    soundfile.write(file, said("HELLO", "WORLD"), RATE, format="WAV")
    give(monkeypatch, Dribble(file.getvalue()))
    ran = stream("-")
    assert (ran.stdout, messages(ran.stderr)) == ("HELLO\nWORLD\n", [])
    give(monkeypatch, Dribble(pcm(speak("ABC", 8_000))))
    ran = stream("--raw", "--rate", "8000", "-")
    assert ran.stdout == "ABC\n"
    assert len(messages(ran.stderr)) == 1
    assert "8000 Hz" in messages(ran.stderr)[0]
    file = io.BytesIO()
    soundfile.write(file, said("HELLO"), RATE, format="FLAC")
    give(monkeypatch, Dribble(file.getvalue()))
    ran = stream("-")
    assert ran.stdout == "HELLO\n"
    assert "heard when it has come to its end" in ran.stderr


def test_an_interrupt_settles_what_was_said(
    stream: Run, said: Speak, speak: Speak, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, Dribble(pcm(np.concatenate([said("HELLO"), speak("WORLD")])), interrupt=True))
    ran = stream("--raw", "-")
    assert (ran.status, ran.stdout, messages(ran.stderr)) == (130, "HELLO\nWORLD\n", [])


def test_an_interrupt_waits_until_the_block_is_heard() -> None:
    done = []

    class Recorder:
        def feed(self, block: torch.Tensor) -> list[Any]:
            os.kill(os.getpid(), signal.SIGINT)
            done.append(len(block))
            return []

        def partial(self) -> str:
            return ""

        def finish(self) -> list[Any]:
            done.append("finish")
            return []

    before = signal.getsignal(signal.SIGINT)
    assert not follow(Recorder(), [torch.zeros(7), torch.zeros(8)], LiveText())  # type: ignore[arg-type]
    assert done == [7, "finish"]
    assert signal.getsignal(signal.SIGINT) is before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_partial_line_is_redrawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "12")
    with LiveText() as text:
        text.partial(lambda: "HELLO")
        text.partial(lambda: "at once is too often")
        text._shown = -1e9
        text.partial(lambda: "HELLO GOOD OLD WORLD")
        text.settled(Segment("HELLO WORLD", 0.0, 1.0))
    clear = "\r\x1b[K"
    assert terminal.getvalue() == f"{clear}HELLO{clear}…OLD WORLD{clear}{clear}".replace("…", "… ")
    assert capsys.readouterr().out == "HELLO WORLD\n"


def test_doubtful_words_that_settled_are_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    words = [Word(text, 0.0, 1.0, sure) for text, sure in (("ONE", 0.9), ("TWO", 0.5), ("THREE", 0.1))]
    segment = Segment("ONE TWO THREE", 0.0, 1.0, tuple(words))
    with LiveText() as text:
        text.settled(segment)
        monkeypatch.setenv("NO_COLOR", "1")
        text.settled(segment)
    assert terminal.getvalue() == "ONE \x1b[33mTWO\x1b[0m \x1b[31mTHREE\x1b[0m\nONE TWO THREE\n"


def test_without_a_terminal_nothing_partial_is_computed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> str:
        raise AssertionError

    with LiveText() as text:
        text.partial(fail)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    with LiveText() as text:
        text.partial(fail)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def in_process(tone_stream_model: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "asr",
        "transcribe",
        "--stream",
        "--raw",
        "--model",
        tone_stream_model,
        "-",
    ]
    with subprocess.Popen(
        [*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_lines_come_while_the_pipe_is_open_and_ctrl_c_ends_quietly(
    in_process: subprocess.Popen[bytes], said: Speak
) -> None:
    assert in_process.stdin
    assert in_process.stdout
    assert in_process.stderr
    in_process.stdin.write(pcm(said("HELLO")))
    in_process.stdin.flush()
    assert in_process.stdout.readline() == b"HELLO\n"
    in_process.send_signal(signal.SIGINT)
    assert in_process.wait(300) == 130
    assert in_process.stderr.read().count(b"\n") == 1


def test_ctrl_c_is_heard_while_samples_are_decoded(monkeypatch: pytest.MonkeyPatch, said: Speak) -> None:
    class Interrupted(io.BytesIO):
        """Bytes that libsndfile asks for when Ctrl-C is pressed; what is raised there would be lost."""

        def readinto(self, buffer: Any) -> int:
            signal.raise_signal(signal.SIGINT)
            return super().readinto(buffer)

    raw = Dribble(pcm(said("HELLO")))
    monkeypatch.setattr(io, "BytesIO", Interrupted)
    with open_pipe(raw, RawFormat(RATE, 1), pytest.fail) as reader, pytest.raises(KeyboardInterrupt):
        list(reader.blocks())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_closed_pipe_ends_quietly(in_process: subprocess.Popen[bytes], said: Speak) -> None:
    assert in_process.stdout
    in_process.stdout.close()
    _, message = in_process.communicate(pcm(said("HELLO", "WORLD")), timeout=300)
    assert in_process.returncode != 0
    assert message.count(b"\n") == 1


class Microphone(ModuleType):
    """``sounddevice`` with a microphone that hears what it is given and then goes away."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self, samples: np.ndarray, rate: int = RATE, overflow: bool = False) -> None:
        super().__init__("sounddevice")
        self.samples, self.rate, self.overflow = samples, rate, overflow
        self.closed = False
        self.asked: dict[str, Any] = {}

    def query_devices(self, device: object = None, kind: str | None = None) -> Any:
        devices = [
            {"name": "loudspeaker", "max_input_channels": 0, "default_samplerate": 48_000.0},
            {"name": "paper cup", "max_input_channels": 1, "default_samplerate": float(self.rate)},
        ]
        return devices[1] if kind == "input" else devices

    def check_input_settings(self, samplerate: int, **_: object) -> None:
        if samplerate != self.rate:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, callback: Any, finished_callback: Any, **how: Any) -> Any:
        if how["device"] == "none":
            raise ValueError("No input device matching 'none'")
        self.asked = how
        microphone = self

        class Open:
            def __enter__(self) -> None:
                for start in range(0, len(microphone.samples), 512):
                    # PortAudio reuses its buffer.
                    buffer = microphone.samples[start : start + 512, None].copy()
                    callback(buffer, len(buffer), None, SimpleNamespace(input_overflow=microphone.overflow))
                    buffer[:] = np.nan
                finished_callback()

            def __exit__(self, *_: object) -> None:
                microphone.closed = True

        return Open()


@pytest.fixture
def listen(run_asr: Run, tone_stream_model: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(microphone: Microphone, *arguments: object) -> Any:
        monkeypatch.setitem(sys.modules, "sounddevice", microphone)
        return run_asr("listen", "--model", tone_stream_model, *arguments)

    return run


def test_listen_writes_what_the_microphone_hears(listen: Run, said: Speak, speak: Speak) -> None:
    microphone = Microphone(said("HELLO", "WORLD"))
    ran = listen(microphone, "--microphone", "1")
    assert (ran.status, ran.stdout) == (1, "HELLO\nWORLD\n")
    assert ran.stderr.endswith("asr: microphone: went away\n")
    assert "until Ctrl-C: words show 0.4 s after" in ran.stderr
    assert microphone.closed
    asked = {"samplerate": RATE, "device": 1, "channels": 1, "dtype": "float32"}
    assert {key: microphone.asked[key] for key in asked} == asked
    # A device with a rate of its own.
    microphone = Microphone(speak("HELLO", 44_100), rate=44_100)
    assert listen(microphone).stdout == "HELLO\n"
    assert (microphone.asked["samplerate"], microphone.asked["device"]) == (44_100, None)


def test_lost_sound_is_told_once(listen: Run, said: Speak) -> None:
    ran = listen(Microphone(said("HELLO"), overflow=True))
    assert ran.stdout == "HELLO\n"
    assert ran.stderr.count("some sound was lost") == 1


def test_microphones_are_listed(listen: Run) -> None:
    ran = listen(Microphone(np.zeros(0, np.float32)), "--list")
    assert (ran.status, ran.stdout, ran.stderr) == (0, "1\tpaper cup\n", "")


def test_no_microphone_at_all_is_said(listen: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    microphone = Microphone(np.zeros(0, np.float32))
    monkeypatch.setattr(microphone, "query_devices", list)
    ran = listen(microphone, "--list")
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr == "asr: there is no microphone here that PortAudio knows\n"


def test_a_microphone_that_is_not_there(
    listen: Run, run_asr: Run, tone_stream_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = listen(Microphone(np.zeros(0, np.float32)), "--microphone", "none")
    assert (ran.status, ran.stdout) == (1, "")
    assert "No input device" in ran.stderr
    assert ran.stderr.count("\n") == 1
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    ran = run_asr("listen", "--model", tone_stream_model)
    assert ran.status == 1
    assert ran.stderr == "asr: the microphone needs sounddevice: pip install 'asr-ctc[listen]'\n"


def test_raw_samples_of_several_channels(speak: Speak) -> None:
    samples = np.stack([speak("AB"), np.zeros_like(speak("AB"))], 1)
    with open_pipe(io.BytesIO(pcm(samples)), RawFormat(RATE, 2), print) as reader:
        found = np.concatenate(list(reader.blocks(100)))
    np.testing.assert_allclose(found, samples, atol=1e-4)


def test_a_wave_whose_first_bytes_come_one_by_one(
    stream: Run, said: Speak, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Trickle(io.RawIOBase):
        def __init__(self, data: bytes) -> None:
            super().__init__()
            self._data, self._position = data, 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            size = 1 if self._position < 50 else len(buffer)
            piece = self._data[self._position : self._position + size]
            buffer[: len(piece)] = piece
            self._position += len(piece)
            return len(piece)

    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, said("HELLO WORLD"), RATE)
        give(monkeypatch, Trickle((tmp_path / name).read_bytes()))
        ran = stream("-")
        assert (ran.status, ran.stdout) == (0, "HELLO WORLD\n")
        late = ["asr: standard input: neither WAVE nor --raw, so it is heard when it has come to its end"]
        assert messages(ran.stderr) == ([] if name == "a.wav" else late)
