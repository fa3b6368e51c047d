"""Standard output whose reader goes away ends a command without a word; a full disk is told of."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "boat.flac"


@pytest.fixture
def inputs(clips: Path, model_directory: Path) -> dict[str, Path]:
    """What arguments in capitals stand for."""
    return {"MANIFEST": clips, "MODEL": model_directory, "AUDIO": EXAMPLE}


def run_into(
    stdout: IO[bytes], inputs: dict[str, Path], arguments: tuple[str, ...]
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command that writes there."""
    command = [sys.executable, "-m", "asr", *(str(inputs.get(each, each)) for each in arguments)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("lm", "build", "--help"),
        ("score", "MANIFEST", "MANIFEST"),
        ("prepare", "stats", "MANIFEST"),  # writes without flushing
        ("transcribe", "--model", "MODEL", "AUDIO"),
        ("decode", "MODEL", "MANIFEST"),
    ],
    ids=" ".join,
)
def test_a_command_whose_reader_has_gone_ends_quietly(
    inputs: dict[str, Path], arguments: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = run_into(stdout, inputs, arguments)
    assert done.returncode == 141
    # On a busy machine there is progress to tell of.
    assert all(line.startswith((b"transcribing: ", b"decoding ")) for line in done.stderr.splitlines())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("score", "MANIFEST", "MANIFEST"),
        ("prepare", "stats", "MANIFEST"),
        ("decode", "MODEL", "MANIFEST"),
    ],
    ids=" ".join,
)
def test_a_disk_too_full_for_standard_output_is_one_line(
    inputs: dict[str, Path], arguments: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("wb") as stdout:
        done = run_into(stdout, inputs, arguments)
    assert done.returncode == 1
    assert done.stderr.endswith(b"asr: standard output: cannot be written (No space left on device)\n")
    assert b"Traceback" not in done.stderr
