"""What a recording is read from: a path, bytes, a stream or a named pipe, and how each becomes a file."""

import io
import os
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from asr.errors import UserError
from asr.files import escape_name, is_named_pipe

Source = str | os.PathLike[str] | bytes | BinaryIO
STANDARD_INPUT = "standard input"


def source_name(source: Source) -> str:
    """What messages call a source."""
    if isinstance(source, TemporaryCopy):
        return source.name
    if isinstance(source, str | os.PathLike):
        return escape_name(source)
    if isinstance(source, bytes):
        return "bytes"
    if isinstance(source, StandardInput) or source is getattr(sys.stdin, "buffer", None):
        return STANDARD_INPUT
    name = getattr(source, "name", None)
    return escape_name(name) if isinstance(name, str) else "stream"


class StandardInput(io.BufferedReader):
    """Standard input through a buffer of its own.

    A thread that still waits in ``sys.stdin`` when the program ends, after Ctrl-C, would abort it.
    """

    def __init__(self) -> None:
        super().__init__(io.FileIO(os.dup(sys.stdin.fileno()), "rb"))


def is_read_once(source: Any) -> TypeGuard[str | os.PathLike[str] | BinaryIO]:
    """Whether what a source gives is gone then: a stream, or a named pipe."""
    if isinstance(source, str | os.PathLike):
        return is_named_pipe(source)
    return hasattr(source, "read")


@contextmanager
def as_path(source: Source) -> Iterator[str]:
    """A path at which a source can be read."""
    if isinstance(source, str | os.PathLike) and _is_regular(os.fspath(source)):
        yield os.fspath(source)
        return
    copy = copied(source)
    try:
        yield os.fspath(copy)
    finally:
        copy.remove()


class TemporaryCopy(os.PathLike[str]):
    """What came through a pipe as a file, so that decoders can move about in it and read it again.

    The file lasts until ``remove()``, or as long as this object, and at most as long as the program, which
    Ctrl-C may end while a thread still copies.

    Attributes:
        name: What messages call it.
    """

    def __init__(self, stream: BinaryIO, name: str, head: bytes = b"") -> None:
        """Copy a stream to its end; ``head`` was read of it before.

        Raises:
            UserError: it is empty, or there is no room for it.
        """
        self.name = name
        try:
            descriptor, self._path = tempfile.mkstemp(prefix="asr-")
            self.remove = weakref.finalize(self, _remove, self._path)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(head)
                    shutil.copyfileobj(stream, file)
                    _refuse_empty(file.tell(), name)
            except BaseException:
                self.remove()
                raise
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{name}: cannot be copied to a temporary file ({reason})") from error
        except (TypeError, ValueError) as error:  # a stream that is closed, or gives text
            raise UserError(f"{name}: cannot be read as bytes ({error})") from error

    def __fspath__(self) -> str:
        return self._path


def _remove(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def copied(source: Source) -> TemporaryCopy:
    """Bytes, a stream or what comes through a named pipe as a file.

    Raises:
        UserError: it cannot be opened, is empty, or there is no room for it.
    """
    name = source_name(source)
    if isinstance(source, bytes):
        return TemporaryCopy(io.BytesIO(source), name)
    if not isinstance(source, str | os.PathLike):
        return TemporaryCopy(source, name)
    with open_pipe_file(source) as stream:
        return TemporaryCopy(stream, name)


def open_pipe_file(path: str | os.PathLike[str]) -> BinaryIO:
    """What a named pipe gives.

    Raises:
        UserError: it may not be read.
    """
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise UserError(f"{escape_name(path)}: cannot be opened ({error.strerror})") from error


def _is_regular(path: str) -> bool:
    """Whether a path is a file with something in it; False for a pipe."""
    try:
        status = Path(path).stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UserError(f"{escape_name(path)}: no such file") from None
    except OSError as error:
        raise UserError(f"{escape_name(path)}: cannot be opened ({error.strerror})") from None
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{escape_name(path)}: is a folder, not an audio file")
    if stat.S_ISFIFO(status.st_mode):
        return False
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{escape_name(path)}: is a device, not an audio file")
    _refuse_empty(status.st_size, escape_name(path))
    return True


def _refuse_empty(size: int, name: str) -> None:
    if not size:
        raise UserError(f"{name}: the file is empty (0 bytes)")
