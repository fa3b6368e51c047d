"""``asr prepare`` as a user runs it, and a miniature LibriSpeech."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from miniature import write_split
from typer.testing import CliRunner

from asr.cli import prepare

Run = Callable[..., Any]


@pytest.fixture
def run() -> Run:
    """``asr prepare`` with the arguments given; exceptions are in the result."""
    app = typer.Typer()
    prepare.register(app)
    app.callback()(lambda: None)
    return lambda *arguments: CliRunner().invoke(app, ["prepare", *map(str, arguments)])


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two splits, three utterances."""
    root = tmp_path / "LibriSpeech"
    write_split(root / "dev-clean", {"84-121123-0000": "GO ON", "84-121123-0001": "DON'T STOP"})
    write_split(root / "train-clean-5", {"19-198-0000": "NORTHANGER ABBEY"}, ".opus")
    return root
