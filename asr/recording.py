"""One thing to transcribe, and its samples as the model hears them."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.audio import RawFormat, open_audio
from asr.audio_reader import (
    BLOCK_SAMPLES,
    MAX_CHANNELS,
    MAX_SAMPLE_RATE,
    MIN_SAMPLE_RATE,
    AudioInfo,
    AudioReader,
    check_begin,
)
from asr.errors import UserError
from asr.resampling import Resampler
from asr.sources import Source

Samples = np.ndarray | Tensor
ALL_CHANNELS = "all"


@dataclass(frozen=True)
class Recording:
    """What is transcribed as one.

    Attributes:
        source: A path, the bytes of a file or a stream holding one, or samples: ``(samples,)`` or
            ``(samples, channels)``, floats in [-1, 1] or integers of their type's full range.
        name: What it is called in messages and output.
        channel: The channel to transcribe, counted from 1, or :data:`ALL_CHANNELS` for each by itself; the
            mean of all without it.
        offset, duration: The part to transcribe, in seconds; all of it without them.
        raw: Format of a source that has no header.
        sample_rate: Of samples given as an array, in Hz; the model's own without it.
    """

    source: Source | Samples
    name: str = ""
    channel: int | str | None = None
    offset: float = 0.0
    duration: float | None = None
    raw: RawFormat | None = None
    sample_rate: int | None = None

    def __post_init__(self) -> None:
        for what, seconds in (("offset", self.offset), ("duration", self.duration or 0.0)):
            if not 0 <= seconds < math.inf:
                raise UserError(f"{what}: {seconds} is not a number of seconds")


@contextmanager
def open_recording(recording: Recording, model_rate: int) -> Iterator[AudioReader]:
    """Open a recording of any kind.

    Raises:
        UserError: it cannot be read.
    """
    source = recording.source
    if isinstance(source, np.ndarray | Tensor):
        samples = _array(source)
        rate = model_rate if recording.sample_rate is None else recording.sample_rate
        check_rate(rate)
        info = AudioInfo(len(samples) / rate, rate, samples.shape[1])
        begin = round(recording.offset * rate)
        check_begin("samples", recording.offset, info.duration)
        parts = (samples[start : start + BLOCK_SAMPLES] for start in count(begin, BLOCK_SAMPLES))
        # A copy, since what is not a number is cleaned in place.
        yield AudioReader("samples", info, lambda _: _as_float(next(parts)).copy())
    elif not isinstance(source, str | os.PathLike | bytes) and not hasattr(source, "read"):
        raise UserError(
            "a recording is a path, the bytes of a file, a binary stream, an array or a tensor, "
            f"not {type(source).__name__}"
        )
    elif recording.sample_rate is not None:
        raise UserError("sample_rate: is that of an array or a tensor; a file says its own")
    else:
        with open_audio(source, recording.raw, recording.offset) as reader:
            yield reader


def model_blocks(
    recording: Recording, reader: AudioReader, model_rate: int, warn: Callable[[str], None]
) -> Iterator[Tensor]:
    """Blocks of mono float32 samples ``(samples,)`` at the model's rate.

    Args:
        recording: Says which channel, and how much.
        reader: The open recording.
        model_rate: Rate of the result in Hz.
        warn: Told, in a line, what is odd about the recording.

    Raises:
        UserError: there is no such channel, or the recording turns out to be unreadable.
    """
    rate, channels = reader.info.sample_rate, reader.info.channels
    channel = recording.channel
    if channel is not None and (isinstance(channel, bool) or not isinstance(channel, int | np.integer)):
        raise UserError(f"{reader.name}: a channel is a whole number or {ALL_CHANNELS!r}, not {channel!r}")
    if channel is not None and not 1 <= channel <= channels:
        raise UserError(f"{reader.name}: there is no channel {channel}: channels are 1 to {channels}")
    left = None if recording.duration is None else round(recording.duration * rate)
    resampler = Resampler(rate, model_rate)
    for block in reader.blocks():
        mono = block.mean(axis=1) if channel is None else block[:, channel - 1]
        if left is not None:
            mono = mono[:left]
            left -= len(mono)
        yield resampler.process(torch.from_numpy(np.ascontiguousarray(mono)))
        if left == 0:
            break
    yield resampler.process(torch.zeros(0), final=True)
    if reader.damage:
        warn(f"{reader.name}: {reader.damage}; transcribed up to there")


def check_rate(rate: Any) -> None:
    """Raise :class:`UserError` for a rate of samples, in Hz, that no recording has."""
    if not isinstance(rate, int | np.integer) or not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        raise UserError(
            f"samples: the rate must be a whole number of Hz from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}, "
            f"not {rate}"
        )


def float_samples(source: Samples) -> np.ndarray:
    """Samples of any type as float32 ``(samples, channels)``."""
    return _as_float(_array(source))


def _array(source: Samples) -> np.ndarray:
    """Samples of any type as ``(samples, channels)`` of that type."""
    if isinstance(source, Tensor):
        if source.is_meta or source.is_quantized or source.layout != torch.strided:
            raise UserError("samples must be a tensor that holds numbers one after the other")
        # numpy has no bfloat16.
        source = source.float() if source.is_floating_point() else source
        source = source.detach().cpu().resolve_neg().numpy()
    if not isinstance(source, np.ndarray):
        raise UserError(f"samples must be an array or a tensor, not {type(source).__name__}")
    if source.ndim not in (1, 2):
        raise UserError(f"samples must be (samples,) or (samples, channels), not {source.shape}")
    if source.ndim == 2 and not 1 <= source.shape[1] <= MAX_CHANNELS:
        raise UserError(f"samples must be (samples, channels), not {source.shape}: transpose them")
    if not (np.issubdtype(source.dtype, np.integer) or np.issubdtype(source.dtype, np.floating)):
        raise UserError(f"samples must be numbers, not {source.dtype}")
    return source[:, None] if source.ndim == 1 else source


def _as_float(samples: np.ndarray) -> np.ndarray:
    if np.issubdtype(samples.dtype, np.integer):
        limits: Any = np.iinfo(samples.dtype)
        middle = 0 if limits.min < 0 else (limits.max + 1) / 2
        samples = (samples.astype(np.float64) - middle) / ((limits.max + 1) - middle)
    return np.asarray(samples, dtype=np.float32)
