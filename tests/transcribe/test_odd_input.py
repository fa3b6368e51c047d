"""``asr transcribe``: what goes in by odd ways, what comes out in odd places."""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr.audio import read_audio
from asr.audio_reader import MAX_SAMPLE_RATE
from asr.errors import UserError
from asr.recording import Recording
from asr.transcriber import load_model

Record = Callable[..., Path]
Run = Callable[..., Any]
Give = Callable[[bytes], None]


@pytest.fixture
def clip(tmp_path: Path, record: Record) -> Path:
    return record(tmp_path / "in" / "a.wav", "ONE")


@pytest.fixture
def shell(tone_model: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run ``asr transcribe ARGUMENTS`` as a line of a shell."""

    def run(arguments: str, **how: Any) -> subprocess.CompletedProcess[bytes]:
        line = f'exec "{sys.executable}" -m asr transcribe --model "{tone_model}" {arguments}'
        return subprocess.run(["sh", "-c", line], check=False, capture_output=True, **how)

    return run


def test_standard_input_can_be_given_once(transcribe: Run, clip: Path, stdin: Give) -> None:
    stdin(clip.read_bytes())
    ran = transcribe("-", "-")
    assert (ran.status, ran.stdout) == (1, "-\tONE\n")
    assert ran.stderr == "asr: standard input: can be read once; give - once\nasr: 1 of 2 failed\n"


def test_a_file_that_is_called_like_standard_input(
    transcribe: Run, clip: Path, stdin: Give, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.parent)
    clip.rename("-")
    stdin(b"")
    assert transcribe("?").stdout == "ONE\n"
    Path("m.jsonl").write_text('{"audio_filepath": "-", "duration": 1.0}\n')
    assert transcribe("m.jsonl").stdout == "ONE\n"


@pytest.mark.parametrize("rate", [999, MAX_SAMPLE_RATE + 1, 4_000_000_000])
def test_a_rate_that_no_recording_has(transcribe: Run, clip: Path, rate: int) -> None:
    ran = transcribe("--raw", "--rate", rate, clip)
    assert ran.status != 0
    assert ran.stdout == ""
    assert "--rate" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("closed", "status", "output", "message"),
    [
        ("- <&-", 1, b"", b"asr: standard input: the file is empty (0 bytes)\n"),
        ("a.wav <&-", 0, b"ONE\n", b""),
        ("a.wav >&-", 0, b"", b""),
        ("a.wav 2>&-", 0, b"ONE\n", b""),
    ],
)
def test_streams_that_the_shell_closed(
    shell: Run, clip: Path, closed: str, status: int, output: bytes, message: bytes
) -> None:
    done = shell(closed, cwd=clip.parent)
    assert (done.returncode, done.stdout, done.stderr) == (status, output, message)


def test_no_room_for_what_came_through_a_pipe(shell: Run, clip: Path) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    for arguments in ("-", "--channel all -"):
        done = shell(arguments, input=clip.read_bytes(), preexec_fn=no_room)
        assert done.returncode == 1
        assert done.stderr.startswith(b"asr: standard input: cannot be copied to a temporary file (")
        assert done.stderr.count(b"\n") == 1


def test_a_source_that_fails_before_its_channels_are_known_harms_no_other(
    tone_model: Path, clip: Path
) -> None:
    sources = [io.BytesIO(b""), clip, io.BytesIO(b""), io.BytesIO(clip.read_bytes()), io.BytesIO(b"")]
    recordings = [Recording(source, channel="all") for source in sources]
    found = list(load_model(tone_model).transcribe_all(recordings))
    said = [str(each) if isinstance(each, UserError) else each.text for each in found]
    empty = "stream: the file is empty (0 bytes)"
    assert said == [empty, "ONE", empty, "ONE", empty]


@pytest.mark.parametrize("way", [(), ("--channel", "all"), ("--stream",)])
def test_a_pipe_that_may_not_be_read(
    run_asr: Run, tone_stream_model: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, way: tuple[str, ...]
) -> None:
    pipe = clip.parent / "pipe"
    os.mkfifo(pipe)
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **how: Any) -> Any:
        if path == pipe:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **how)

    monkeypatch.setattr(Path, "open", refuse)
    ran = run_asr("transcribe", "--model", tone_stream_model, *way, pipe, clip)
    assert ran.status == 1
    assert ran.stdout == f"{clip}\tONE\n"
    assert f"asr: {pipe}: cannot be opened (Permission denied)\n" in ran.stderr


@pytest.mark.parametrize(
    ("asked", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_what_the_end_leaves_of_standard_input(
    tone_model: Path, clip: Path, tmp_path: Path, asked: signal.Signals, status: int
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "asr", "transcribe", "--model", str(tone_model), "-"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"TMPDIR": str(temporary)}
    )
    try:
        assert process.stdin is not None
        process.stdin.write(clip.read_bytes())
        process.stdin.flush()
        patience = time.monotonic() + 300
        while not list(temporary.glob("asr-*")) and time.monotonic() < patience:
            time.sleep(0.05)
        assert list(temporary.glob("asr-*"))
        process.send_signal(asked)
        assert process.wait(300) == status
    finally:
        process.kill()
        process.wait()
    assert not list(temporary.iterdir())


def test_messages_name_what_was_given(
    transcribe: Run, stdin: Give, tmp_path: Path, tone_model: Path, run_asr: Run
) -> None:
    for flags in ((), ("--channel", "all")):
        stdin(b"no audio")
        assert transcribe(*flags, "-").stderr.startswith("asr: standard input: not audio")
    bad = tmp_path / "bad.wav"
    bad.write_text("no audio")
    spooled = tempfile.SpooledTemporaryFile()  # noqa: SIM115
    spooled.write(b"no audio")
    spooled.seek(0)
    sources: list[tuple[Any, str]] = [
        *((bad.open("rb"), str(bad)), (open(bytes(bad), "rb"), "stream")),  # noqa: PTH123, SIM115
        *((io.BytesIO(b"no audio"), "stream"), (spooled, "stream"), (b"no", "bytes")),
    ]
    for source, name in sources:
        with pytest.raises(UserError, match=f"^{name}: not audio"):
            read_audio(source)
    ran = run_asr("transcribe", "--model", "no\nmodel\udcff", bad)
    assert ran.stderr.startswith("asr: no\\nmodel\\xff: no such model directory")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("identifier", ["a\0b", "\ud800"])
def test_an_id_that_cannot_be_written_is_refused(transcribe: Run, clip: Path, identifier: str) -> None:
    manifest = clip.parent / "m.jsonl"
    manifest.write_text(json.dumps({"audio_filepath": "a.wav", "duration": 1, "id": identifier}) + "\n")
    ran = transcribe("-f", "jsonl", manifest)
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr == f"asr: {manifest}: line 1: the id {identifier!r} is no text\n"


def test_a_speaker_that_cannot_be_written_is_refused(transcribe: Run, clip: Path) -> None:
    manifest = clip.parent / "m.jsonl"
    manifest.write_text(json.dumps({"audio_filepath": "a.wav", "duration": 1, "speaker": "\ud800"}) + "\n")
    ran = transcribe("-f", "jsonl", manifest)
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr == f"asr: {manifest}: line 1: the speaker '\\ud800' is no text\n"


def test_an_empty_manifest_is_a_mistake(transcribe: Run, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("")
    ran = transcribe(tmp_path / "m.jsonl")
    assert (ran.status, ran.stderr) == (1, f"asr: {tmp_path}/m.jsonl: no utterances in this manifest\n")


def test_a_file_of_hotwords_whose_name_is_not_utf8(
    run_asr: Run, model_directory: Path, clip: Path, tmp_path: Path
) -> None:
    words = tmp_path / "h\udcff.txt"
    words.write_text("ONE\n")
    ran = run_asr(
        *("transcribe", "--model", model_directory, clip, "-f", "json", "-o", tmp_path / "out"),
        *("--decoder", "beam", "--hotwords", words),
    )
    assert ran.status == 0, ran.stderr
    found = json.loads((tmp_path / "out" / "a.json").read_text())
    assert found["provenance"]["decoding"]["hotwords"].endswith("h\\xff.txt")


def test_damage_is_told_once_and_where_it_is(transcribe: Run, tmp_path: Path) -> None:
    whole = tmp_path / "whole.flac"
    noise = 0.1 * np.random.default_rng(1).standard_normal((16_000 * 4, 2))
    soundfile.write(whole, noise, 16_000)
    cut = tmp_path / "cut.flac"
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 5 // 8])
    ran = transcribe("--channel", "all", cut)
    lines = [line for line in ran.stderr.splitlines() if "damaged" in line]
    assert len(lines) == 1
    assert 2.0 < float(lines[0].split("damaged after ")[1].split(" s")[0]) <= 2.5


def test_patterns_may_name_folders_and_manifests(transcribe: Run, clip: Path, record: Record) -> None:
    folder = clip.parent
    record(folder / "talks1" / "b.wav", "TWO")
    ran = transcribe("-r", f"{folder}/talks*")
    assert ran.stdout == "TWO\n"
    (folder / "some.jsonl").write_text('{"audio_filepath": "a.wav", "duration": 1.0, "id": "first"}\n')
    assert transcribe(f"{folder}/s*.jsonl").stdout == "ONE\n"


def test_one_match_of_a_pattern_that_is_none_harms_no_other(transcribe: Run, clip: Path) -> None:
    folder = clip.parent
    (folder / "0.jsonl").write_text("no manifest\n")
    (folder / "0").mkdir()
    ran = transcribe("-r", f"{folder}/*")
    assert (ran.status, ran.stdout) == (1, f"{clip}\tONE\n")
    assert len(ran.stderr.splitlines()) == 3
    assert "no audio files in this folder" in ran.stderr


def test_a_pattern_that_names_a_folder_and_its_files_names_each_once(
    transcribe: Run, clip: Path, record: Record
) -> None:
    other = record(clip.parent / "deep" / "b.wav", "TWO")
    ran = transcribe("-r", f"{clip.parent}/**")
    assert (ran.status, ran.stdout) == (0, f"{clip}\tONE\n{other}\tTWO\n")


def test_standard_input_is_never_done_already(
    transcribe: Run, clip: Path, record: Record, stdin: Give, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in ((clip, "ONE\n"), (record(tmp_path / "b.wav", "TWO"), "TWO\n")):
        stdin(path.read_bytes())
        ran = transcribe("-", "-o", tmp_path / "out")
        assert (ran.status, ran.stderr) == (0, "")
        assert (tmp_path / "out" / "stdin.txt").read_text() == said
        writer = threading.Thread(target=pipe.write_bytes, args=(path.read_bytes(),))
        writer.start()
        assert transcribe(pipe, "-o", tmp_path / "out").status == 0
        writer.join()
        assert (tmp_path / "out" / "pipe.txt").read_text() == said


def test_a_recording_is_not_replaced_by_its_own_transcript(
    transcribe: Run, clip: Path, record: Record, tmp_path: Path
) -> None:
    misnamed = record(tmp_path / "b.wav", "TWO").rename(tmp_path / "b.txt")
    before = misnamed.read_bytes()
    for how in ((), ("--overwrite",)):
        ran = transcribe(misnamed, clip, "-o", tmp_path, *how)
        assert ran.status == 1
        assert f"asr: {misnamed}: its transcript would replace it" in ran.stderr
        assert misnamed.read_bytes() == before
        assert (tmp_path / "a.txt").read_text() == "ONE\n"


def test_what_is_named_twice_is_written_once(
    transcribe: Run, clip: Path, record: Record, tmp_path: Path
) -> None:
    other = record(clip.parent / "b.wav", "TWO")
    ran = transcribe("-r", clip, clip.parent, other, "-o", tmp_path / "out")
    assert (ran.status, ran.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "b.txt"]


def test_one_recording_under_two_ids_is_written_twice(transcribe: Run, clip: Path, tmp_path: Path) -> None:
    manifest = clip.parent / "m.jsonl"
    lines = [{"audio_filepath": "a.wav", "duration": 1.0, "id": name} for name in ("first", "second")]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert transcribe(manifest, "-o", tmp_path / "out").status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["first.txt", "second.txt"]


def test_two_recordings_for_one_file_harm_no_other(
    transcribe: Run, clip: Path, record: Record, tmp_path: Path
) -> None:
    alike, other = record(tmp_path / "deep" / "a.wav", "TWO"), record(tmp_path / "b.wav", "THREE")
    ran = transcribe(clip, alike, other, "-o", tmp_path / "out")
    assert ran.status == 1
    assert f"asr: {alike}: would be written to " in ran.stderr
    assert f", as {clip} is: " in ran.stderr
    assert (tmp_path / "out" / "b.txt").read_text() == "THREE\n"


def test_json_is_json_in_any_encoding(
    shell: Callable[..., subprocess.CompletedProcess[bytes]], clip: Path
) -> None:
    named = clip.rename(clip.with_name("é.wav"))
    ran = shell(f"-f jsonl '{named}'", env=os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"})
    assert json.loads(ran.stdout.decode("ascii"))["file"] == str(named)


def test_alternatives_go_with_a_format_that_has_them(transcribe: Run, clip: Path) -> None:
    ran = transcribe("--nbest", 3, clip)
    assert (ran.status, ran.stderr) == (1, "asr: --nbest: goes with --format json or jsonl\n")


def test_all_formats_among_others(transcribe: Run, clip: Path, tmp_path: Path) -> None:
    assert transcribe("-f", "txt,all", "-o", tmp_path / "out", clip).status == 0
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_recordings_of_a_ctm_keep_what_follows_a_dot(transcribe: Run, clip: Path) -> None:
    manifest = clip.parent / "m.jsonl"
    lines = [{"audio_filepath": "a.wav", "duration": 1.0, "id": f"call.{number}"} for number in (1, 2)]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = transcribe("-f", "ctm", manifest)
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["call.1", "call.2"]
    assert transcribe("-f", "ctm", clip).stdout.startswith("a 1 ")


def test_recordings_of_a_ctm_are_told_apart(transcribe: Run, clip: Path, record: Record) -> None:
    manifest = clip.parent / "m.jsonl"
    lines = [{"audio_filepath": "a.wav", "duration": 1.0, "id": name} for name in ("x/1", "y/1", ";;1")]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    ran = transcribe("-f", "ctm", manifest)
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["x/1", "y/1", "_;;1"]
    other = record(clip.parent / "deep" / "a.wav", "TWO")
    ran = transcribe("-f", "ctm", clip, other)
    assert (ran.status, ran.stdout) == (1, "")
    assert "several recordings are called a: give --output-dir" in ran.stderr


def test_a_rate_beside_a_file_is_refused(tone_model: Path, clip: Path) -> None:
    with pytest.raises(UserError, match="a file says its own"):
        load_model(tone_model).transcribe(clip, sample_rate=8000)


@pytest.mark.parametrize(
    ("source", "rate", "message"),
    [
        (np.zeros((1, 16_000), np.float32), None, "transpose them"),
        (np.zeros((16_000, 0), np.float32), None, "transpose them"),
        (np.zeros(16_000, np.float32), 4_000_000_000, "whole number of Hz"),
        (np.zeros(16_000, np.float32), 0, "whole number of Hz"),
        (np.zeros(16_000, np.float32), -16_000, "whole number of Hz"),
        (np.zeros(16_000, np.float32), 44_100.0, "whole number of Hz"),
        ([0.0] * 16_000, None, "not list"),
        (None, None, "not NoneType"),
    ],
)
def test_samples_that_are_none(tone_model: Path, source: Any, rate: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(tone_model).transcribe(source, sample_rate=rate)
    (found,) = load_model(tone_model).transcribe_all([Recording(source, channel="all", sample_rate=rate)])
    assert message in str(found)


def test_a_bfloat16_tensor(tone_model: Path, speak: Callable[..., np.ndarray]) -> None:
    import torch

    samples = torch.from_numpy(speak("ONE")).bfloat16()
    assert load_model(tone_model).transcribe(samples).text == "ONE"
