"""WAVE files whose header nobody completed: the recorder was killed, or could not go back in its file."""

import io
import struct
from pathlib import Path
from typing import Any, BinaryIO

_LARGEST = 0xFFFF_FFFF
_LONGEST_HEADER = 1 << 20


class UnfinishedWave(io.FileIO):
    """A WAVE file that reads as if its header counted the samples that follow it.

    soundfile does not close what it reads from: this closes itself when it is not used any more.
    """

    def __init__(self, path: str, header: bytes) -> None:
        super().__init__(path)
        self._header = header

    def readinto(self, buffer: Any, /) -> int | None:
        """As of any file; the first bytes are the completed header's."""
        place = self.tell()
        count = super().readinto(buffer)
        header = self._header[place : place + (count or 0)]
        buffer[: len(header)] = header
        return count

    def __del__(self) -> None:
        self.close()


def complete_header(path: str) -> bytes | None:
    """A WAVE file's header up to its samples, their number filled in; None where none is missing."""
    with Path(path).open("rb") as stream:
        header = stream.read(12)
        if header[:4] != b"RIFF" or header[8:] != b"WAVE":
            return None
        while len(chunk := stream.read(8)) == 8 and len(header) < _LONGEST_HEADER:
            name, size = struct.unpack("<4sI", chunk)
            header += chunk
            if name != b"data":
                header += stream.read(min(size + size % 2, _LONGEST_HEADER))
                continue
            samples = stream.seek(0, io.SEEK_END) - len(header)
            if size or not samples or _begins_with_chunk(stream, len(header), samples):
                return None
            counted = (min(len(header) - 8 + samples, _LARGEST), min(samples, _LARGEST))
            sizes = [struct.pack("<I", count) for count in counted]
            return header[:4] + sizes[0] + header[8:-4] + sizes[1]
    return None


def _begins_with_chunk(stream: BinaryIO, place: int, left: int) -> bool:
    """Whether what follows are no samples but another chunk, such as a title."""
    stream.seek(place)
    name, size = struct.unpack("<4sI", stream.read(8).ljust(8, b"\xff"))
    return bool(name.isascii() and name.decode("latin-1").isprintable() and size + 8 <= left)
