"""Where transcripts go: files that mirror the input tree, one for each recording and format."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from asr.errors import UserError
from asr.files import atomic_write, escape_name, exists
from asr.inputs import Input, output_stems
from asr.sources import is_read_once
from asr.transcript import Transcript
from asr.writers import Writer


@dataclass(frozen=True)
class Job:
    """A recording and the files to write of it.

    Attributes:
        input: The recording.
        files: Writer and path of each file; none where all exist and are kept.
    """

    input: Input
    files: tuple[tuple[type[Writer], Path], ...]


def plan_files(
    inputs: Sequence[Input],
    writers: Sequence[type[Writer]],
    folder: Path,
    overwrite: bool,
    read: Sequence[str | os.PathLike[str]] = (),
) -> list[Job | UserError]:
    """Which files each recording still needs.

    Files are written whole or not at all, so what exists is done, and a batch that was stopped goes on
    where it was. A recording whose transcript would take the place of another's, or of what is read, is an
    error.

    Args:
        inputs: The recordings, each once.
        writers: Formats.
        folder: Output folder.
        overwrite: Write files that exist, too.
        read: Other files that are read: manifests, hotwords.
    """
    jobs: list[Job | UserError] = []
    first: dict[PurePath, Input] = {}
    for entry, stem in zip(inputs, output_stems(inputs), strict=True):
        paths = [(writer, folder / stem.with_name(f"{stem.name}.{writer.extension}")) for writer in writers]
        # What came through a pipe before was something else.
        new = overwrite or is_read_once(entry.recording.source)
        name = escape_name(entry.recording.name)
        if (other := first.setdefault(stem, entry)) is not entry:
            error = (
                f"{name}: would be written to {escape_name(folder / stem)}, as "
                f"{escape_name(other.recording.name)} is: transcribe their common folder with --recursive, "
                "or give each an output folder"
            )
            jobs.append(UserError(error))
        elif replaced := _replaced((path for _, path in paths), (entry.recording.source, *read)):
            what = "it" if replaced == name else replaced
            error = f"{name}: its transcript would replace {what}; give another --output-dir"
            jobs.append(UserError(error))
        else:
            jobs.append(Job(entry, tuple(pair for pair in paths if new or not exists(pair[1]))))
    return jobs


def _replaced(paths: Iterable[Path], read: Sequence[Any]) -> str:
    """The first of what is read that is also written, if any."""
    files = [source for source in read if isinstance(source, str | os.PathLike) and exists(source)]
    for path in paths:
        for source in files:
            if exists(path) and path.samefile(source):
                return escape_name(source)
    return ""


def write_files(job: Job, transcript: Transcript, makers: Sequence[Writer]) -> None:
    """Write what a job lacks.

    Raises:
        UserError: a file cannot be written.
    """
    ready = {type(maker): maker for maker in makers}
    for writer, path in job.files:
        with atomic_write(path) as stream:
            stream.write(ready[writer].document(job.input.recording.name, transcript))
