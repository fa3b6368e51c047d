"""Audio files, bytes or standard input to waveforms.

libsndfile (through soundfile) reads wav, flac, ogg, opus, mp3 and aiff, whatever the file is called;
anything else goes through an ``ffmpeg`` pipe where that program is installed. ``torchaudio.load`` is
not used: since 2.9 it needs torchcodec.
"""

import io
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import soundfile

from asr.errors import UserError

if TYPE_CHECKING:
    import torch

MAX_SAMPLE_RATE = 768_000
MIN_SAMPLE_RATE = 1_000
MAX_CHANNELS = 64


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: duration in seconds, sample rate in Hz, channels."""

    duration: float
    sample_rate: int
    channels: int


def probe(path: str | os.PathLike[str]) -> AudioInfo:
    """Read duration, rate and channels from a file's header.

    Raises:
        UserError: missing, a folder, empty, or not audio that can be read here.
    """
    _check_file(path)
    try:
        with soundfile.SoundFile(os.fspath(path)) as sound:
            _check_format(path, sound.samplerate, sound.channels)
            return AudioInfo(sound.frames / sound.samplerate, sound.samplerate, sound.channels)
    except (soundfile.SoundFileError, RuntimeError):
        samples, rate = _read_with_ffmpeg(path, None)
        return AudioInfo(samples.shape[0] / rate, rate, samples.shape[1])


def read_audio(
    source: str | os.PathLike[str] | bytes | BinaryIO,
    sample_rate: int = 16_000,
    offset: float = 0.0,
    duration: float | None = None,
) -> "torch.Tensor":
    """Read mono audio at a given rate; channels are averaged.

    Args:
        source: A path, the bytes of a whole file, or a binary stream holding one.
        sample_rate: Rate of the result in Hz.
        offset: Where to start, in seconds.
        duration: How much to read, in seconds (to the end without it).

    Returns:
        float32 tensor ``(samples,)`` in [-1, 1].

    Raises:
        UserError: the source is missing, empty or not audio that can be read here.
    """
    samples, rate = read_samples(source, offset, duration)
    return resample(samples.mean(axis=1), rate, sample_rate)


def read_samples(
    source: str | os.PathLike[str] | bytes | BinaryIO, offset: float = 0.0, duration: float | None = None
) -> tuple[np.ndarray, int]:
    """Read samples as they are: float32 array ``(samples, channels)`` and the rate in Hz."""
    name, opened = _open(source)
    try:
        with soundfile.SoundFile(opened) as sound:
            rate = sound.samplerate
            _check_format(name, rate, sound.channels)
            if offset:
                sound.seek(min(round(offset * rate), sound.frames))
            frames = -1 if duration is None else round(duration * rate)
            samples = sound.read(frames, "float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError):
        samples, rate = _read_with_ffmpeg(name, None if isinstance(source, str | os.PathLike) else opened)
        start = round(offset * rate)
        samples = samples[start : None if duration is None else start + round(duration * rate)]
    return np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), rate


def resample(samples: np.ndarray, rate: int, target_rate: int) -> "torch.Tensor":
    """Change the sample rate of mono audio ``(samples,)``; band-limited sinc interpolation."""
    import torch

    waveform = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    if rate == target_rate or not len(waveform):
        return waveform
    from torchaudio.functional import resample as sinc_resample

    return sinc_resample(waveform, rate, target_rate)


def _open(source: str | os.PathLike[str] | bytes | BinaryIO) -> tuple[str, str | BinaryIO]:
    if isinstance(source, str | os.PathLike):
        _check_file(source)
        return os.fspath(source), os.fspath(source)
    data = source if isinstance(source, bytes) else source.read()
    if not data:
        raise UserError("standard input: no audio came (0 bytes)")
    return "standard input", io.BytesIO(data)


def _check_file(path: str | os.PathLike[str]) -> None:
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not an audio file")
    if path.is_file() and path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty (0 bytes)")


def _check_format(name: str | os.PathLike[str], rate: int, channels: int) -> None:
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise UserError(f"{name}: the header says {rate} Hz, which no recording has; the file is damaged")
    if not 1 <= channels <= MAX_CHANNELS:
        raise UserError(f"{name}: the header says {channels} channels; the file is damaged")


def _read_with_ffmpeg(name: str | os.PathLike[str], data: str | BinaryIO | None) -> tuple[np.ndarray, int]:
    """Decode what libsndfile cannot, to 16 kHz mono."""
    program = shutil.which("ffmpeg")
    if program is None:
        raise UserError(
            f"{name}: not a format that libsndfile reads (wav, flac, ogg, opus, mp3, aiff); "
            "for m4a, mp4, webm and others install ffmpeg, or convert the file to wav"
        )
    rate = 16_000
    source = "pipe:0" if data is not None else f"file:{os.fspath(name)}"
    command = [program, "-nostdin", "-v", "error", "-i", source, "-ac", "1", "-ar", str(rate)]
    if data is not None:
        command.remove("-nostdin")
        assert isinstance(data, io.BytesIO)
    done = subprocess.run(
        [*command, "-f", "f32le", "pipe:1"],
        input=None if data is None else data.getvalue(),
        stdin=subprocess.DEVNULL if data is None else None,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise UserError(f"{name}: not audio (neither libsndfile nor ffmpeg can read it)")
    return np.frombuffer(done.stdout, dtype=np.float32).reshape(-1, 1).copy(), rate
