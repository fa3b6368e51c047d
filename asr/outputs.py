"""Where transcripts go: files that mirror the input tree, one for each recording and format."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.files import atomic_write
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
    inputs: Sequence[Input], writers: Sequence[type[Writer]], folder: Path, overwrite: bool
) -> list[Job]:
    """Which files each recording still needs.

    Files are written whole or not at all, so what exists is done, and a batch that was stopped goes on
    where it was.

    Args:
        inputs: The recordings.
        writers: Formats.
        folder: Output folder.
        overwrite: Write files that exist, too.

    Raises:
        UserError: two recordings would be written to one file.
    """

    def lacks(path: Path) -> bool:
        # Not Path.exists(), which before Python 3.13 raises for a name that is too long.
        return overwrite or not os.path.exists(path)  # noqa: PTH110

    jobs = []
    for entry, stem in zip(inputs, output_stems(inputs), strict=True):
        paths = [(writer, folder / stem.with_name(f"{stem.name}.{writer.extension}")) for writer in writers]
        # What came through a pipe before was something else.
        new = is_read_once(entry.recording.source)
        jobs.append(Job(entry, tuple(pair for pair in paths if new or lacks(pair[1]))))
    return jobs


def write_files(job: Job, transcript: Transcript, makers: Sequence[Writer]) -> None:
    """Write what a job lacks.

    Raises:
        UserError: a file cannot be written.
    """
    ready = {type(maker): maker for maker in makers}
    for writer, path in job.files:
        with atomic_write(path) as stream:
            stream.write(ready[writer].document(job.input.recording.name, transcript))
