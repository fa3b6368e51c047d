"""LibriSpeech: read English audio books, and every corpus in the same folders.

V. Panayotov, G. Chen, D. Povey and S. Khudanpur, "Librispeech: an ASR corpus based on public domain
audio books", ICASSP 2015. The tree is ``<split>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac``
with the texts of a chapter in ``<speaker>-<chapter>.trans.txt``, a line ``<id> <TEXT>`` each.
"""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from asr.corpora.download import Archive, fetch_archive
from asr.corpora.preparation import (
    Prepared,
    Problem,
    Progress,
    check_outside,
    is_audio,
    preference,
    prepare_manifest,
    silent_progress,
)
from asr.errors import UserError
from asr.files import check_folder_writable
from asr.manifest import Utterance

OPENSLR = "https://www.openslr.org/resources"

# The sums are OpenSLR's own (https://www.openslr.org/resources/12/md5sum.txt and /31/md5sum.txt),
# compared with those in PaddleSpeech's dataset/librispeech and dataset/mini_librispeech.
ARCHIVES: Mapping[str, Archive] = {
    "train-clean-5": Archive("31/train-clean-5.tar.gz", "5df7d4e78065366204ca6845bb08f490"),
    "dev-clean-2": Archive("31/dev-clean-2.tar.gz", "6d7ab67ac6a1d2c993d050e16d61080d"),
    "dev-clean": Archive("12/dev-clean.tar.gz", "42e2234ba48799c1f50f24a7926300a1"),
    "dev-other": Archive("12/dev-other.tar.gz", "c8d0bcc9cca99d4f8b62fcc847357931"),
    "test-clean": Archive("12/test-clean.tar.gz", "32fa31d27d2e1cad72775fee3f4849a9"),
    "test-other": Archive("12/test-other.tar.gz", "fb5a50374b501bb3bac4815ee91d3135"),
    "train-clean-100": Archive("12/train-clean-100.tar.gz", "2a93770f6d5c6c964bc36631d331a522"),
    "train-clean-360": Archive("12/train-clean-360.tar.gz", "c0e676e450a7ff2f54aeade5171606fa"),
    "train-other-500": Archive("12/train-other-500.tar.gz", "d1a0fd59409feb2c614ce4d30c387708"),
}
"""Official archives by split; train-clean-5 and dev-clean-2 are the mini set (OpenSLR 31)."""

_TRANSCRIPTS = ".trans.txt"


def download_librispeech(
    root: Path,
    split: str,
    base_url: str = OPENSLR,
    progress: Progress = silent_progress,
) -> Path:
    """Fetch and unpack an official split to ``root/<split>``; returns that folder.

    A download that broke off goes on where it stopped; a split that is there already is left alone.

    Args:
        root: The folder for the splits (or the one above its ``LibriSpeech``); made if missing.
        split: A key of :data:`ARCHIVES`.
        base_url: Where the archives are: OpenSLR or a mirror of its ``/resources``.
        progress: Shows the bytes fetched, checked and unpacked.

    Raises:
        UserError: the split is unknown, the server cannot be reached, the archive is damaged or unsafe,
            or the disk is full.
    """
    if split not in ARCHIVES:
        raise UserError(f"--download {split}: no such split; there are {', '.join(ARCHIVES)}")
    inner = root / "LibriSpeech"
    folder = inner if inner.is_dir() else root
    fetch_archive(ARCHIVES[split], base_url, folder, f"LibriSpeech/{split}", progress)
    return folder / split


def prepare_librispeech(
    root: Path, output: Path, progress: Progress = silent_progress
) -> Iterator[Prepared | UserError]:
    """Write ``output/<split>.jsonl`` for every split under ``root``, one after the other.

    A split that cannot be prepared is an error in its place.

    Args:
        root: The folder that holds the splits, or the one above its ``LibriSpeech``, or a single split.
        output: The folder for the manifests; made if missing.
        progress: Shows how many audio headers have been read.

    Raises:
        UserError: ``root`` holds no split, or ``output`` lies inside it.
    """
    splits = find_splits(root)
    check_outside(output, root)
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file; --output names the folder for the manifests")
    check_folder_writable(output)
    for name, split in splits.items():
        try:
            files = list(_files(split))
            result: Prepared | UserError = prepare_manifest(
                output / f"{name}.jsonl", files, partial(_pair, files), progress=progress
            )
        except UserError as error:
            result = error
        yield result


def find_splits(root: Path) -> dict[str, Path]:
    """The splits by name: folders in ``root`` or ``root/LibriSpeech``, or ``root`` itself.

    Raises:
        UserError: there is none.
    """
    if not root.is_dir():
        problem = "is a file" if root.exists() else "no such folder"
        raise UserError(f"{root}: {problem}; give the folder that holds the splits (dev-clean, ...)")
    inner = root / "LibriSpeech"
    folders = [*(_folders(inner) if inner.is_dir() else ()), *_folders(root)]
    splits = {folder.name: folder for folder in folders if _is_split(folder)}
    if not splits and _is_split(root):
        splits = {root.resolve().name: root}
    if not splits:
        raise UserError(
            f"{root}: holds no LibriSpeech split (<split>/<speaker>/<chapter>/*{_TRANSCRIPTS}); "
            "fetch one with --download train-clean-5, or see `asr prepare folder`"
        )
    return dict(sorted(splits.items()))


def _is_split(folder: Path) -> bool:
    # Beside the splits there may be folders of others (lost+found) that nobody may look into.
    return os.access(folder, os.R_OK | os.X_OK) and next(_files(folder), None) is not None


def _files(split: Path) -> Iterator[Path]:
    """Audio and transcript files of a split, which lie exactly two folders deep."""
    for speaker in _folders(split):
        for chapter in _folders(speaker):
            for entry in _entries(chapter):
                if is_audio(entry.name) or entry.name.endswith(_TRANSCRIPTS):
                    yield chapter / entry.name


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, links to folders included, hidden ones not."""
    return [folder / entry.name for entry in _entries(folder) if entry.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error
    return sorted(visible, key=lambda entry: entry.name)


def _pair(files: list[Path]) -> tuple[list[Utterance], list[Problem]]:
    """Pair audio with text by utterance id; durations are left at 0."""
    problems: list[Problem] = []
    audio: dict[str, Path] = {}
    texts: dict[str, str] = {}
    for path in sorted(files, key=preference):
        if path.name.endswith(_TRANSCRIPTS):
            _read_transcripts(path, texts, problems)
        elif path.stem in audio:
            problems.append(Problem("duplicate id", f"{path.stem} ({path} beside {audio[path.stem]})"))
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


def _read_transcripts(path: Path, texts: dict[str, str], problems: list[Problem]) -> None:
    """Add the lines ``<id> <TEXT>`` of one chapter to ``texts``."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
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
