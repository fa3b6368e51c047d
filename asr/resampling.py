"""Band-limited change of the sample rate, of a whole recording or block by block."""

import math
from fractions import Fraction

import torch
from torch import Tensor

# torchaudio's kernel holds about the product of both terms of the ratio of rates: for 44,101 to 16,000 Hz
# that would be 2.8 GB. The nearest ratio of small terms is exact, or off by one part in a million, for the
# rates that recordings have; for the oddest (15,991 Hz) by half a part in a thousand.
MAX_TERM = 1_000
FILTER_ZEROS = 6
ROLLOFF = 0.99


class Resampler:
    """Sinc interpolation (torchaudio's, with a Hann window) that carries its context between blocks.

    Blocks give, put together, what the whole recording would.
    """

    def __init__(self, rate: int, target_rate: int) -> None:
        """Rates in Hz; nothing is changed where they are equal."""
        ratio = _small_ratio(rate, target_rate)
        self._input, self._output = ratio.denominator, ratio.numerator
        width = math.ceil(FILTER_ZEROS * self._input / (min(self._input, self._output) * ROLLOFF)) + 1
        self._context = math.ceil(width / self._input) * self._input
        self._held = torch.zeros(0)
        self._started = False
        self._transform = None
        if self._input != self._output:
            from torchaudio.transforms import Resample

            self._transform = Resample(self._input, self._output, "sinc_interp_hann", FILTER_ZEROS, ROLLOFF)

    @torch.no_grad()
    def process(self, waveform: Tensor, final: bool = False) -> Tensor:
        """The samples that the recording's next ones complete.

        Args:
            waveform: float32 ``(samples,)``, what follows what was given before.
            final: The recording ends here.
        """
        if self._transform is None:
            return waveform
        held = torch.cat([self._held, waveform])
        left = self._context if self._started else 0
        right = 0 if final else self._context
        use = len(held) - left - right
        if not final:
            # At least one context, which the next block needs to its left.
            use = use - use % self._input if use >= self._context else 0
        if use <= 0:
            self._held = held
            return held.new_zeros(0)
        resampled: Tensor = self._transform(held[: left + use + right])
        begin = left // self._input * self._output
        end = len(resampled) if final else begin + use // self._input * self._output
        self._held = held[left + use - self._context :] if not final else held[:0]
        self._started = True
        return resampled[begin:end]


def _small_ratio(rate: int, target_rate: int) -> Fraction:
    """Output samples for each input sample, as a fraction of small terms."""
    ratio = Fraction(target_rate, rate)
    if ratio <= 1:
        return ratio if ratio.denominator <= MAX_TERM else ratio.limit_denominator(MAX_TERM)
    inverse = 1 / ratio
    return ratio if ratio.numerator <= MAX_TERM else 1 / inverse.limit_denominator(MAX_TERM)
