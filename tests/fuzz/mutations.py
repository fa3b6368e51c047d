"""Damaged audio files: real ones of every kind, changed in ways that follow from a number."""

import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 16_000
SECONDS = 1.5
HEADER = 256  # bytes in which the fields of most headers lie
KINDS: dict[str, dict[str, str]] = {
    "pcm16.wav": {},
    "pcm8.wav": {"subtype": "PCM_U8"},
    "pcm24.wav": {"subtype": "PCM_24"},
    "float.wav": {"subtype": "FLOAT"},
    "alaw.wav": {"subtype": "ALAW"},
    "adpcm.wav": {"subtype": "IMA_ADPCM"},
    "extensible.wav": {"format": "WAVEX"},
    "a.flac": {},
    "vorbis.ogg": {},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {},
    "a.aiff": {},
    "float.aifc": {"format": "AIFF", "subtype": "FLOAT"},
    "a.au": {},
    "a.caf": {},
    "a.w64": {},
    "a.rf64": {},
}
FFMPEG_KINDS = ("a.m4a", "a.mkv", "a.aac", "a.wma", "a.ac3")
_NUMBERS = (0, 1, 999, 0x7FFF, 0xFFFF, 4_000_000_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def make_originals(folder: Path) -> None:
    """Write the files that are damaged: part of each example in turn, with one channel or two."""
    examples = sorted(EXAMPLES.glob("*.flac"))
    for number, (name, how) in enumerate(KINDS.items()):
        example = examples[number % len(examples)]
        samples, _ = soundfile.read(example, round(SECONDS * RATE), 2000, always_2d=True)
        samples = np.repeat(samples, 1 + number % 2, axis=1)
        soundfile.write(folder / name, samples, RATE, **how)
    program = shutil.which("ffmpeg")
    for name in FFMPEG_KINDS if program else ():
        command = [str(program), "-v", "error", "-i", folder / "pcm16.wav", "-c:a"]
        encoder = {"a.mkv": "aac", "a.m4a": "aac"}.get(name, {"wma": "wmav2"}.get(name[2:], name[2:]))
        subprocess.run([*command, encoder, folder / name], check=True, stdin=subprocess.DEVNULL)


def damaged(folder: Path, number: int) -> tuple[str, bytes]:
    """What is case ``number``: a name that tells of what was done to which file, and the bytes."""
    originals = _originals(folder)
    draw = random.Random(number)
    name = draw.choice(sorted(originals))
    data, done = bytearray(originals[name]), []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        change = draw.choice(CHANGES)
        done.append(change.__name__)
        if change is splice:
            other = originals[draw.choice(sorted(originals))]
            data = splice(bytearray(other), draw) if draw.random() < 0.2 else _joined(data, other, draw)
        else:
            data = change(data, draw)
    if draw.random() < 0.5:
        repair_ogg(data)
    return f"{number}-{'-'.join(done)}-{name}", bytes(data)


@lru_cache(maxsize=2)
def _originals(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def truncate(data: bytearray, draw: random.Random) -> bytearray:
    """Only the beginning."""
    return data[: draw.randrange(1, min(len(data), draw.choice((64, 4096, 1 << 30))) + 1)]


def flip(data: bytearray, draw: random.Random) -> bytearray:
    """Some bits, half the time in the header alone."""
    end = min(len(data), draw.choice((HEADER, 1 << 30)))
    for _ in range(draw.choice((1, 3, 30))):
        data[draw.randrange(end)] ^= 1 << draw.randrange(8)
    return data


def overwrite(data: bytearray, draw: random.Random) -> bytearray:
    """A stretch of zeros, of ones or of noise."""
    begin = draw.randrange(len(data))
    length = min(draw.choice((4, 100, 5000)), len(data) - begin)
    filling = draw.choice((bytes(length), b"\xff" * length, draw.randbytes(length)))
    data[begin : begin + length] = filling
    return data


def splice(data: bytearray, draw: random.Random) -> bytearray:
    """A stretch is said twice or left out, or moved to the start."""
    begin, end = sorted((draw.randrange(len(data)), draw.randrange(len(data))))
    part = data[begin:end]
    return draw.choice((data[:end] + part + data[end:], data[:begin] + data[end:] or data, part + data))


def declare(data: bytearray, draw: random.Random) -> bytearray:
    """A number in the header, wherever it may be, becomes huge or nothing: a size, a count, a length."""
    width = draw.choice((2, 4, 8))
    place = draw.randrange(0, min(len(data), HEADER), 2)
    value = draw.choice(_NUMBERS) if width < 8 else draw.choice((0, (1 << 63) - 1, (1 << 64) - 1))
    order = draw.choice(("little", "big"))
    data[place : place + width] = (value % (1 << 8 * width)).to_bytes(width, order)
    return data


def misstate_rate(data: bytearray, draw: random.Random) -> bytearray:
    """The rate, where it is found, becomes nothing, 4 GHz or anything."""
    value = draw.choice((0, 1, 999, 768_001, 4_000_000_000, 0xFFFFFFFF, draw.getrandbits(32)))
    for pattern in ("<I", ">I"):
        data = data.replace(struct.pack(pattern, RATE), struct.pack(pattern, value), 1)
    if data[:4] == b"fLaC":
        data[18:20] = (value & 0xFFFF).to_bytes(2, "big")
    return data


def misstate_channels(data: bytearray, draw: random.Random) -> bytearray:
    """No channels, or many: the field before the rate of wav, behind it of au, in the packet of Ogg."""
    value = draw.choice((0, 0, 3, 65, 255, 1024, 0xFFFF))
    if data[:4] in (b"RIFF", b"RF64"):
        data[22:24] = value.to_bytes(2, "little")
    elif data[:4] == b".snd":
        data[20:24] = value.to_bytes(4, "big")
    elif data[:4] == b"OggS":
        for name, distance in ((b"OpusHead", 9), (b"\x01vorbis", 11)):
            # It may be cut off before that.
            if (place := data.find(name)) >= 0 and place + distance < len(data):
                data[place + distance] = value % 256
    elif (place := data.find(b"COMM")) >= 0:
        data[place + 8 : place + 10] = value.to_bytes(2, "big")
    return data


def unnumber(data: bytearray, draw: random.Random) -> bytearray:
    """Samples that are no numbers, infinite or enormous (in files of floats)."""
    for _ in range(draw.choice((1, 20, 400))):
        place = draw.randrange(0, len(data), 4)
        value = draw.choice((float("nan"), float("inf"), float("-inf"), 3e38))
        data[place : place + 4] = struct.pack(draw.choice("<>") + "f", value)
    return data


def append(data: bytearray, draw: random.Random) -> bytearray:
    """Noise at the end."""
    return data + draw.randbytes(draw.choice((1, 128, 20_000)))


CHANGES: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    *(truncate, flip, overwrite, splice, declare),
    *(misstate_rate, misstate_channels, unnumber, append),
)


def _joined(data: bytearray, other: bytes, draw: random.Random) -> bytearray:
    """The head of one file on the body of another."""
    head = draw.choice((16, 44, 100, 1000))
    return data[:head] + other[draw.choice((head, 0)) :]


def repair_ogg(data: bytearray) -> None:
    """Right checksums of Ogg pages, so that what is in them is believed."""
    place = data.find(b"OggS")
    while 0 <= place <= len(data) - 27:
        segments = data[place + 26]
        end = place + 27 + segments + sum(data[place + 27 : place + 27 + segments])
        data[place + 22 : place + 26] = bytes(4)
        data[place + 22 : place + 26] = _ogg_checksum(data[place:end]).to_bytes(4, "little")
        place = data.find(b"OggS", place + 4)


def _ogg_checksum(page: bytearray) -> int:
    checksum = 0
    for byte in page:
        checksum = (checksum << 8 & 0xFFFFFFFF) ^ _TABLE[checksum >> 24 ^ byte]
    return checksum


def _ogg_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x104C11DB7 if value & 0x80000000 else 0)
        table.append(value)
    return table


_TABLE = _ogg_table()
