"""``asr transcribe`` as a user runs it."""

import errno
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.audio import read_audio
from asr.audio_reader import AudioInfo
from asr.cli.audio_progress import AudioProgress

Record = Callable[..., Path]
Run = Callable[..., Any]
ASR = [sys.executable, "-m", "asr"]


@pytest.fixture
def files(tmp_path: Path, record: Record) -> list[Path]:
    return [record(tmp_path / "in" / name, text) for name, text in (("a.wav", "ONE"), ("b.flac", "TWO"))]


def test_one_file_is_a_line_and_several_are_named(transcribe: Run, files: list[Path]) -> None:
    assert transcribe(files[0]).stdout == "ONE\n"
    ran = transcribe(*files)
    assert ran.stdout == f"{files[0]}\tONE\n{files[1]}\tTWO\n"
    assert (ran.status, ran.stderr) == (0, "")


def test_a_bad_file_is_one_line_and_the_rest_is_done(
    transcribe: Run, files: list[Path], tmp_path: Path
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    empty = tmp_path / "empty.wav"
    empty.touch()
    ran = transcribe(files[0], text, empty, tmp_path / "missing", files[1], tmp_path)
    assert ran.status == 1
    assert ran.stdout == f"{files[0]}\tONE\n{files[1]}\tTWO\n"
    lines = ran.stderr.splitlines()
    assert len(lines) == 5
    for path in (text, empty, tmp_path / "missing", tmp_path):
        assert sum(f"{path}: " in line for line in lines) == 1
    assert lines[-1] == "asr: 4 of 6 failed"
    assert transcribe(text).stderr.count("\n") == 1


def test_odd_names_stay_on_their_line(
    transcribe: Run, record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = record(tmp_path / "plain.wav", "ABC")
    names = ["a b.wav", "a\tb.wav", "a\nb.wav", "a\\b.wav", "-dash.wav", "\udcff.wav"]
    for name in names:
        (tmp_path / name).write_bytes(plain.read_bytes())
    written = ["a b.wav", "a\\tb.wav", "a\\nb.wav", "a\\\\b.wav", "-dash.wav", "\\xff.wav"]
    monkeypatch.chdir(tmp_path)
    ran = transcribe("--", *names)
    assert (ran.status, ran.stderr) == (0, "")
    assert ran.stdout == "".join(f"{name}\tABC\n" for name in written)
    assert transcribe("-o", "out", "--", *names).status == 0
    assert {path.name for path in Path("out").iterdir()} == {f"{name[:-4]}.txt" for name in names}
    for name in names:
        Path(name).write_bytes(b"no audio")
    ran = transcribe("--", *names)
    assert [line.split(": ")[1] for line in ran.stderr.splitlines()[:-1]] == written


def test_names_as_long_as_can_be_and_longer(transcribe: Run, record: Record, tmp_path: Path) -> None:
    longest = tmp_path / ("n" * 251 + ".wav")
    record(tmp_path / "a.wav", "ABC").rename(longest)
    assert transcribe(longest, "-o", tmp_path / "out").status == 0
    assert (tmp_path / "out" / f"{longest.stem}.txt").read_text() == "ABC\n"
    ran = transcribe("n" * 300, f"{tmp_path}/*.wav")
    assert (ran.status, ran.stdout) == (1, f"{longest}\tABC\n")
    assert "name too long" in ran.stderr


def test_output_in_an_encoding_that_lacks_letters(
    in_process: Callable[..., subprocess.Popen[bytes]], record: Record, tmp_path: Path
) -> None:
    path = record(tmp_path / "\u65e5.wav", "ABC")
    process = in_process(
        path, path, stdout=subprocess.PIPE, env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    )
    output, message = process.communicate()
    assert (process.returncode, message) == (0, b"")
    assert output == f"{tmp_path}/\\u65e5.wav\tABC\n".encode() * 2


def test_silence_keeps_its_line(transcribe: Run, tmp_path: Path, files: list[Path]) -> None:
    for name, samples in (("none.wav", 0), ("short.wav", 160), ("silent.wav", 16_000)):
        soundfile.write(tmp_path / name, np.zeros(samples), 16_000)
        assert transcribe(tmp_path / name).stdout == "\n"
        ran = transcribe(tmp_path / name, files[0])
        assert (ran.status, ran.stdout) == (0, f"{tmp_path / name}\t\n{files[0]}\tONE\n")


def test_folders_behind_links_are_walked_once(transcribe: Run, tmp_path: Path, record: Record) -> None:
    record(tmp_path / "far" / "b.wav", "FOO")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    assert transcribe("-r", tmp_path / "in").stdout == "FOO\n"


def test_folders_patterns_and_manifests(
    transcribe: Run, files: list[Path], tmp_path: Path, record: Record
) -> None:
    folder = tmp_path / "in"
    record(folder / "sub" / "c.ogg", "FOO")
    (folder / "notes.txt").write_text("not audio")
    ran = transcribe(folder)
    assert ran.status == 1
    assert "--recursive" in ran.stderr
    ran = transcribe("--recursive", folder)
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()] == [
        str(folder / name) for name in ("a.wav", "b.flac", "sub/c.ogg")
    ]
    assert transcribe(f"{folder}/*.flac").stdout == "TWO\n"
    assert "no file" in transcribe(f"{folder}/*.mp3").stderr
    manifest = tmp_path / "some.jsonl"
    lines = [{"audio_filepath": "in/a.wav", "duration": 1.0, "id": "first", "speaker": "Anna"}]
    lines.append({"audio_filepath": "in/b.flac", "duration": 0})
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert transcribe(manifest).stdout == "first\tONE\nin/b.flac\tTWO\n"
    found = [json.loads(line) for line in transcribe("-f", "jsonl", manifest).stdout.splitlines()]
    assert [entry.get("speaker") for entry in found] == ["Anna", None]
    manifest.write_text('{"audio_filepath": "in/a.wav", "duration": 1}\nbroken\n')
    ran = transcribe(manifest)
    assert ran.status == 1
    assert "line 2" in ran.stderr
    (tmp_path / "nothing").mkdir()
    assert "no audio files" in transcribe("-r", tmp_path / "nothing").stderr


def test_standard_input(
    transcribe: Run, files: list[Path], stdin: Callable[[bytes], None], speak: Callable[..., np.ndarray]
) -> None:
    stdin(files[1].read_bytes())
    assert transcribe("-").stdout == "TWO\n"
    stdin(files[1].read_bytes())
    assert transcribe("--channel", "all", files[0], "-").stdout == f"{files[0]}\tONE\n-\tTWO\n"
    stdin((speak("ABC", 8_000) * 32767).astype("<i2").tobytes())
    ran = transcribe("--raw", "--rate", "8000", "-")
    assert ran.stdout == "ABC\n"
    assert ran.stderr.count("8000 Hz") == 1
    stdin(b"")
    ran = transcribe("-")
    assert (ran.status, ran.stderr) == (1, "asr: standard input: the file is empty (0 bytes)\n")


def test_low_rates_are_warned_of_once(transcribe: Run, record: Record, tmp_path: Path) -> None:
    low = [record(tmp_path / f"{name}.wav", "ABC", 8_000) for name in "ab"]
    ran = transcribe(*low)
    assert ran.stderr.count("8000 Hz") == 1
    assert ran.status == 0


def test_every_format_to_standard_output(transcribe: Run, files: list[Path]) -> None:
    starts = {"txt": "ONE", "json": "{", "jsonl": "{", "srt": "1\n", "vtt": "WEBVTT", "tsv": "start\t"}
    for name, start in (starts | {"ctm": "a 1 0.2", "textgrid": "File type"}).items():
        assert transcribe("--format", name, files[0]).stdout.startswith(start)
    lines = transcribe("-f", "jsonl", *files).stdout.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["ONE", "TWO"]
    found = json.loads(lines[0])["provenance"]
    assert found["model"]["name"] == "tones"
    assert found["decoding"]["decoder"] == "greedy"


def test_what_cannot_share_standard_output_is_refused(transcribe: Run, files: list[Path]) -> None:
    for arguments in (["-f", "srt", *files], ["-f", "json", *files], ["-f", "txt,srt", files[0]]):
        ran = transcribe(*arguments)
        assert ran.status == 1
        assert "--output-dir" in ran.stderr
        assert ran.stdout == ""


def test_an_output_folder_mirrors_the_input(
    transcribe: Run, files: list[Path], record: Record, tmp_path: Path
) -> None:
    record(tmp_path / "in" / "sub" / "a.wav", "THREE")
    out = tmp_path / "out"
    ran = transcribe("-r", tmp_path / "in", "-o", out, "-f", "txt,srt")
    assert (ran.status, ran.stdout) == (0, "")
    found = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert set(found) == {f"{name}.{kind}" for name in ("a", "b", "sub/a") for kind in ("txt", "srt")}
    assert found["sub/a.txt"] == "THREE\n"


def test_a_file_that_is_found_in_several_ways_is_one(
    transcribe: Run, files: list[Path], record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(tmp_path / "in" / "sub" / "c.wav", "FOO")
    monkeypatch.chdir(tmp_path)
    assert len(transcribe("./in/**", "-r").stdout.splitlines()) == 3


def test_raw_samples_in_a_folder(transcribe: Run, speak: Callable[..., np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.raw", "b.PCM", "c.wav"):
        (tmp_path / "in" / name).write_bytes((speak("ONE") * 32_767).astype("<i2").tobytes())
    ran = transcribe("--raw", "-r", tmp_path / "in")
    assert (ran.status, ran.stdout.count("ONE"), len(ran.stdout.splitlines())) == (0, 2, 2)


def test_what_is_read_is_not_overwritten(transcribe: Run, files: list[Path], tmp_path: Path) -> None:
    manifest = tmp_path / "a.jsonl"
    manifest.write_text('{"audio_filepath": "in/a.wav", "duration": 1, "id": "a"}\n')
    hotwords = tmp_path / "b.txt"
    hotwords.write_text("TWO\n")
    for arguments, read in (
        ((manifest, "-f", "jsonl"), manifest),
        ((files[1], "--hotwords", hotwords, "--decoder", "beam"), hotwords),
    ):
        before = read.read_text()
        ran = transcribe(*arguments, "-o", tmp_path, "--overwrite")
        assert (ran.status, read.read_text()) == (1, before)
        assert f"would replace {read}" in ran.stderr


def test_an_empty_name_is_no_folder(transcribe: Run, files: list[Path]) -> None:
    ran = transcribe("", files[0])
    assert (ran.status, ran.stdout.endswith("ONE\n")) == (1, True)
    assert "an empty name" in ran.stderr


def test_standard_output_is_no_folder(
    transcribe: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files[0].parent)
    ran = transcribe(files[0], "-o", "-")
    assert (ran.status, Path("-").exists()) == (1, False)


def test_what_exists_is_kept_unless_overwritten(transcribe: Run, files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.txt").write_text("kept\n")
    ran = transcribe(*files, "-o", out)
    assert "1 of 2" in ran.stderr
    assert ((out / "a.txt").read_text(), (out / "b.txt").read_text()) == ("kept\n", "TWO\n")
    # A format that lacks is made; the model is not even loaded where nothing lacks.
    transcribe(files[0], "-o", out, "-f", "txt,tsv")
    assert (out / "a.txt").read_text() == "kept\n"
    assert "ONE" in (out / "a.tsv").read_text()
    assert transcribe("--model", "/nowhere", *files, "-o", out).status == 0
    transcribe(*files, "-o", out, "--overwrite")
    assert (out / "a.txt").read_text() == "ONE\n"


def test_files_that_differ_in_their_suffix_get_their_own_output(
    transcribe: Run, record: Record, tmp_path: Path
) -> None:
    paths = [record(tmp_path / "a.wav", "ONE"), record(tmp_path / "a.flac", "TWO")]
    transcribe(*paths, "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.flac.txt", "a.wav.txt"]
    other = record(tmp_path / "other" / "a.wav", "THREE")
    ran = transcribe(paths[0], other, "-o", tmp_path / "more")
    assert ran.status == 1
    assert "--recursive" in ran.stderr


def test_an_id_cannot_leave_the_output_folder(transcribe: Run, files: list[Path], tmp_path: Path) -> None:
    manifest = tmp_path / "bad.jsonl"
    entries = [("../../up", "in/a.wav"), ("/etc/absolute", "in/b.flac")]
    manifest.write_text(
        "".join(
            json.dumps({"audio_filepath": path, "duration": 1, "id": name}) + "\n" for name, path in entries
        )
    )
    out = tmp_path / "deep" / "er" / "out"
    assert transcribe(manifest, "-o", out).status == 0
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.txt")) == ["etc/absolute.txt", "up.txt"]


def test_a_folder_that_cannot_be_written(transcribe: Run, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = transcribe(files[0], "-o", tmp_path / "file" / "out")
    assert ran.status == 1
    assert ran.stderr.count("\n") == 1
    assert str(tmp_path / "file") in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--channel", "0"], "--channel"),
        (["--channel", "left"], "--channel"),
        (["--format", "doc"], "--format"),
        (["--device", "cuda:7"], "--device"),
        (["--precision", "fp7"], "--precision"),
        (["--decoder", "magic"], "--decoder"),
    ],
)
def test_wrong_values_are_named(
    transcribe: Run, files: list[Path], arguments: list[str], message: str
) -> None:
    ran = transcribe(files[0], *arguments)
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.startswith("asr: ")
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_channels_apart(transcribe: Run, tmp_path: Path, speak: Callable[..., np.ndarray]) -> None:
    left, right = speak("AB"), speak("CD")
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000)
    assert transcribe("--channel", "2", tmp_path / "a.wav").stdout == "CD\n"
    lines = transcribe("--channel", "all", "-f", "ctm", tmp_path / "a.wav").stdout.splitlines()
    assert [line.split()[1] + line.split()[4] for line in lines] == ["1AB", "2CD"]
    ran = transcribe("--channel", "3", tmp_path / "a.wav")
    assert "no channel 3" in ran.stderr


def test_what_ffmpeg_decodes(transcribe: Run, record: Record, tmp_path: Path) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("no ffmpeg here")
    path = record(tmp_path / "a.wav", "ABC DEF")
    encoders = {
        **{"a.m4a": "aac", "a.aac": "aac", "a.mp4": "aac", "a.mkv": "flac"},
        **{"a.webm": "libopus", "a.wma": "wmav2", "a.mov": "pcm_s16le"},
    }
    for name, encoder in encoders.items():
        command = [program, "-v", "error", "-i", path, "-c:a", encoder, tmp_path / "some" / name]
        (tmp_path / "some").mkdir(exist_ok=True)
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (tmp_path / "some" / "a.mkv").rename(tmp_path / "some" / "wrong.wav")
    ran = transcribe("-r", tmp_path / "some")
    assert (ran.status, ran.stderr) == (0, "")
    heard = dict(line.split("\t") for line in ran.stdout.splitlines())
    assert len(heard) == len(encoders)
    for name in ("wrong.wav", "a.mov"):
        assert heard[str(tmp_path / "some" / name)] == "ABC DEF"
    # Lossy codecs smear the tones that this model knows, but the sound is the same.
    said = read_audio(path).numpy()
    assert min(likeness(said, read_audio(name).numpy()) for name in heard) > 0.9


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """The greatest correlation of two sounds, whatever the delay."""
    size = len(first) + len(second)
    product = np.fft.irfft(np.fft.rfft(first, size) * np.fft.rfft(second, size).conj())
    return float(product.max() / np.linalg.norm(first) / np.linalg.norm(second))


def test_one_output_that_cannot_be_written_harms_no_other(
    transcribe: Run, files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / "a.txt.d").mkdir(parents=True)
    (out / "a.txt").symlink_to(out / "a.txt.d")
    ran = transcribe(*files, "-o", out, "--overwrite")
    assert ran.status == 1
    assert ran.stderr.splitlines()[1:] == ["asr: 1 of 2 failed"]
    assert f"{out / 'a.txt'}: cannot be written" in ran.stderr
    assert (out / "b.txt").read_text() == "TWO\n"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_a_folder_in_which_nothing_can_be_made(transcribe: Run, files: list[Path]) -> None:
    ran = transcribe(files[0], "-o", "/proc/new")
    assert ran.status == 1
    assert ran.stderr.startswith("asr: /proc/new: cannot be written (")
    assert ran.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_opened_is_named(
    transcribe: Run, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "in" / "locked"
    locked.mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path == str(locked):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    ran = transcribe("-r", tmp_path / "in")
    assert ran.status == 1
    assert f"asr: {locked}: cannot be opened (Permission denied)\n" in ran.stderr
    assert ran.stdout == f"{files[0]}\tONE\n{files[1]}\tTWO\n"


@pytest.mark.parametrize(
    "arguments", [["--rate", "8000"], ["--overwrite"], ["--highlight-words", "-f", "srt", "-o", "out"]]
)
def test_a_flag_that_would_mean_nothing_is_refused(
    transcribe: Run, files: list[Path], arguments: list[str]
) -> None:
    ran = transcribe(files[0], *arguments)
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"asr: {arguments[0]}: ")
    assert ran.stderr.count("\n") == 1


def test_highlighted_words_carry_their_times(transcribe: Run, record: Record, tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav", "AB CD")
    assert "<c>AB</c> <00:00:00." in transcribe("-f", "vtt", "--highlight-words", path).stdout
    assert "<c>" not in transcribe("-f", "vtt", path).stdout


def test_neither_batches_nor_threads_change_the_output(
    transcribe: Run, record: Record, tmp_path: Path
) -> None:
    for number in range(1, 7):
        record(tmp_path / "in" / f"{number}.wav", "ABCDEFG " * number)
    expected = transcribe("-r", tmp_path / "in").stdout
    assert len(expected.splitlines()) == 6
    for threads, seconds in ((1, 1), (3, 1), (2, 1000)):
        how = ("--threads", threads, "--batch-seconds", seconds)
        assert transcribe("-r", tmp_path / "in", *how).stdout == expected


def test_colours_and_progress_on_a_terminal(tone_model: Path, record: Record, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    path = record(tmp_path / "a.wav", "AB")
    noise = np.random.default_rng(1).normal(0, 0.1, 16_000)  # sounds that the model is unsure of
    soundfile.write(tmp_path / "b.wav", noise, 16_000)
    terminal, inside = pty.openpty()
    command = [*ASR, "transcribe", "--model", str(tone_model), str(path), str(tmp_path / "b.wav")]
    process = subprocess.Popen(
        command, stdout=inside, stderr=inside, env=os.environ | {"TERM": "xterm", "NO_COLOR": ""}
    )
    os.close(inside)
    shown = b""
    with suppress(OSError):  # the terminal is closed with the process
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    assert process.wait() == 0
    assert "× real time" in shown.decode()
    assert f"{path}\tAB\r\n" in shown.decode()
    assert b"\x1b[31m" in shown or b"\x1b[33m" in shown


@pytest.fixture
def in_process(tone_model: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start ``asr transcribe`` as a process of its own."""
    started = []

    def start(*arguments: object, **how: Any) -> subprocess.Popen[bytes]:
        command = [*ASR, "transcribe", "--model", str(tone_model), *map(str, arguments)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, **how))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_closed_pipe_ends_quietly(
    in_process: Callable[..., subprocess.Popen[bytes]], files: list[Path]
) -> None:
    process = in_process(*files * 5, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    # On a busy machine there is progress to tell of.
    assert all(line.startswith(b"transcribing: ") for line in process.stderr.read().splitlines())
    process.wait()


def test_a_disk_that_fills_up_leaves_no_half_of_a_file(
    in_process: Callable[..., subprocess.Popen[bytes]], files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    process = in_process(*files, "-o", out, "-f", "txt,srt", preexec_fn=no_room)
    _, message = process.communicate()
    assert process.returncode == 1
    lines = message.decode().splitlines()
    assert [line.split(" (")[0] for line in lines] == [
        f"asr: {out}/a.txt: cannot be written",
        f"asr: {out}/b.txt: cannot be written",
        "asr: 2 of 2 failed",
    ]
    assert not list(out.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line(
    in_process: Callable[..., subprocess.Popen[bytes]], files: list[Path]
) -> None:
    with Path("/dev/full").open("wb") as full:
        process = in_process(*files, stdout=full)
        _, message = process.communicate()
    assert process.returncode == 1
    assert message.count(b"\n") == 1
    assert b"standard output" in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_what_cannot_be_said_costs_no_results(tone_model: Path, files: list[Path]) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [*ASR, "transcribe", "-m", tone_model, files[0].with_name("gone.wav"), *files],
            stdout=subprocess.PIPE, stderr=full, check=False,
        )  # fmt: skip
    assert ran.returncode == 1
    assert [line.split(b"\t")[1] for line in ran.stdout.splitlines()] == [b"ONE", b"TWO"]


def test_an_interrupt_leaves_no_traceback(
    in_process: Callable[..., subprocess.Popen[bytes]], files: list[Path], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = in_process(files[0], pipe, stdout=subprocess.PIPE)
    writer = os.open(pipe, os.O_WRONLY)  # once the pipe is open the command is at work
    process.send_signal(signal.SIGINT)
    os.close(writer)
    _, message = process.communicate(timeout=300)
    assert process.returncode != 0
    assert b"Traceback" not in message


def test_progress_takes_files_of_unknown_length_to_be_as_long_as_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = AudioProgress(3, 16_000)
    progress._shown = -1e9
    progress.opened("a.m4a", AudioInfo(math.nan, 16_000, 1))
    progress.done(30.0)
    progress._shown = -1e9
    progress.opened("b.wav", AudioInfo(60.0, 16_000, 1))
    progress.done(30.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("transcribing: 0:00:30, ")
    assert lines[1].startswith("transcribing: 0:01:00 of 0:03:00, ")


def test_progress_expects_neither_failed_files_nor_less_than_what_was_opened(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = AudioProgress(3, 16_000)
    progress.failed("b.wav: no such file")
    for _ in range(2):  # both channels of the first
        progress.opened("a.wav", AudioInfo(60.0, 16_000, 2))
    for channel in range(2):
        progress._shown = -1e9
        progress.opened("c.wav", AudioInfo(60.0, 16_000, 2))
        progress.done(30.0 * (channel + 1))
    first, second = capsys.readouterr().err.splitlines()[1:]
    assert " of 0:03:00, " in first
    assert " of 0:04:00, " in second
