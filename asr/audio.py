"""Audio files, bytes or standard input to waveforms, whole or block by block.

libsndfile (through soundfile) reads wav, flac, ogg, opus, mp3, aiff and more, whatever the file is called;
anything else goes through an ``ffmpeg`` pipe where that program is installed. ``torchaudio.load`` is not
used: since 2.9 it needs torchcodec. What a header says about sizes is never believed: memory is taken for
samples that came.
"""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import soundfile

from asr.errors import UserError
from asr.files import escape_name
from asr.sources import Source, as_path, source_name

if TYPE_CHECKING:
    import torch

MAX_SAMPLE_RATE = 768_000
MIN_SAMPLE_RATE = 1_000
MAX_CHANNELS = 64
# Float files may hold the integer range unscaled; beyond it a sample is damage.
MAX_AMPLITUDE = 2.0**16
# Silence in FLAC takes the least room: 65,535 samples in a frame of a dozen bytes.
MAX_SAMPLES_PER_BYTE = 8_192
BLOCK_SAMPLES = 1 << 16
# What libsndfile's log says of a chunk of samples whose size is not what its header says.
_CORRECTED = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
# A program that cannot know how much will come writes the greatest number there is, or none.
ENDLESS = 0x7F00_0000
_MP3_HEAD = 200
# In a folder only files that are called like audio or video; a file that is named itself may be called
# anything.
SUFFIXES = frozenset(
    (
        *(".wav", ".wave", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"),
        *(".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".m4a", ".aac", ".ac3", ".amr", ".wma"),
        *(".mp4", ".m4v", ".mkv", ".mka", ".mov", ".webm", ".wmv", ".avi", ".3gp"),
    )
)


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: duration in seconds (NaN: it does not say), sample rate in Hz, channels."""

    duration: float
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class RawFormat:
    """How to read samples without a header: signed 16-bit little-endian, channels interleaved."""

    sample_rate: int = 16_000
    channels: int = 1

    def __post_init__(self) -> None:
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise UserError(
                f"--rate: {self.sample_rate} Hz is not between {MIN_SAMPLE_RATE} and {MAX_SAMPLE_RATE}"
            )


class AudioReader:
    """An open recording that is read from its start, block by block.

    Attributes:
        name: For messages.
        info: What the header says.
        promised: Samples that should come, where what holds them says so.
        damage: Why reading ended before the end, if it did.
    """

    def __init__(
        self,
        name: str,
        info: AudioInfo,
        read: Callable[[int], np.ndarray],
        promised: int | None = None,
    ) -> None:
        self.name = name
        self.info = info
        self.promised = promised
        self.damage = ""
        self._read = read

    def blocks(self, samples: int = BLOCK_SAMPLES) -> Iterator[np.ndarray]:
        """Float32 arrays ``(samples, channels)`` to the end; damaged samples are silence.

        Raises:
            UserError: not even the first block can be read.
        """
        total = 0
        while True:
            try:
                block = self._read(samples)
            except _Damage as damage:
                block = damage.samples
                seconds = (total + len(block)) / self.info.sample_rate
                self.damage = f"damaged after {seconds:.1f} s ({damage})"
                if not total and not len(block):
                    raise UserError(f"{self.name}: {self.damage}") from None
            if len(block):
                total += len(block)
                yield clean(block)
            elif not self.damage:
                self.damage = self._missing(total)
            if not len(block) or self.damage:
                return

    def _missing(self, total: int) -> str:
        """What is to be said where reading ends after so many samples; nothing if they are all."""
        rate, promised = self.info.sample_rate, self.promised or 0
        # An encoder may count a frame more than there is.
        if total >= promised - rate / 10:
            return ""
        return f"cut off after {total / rate:.1f} s of {promised / rate:.1f} s"


class _ForwardFile(soundfile.SoundFile):
    """A file that is read onwards only.

    soundfile seeks to where it is after every read, upon which an MP3 decoder loses what earlier frames
    hold of the next one: samples at the edges of blocks would differ from those of the whole file.
    """

    def seekable(self) -> bool:
        return False


class _Damage(Exception):
    """A read that failed; ``samples`` came before."""

    def __init__(self, message: str, samples: np.ndarray) -> None:
        super().__init__(message)
        self.samples = samples


@contextmanager
def open_audio(source: Source, raw: RawFormat | None = None, offset: float = 0.0) -> Iterator[AudioReader]:
    """Open a recording.

    Args:
        source: A path, the bytes of a file, or a binary stream holding one (copied to a temporary file).
        raw: The source has no header but samples in this format.
        offset: Where to start, in seconds.

    Raises:
        UserError: the source is missing, empty or not audio that can be read here.
    """
    name = source_name(source)
    with as_path(source) as path:
        try:
            sound = _open_sound(path, raw)
        except soundfile.SoundFileError as error:
            with _open_with_ffmpeg(name, path, error) as reader:
                _skip(reader, offset)
                yield reader
            return
        with sound:
            rate, channels = sound.samplerate, sound.channels
            check_format(name, rate, channels)
            if offset:
                _seek(sound, name, round(offset * rate))
            info = AudioInfo(_samples(sound, path) / rate, rate, channels)
            promised = _promised(sound, path)
            if promised is not None:
                promised -= round(offset * rate)
            yield AudioReader(name, info, lambda samples: _read_sound(sound, samples), promised)


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Read duration, rate and channels from a file's header.

    Raises:
        UserError: missing, a folder, empty, or not audio that can be read here.
    """
    with open_audio(path) as reader:
        if not np.isnan(reader.info.duration):
            return reader.info
        samples = sum(len(block) for block in reader.blocks())
        return AudioInfo(samples / reader.info.sample_rate, reader.info.sample_rate, reader.info.channels)


def read_audio(
    source: Source,
    sample_rate: int = 16_000,
    offset: float = 0.0,
    duration: float | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> "torch.Tensor":
    """Read mono audio at a given rate; channels are averaged.

    Args:
        source: A path, the bytes of a whole file, or a binary stream holding one.
        sample_rate: Rate of the result in Hz.
        offset: Where to start, in seconds.
        duration: How much to read, in seconds (to the end without it).
        warn: Told, in a line, where the recording ends before its end.

    Returns:
        float32 tensor ``(samples,)`` in [-1, 1].

    Raises:
        UserError: the source is missing, empty or not audio that can be read here.
    """
    samples, rate = read_samples(source, offset, duration, warn)
    return resample(samples.mean(axis=1), rate, sample_rate)


def read_samples(
    source: Source,
    offset: float = 0.0,
    duration: float | None = None,
    warn: Callable[[str], None] = lambda message: None,
) -> tuple[np.ndarray, int]:
    """Read samples as they are: float32 array ``(samples, channels)`` and the rate in Hz.

    Arguments and errors are those of :func:`read_audio`.
    """
    with open_audio(source, offset=offset) as reader:
        rate, channels = reader.info.sample_rate, reader.info.channels
        wanted = None if duration is None else round(duration * rate)
        blocks, total = [np.empty((0, channels), np.float32)], 0
        for block in reader.blocks():
            blocks.append(block)
            total += len(block)
            if wanted is not None and total >= wanted:
                break
        if reader.damage:
            warn(f"{reader.name}: {reader.damage}")
    return np.concatenate(blocks)[:wanted], rate


def resample(samples: np.ndarray, rate: int, target_rate: int) -> "torch.Tensor":
    """Change the sample rate of mono audio ``(samples,)``; band-limited sinc interpolation."""
    import torch

    waveform = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    if rate == target_rate or not len(waveform):
        return waveform
    from asr.resampling import Resampler

    return Resampler(rate, target_rate).process(waveform, final=True)


def clean(block: np.ndarray) -> np.ndarray:
    """In place: what is no number is silence, and nothing louder than a recording can be."""
    return np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0).clip(
        -MAX_AMPLITUDE, MAX_AMPLITUDE, out=block
    )


def _open_sound(path: str, raw: RawFormat | None) -> soundfile.SoundFile:
    """Open by descriptor: libsndfile then looks at the content alone, never at the name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UserError(f"{escape_name(path)}: cannot be opened ({error.strerror})") from error
    if raw is None:
        return _ForwardFile(descriptor, closefd=True)
    return _ForwardFile(
        descriptor,
        closefd=True,
        format="RAW",
        subtype="PCM_16",
        endian="LITTLE",
        samplerate=raw.sample_rate,
        channels=raw.channels,
    )


def _samples(sound: soundfile.SoundFile, path: str) -> float:
    """How many samples the header promises; NaN where it is more than such a file can hold.

    A stream's header, written before its end was known, makes libsndfile say the greatest number there is.
    """
    possible = sound.frames <= MAX_SAMPLES_PER_BYTE * Path(path).stat().st_size
    return max(sound.frames, 0) if possible else float("nan")


def _promised(sound: soundfile.SoundFile, path: str) -> int | None:
    """Samples that a header counts, which are fewer where a file was cut off; None where it does not say.

    libsndfile corrects what the headers of WAVE and AIFF say, of which its log tells. In an MP3 an encoder's
    own frame counts them; without it their number is but a guess.
    """
    if sound.format == "MP3":
        with Path(path).open("rb") as stream:
            tag = stream.read(10)
            # An ID3 tag, which may hold any words, comes before; its size has seven bits a byte.
            size = sum(byte << 7 * place for place, byte in enumerate(reversed(tag[6:]))) + 10
            stream.seek(size if tag[:3] == b"ID3" else 0)
            frame = stream.read(_MP3_HEAD)
        return sound.frames if b"Xing" in frame or b"Info" in frame else None
    if found := _CORRECTED.search(sound.extra_info):
        said, came = int(found[1]), int(found[2])
        if came and said < ENDLESS:
            return round(sound.frames * said / came)
    return None


def _read_sound(sound: soundfile.SoundFile, samples: int) -> np.ndarray:
    # A failing read does not say how much it gave; NaN marks what it left untouched.
    block = np.full((samples, sound.channels), np.nan, np.float32)
    try:
        return sound.read(out=block)
    except (soundfile.SoundFileError, RuntimeError) as error:
        untouched = np.isnan(block).any(axis=1)
        came = int(untouched.argmax()) if untouched.any() else samples
        raise _Damage(_reason(error), block[:came]) from error


def _seek(sound: soundfile.SoundFile, name: str, sample: int) -> None:
    check_begin(name, sample / sound.samplerate, sound.frames / sound.samplerate)
    try:
        sound.seek(sample)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise UserError(f"{name}: cannot go to {sample / sound.samplerate:g} s ({_reason(error)})") from error


def _skip(reader: AudioReader, offset: float) -> None:
    wanted = left = round(offset * reader.info.sample_rate)
    with suppress(_Damage):  # of which the next read will tell
        while left > 0:
            came = len(reader._read(min(left, BLOCK_SAMPLES)))
            if not came:
                check_begin(reader.name, offset, (wanted - left) / reader.info.sample_rate)
            left -= came or left


def check_begin(name: str, begin: float, end: float) -> None:
    """Raise :class:`UserError` where a part begins after the end of its recording, both in seconds."""
    if begin > end:
        raise UserError(f"{name}: ends at {end:g} s, before the part that begins at {begin:g} s")


def check_format(name: str, rate: int, channels: int) -> None:
    """Raise :class:`UserError` for a rate in Hz or a number of channels that no recording has."""
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise UserError(f"{name}: the header says {rate} Hz, which no recording has; the file is damaged")
    if not 1 <= channels <= MAX_CHANNELS:
        raise UserError(f"{name}: the header says {channels} channels; the file is damaged")


def _reason(error: Exception) -> str:
    """libsndfile's own words, without soundfile's prefix."""
    text = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return text.removeprefix("Error : ")


@contextmanager
def _open_with_ffmpeg(name: str, path: str, error: soundfile.SoundFileError) -> Iterator[AudioReader]:
    """Decode what libsndfile cannot; the samples come through a pipe in Sun's AU format."""
    program = shutil.which("ffmpeg")
    reason = _reason(error)
    if program is None and "not recognised" not in reason:
        raise UserError(f"{name}: a damaged audio file ({reason})")
    if program is None:
        raise UserError(
            f"{name}: not a format that libsndfile reads (wav, flac, ogg, opus, mp3, aiff); "
            "for m4a, mp4, webm and others install ffmpeg, or convert the file to wav"
        )
    # Only this file: a playlist must not make ffmpeg fetch from the network.
    command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
    command += ["-vn", "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages
        ) as process,
    ):
        assert process.stdout is not None
        try:
            rate, channels = _au_header(process.stdout, name, reason)
            check_format(name, rate, channels)
            info = AudioInfo(float("nan"), rate, channels)
            yield AudioReader(name, info, lambda samples: _read_ffmpeg(process, messages, samples, channels))
        finally:
            process.kill()


def _read_ffmpeg(
    process: "subprocess.Popen[bytes]", messages: IO[bytes], samples: int, channels: int
) -> np.ndarray:
    """The next samples; at their end ffmpeg's complaints, if it has any."""
    block = _read_au(process.stdout, samples, channels)
    if len(block) < samples:
        status = process.wait()
        messages.seek(0)
        complaints = messages.read().decode(errors="replace").strip().splitlines()
        if complaints:
            raise _Damage(f"ffmpeg: {complaints[-1]}", block)
        if status:
            raise _Damage(f"ffmpeg ended with status {status}", block)
    return block


def _au_header(stream: IO[bytes], name: str, reason: str) -> tuple[int, int]:
    """Rate and channels of an AU stream; what is before the first sample is read."""
    header = stream.read(24)
    if len(header) < 24 or header[:4] != b".snd":
        raise UserError(f"{name}: not audio ({reason}; ffmpeg cannot read it either)")
    start, _, _, rate, channels = struct.unpack(">5I", header[4:])
    stream.read(start - len(header))
    return rate, channels


def _read_au(stream: Any, samples: int, channels: int) -> np.ndarray:
    data = stream.read(samples * channels * 4)
    whole = len(data) // (channels * 4) * channels
    return np.frombuffer(data, ">f4", whole).reshape(-1, channels).astype(np.float32)
