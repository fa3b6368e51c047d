"""Writing files so that a reader never sees half of one."""

import errno
import gzip
import lzma
import os
import re
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from asr.errors import UserError

#: What reading compressed data raises where they are broken.
BROKEN_DATA = (OSError, EOFError, lzma.LZMAError, zlib.error)

# How Python holds bytes of a path that are no UTF-8.
_UNDECODABLE = re.compile("[\udc80-\udcff]")
# Not the file's own name, which may be as long as a name can be.
_PREFIX = ".asr-"


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing under a temporary name; rename it into place when the block succeeds.

    A path that exists and is no regular file (``/dev/null``, a pipe) is opened and written directly,
    never replaced. Missing parent folders are made. On an exception nothing is left behind.

    Raises:
        UserError: the file cannot be written (no permission, disk full, a directory).
    """
    path = Path(path)
    check_name(path)
    encoding = None if "b" in mode else "utf-8"
    with _told_of(path):
        if path.exists() and not path.is_file():
            with path.open(mode, encoding=encoding) as stream:
                yield stream
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=_PREFIX, suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, mode, encoding=encoding) as stream:
                yield stream
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


@contextmanager
def atomic_write_compressed(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """As :func:`atomic_write` for bytes, compressed where the name ends in ``.gz``."""
    with atomic_write(path, "wb") as stream:
        if Path(path).suffix != ".gz":
            yield stream
            return
        # No name and time inside, so that equal contents give equal files.
        with gzip.GzipFile("", "wb", compresslevel=9, fileobj=stream, mtime=0) as compressed:
            yield compressed  # type: ignore[misc]


def decompressed(raw: IO[bytes], path: str | os.PathLike[str]) -> IO[bytes] | gzip.GzipFile | lzma.LZMAFile:
    """An open file's content, decompressed where its name ends in ``.gz`` or ``.xz``."""
    suffix = Path(path).suffix
    if suffix == ".gz":
        return gzip.open(raw)
    if suffix == ".xz":
        return lzma.open(raw)
    return raw


def find_compressed(path: Path) -> Path:
    """A file, or ``.gz`` behind its name where only its compressed form is there."""
    compressed = path.with_name(f"{path.name}.gz")
    return compressed if is_file(compressed) and not is_file(path) else path


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise what :func:`atomic_write` would, before the work whose result is to be written."""
    path = Path(path)
    check_name(path)
    with _told_of(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.is_file() or not path.exists():
            _try_folder(path.parent)


def check_name(path: str | os.PathLike[str]) -> None:
    """Raise :class:`UserError` for ``-``, by which users mean standard output."""
    if str(path) == "-":
        raise UserError("-: give the name of a file; what can go to standard output goes there without one")


def check_own_name(output: str | os.PathLike[str] | None, *others: str | os.PathLike[str] | None) -> None:
    """Raise :class:`UserError` where what is to be written is also something that is read or written."""
    if output is None:
        return
    for other in others:
        # What is no regular file (/dev/null) takes from several.
        same = other is not None and os.path.realpath(output) == os.path.realpath(other)
        if same and (is_file(output) or not exists(output)):
            raise UserError(f"{escape_name(output)}: is read or written already; give it a name of its own")


def check_folder_writable(folder: str | os.PathLike[str]) -> None:
    """Raise what :func:`atomic_write` would where no file can be made in a folder, which need not exist."""
    check_name(folder)
    with _told_of(Path(folder)):
        _try_folder(Path(folder))


def check_own_folder(folder: str | os.PathLike[str], mark: str, parts: Sequence[str]) -> None:
    """As :func:`check_folder_writable`, and raise :class:`UserError` where a folder holds something else.

    What was written there before, and may be replaced, has the file ``mark``, or where it was never finished
    nothing but ``parts`` (patterns of names).
    """
    check_folder_writable(folder)
    folder = Path(folder)
    if folder.is_dir() and not is_file(folder / mark):
        with _told_of(folder):
            names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        other = next((name for name in names if not any(fnmatchcase(name, part) for part in parts)), None)
        if other is not None:
            raise UserError(
                f"{escape_name(folder)}: holds other things ({escape_name(other)}); name a new folder"
            )


def _try_folder(folder: Path) -> None:
    """Make a folder and a file in it, and leave no trace of either."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(prefix=_PREFIX, dir=folder):
            pass
    finally:
        for each in missing:
            with suppress(OSError):  # where another process has begun to use it
                each.rmdir()


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """Say of a failure that the file cannot be written; a reader that went away is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{escape_name(path)}: cannot be written ({error.strerror or error})") from error


def escape_name(name: str | os.PathLike[str]) -> str:
    r"""A path on one line: tab, newline and backslash as ``\t``, ``\n``, ``\\``, odd bytes as ``\xNN``."""
    name = os.fspath(name)
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n")):
        name = name.replace(plain, escaped)
    return _UNDECODABLE.sub(_escaped_byte, name)


def _escaped_byte(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]) - 0xDC00:02x}"


def one_line(message: str) -> str:
    r"""A message on one line, whatever names are in it: newline and odd bytes as in :func:`escape_name`."""
    return _UNDECODABLE.sub(_escaped_byte, message.replace("\n", "\\n"))


def utf8_name(name: str) -> str:
    r"""A name that can be written as UTF-8 (JSON, too), whatever bytes the file system holds: ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def walk(
    folder: str | os.PathLike[str], onerror: Callable[[OSError], None]
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As :func:`os.walk`, by name and through links too, but through each folder once: a link may lead back.

    Of a folder and a link to it beside it, the folder is the one that is walked.
    """
    walked: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in walked:
            folders.clear()
            continue
        walked.add((status.st_dev, status.st_ino))
        folders.sort(key=lambda name: (Path(parent, name).is_symlink(), name))
        yield Path(parent), folders, names


# Before Python 3.14 pathlib raises where a name is too long or a folder may not be looked into.


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether something is there, as far as one may look."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file is there, as far as one may look."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is there, as far as one may look."""
    return os.path.isdir(path)  # noqa: PTH112


def is_named_pipe(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a pipe; one that cannot be looked at (too long a name) does not."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
