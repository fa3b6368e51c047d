"""Miniature corpora for the tests beside this file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

FORMATS = {".opus": {"format": "OGG", "subtype": "OPUS"}, ".mp3": {"format": "MP3"}}


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
