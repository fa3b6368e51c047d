"""Waveforms to normalised log-mel filter banks.

Frames are cut without padding at the ends, so that a frame depends on its own 25 ms only and an
utterance's features do not depend on what else is in the batch.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from asr.errors import UserError, check_range

CMVN = ("utterance", "fixed")

# Frames whose spectra are computed at once on a CPU, so that they stay in its cache, of all utterances and
# of each at least.
_FRAMES, _FEWEST = 512, 16


@dataclass
class FrontendConfig:
    """Settings of the feature front end.

    Attributes:
        sample_rate: Hz; audio at another rate is resampled before it comes here.
        mel_bins: Number of triangular filters on the mel scale.
        window, hop: Length and distance of frames in seconds.
        low_frequency, high_frequency: Edges of the filter bank in Hz.
        cmvn: ``utterance`` normalises each bin to zero mean and unit variance over the utterance and adds
            ``floor`` times the utterance's mean energy before the logarithm, which makes features
            independent of gain and hides what lossy codecs cut away; ``fixed`` only shifts and scales by
            constants, as a model that hears the utterance piece by piece must.
        floor: Energy added before the logarithm (relative to the mean for ``utterance``).
    """

    sample_rate: int = 16_000
    mel_bins: int = 80
    window: float = 0.025
    hop: float = 0.010
    low_frequency: float = 20.0
    high_frequency: float = 7600.0
    cmvn: str = "utterance"
    floor: float = 1e-5

    def check(self) -> None:
        """Raise :class:`UserError` for a value that makes no sense."""
        if self.cmvn not in CMVN:
            raise UserError(f"frontend.cmvn: {self.cmvn!r} is not one of {', '.join(CMVN)}")
        check_range("frontend.sample_rate", self.sample_rate, 1000)
        check_range("frontend.mel_bins", self.mel_bins, 1)
        check_range("frontend.window", self.window, 0.001, 1)
        check_range("frontend.hop", self.hop, 0.001, 1)
        check_range("frontend.low_frequency", self.low_frequency, 0)
        if self.low_frequency >= self.high_frequency:
            raise UserError(
                f"frontend.low_frequency: {self.low_frequency:g} is more than frontend.high_frequency"
            )
        if self.high_frequency > self.sample_rate / 2:
            raise UserError("frontend.high_frequency: must be at most half of frontend.sample_rate")

    @property
    def frame_shift(self) -> float:
        """Seconds by which the frames really follow each other."""
        return self.hop_samples / self.sample_rate

    @property
    def hop_samples(self) -> int:
        """``hop`` in whole samples."""
        return round(self.hop * self.sample_rate)


# Mean and spread of log-mel energies of read speech at ordinary gain: only the scale matters, since the
# encoder's first layer learns the rest.
FIXED_MEAN, FIXED_SCALE = -4.0, 4.0


class Frontend(nn.Module):
    """Log-mel filter bank with cepstral mean and variance normalisation (on the log-mel bins)."""

    filters: Tensor
    taper: Tensor

    def __init__(self, config: FrontendConfig) -> None:
        super().__init__()
        self.config = config
        self.window = round(config.window * config.sample_rate)
        self.hop = config.hop_samples
        self.fft_size = 1 << (self.window - 1).bit_length()
        filters = melscale_fbanks(
            n_freqs=self.fft_size // 2 + 1,
            f_min=config.low_frequency,
            f_max=config.high_frequency,
            n_mels=config.mel_bins,
            sample_rate=config.sample_rate,
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("taper", torch.hann_window(self.window), persistent=False)

    def frames(self, samples: Tensor | int) -> Tensor | int:
        """Frames that so many samples give (0 when shorter than one frame)."""
        count = (samples - self.window) // self.hop + 1
        return count.clamp(min=0) if isinstance(count, Tensor) else max(count, 0)

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features.

        Args:
            waveforms: float32 ``(batch, samples)``, padded with anything.
            lengths: int64 ``(batch,)``, samples of each.

        Returns:
            Features ``(batch, frames, mel_bins)``, zero beyond each length, and lengths ``(batch,)``.
        """
        frame_lengths = self.frames(lengths)
        assert isinstance(frame_lengths, Tensor)
        if waveforms.shape[1] < self.window:
            empty = waveforms.new_zeros(len(waveforms), 0, self.config.mel_bins)
            return empty, torch.zeros_like(lengths)
        energies = self.mel_energies(waveforms.float())
        valid = valid_frames(frame_lengths, energies.shape[1]).unsqueeze(-1)
        if self.config.cmvn == "fixed":
            features = self.scale(energies)
        else:
            features = self._normalise(energies, valid, frame_lengths)
        return features.masked_fill_(~valid, 0.0), frame_lengths

    def mel_energies(self, waveforms: Tensor) -> Tensor:
        """Power of each filter: ``(batch, samples)`` to ``(batch, frames, mel_bins)``."""
        frames = waveforms.unfold(1, self.window, self.hop)
        energies = waveforms.new_empty(*frames.shape[:2], self.config.mel_bins)
        at_once = max(_FRAMES // max(len(frames), 1), _FEWEST)
        # Even parts: products of a few rows left over would round in another way.
        parts = max(frames.shape[1] // at_once, 1) if waveforms.device.type == "cpu" else 1
        pairs = zip(frames.tensor_split(parts, 1), energies.tensor_split(parts, 1), strict=True)
        for some, found in pairs:
            tapered = nn.functional.pad(some * self.taper, (0, self.fft_size - self.window))
            spectrum = torch.fft.rfft(tapered)
            # Squares by themselves: the absolute value of a complex number takes a slow square root.
            found.copy_((spectrum.real.square() + spectrum.imag.square()) @ self.filters)
        return energies

    def scale(self, energies: Tensor) -> Tensor:
        """Energies ``(…, mel_bins)`` to logarithms, shifted and scaled by constants: ``cmvn: fixed``."""
        return ((energies + self.config.floor).log_() - FIXED_MEAN) / FIXED_SCALE

    def _normalise(self, energies: Tensor, valid: Tensor, lengths: Tensor) -> Tensor:
        energies = energies.masked_fill(~valid, 0.0)
        count = lengths.clamp(min=1).view(-1, 1, 1)
        mean_energy = _mean(energies, (1, 2), count * energies.shape[2])
        log_mel = (energies + self.config.floor * mean_energy + 1e-12).log_().masked_fill_(~valid, 0.0)
        mean = _mean(log_mel, (1,), count)
        centred = (log_mel - mean).masked_fill_(~valid, 0.0)
        variance = _mean(centred.square(), (1,), count)
        return centred / (variance + 1e-2).sqrt_()


def _mean(values: Tensor, dimensions: tuple[int, ...], count: Tensor) -> Tensor:
    """Of so many valid values among zeros.

    The sum is in double precision, where the device has it: in float32 it depends on how many zeros follow.
    """
    dtype = torch.float32 if values.device.type == "mps" else torch.float64
    return (values.sum(dimensions, keepdim=True, dtype=dtype) / count).float()


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """Boolean mask ``(batch, frames)``: True where a frame belongs to the utterance."""
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)


def filter_position(hertz: Tensor, config: FrontendConfig) -> Tensor:
    """Numbers, in fractions, of the filters whose centres lie at frequencies in Hz; any shape.

    The filters lie evenly on the mel scale (O'Shaughnessy 1987).
    """
    low, high = _mel_edges(config)
    return (2595.0 * torch.log10(1.0 + hertz / 700.0) - low) / (high - low) * (config.mel_bins + 1) - 1


def filter_centres(config: FrontendConfig) -> Tensor:
    """Centres of the filters in Hz, float32 ``(mel_bins,)``; :func:`filter_position` numbers them from 0."""
    low, high = _mel_edges(config)
    mel = torch.linspace(low, high, config.mel_bins + 2)[1:-1]
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _mel_edges(config: FrontendConfig) -> tuple[float, float]:
    low, high = (
        2595.0 * math.log10(1.0 + hertz / 700.0) for hertz in (config.low_frequency, config.high_frequency)
    )
    return low, high
