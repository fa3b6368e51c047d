"""How the program begins and ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from asr import __version__


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
