"""LibriSpeech: read English audio books, and every corpus in the same folders.

V. Panayotov, G. Chen, D. Povey and S. Khudanpur, "Librispeech: an ASR corpus based on public domain
audio books", ICASSP 2015. The tree is ``<split>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac``
with the texts of a chapter in ``<speaker>-<chapter>.trans.txt``, a line ``<id> <TEXT>`` each.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from asr.corpora.preparation import (
    AUDIO_SUFFIXES,
    Prepared,
    Problem,
    Progress,
    prepare_manifest,
    silent_progress,
)
from asr.errors import UserError
from asr.manifest import Utterance

_TRANSCRIPTS = ".trans.txt"


def prepare_librispeech(
    root: Path, output: Path, progress: Progress = silent_progress
) -> Iterator[Prepared]:
    """Write ``output/<split>.jsonl`` for every split under ``root``, one after the other.

    Args:
        root: The folder that holds the splits, or the one above it, or a single split.
        output: The folder for the manifests; made if missing.
        progress: Shows how many audio headers have been read.

    Raises:
        UserError: ``root`` holds no split, or ``output`` lies inside it.
    """
    splits = find_splits(root)
    if root.resolve() in (output.resolve(), *output.resolve().parents):
        raise UserError(
            f"{output}: lies inside {root}, which is never written to; name another folder with --output"
        )
    for split in splits:
        files = list(_files(split))
        name = split.resolve().name
        yield prepare_manifest(
            output / f"{name}.jsonl",
            files,
            lambda files=files: _pair(files),  # type: ignore[misc]
            progress=progress,
        )


def find_splits(root: Path) -> list[Path]:
    """The split folders under ``root``: its children, ``root`` itself, or those of ``root/LibriSpeech``.

    Raises:
        UserError: there is none.
    """
    if not root.exists():
        raise UserError(f"{root}: no such folder")
    if not root.is_dir():
        raise UserError(f"{root}: is a file; give the folder that holds the splits")
    inner = root / "LibriSpeech"
    for candidates in (_folders(root), [root], _folders(inner) if inner.is_dir() else []):
        splits = [folder for folder in candidates if _is_split(folder)]
        if splits:
            return splits
    raise UserError(
        f"{root}: holds no LibriSpeech split (<split>/<speaker>/<chapter>/*{_TRANSCRIPTS}); "
        "fetch one with --download train-clean-5, or use `asr prepare folder`"
    )


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, links to folders included, hidden ones not."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _is_split(folder: Path) -> bool:
    return any(True for _ in _files(folder))


def _files(split: Path) -> Iterator[Path]:
    """Audio and transcript files of a split, exactly two folders deep."""
    for speaker in _folders(split):
        for chapter in _folders(speaker):
            with os.scandir(chapter) as entries:
                names = sorted(entry.name for entry in entries)
            for name in names:
                if name.endswith(_TRANSCRIPTS) or Path(name).suffix.lower() in AUDIO_SUFFIXES:
                    yield chapter / name


def _pair(files: list[Path]) -> tuple[list[Utterance], list[Problem]]:
    """Pair audio with text by utterance id; durations are left at 0."""
    problems: list[Problem] = []
    audio: dict[str, Path] = {}
    texts: dict[str, str] = {}
    # Sorted by preference of format, so that the first file of an id is the one to use.
    for path in sorted(files, key=_preference):
        if path.name.endswith(_TRANSCRIPTS):
            _read_transcripts(path, texts, problems)
        elif path.stem in audio:
            problems.append(Problem("duplicate id", f"{path.stem} ({path}, beside {audio[path.stem]})"))
        else:
            audio[path.stem] = path
    problems += [Problem("text without audio", id) for id in texts.keys() - audio.keys()]
    problems += [Problem("audio without text", id) for id in audio.keys() - texts.keys()]
    utterances = []
    for id in sorted(audio.keys() & texts.keys()):
        if not texts[id]:
            problems.append(Problem("empty text", id))
            continue
        chapter = audio[id].parent
        utterances.append(
            Utterance(
                id=id,
                audio_filepath=str(audio[id]),
                duration=0.0,
                text=texts[id],
                speaker=chapter.parent.name,
                extra={"chapter": chapter.name},
            )
        )
    return utterances, problems


def _preference(path: Path) -> int:
    suffix = path.suffix.lower()
    return AUDIO_SUFFIXES.index(suffix) if suffix in AUDIO_SUFFIXES else -1


def _read_transcripts(path: Path, texts: dict[str, str], problems: list[Problem]) -> None:
    """Add the lines ``<id> <TEXT>`` of one chapter to ``texts``."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem("unreadable transcript", f"{path} ({error})"))
        return
    for line in lines:
        if not line.strip():
            continue
        id, *words = line.split()
        if id in texts:
            problems.append(Problem("duplicate id", f"{id} (again in {path})"))
        else:
            texts[id] = " ".join(words)
