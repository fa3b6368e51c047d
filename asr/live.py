"""Sound that is still being made: a pipe or the microphone, read as it comes."""

import io
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

import numpy as np
import soundfile

from asr.audio import ENDLESS, RawFormat, open_audio, skip
from asr.audio_reader import AudioInfo, AudioReader, check_format
from asr.errors import UserError
from asr.sources import TemporaryCopy, source_name

Warn = Callable[[str], None]
MICROPHONE = "microphone"
# What libsndfile calls the samples of a WAVE file, by format tag and bits.
_SUBTYPES = {
    (1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32",
    (3, 32): "FLOAT", (3, 64): "DOUBLE", (6, 8): "ALAW", (7, 8): "ULAW",
}  # fmt: skip
_WAVE = b"RIFF"
_EXTENSIBLE = 0xFFFE
_HEAD_BYTES = 1 << 16
_UNKNOWN = float("nan")
_POLL_SECONDS = 0.2


@contextmanager
def open_pipe(
    stream: BinaryIO, raw: RawFormat | None, warn: Warn, offset: float = 0.0
) -> Iterator[AudioReader]:
    """A recording that comes through a pipe, such as standard input.

    WAVE and headerless samples are read as they come. Other formats are read once they have come to their
    end, of which ``warn`` is told, since their decoders move about in them.

    Args:
        stream: The bytes.
        raw: Format of samples without header.
        warn: Told, in a line, what is odd.
        offset: Where to start, in seconds.

    Raises:
        UserError: this is no audio that can be read here.
    """
    given: Any = stream
    pipe: io.BufferedReader = given if isinstance(stream, io.BufferedReader) else io.BufferedReader(given)
    name = source_name(stream)
    if raw is not None:
        yield skip(_reader(pipe, name, AudioInfo(_UNKNOWN, raw.sample_rate, raw.channels), (1, 16)), offset)
        return
    # A pipe's first bytes may come one by one, for which peek() does not wait.
    head = pipe.read(len(_WAVE))
    if head == _WAVE:
        yield skip(_wave_reader(pipe, name), offset)
    else:
        warn(f"{name}: neither WAVE nor --raw, so it is heard when it has come to its end")
        with open_audio(TemporaryCopy(pipe, name, head), offset=offset) as reader:
            yield reader


def _wave_reader(pipe: io.BufferedReader, name: str) -> AudioReader:
    """Read the header of a WAVE stream, whose first bytes were read, up to its samples."""
    pipe.read(8)
    info, kind = AudioInfo(_UNKNOWN, 0, 0), (0, 0)
    while True:
        header = pipe.read(8)
        if len(header) < 8:
            raise UserError(f"{name}: a WAVE file without samples")
        chunk, size = struct.unpack("<4sI", header)
        if chunk == b"data":
            break
        content = _head(pipe, size + size % 2)
        if chunk == b"fmt " and len(content) >= 16:
            tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
            if tag == _EXTENSIBLE and len(content) >= 26:
                (tag,) = struct.unpack("<H", content[24:26])
            info, kind = AudioInfo(_UNKNOWN, rate, channels), (tag, bits)
    if kind not in _SUBTYPES:
        raise UserError(f"{name}: a kind of WAVE that is not read as it comes; use 16-bit samples")
    # A program that cannot know how much will come writes the greatest number there is, or none.
    return _reader(pipe, name, info, kind, size if 0 < size < ENDLESS else None)


def _head(pipe: io.BufferedReader, size: int) -> bytes:
    """The first of ``size`` bytes, all of which are read; memory is only taken for a few."""
    head = pipe.read(min(size, _HEAD_BYTES))
    left = size - len(head)
    while left > 0:
        left -= len(pipe.read(min(left, _HEAD_BYTES))) or left
    return head


def _reader(
    pipe: io.BufferedReader, name: str, info: AudioInfo, kind: tuple[int, int], size: int | None = None
) -> AudioReader:
    """Read samples as they come, ``size`` bytes of them or to the end."""
    check_format(name, info.sample_rate, info.channels)
    width = info.channels * kind[1] // 8
    left, rest = size, b""

    def read(samples: int) -> np.ndarray:
        nonlocal left, rest
        while len(rest) < width:
            wanted = samples * width - len(rest)
            data = pipe.read1(wanted if left is None else min(wanted, left))
            if not data:
                rest = b""  # the last sample came by half
                break
            left = None if left is None else left - len(data)
            rest += data
        whole = len(rest) // width * width
        block, rest = rest[:whole], rest[whole:]
        return _decoded(block, info, _SUBTYPES[kind])

    return AudioReader(name, info, read, None if size is None else size // width)


def _decoded(data: bytes, info: AudioInfo, subtype: str) -> np.ndarray:
    if not data:
        return np.empty((0, info.channels), np.float32)
    # Ctrl-C inside libsndfile's call for bytes would be lost, and would read as the end of the sound.
    with interrupted_later():
        return soundfile.read(
            io.BytesIO(data),
            dtype="float32",
            always_2d=True,
            samplerate=info.sample_rate,
            channels=info.channels,
            format="RAW",
            subtype=subtype,
            endian="LITTLE",
        )[0]


@contextmanager
def interrupted_later() -> Iterator[None]:
    """Ctrl-C takes effect at the end of the block, so that what it does is not done by half."""
    here = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not here or before is not signal.default_int_handler:
        yield
        return
    pressed = []
    signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


@contextmanager
def open_microphone(device: str | int | None, sample_rate: int, warn: Warn) -> Iterator[AudioReader]:
    """What a microphone hears, through the package ``sounddevice``; it ends when the device goes away.

    Sound that comes while the reader is busy waits; the next block is all of it.

    Args:
        device: Name (or a part of it) or number; the system's choice without it.
        sample_rate: The rate to ask for, in Hz. A device that cannot do it gives its own, as ``info`` says.
        warn: Told, in a line, that sound was lost.

    Raises:
        UserError: the package or the device is not there.
    """
    sounddevice = import_sounddevice()
    waiting: SimpleQueue[np.ndarray | None] = SimpleQueue()
    lost = False

    def hear(samples: np.ndarray, frames: int, time: Any, status: Any) -> None:
        nonlocal lost
        if status.input_overflow and not lost:
            lost = True
            warn(f"{MICROPHONE}: this machine is too busy; some sound was lost (said once)")
        waiting.put(samples.copy())

    def read(samples: int) -> np.ndarray:
        blocks = [_next(waiting)]
        while blocks[-1] is not None and not waiting.empty():
            blocks.append(waiting.get())
        heard = [block for block in blocks if block is not None]
        if blocks[-1] is None:
            waiting.put(None)  # nothing will come any more, however often it is asked for
        return np.concatenate(heard) if heard else np.empty((0, 1), np.float32)

    with ExitStack() as opened:
        try:
            rate = _supported_rate(sounddevice, device, sample_rate)
            opened.enter_context(
                sounddevice.InputStream(
                    samplerate=rate,
                    device=device,
                    channels=1,
                    dtype="float32",
                    callback=hear,
                    finished_callback=lambda: waiting.put(None),
                )
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            reason = f"cannot be opened ({error}); asr listen --list names them"
            raise UserError(f"{MICROPHONE}: {reason}") from error
        yield AudioReader(MICROPHONE, AudioInfo(_UNKNOWN, rate, 1), read)


def import_sounddevice() -> Any:
    """The package ``sounddevice``.

    Raises:
        UserError: it, or the PortAudio library beneath it, is not installed.
    """
    try:
        import sounddevice
    except ImportError as error:
        raise UserError("the microphone needs sounddevice: pip install 'asr-ctc[listen]'") from error
    except OSError as error:
        raise UserError(f"sounddevice cannot load PortAudio ({error}); install libportaudio2") from error
    return sounddevice


def _supported_rate(sounddevice: Any, device: str | int | None, sample_rate: int) -> int:
    try:
        sounddevice.check_input_settings(device=device, channels=1, dtype="float32", samplerate=sample_rate)
    except sounddevice.PortAudioError:
        return round(sounddevice.query_devices(device, "input")["default_samplerate"])
    return sample_rate


def _next(waiting: "SimpleQueue[np.ndarray | None]") -> np.ndarray | None:
    """Wait for sound; now and then awake, or Ctrl-C would not be heard on every system."""
    while True:
        try:
            return waiting.get(timeout=_POLL_SECONDS)
        except Empty:
            continue
