"""Showing text while it is said: settled lines on stdout, partial text redrawn on a terminal."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
import typer

from asr.cli.audio_progress import AudioProgress
from asr.cli.output import shown_text, tell, write_stdout
from asr.errors import UserError
from asr.files import escape_name, is_named_pipe
from asr.live import interrupted_later, open_pipe
from asr.recording import Recording, model_blocks, open_recording
from asr.sources import open_pipe_file
from asr.streaming import LONGEST, Stream

if TYPE_CHECKING:
    from asr.audio_reader import AudioReader
    from asr.inputs import Input
    from asr.live import Warn
    from asr.transcriber import Transcriber
    from asr.transcript import Segment

_SECONDS_BETWEEN_PARTIALS = 0.1
_CLEAR_LINE = "\r\x1b[K"
INTERRUPTED = 130


class LiveText:
    """The text of a stream: a line on stdout for what settled; on a terminal the rest below it, on stderr."""

    def __init__(self, name: str | None = None) -> None:
        """``name`` stands before each line, with a tab."""
        self._prefix = "" if name is None else f"{escape_name(name)}\t"
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = self._cost = 0.0

    def __enter__(self) -> "LiveText":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw("")

    def settled(self, segment: "Segment") -> None:
        """Write a line that stays."""
        self._draw("")
        write_stdout(f"{self._prefix}{shown_text(segment)}\n")

    def partial(self, text: Callable[[], str]) -> None:
        """Show text that may change, unless that was done a moment ago."""
        began = time.monotonic()
        # Half of the time at most goes into what is only shown.
        if not self._terminal or began < self._shown + max(_SECONDS_BETWEEN_PARTIALS, self._cost):
            return
        found = text()
        width = shutil.get_terminal_size().columns - 1
        self._draw(found if len(found) <= width else f"…{found[1 - width :]}")
        self._shown = time.monotonic()
        self._cost = self._shown - began

    def _draw(self, text: str) -> None:
        if self._terminal:
            with suppress(OSError):
                sys.stderr.write(_CLEAR_LINE + text)
                sys.stderr.flush()


def follow(stream: Stream, blocks: Iterable[torch.Tensor], text: LiveText) -> bool:
    """Feed a stream to its end and show what it says; Ctrl-C ends it as the end of the sound would.

    Returns:
        Whether it ended by itself.
    """
    ended = True
    try:
        for block in blocks:
            with interrupted_later():
                for segment in stream.feed(block):
                    text.settled(segment)
                text.partial(stream.partial)
    except KeyboardInterrupt:
        ended = False
    for segment in stream.finish():
        text.settled(segment)
    return ended


def stream_inputs(
    inputs: "Sequence[Input]",
    transcriber: "Transcriber",
    threads: int,
    look_ahead: float | None,
    several: bool,
) -> list[UserError]:
    """Transcribe recordings one after another as they come; what went wrong, which is on stderr.

    Raises:
        UserError: the model cannot have this look-ahead.
        typer.Exit: Ctrl-C was pressed.
    """
    errors = []
    use_threads(threads)
    progress = AudioProgress(len(inputs), transcriber.sample_rate)
    tell(latency_line(transcriber.stream(look_ahead)))
    for recording in (entry.recording for entry in inputs):
        stream = transcriber.stream(look_ahead)
        try:
            with (
                _open(recording, transcriber.sample_rate, progress.warn) as reader,
                LiveText(recording.name if several else None) as text,
            ):
                progress.opened(reader.name, reader.info)
                blocks = model_blocks(recording, reader, transcriber.sample_rate, progress.warn)
                if not follow(stream, blocks, text):
                    raise typer.Exit(INTERRUPTED)
        except UserError as error:
            errors.append(error)
            progress.error(str(error))
    return errors


def use_threads(threads: int) -> None:
    """Compute on so many cores, on one for 0: a chunk is too small to gain from sharing it out."""
    torch.set_num_threads(threads or 1)


def latency_line(stream: Stream) -> str:
    """When text is there, in a line."""
    return (
        f"words show {stream.partial_latency:.1f} s after they are said; they settle "
        f"{stream.latency:.1f} s after a pause of {stream.pause:.1f} s, or after {LONGEST:.0f} s without one"
    )


def _open(recording: Recording, rate: int, warn: "Warn") -> "AbstractContextManager[AudioReader]":
    source: Any = recording.source
    if hasattr(source, "read"):
        return open_pipe(source, recording.raw, warn, recording.offset)
    if isinstance(source, str | os.PathLike) and is_named_pipe(source):
        return _open_named_pipe(Path(source), recording, warn)
    return open_recording(recording, rate)


@contextmanager
def _open_named_pipe(path: Path, recording: Recording, warn: "Warn") -> "Iterator[AudioReader]":
    with open_pipe_file(path) as stream, open_pipe(stream, recording.raw, warn, recording.offset) as reader:
        yield reader
