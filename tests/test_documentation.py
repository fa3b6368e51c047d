"""What the documentation shows is what happens."""

import doctest
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def test_the_examples_of_the_python_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testfile(str(ROOT / "docs" / "python.md"), module_relative=False)
    assert tried > 20
    assert not failed


def test_the_first_command_prints_what_the_readme_shows(
    monkeypatch: pytest.MonkeyPatch, run_asr: Callable[..., Any]
) -> None:
    monkeypatch.chdir(ROOT)
    shown = (
        (ROOT / "README.md").read_text().partition("The first command prints\n\n```\n")[2].partition("```")[0]
    )
    clips = sorted(str(path) for path in Path("examples").glob("*.flac"))
    assert len(clips) == 8
    assert run_asr("transcribe", *clips).stdout == shown


def test_help_and_the_package_load_neither_torch_nor_numba() -> None:
    code = (
        "import sys, asr\n"
        "sys.argv = ['asr', 'transcribe', '--help']\n"
        "from asr.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit(bool({'torch', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    assert b"FILES" in done.stdout
