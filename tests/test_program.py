"""How the program begins and ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import asr
from asr import __version__
from asr.cli.torch_import import FOR_COMPILERS


def program(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", f"{code}\nfrom asr.cli import run\nrun()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_threads_and_exit_functions_come_before_the_end(tmp_path: Path) -> None:
    code = f"""
import atexit, pathlib, threading, time
folder = pathlib.Path({str(tmp_path)!r})
def late():
    time.sleep(0.5)
    (folder / "thread").touch()
threading.Thread(target=late).start()
atexit.register((folder / "function").touch)
print("unflushed", end="")
"""
    ran = program(code, "--version")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == f"unflushedasr {__version__}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["function", "thread"]


@pytest.mark.parametrize(("arguments", "status"), [(("transcribe", "/nowhere.wav"), 1), (("nonsense",), 2)])
def test_the_exit_status_is_the_commands(arguments: tuple[str, ...], status: int) -> None:
    assert program("", *arguments).returncode == status


@pytest.mark.parametrize("command", ["transcribe", "decode", "align"])
def test_commands_that_recognise_import_torch_without_its_compilers_part(
    command: str, tmp_path: Path, examples: Path
) -> None:
    clip = examples.parent / "boat.flac"
    line = {"audio_filepath": str(clip), "duration": 4.0, "text": "nobody expected the little boat"}
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps(line) + "\n")
    arguments = {
        "transcribe": (str(clip), "--format", "json", "--precision", "fp32"),
        "decode": ("en", str(manifest)),
        "align": ("en", str(manifest)),
    }
    watch = f"""
import atexit, sys
atexit.register(lambda: sys.stderr.write(f"{{'torch' in sys.modules}} {{{FOR_COMPILERS!r} in sys.modules}}"))
"""
    ran = program(watch, command, *arguments[command])
    assert (ran.returncode, ran.stderr) == (0, "True False")
    if command == "transcribe":
        expected = asr.load_model("en", precision="fp32").transcribe(clip)
        found = json.loads(ran.stdout)
        assert found["text"] == expected.text
        words = [word for segment in expected.segments for word in segment.words]
        confidences = [word["confidence"] for segment in found["segments"] for word in segment["words"]]
        assert confidences == pytest.approx([word.confidence for word in words], abs=1e-3)
