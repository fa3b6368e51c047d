"""Audio files, bytes or standard input to waveforms, whole or block by block.

libsndfile (through soundfile) reads wav, flac, ogg, opus, mp3, aiff and more, whatever the file is called;
anything else goes through an ``ffmpeg`` pipe where that program is installed. ``torchaudio.load`` is not
used: since 2.9 it needs torchcodec. What a header says about sizes is never believed: memory is taken for
samples that came.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from asr.audio_reader import (
    BLOCK_SAMPLES,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    AudioInfo,
    AudioReader,
    Damage,
    check_begin,
    check_format,
)
from asr.errors import UserError
from asr.ffmpeg import open_with_ffmpeg
from asr.files import escape_name
from asr.sources import Source, as_path, source_name
from asr.unfinished_wave import UnfinishedWave, complete_header

if TYPE_CHECKING:
    import torch

# Silence in FLAC takes the least room: 65,535 samples in a frame of a dozen bytes.
MAX_SAMPLES_PER_BYTE = 8_192
# What libsndfile's log says of a chunk of samples whose size is not what its header says.
_CORRECTED = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
# A program that cannot know how much will come writes the greatest number there is, or none.
ENDLESS = 0x7F00_0000
_MP3_HEAD = 200
_SAMPLE_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
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
class RawFormat:
    """How to read samples without a header: signed 16-bit little-endian, channels interleaved."""

    sample_rate: int = 16_000
    channels: int = 1

    def __post_init__(self) -> None:
        if not MIN_SAMPLE_RATE <= self.sample_rate <= MAX_SAMPLE_RATE:
            raise UserError(
                f"--rate: {self.sample_rate} Hz is not between {MIN_SAMPLE_RATE} and {MAX_SAMPLE_RATE}"
            )


class _ForwardFile(soundfile.SoundFile):
    """A file that is read onwards only.

    soundfile seeks to where it is after every read, upon which an MP3 decoder loses what earlier frames
    hold of the next one: samples at the edges of blocks would differ from those of the whole file.
    """

    def seekable(self) -> bool:
        return False


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
            with open_with_ffmpeg(name, path, _reason(error)) as reader:
                yield skip(reader, offset)
            return
        with sound:
            rate, channels = sound.samplerate, sound.channels
            check_format(name, rate, channels)
            if offset:
                _seek(sound, name, round(offset * rate))
            info = AudioInfo(_samples(sound, path) / rate, rate, channels)
            read = partial(_read_sound, sound)
            yield AudioReader(name, info, read, _promised(sound, path), start=offset)


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
        if reader.damage and (wanted is None or total < wanted):
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


def _open_sound(path: str, raw: RawFormat | None) -> soundfile.SoundFile:
    """Open by descriptor: libsndfile then looks at the content alone, never at the name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UserError(f"{escape_name(path)}: cannot be opened ({error.strerror})") from error
    if raw is None:
        sound = _ForwardFile(descriptor, closefd=True)
        if sound.frames == 0 and (header := complete_header(path)):
            sound.close()
            return _ForwardFile(UnfinishedWave(path, header))
        return sound
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
        if came and sound.frames and said < ENDLESS:
            return round(sound.frames * said / came)
        if came < said < ENDLESS:  # cut off before the first sample
            return max(said // (sound.channels * _SAMPLE_BYTES.get(sound.subtype, 1)), 1)
    return None


def _read_sound(sound: soundfile.SoundFile, samples: int) -> np.ndarray:
    # A failing read does not say how much it gave; NaN marks what it left untouched.
    block = np.full((samples, sound.channels), np.nan, np.float32)
    try:
        return sound.read(out=block)
    except (soundfile.SoundFileError, RuntimeError) as error:
        untouched = np.isnan(block).any(axis=1)
        came = int(untouched.argmax()) if untouched.any() else samples
        raise Damage(_reason(error), block[:came]) from error


def _seek(sound: soundfile.SoundFile, name: str, sample: int) -> None:
    check_begin(name, sample / sound.samplerate, sound.frames / sound.samplerate)
    try:
        sound.seek(sample)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise UserError(f"{name}: cannot go to {sample / sound.samplerate:g} s ({_reason(error)})") from error


def skip(reader: AudioReader, offset: float) -> AudioReader:
    """Read so many seconds, as they cannot be jumped over; the same reader, which starts behind them.

    Raises:
        UserError: the recording ends before.
    """
    wanted = left = round(offset * reader.info.sample_rate)
    with suppress(Damage):  # of which the next read will tell
        while left > 0:
            came = len(reader._read(min(left, BLOCK_SAMPLES)))
            if not came:
                check_begin(reader.name, offset, (wanted - left) / reader.info.sample_rate)
            left -= came or left
    reader.start = offset
    return reader


def _reason(error: Exception) -> str:
    """libsndfile's own words, without soundfile's prefix."""
    text = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return text.removeprefix("Error : ")
