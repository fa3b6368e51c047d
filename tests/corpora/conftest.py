"""Miniature corpora, and ``asr prepare`` as a user runs it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from click.testing import Result
from typer.testing import CliRunner

from asr.cli import prepare

FORMATS = {".opus": {"format": "OGG", "subtype": "OPUS"}, ".mp3": {"format": "MP3"}}

WriteTree = Callable[[Path, Mapping[str, str]], None]
Run = Callable[..., Result]


def write_audio(path: Path, seconds: float = 0.5, rate: int = 16_000) -> Path:
    """A tone; the suffix chooses the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, tone.astype(np.float32), rate, **FORMATS.get(path.suffix.lower(), {}))
    return path


def write_split(split: Path, texts: Mapping[str, str], suffix: str = ".flac") -> None:
    """A LibriSpeech split with an audio file and a transcript line for every id."""
    for number, (id, text) in enumerate(texts.items(), start=1):
        speaker, chapter, _ = id.split("-")
        folder = split / speaker / chapter
        write_audio(folder / f"{id}{suffix}", 0.25 * number)
        with (folder / f"{speaker}-{chapter}.trans.txt").open("a") as transcripts:
            transcripts.write(f"{id} {text}\n")


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
