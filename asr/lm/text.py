"""Opening text: plain, gzip or xz, by the name's ending."""

import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from asr.errors import UserError

Stream: TypeAlias = IO[bytes] | gzip.GzipFile | lzma.LZMAFile


@contextmanager
def open_text(path: str | os.PathLike[str]) -> Iterator[Stream]:
    """Open a file for reading bytes, decompressed where its name ends in ``.gz`` or ``.xz``.

    Raises:
        UserError: the file is missing, unreadable or its compressed data are broken.
    """
    path = Path(path)
    try:
        with _open(path) as stream:
            yield stream
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _open(path: Path) -> Stream:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".xz":
        return lzma.open(path)
    return path.open("rb")
