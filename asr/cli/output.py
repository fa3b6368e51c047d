"""Standard output that a full disk or a closed pipe makes no traceback of; a stderr of our own."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import typer

from asr.errors import UserError
from asr.files import one_line

if TYPE_CHECKING:
    from asr.transcript import Segment, Transcript

# Words less sure than this are coloured on a terminal.
_DOUBTFUL, _YELLOW, _RED, _PLAIN = 0.6, "\x1b[33m", "\x1b[31m", "\x1b[0m"


def write_stdout(text: str) -> None:
    """Write and flush.

    Raises:
        UserError: standard output cannot be written (a full disk).
        BrokenPipeError: the reader of a pipe has gone, which ends a command quietly.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno == errno.EPIPE:
            raise
        raise lost_stdout(error) from error


def lost_stdout(error: OSError) -> UserError:
    """Write no more to standard output; what to say of that."""
    forget(sys.stdout)
    return UserError(f"standard output: cannot be written ({error.strerror})")


def shown_text(spoken: "Transcript | Segment") -> str:
    """Its text; on a terminal with doubtful words in yellow, very doubtful ones in red."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return spoken.text
    shown = []
    for word in spoken.words:
        colour = _RED if word.confidence < _DOUBTFUL / 2 else _YELLOW if word.confidence < _DOUBTFUL else ""
        shown.append(f"{colour}{word.text}{_PLAIN}" if colour else word.text)
    return " ".join(shown)


def tell(message: object) -> None:
    """Say on standard error, in a line, what is odd or went wrong."""
    try:
        sys.stderr.write(f"asr: {one_line(str(message))}\n")
    except BrokenPipeError:
        raise
    except OSError:  # a full disk, say: the results are worth more than what is said of them
        with suppress(OSError, ValueError):
            forget(sys.stderr)


def forget(stream: TextIO) -> None:
    """Write no more to a stream: what is left in its buffer must not be tried again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def exit_if_failed(failed: int, total: int) -> None:
    """Exit with status 1 where something failed; of several, say how many."""
    if failed:
        if total > 1:
            tell(f"{failed} of {total} failed")
        raise typer.Exit(1)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Nothing but what Python writes reaches stderr.

    The MP3 decoder within libsndfile writes its thoughts about damage straight to the descriptor; users
    are told of the damage in a line of ours.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # no stderr, or one that is no file
        yield
        return
    sys.stderr.flush()
    before, kept = sys.stderr, os.dup(descriptor)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), descriptor)
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding=before.encoding, errors=before.errors)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, descriptor)
        sys.stderr.close()
        sys.stderr = before
