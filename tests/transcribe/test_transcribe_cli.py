"""``asr transcribe`` as a user runs it."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Record = Callable[..., Path]
Run = Callable[..., Any]
ASR = [sys.executable, "-m", "asr"]


@pytest.fixture
def transcribe(run_asr: Run, tone_model: Path) -> Run:
    return lambda *arguments: run_asr("transcribe", "--model", tone_model, *arguments)


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


def test_odd_names_stay_on_their_line(transcribe: Run, record: Record, tmp_path: Path) -> None:
    plain = record(tmp_path / "plain.wav", "ABC")
    names = ["a\tb.wav", "a\nb.wav", "a\\b.wav", "-dash.wav", "\udcff.wav"]
    for name in names:
        (tmp_path / name).write_bytes(plain.read_bytes())
    ran = transcribe("--", *(tmp_path / name for name in names))
    written = ["a\\tb.wav", "a\\nb.wav", "a\\\\b.wav", "-dash.wav", "\\xff.wav"]
    assert ran.stdout == "".join(f"{tmp_path}/{name}\tABC\n" for name in written)


def test_silence_keeps_its_line(transcribe: Run, tmp_path: Path, files: list[Path]) -> None:
    import soundfile

    for name, samples in (("none.wav", 0), ("short.wav", 160), ("silent.wav", 16_000)):
        soundfile.write(tmp_path / name, np.zeros(samples), 16_000)
        assert transcribe(tmp_path / name).stdout == "\n"
        ran = transcribe(tmp_path / name, files[0])
        assert (ran.status, ran.stdout) == (0, f"{tmp_path / name}\t\n{files[0]}\tONE\n")


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
    lines = [{"audio_filepath": "in/a.wav", "duration": 1.0, "id": "first"}]
    lines.append({"audio_filepath": "in/b.flac", "duration": 0})
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert transcribe(manifest).stdout == "first\tONE\nin/b.flac\tTWO\n"
    manifest.write_text('{"audio_filepath": "in/a.wav", "duration": 1}\nbroken\n')
    ran = transcribe(manifest)
    assert ran.status == 1
    assert "line 2" in ran.stderr
    (tmp_path / "nothing").mkdir()
    assert "no audio files" in transcribe("-r", tmp_path / "nothing").stderr


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


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
    import soundfile

    left, right = speak("AB"), speak("CD")
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000)
    assert transcribe("--channel", "2", tmp_path / "a.wav").stdout == "CD\n"
    lines = transcribe("--channel", "all", "-f", "ctm", tmp_path / "a.wav").stdout.splitlines()
    assert [line.split()[1] + line.split()[4] for line in lines] == ["1AB", "2CD"]
    ran = transcribe("--channel", "3", tmp_path / "a.wav")
    assert "no channel 3" in ran.stderr


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
    assert process.stderr.read() == b""
    process.wait()


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


def test_an_interrupt_leaves_no_traceback(
    in_process: Callable[..., subprocess.Popen[bytes]], files: list[Path], tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = in_process(files[0], pipe, stdout=subprocess.PIPE)
    writer = os.open(pipe, os.O_WRONLY)  # once the pipe is open the command is at work
    process.send_signal(signal.SIGINT)
    os.close(writer)
    _, message = process.communicate(timeout=60)
    assert process.returncode != 0
    assert b"Traceback" not in message
