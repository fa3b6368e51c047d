"""What every corpus does alike on its way to a manifest.

A corpus module lists its files and pairs audio with text; this module reads the durations from the
audio headers in parallel, writes the manifest, and remembers the state of the tree, so that a second
run over an unchanged one reads nothing but file names, sizes and times.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from asr.audio import probe
from asr.errors import UserError
from asr.files import atomic_write
from asr.manifest import Utterance, write_manifest

AUDIO_SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")
"""Suffixes of the audio files that are looked for; of several with one stem the earliest here is used."""

Progress = Callable[[str, float], AbstractContextManager[Callable[[float], None]]]
"""Shows that work goes on: ``with progress(description, total) as advance: advance(step)``."""

# Headers are read in blocks, so that a corpus of 300,000 files does not become as many futures.
_BLOCK = 64
_MARKER_VERSION = 1


@dataclass(frozen=True)
class Problem:
    """Something in a corpus that keeps an utterance out of the manifest.

    Attributes:
        kind: What is wrong, in words that can be counted: "text without audio".
        name: The utterance id or the file, with the reason where there is more to say.
    """

    kind: str
    name: str


@dataclass(frozen=True)
class Prepared:
    """A manifest that was written, or found to be still right (``reused``)."""

    manifest: Path
    utterances: int
    seconds: float
    speakers: int
    problems: tuple[Problem, ...]
    reused: bool = False


@contextmanager
def silent_progress(description: str, total: float) -> Iterator[Callable[[float], None]]:
    """A progress display that shows nothing."""
    yield lambda step: None


def prepare_manifest(
    manifest: Path,
    files: Sequence[Path],
    read: Callable[[], tuple[list[Utterance], list[Problem]]],
    settings: Sequence[str] = (),
    progress: Progress = silent_progress,
) -> Prepared:
    """Write a manifest of ``read()``'s utterances with the durations of their audio.

    Beside the manifest a marker ``.<stem>.completed`` keeps a fingerprint of the names, sizes and times
    of ``files``, of ``settings`` and of the manifest. While all are the same, neither ``read`` nor the
    audio is touched again. Problems are listed in ``<stem>.problems.txt`` where there are any.

    Args:
        manifest: The file to write.
        files: Every file the result depends on.
        read: Pairs audio with text; the durations it gives do not matter.
        settings: Whatever else the result depends on.
        progress: Shows how many headers have been read.

    Raises:
        UserError: the manifest cannot be written, or nothing usable was found.
    """
    marker = manifest.with_name(f".{manifest.stem}.completed")
    state = _fingerprint(files, settings)
    known = _read_marker(marker, state, manifest)
    if known is not None:
        return known
    utterances, problems = read()
    utterances, unreadable = read_headers(utterances, progress, manifest.stem)
    problems = sorted([*problems, *unreadable], key=lambda problem: (problem.kind, problem.name))
    if not utterances:
        first = f" ({problems[0].kind}: {problems[0].name})" if problems else ""
        raise UserError(f"{manifest.stem}: no utterance with both readable audio and text{first}")
    marker.unlink(missing_ok=True)
    write_manifest(manifest, utterances)
    prepared = Prepared(
        manifest=manifest,
        utterances=len(utterances),
        seconds=sum(utterance.duration for utterance in utterances),
        speakers=len({utterance.speaker for utterance in utterances} - {None}),
        problems=tuple(problems),
    )
    _write_problems(problems_file(manifest), problems)
    _write_marker(marker, state, prepared)
    return prepared


def problems_file(manifest: Path) -> Path:
    """Where the full list of a manifest's problems is kept."""
    return manifest.with_name(f"{manifest.stem}.problems.txt")


def read_headers(
    utterances: Sequence[Utterance], progress: Progress = silent_progress, description: str = "audio"
) -> tuple[list[Utterance], list[Problem]]:
    """Fill in duration and sample rate from the audio headers, many files at a time.

    Returns:
        The utterances with readable audio, in the order given, and a problem for each of the others.
    """
    readable: list[Utterance] = []
    problems: list[Problem] = []
    blocks = [utterances[start : start + _BLOCK] for start in range(0, len(utterances), _BLOCK)]
    # Threads suffice: libsndfile works outside the interpreter lock, and waiting for the disk is most of it.
    executor = ThreadPoolExecutor(max_workers=min(16, 4 * (os.cpu_count() or 1)))
    try:
        with progress(f"{description}: audio headers", len(utterances)) as advance:
            for block in executor.map(_read_block, blocks):
                readable += [result for result in block if isinstance(result, Utterance)]
                problems += [result for result in block if isinstance(result, Problem)]
                advance(len(block))
    finally:
        executor.shutdown(cancel_futures=True)
    return readable, problems


def _read_block(block: Iterable[Utterance]) -> list[Utterance | Problem]:
    return [_read_header(utterance) for utterance in block]


def _read_header(utterance: Utterance) -> Utterance | Problem:
    try:
        info = probe(utterance.audio_filepath)
    except (UserError, OSError) as error:
        return Problem("unreadable audio", str(error))
    if info.duration <= 0:
        return Problem("unreadable audio", f"{utterance.audio_filepath}: holds no samples")
    return replace(utterance, duration=round(info.duration, 4), sample_rate=info.sample_rate)


def _fingerprint(files: Iterable[Path], settings: Sequence[str]) -> str:
    """A digest of names, sizes and modification times; a broken link counts by its name."""
    digest = hashlib.sha256("\0".join(settings).encode())
    for path in sorted(files):
        try:
            status = path.stat()
            entry = f"\0{path}\0{status.st_size}\0{status.st_mtime_ns}"
        except OSError:
            entry = f"\0{path}\0unreadable"
        digest.update(entry.encode(errors="surrogateescape"))
    return digest.hexdigest()


def _read_marker(marker: Path, state: str, manifest: Path) -> Prepared | None:
    """What an earlier run wrote, if the corpus and the manifest are still as it left them."""
    try:
        entry = json.loads(marker.read_text(encoding="utf-8"))
        if entry["version"] != _MARKER_VERSION or entry["corpus"] != state:
            return None
        if entry["manifest"] != _file_state(manifest):
            return None
        problems = tuple(Problem(**problem) for problem in entry["problems"])
        counts = (int(entry["utterances"]), float(entry["seconds"]), int(entry["speakers"]))
        return Prepared(manifest, *counts, problems, reused=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_marker(marker: Path, state: str, prepared: Prepared) -> None:
    entry = asdict(prepared)
    del entry["reused"]
    entry |= {
        "version": _MARKER_VERSION,
        "corpus": state,
        "manifest": _file_state(prepared.manifest),
    }
    with atomic_write(marker) as stream:
        json.dump(entry, stream)


def _file_state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _write_problems(path: Path, problems: Sequence[Problem]) -> None:
    if not problems:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as stream:
        stream.writelines(f"{problem.kind}\t{problem.name}\n" for problem in problems)
