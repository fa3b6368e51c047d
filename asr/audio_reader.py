"""An open recording, read block by block, whatever decodes it; and what no recording can be."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from asr.errors import UserError

MAX_SAMPLE_RATE = 768_000
MIN_SAMPLE_RATE = 1_000
MAX_CHANNELS = 64
# Float files may hold the integer range unscaled; beyond it a sample is damage.
MAX_AMPLITUDE = 2.0**16
BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says: duration in seconds (NaN: it does not say), sample rate in Hz, channels."""

    duration: float
    sample_rate: int
    channels: int


class AudioReader:
    """An open recording that is read from its start, block by block.

    Attributes:
        name: For messages.
        info: What the header says.
        promised: Samples that the whole recording should have, where what holds them says so.
        start: Where in the recording reading begins, in seconds.
        damage: Why reading ended before the end, if it did.
    """

    def __init__(
        self,
        name: str,
        info: AudioInfo,
        read: Callable[[int], np.ndarray],
        promised: int | None = None,
        start: float = 0.0,
    ) -> None:
        self.name = name
        self.info = info
        self.promised = promised
        self.start = start
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
            except Damage as damage:
                block = damage.samples
                seconds = self.start + (total + len(block)) / self.info.sample_rate
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
        end = self.start + total / self.info.sample_rate
        promised = (self.promised or 0) / self.info.sample_rate
        # An encoder may count a frame more than there is.
        return f"cut off after {end:.1f} s of {promised:.1f} s" if end < promised - 0.1 else ""


class Damage(Exception):
    """A read that failed; ``samples`` came before."""

    def __init__(self, message: str, samples: np.ndarray) -> None:
        super().__init__(message)
        self.samples = samples


def clean(block: np.ndarray) -> np.ndarray:
    """In place: what is no number is silence, and nothing louder than a recording can be."""
    return np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0).clip(
        -MAX_AMPLITUDE, MAX_AMPLITUDE, out=block
    )


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
