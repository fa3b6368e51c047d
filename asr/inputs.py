"""What a user names on the command line, as recordings: files, folders, patterns, manifests, stdin."""

import glob
import os
import sys
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from asr.audio import SUFFIXES, RawFormat
from asr.errors import UserError
from asr.files import escape_name, exists, is_folder, walk
from asr.manifest import read_manifest
from asr.recording import Recording
from asr.sources import STANDARD_INPUT, StandardInput

STDIN = "-"
MANIFEST_SUFFIX = ".jsonl"
#: Samples without header, in a folder.
RAW_SUFFIXES = frozenset((".raw", ".pcm", ".s16", ".s16le"))


@dataclass(frozen=True)
class Input:
    """One recording to transcribe.

    Attributes:
        recording: Where its samples come from.
        stem: Where its output goes within an output folder, without suffix.
        suffix: Of its file, to tell apart what differs in it alone.
        speaker: Who speaks, where a manifest says so.
        manifest: The manifest that names it, if one does.
    """

    recording: Recording
    stem: PurePath
    suffix: str = ""
    speaker: str | None = None
    manifest: Path | None = None


@dataclass(frozen=True)
class _Found:
    """A file that an argument names, what it is called, and which part of it is meant."""

    path: str
    name: str
    stem: PurePath
    offset: float = 0.0
    duration: float | None = None
    speaker: str | None = None
    manifest: Path | None = None


def find_inputs(
    arguments: Sequence[str],
    recursive: bool = False,
    channel: int | str | None = None,
    raw: RawFormat | None = None,
) -> list[Input | UserError]:
    """Recordings in the order of the arguments; what cannot be one is an error in its place.

    Args:
        arguments: Paths of files, folders or manifests (``.jsonl``), patterns, or ``-``.
        recursive: Take the audio files in folders and their subfolders (of samples without header,
            those with one of :data:`RAW_SUFFIXES`).
        channel: See :class:`Recording`.
        raw: Format of files without header.
    """
    inputs: list[Input | UserError] = []
    suffixes = SUFFIXES if raw is None else RAW_SUFFIXES
    for position, argument in enumerate(arguments):
        if not argument:
            inputs.append(UserError("an empty name: name a file, a folder, a pattern, a manifest or -"))
            continue
        if argument == STDIN and STDIN in arguments[:position]:
            inputs.append(UserError(f"{STANDARD_INPUT}: can be read once; give {STDIN} once"))
            continue
        for found in _expand(argument, recursive, suffixes):
            if isinstance(found, UserError):
                inputs.append(found)
                continue
            # A file may be called so, too.
            source = _standard_input() if argument == STDIN else found.path
            recording = Recording(source, found.name, channel, found.offset, found.duration, raw)
            suffix = PurePath(found.path).suffix
            inputs.append(Input(recording, _inside(found.stem), suffix, found.speaker, found.manifest))
    return inputs


def output_stems(inputs: Sequence[Input]) -> list[PurePath]:
    """Where the output of each goes: its stem, with its suffix where stems coincide."""
    counts = Counter(entry.stem for entry in inputs)
    return [
        entry.stem if counts[entry.stem] == 1 else entry.stem.with_name(entry.stem.name + entry.suffix)
        for entry in inputs
    ]


def without_repeats(inputs: Sequence[Input]) -> list[Input]:
    """Inputs of which none is the same part of the same file, under the same stem, as one before it."""
    seen: set[tuple[str, float, float | None, PurePath]] = set()
    kept = []
    for entry in inputs:
        recording = entry.recording
        if isinstance(recording.source, str | os.PathLike):
            part = (os.path.realpath(recording.source), recording.offset, recording.duration, entry.stem)
            if part in seen:
                continue
            seen.add(part)
        kept.append(entry)
    return kept


def _expand(argument: str, recursive: bool, suffixes: Container[str]) -> Iterator[_Found | UserError]:
    if argument == STDIN:
        yield _Found(STDIN, STDIN, PurePath("stdin"))
        return
    # A file whose name looks like a pattern is that file.
    if not glob.has_magic(argument) or exists(argument):
        yield from _named(argument, recursive, suffixes)
        return
    names = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207 - takes absolute patterns
    if not names:
        yield UserError(f"{escape_name(argument)}: no file is called like this")
    known = set()  # a pattern can name a folder and what is in it
    for name in names:
        for found in _named(name, recursive, suffixes):
            if isinstance(found, UserError):
                yield found
            elif (place := _place(found)) not in known:
                known.add(place)
                yield found


def _place(found: _Found) -> tuple[str, str, float]:
    # Without a manifest a file is called as it was found: with or without ./ before it.
    return os.path.normpath(found.path), found.name if found.manifest else "", found.offset


def _named(name: str, recursive: bool, suffixes: Container[str]) -> Iterator[_Found | UserError]:
    """What is in a folder or a manifest, or a recording itself."""
    try:
        path = Path(name)
        if is_folder(name):
            if not recursive:
                raise UserError(f"{escape_name(name)}: is a folder; --recursive transcribes the files in it")
            yield from _folder(path, suffixes)
        elif path.suffix == MANIFEST_SUFFIX:
            yield from _manifest(path)
        else:
            yield _Found(name, name, PurePath(path.stem))
    except UserError as error:
        yield error


def _manifest(path: Path) -> Iterator[_Found]:
    for utterance in read_manifest(path):
        place = PurePath(utterance.id)
        stem = place.with_suffix("") if place.suffix.lower() in SUFFIXES else place
        part = (utterance.offset, utterance.duration or None)
        yield _Found(utterance.audio_filepath, utterance.id, stem, *part, utterance.speaker, path)


def _folder(folder: Path, suffixes: Container[str]) -> Iterator[_Found]:
    empty = True
    unreadable: list[OSError] = []
    for parent, _, names in walk(folder, unreadable.append):
        for name in sorted(names):
            path = parent / name
            if path.suffix.lower() in suffixes:
                empty = False
                yield _Found(str(path), str(path), path.relative_to(folder).with_suffix(""))
    if unreadable:
        first, others = unreadable[0], len(unreadable) - 1
        also = f", nor can {others} more" if others else ""
        raise UserError(f"{escape_name(first.filename)}: cannot be opened ({first.strerror}){also}")
    if empty:
        raise UserError(f"{escape_name(folder)}: no audio files in this folder")


def _inside(stem: PurePath) -> PurePath:
    """A relative path that stays inside its folder, whatever an id says."""
    parts = [part for part in stem.parts if part not in (stem.anchor, "..", ".")]
    return PurePath(*parts) if parts else PurePath("recording")


def _standard_input() -> BinaryIO:
    try:
        return StandardInput()
    except (OSError, ValueError):  # in a program that has put something else in its place
        return sys.stdin.buffer
