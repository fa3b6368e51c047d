"""What every corpus does alike on its way to a manifest.

A corpus module lists its files and pairs audio with text; this module reads the durations from the
audio headers in parallel, writes the manifest, and remembers the state of the corpus, so that a second
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
from typing import Any

from asr.audio import probe
from asr.errors import UserError
from asr.files import atomic_write, utf8_name
from asr.manifest import Utterance, write_manifest

AUDIO_SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")
"""Suffixes of the audio files that are looked for; of several with one stem the earliest here is used."""

Progress = Callable[[str, float], AbstractContextManager[Callable[[float], None]]]
"""Shows that work goes on: ``with progress(description, total) as advance: advance(step)``."""

# Headers are read in blocks, so that a corpus of 300,000 files does not become as many futures.
_BLOCK = 64
# A table's times are rounded; so much beyond a file's end is no mistake (seconds).
_TIME_TOLERANCE = 0.1
_MARKER_VERSION = 2


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


def is_audio(name: str) -> bool:
    """Whether a file's name is that of audio."""
    return name.lower().endswith(AUDIO_SUFFIXES)


def preference(path: Path) -> int:
    """Sorting key: of files with the same stem, lossless ones come first."""
    suffix = path.suffix.lower()
    return AUDIO_SUFFIXES.index(suffix) if suffix in AUDIO_SUFFIXES else -1


def check_outside(output: Path, root: Path) -> None:
    """Raise :class:`UserError` where writing ``output`` would change the corpus at ``root``."""
    if root.resolve() in (output.resolve(), *output.resolve().parents):
        raise UserError(f"{output}: lies inside {root}, which is never written to; give another --output")


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
    # The manifest's paths are relative to its folder.
    fingerprint = _fingerprint(files, (*settings, os.path.abspath(manifest.parent)))  # noqa: PTH100
    known = _read_marker(marker, fingerprint, manifest)
    if known is not None:
        if known.problems and not problems_file(manifest).exists():
            _write_problems(problems_file(manifest), known.problems)
        return known
    utterances, problems = read()
    utterances, unreadable = read_headers(utterances, progress, manifest.stem)
    problems = sorted([*problems, *unreadable], key=lambda problem: (problem.kind, problem.name))
    if not utterances:
        first = f" ({problems[0].kind}: {problems[0].name})" if problems else ""
        raise UserError(f"{manifest}: nothing to write, no utterance has both audio and text{first}")
    write_manifest(manifest, utterances)
    prepared = Prepared(
        manifest=manifest,
        utterances=len(utterances),
        seconds=sum(utterance.duration for utterance in utterances),
        speakers=len({utterance.speaker for utterance in utterances} - {None}),
        problems=tuple(problems),
    )
    _write_problems(problems_file(manifest), problems)
    _write_marker(marker, fingerprint, prepared)
    return prepared


def problems_file(manifest: Path) -> Path:
    """Where the full list of a manifest's problems is kept."""
    return manifest.with_name(f"{manifest.stem}.problems.txt")


def read_headers(
    utterances: Sequence[Utterance], progress: Progress = silent_progress, description: str = "audio"
) -> tuple[list[Utterance], list[Problem]]:
    """Fill in duration (where it is 0: to the file's end) and sample rate from the audio headers.

    Many files are read at a time.

    Returns:
        The utterances with readable audio, in the order given, and a problem for each of the others.
    """
    readable: list[Utterance] = []
    problems: list[Problem] = []
    blocks = [utterances[start : start + _BLOCK] for start in range(0, len(utterances), _BLOCK)]
    # Threads suffice: libsndfile works outside the interpreter lock, and most of it is waiting for the disk.
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
        utterance.audio_filepath.encode()
        info = probe(utterance.audio_filepath)
    except UnicodeEncodeError:
        return Problem("file name is not UTF-8", utf8_name(utterance.audio_filepath))
    except (UserError, OSError) as error:
        return Problem("unreadable audio", str(error))
    if not info.duration:
        return Problem("unreadable audio", f"{utterance.audio_filepath}: holds no samples")
    duration = utterance.duration or info.duration - utterance.offset
    if duration <= 0 or utterance.offset + duration > info.duration + _TIME_TOLERANCE:
        place = f"{utterance.offset:g} s, {utterance.duration:g} s long, of {info.duration:g} s"
        return Problem("outside of the audio", f"{utterance.id} ({place})")
    return replace(utterance, duration=round(duration, 6), sample_rate=info.sample_rate)


def _fingerprint(files: Iterable[Path], settings: Sequence[str]) -> str:
    """A digest of names, sizes and modification times; a file that is not there counts by its name."""
    digest = hashlib.sha256("\0".join(settings).encode())
    for path in sorted(files):
        try:
            status = path.stat()
            state = f"{status.st_size}\0{status.st_mtime_ns}"
        except OSError:
            state = "unreadable"
        # Path.resolve() would ask the disk about every folder of every path.
        name = os.path.abspath(path)  # noqa: PTH100
        digest.update(f"\0{name}\0{state}".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _read_marker(marker: Path, fingerprint: str, manifest: Path) -> Prepared | None:
    """What an earlier run wrote, if the corpus and the manifest are still as it left them."""
    try:
        entry = json.loads(marker.read_text(encoding="utf-8"))
        if entry["state"] != _state(fingerprint, manifest):
            return None
        problems = tuple(Problem(**problem) for problem in entry["problems"])
        counts = (int(entry["utterances"]), float(entry["seconds"]), int(entry["speakers"]))
        return Prepared(manifest, *counts, problems, reused=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_marker(marker: Path, fingerprint: str, prepared: Prepared) -> None:
    if not prepared.manifest.is_file():  # /dev/null or a pipe: nothing is kept, so nothing can be reused
        return
    entry = asdict(prepared)
    del entry["manifest"], entry["reused"]
    with atomic_write(marker) as stream:
        json.dump({"state": _state(fingerprint, prepared.manifest), **entry}, stream)


def _state(fingerprint: str, manifest: Path) -> dict[str, Any]:
    status = manifest.stat()
    return {
        "version": _MARKER_VERSION,
        "corpus": fingerprint,
        "size": status.st_size,
        "time": status.st_mtime_ns,
    }


def _write_problems(path: Path, problems: Sequence[Problem]) -> None:
    if not problems:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as stream:
        stream.writelines(f"{problem.kind}\t{utf8_name(problem.name)}\n" for problem in problems)
