"""Variation of the training audio: speed, level, noise, reverberation, telephone band, SpecAugment.

What is drawn for an utterance's waveform depends on the seed, the epoch and the utterance only, so that a
run hears the same whatever the number of processes. The masks follow from the step and the process.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn

from asr.errors import UserError
from asr.manifest import read_manifest
from asr.noises import Voice, add_noise, babble, coloured_noise, looped, music, swelling

VOICES = (2, 8)
"""Fewest and most people in babble."""


@dataclass
class SpecAugmentConfig:
    """Masks over the features, and a warp of their time (Park et al. 2019).

    Attributes:
        probability: Of masking an utterance at all, and of warping it.
        frequency_masks, frequency_width: Number and largest width (bins) of frequency masks.
        time_masks, time_width: Number and largest width (feature frames) of time masks.
        time_share: Largest share of an utterance that one time mask may cover.
        time_warp: Largest number of feature frames by which a drawn moment is shifted (0: no warp).
    """

    probability: float = 0.0
    frequency_masks: int = 2
    frequency_width: int = 20
    time_masks: int = 2
    time_width: int = 40
    time_share: float = 0.1
    time_warp: int = 0


@dataclass
class NoiseConfig:
    """Additive noise at a drawn signal-to-noise ratio (dB).

    Attributes:
        probability: Of adding any.
        alone: Probability that noise (no babble) is all there is to hear, and nothing to be written.
        snr: Lowest and highest ratio, in dB.
        babble: Share of the noises that are several utterances of the training data at once (read anew
            each time: quick with ``data.cache``).
        music: Share of them that are drawn melodies.
        manifest: Recordings that the others are taken from; without it they are coloured noise that swells.
    """

    probability: float = 0.0
    alone: float = 0.0
    snr: tuple[float, float] = (5.0, 30.0)
    babble: float = 0.0
    music: float = 0.0
    manifest: str = ""


@dataclass
class ReverberationConfig:
    """Room impulse responses: from a manifest, else drawn (exponentially decaying noise, RT60 in s)."""

    probability: float = 0.0
    rt60: tuple[float, float] = (0.1, 0.6)
    manifest: str = ""


@dataclass
class AugmentConfig:
    """Everything that varies the training audio.

    Attributes:
        speed: Factors drawn with equal chance; 1.1 is faster (Ko et al. 2015).
        gain: Largest change of level in dB, either way.
        gain_probability: Of changing the level.
        telephone: Probability of keeping 300-3400 Hz only.
        vocal_tract: Largest share by which frequencies are stretched or squeezed (``vocal_tract.py``).
    """

    speed: list[float] = field(default_factory=lambda: [1.0])
    gain: float = 10.0
    gain_probability: float = 0.0
    telephone: float = 0.0
    vocal_tract: float = 0.0
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    reverberation: ReverberationConfig = field(default_factory=ReverberationConfig)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)


class WaveformAugmentation:
    """Vary one waveform at a time.

    Args:
        config: What is varied.
        sample_rate: In Hz.
        voice: Draws the voices that babble is made of; without it there is none, whatever its share.

    Raises:
        UserError: a speed outside 0.5 to 2, or a manifest of noises or responses that is empty.
    """

    def __init__(self, config: AugmentConfig, sample_rate: int, voice: Voice | None = None) -> None:
        self.config, self.sample_rate, self._voice = config, sample_rate, voice
        if not config.speed or not all(0.5 <= speed <= 2 for speed in config.speed):
            raise UserError(f"augment.speed: {config.speed} must be factors from 0.5 to 2")
        self._resamplers = {
            speed: torchaudio.transforms.Resample(round(speed * 1000), 1000)
            for speed in config.speed
            if speed != 1.0
        }
        self._noises = _read_sounds(config.noise.manifest, sample_rate)
        self._responses = _read_sounds(config.reverberation.manifest, sample_rate)

    def __call__(self, waveform: Tensor, speed: float, draw: np.random.Generator) -> Tensor:
        """Vary ``(samples,)``; the level of the speech stays in [-1, 1] only if it was and gain allows."""
        config = self.config
        if not len(waveform):
            return waveform
        if speed != 1.0:
            waveform = self._resamplers[speed](waveform)
        if draw.random() < config.reverberation.probability:
            waveform = self._reverberate(waveform, draw)
        if draw.random() < config.noise.probability:
            waveform = self._add_noise(waveform, draw)
        if draw.random() < config.telephone:
            waveform = telephone_band(waveform, self.sample_rate)
        if draw.random() < config.gain_probability:
            waveform = waveform * 10 ** (draw.uniform(-config.gain, config.gain) / 20)
        return waveform

    def _reverberate(self, waveform: Tensor, draw: np.random.Generator) -> Tensor:
        if self._responses:
            response = self._responses[draw.integers(len(self._responses))]
        else:
            response = synthetic_response(
                draw.uniform(*self.config.reverberation.rt60), self.sample_rate, draw
            )
        wet = torchaudio.functional.fftconvolve(waveform, response)[: len(waveform)]
        return wet * (waveform.norm() / wet.norm().clamp(min=1e-9))

    def _add_noise(self, waveform: Tensor, draw: np.random.Generator) -> Tensor:
        noise = self._noise(len(waveform), draw, self._voice)
        return add_noise(waveform, noise, draw.uniform(*self.config.noise.snr))

    def noise_alone(self, waveform: Tensor, draw: np.random.Generator) -> Tensor:
        """Noise as long and as loud as ``(samples,)`` in the place of it; nobody speaks in it."""
        noise = self._noise(len(waveform), draw, None)
        return noise * (waveform.norm() / noise.norm().clamp(min=1e-9))

    def _noise(self, samples: int, draw: np.random.Generator, voice: Voice | None) -> Tensor:
        config, kind = self.config.noise, draw.random()
        if kind < config.babble and voice is not None:
            return babble(samples, int(draw.integers(VOICES[0], VOICES[1] + 1)), voice, draw)
        if config.babble <= kind < config.babble + config.music:
            return music(samples, self.sample_rate, draw)
        if self._noises:
            return looped(self._noises[draw.integers(len(self._noises))], samples, draw)
        return swelling(coloured_noise(samples, draw.uniform(0.0, 2.0), draw), self.sample_rate, draw)


def synthetic_response(rt60: float, sample_rate: int, draw: np.random.Generator) -> Tensor:
    """A room impulse response: the direct sound, then noise that falls by 60 dB in ``rt60`` seconds."""
    samples = max(1, round(rt60 * sample_rate))
    decay = np.exp(-6.9 * np.arange(samples) / samples)
    response = 0.1 * draw.standard_normal(samples) * decay
    response[: round(0.002 * sample_rate)] = 0.0
    response[0] = 1.0
    return torch.from_numpy(response.astype(np.float32))


def telephone_band(waveform: Tensor, sample_rate: int) -> Tensor:
    """Keep 300 to 3400 Hz."""
    # torchaudio cuts off what is beyond 1; filters may go beyond what comes in.
    loudest = 2 * float(waveform.abs().max()) if len(waveform) else 1.0
    scale = max(loudest, 1.0)
    high = torchaudio.functional.highpass_biquad(waveform / scale, sample_rate, 300.0)
    return torchaudio.functional.lowpass_biquad(high, sample_rate, 3400.0) * scale


class SpecAugment(nn.Module):
    """Shift a moment in time, and zero (the mean, after CMVN) bands of frequency and stretches of time."""

    def __init__(self, config: SpecAugmentConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Vary ``(batch, frames, mel_bins)``; nothing reaches beyond each utterance's own frames."""
        return self.mask(self.warp(features, lengths), lengths)

    def warp(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Shift a drawn frame of each utterance; what lies before and after is stretched to fit.

        Linear in both parts, where the paper bends a spline. The frame lies as far from either end as
        twice the shift may be wide, so that nothing becomes more than twice as fast.
        """
        if not self.config.probability or not self.config.time_warp or not features.numel():
            return features
        draws = torch.rand(2, len(features), 1, device=features.device)
        last = (lengths.unsqueeze(1) - 1).clamp(min=0)
        widest = (last / 4).clamp(max=self.config.time_warp)
        source = 2 * widest + draws[0] * (last - 4 * widest)
        target = source + (2 * draws[1] - 1) * widest
        frame = torch.arange(features.shape[1], device=features.device).expand(len(features), -1)
        before = frame * (source / target.clamp(min=1e-6))
        after = last - (last - frame) * ((last - source) / (last - target).clamp(min=1e-6))
        warped = torch.where(frame < target, before, after)
        warped = torch.where(self._chosen(features).unsqueeze(1) & (frame <= last), warped, frame)
        return _interpolate(features, warped)

    def mask(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Zero bands and stretches; the latter lie inside each utterance's own frames."""
        config = self.config
        if not config.probability or not features.numel():
            return features
        _, frames, bins = features.shape
        every_bin = torch.full_like(lengths, bins)
        widest = (lengths * config.time_share).floor().clamp(max=config.time_width)
        masked = self._masks(config.time_masks, lengths, widest, frames).unsqueeze(2) | self._masks(
            config.frequency_masks, every_bin, every_bin.clamp(max=config.frequency_width), bins
        ).unsqueeze(1)
        return features.masked_fill(masked & self._chosen(features).view(-1, 1, 1), 0.0)

    def _chosen(self, features: Tensor) -> Tensor:
        return torch.rand(len(features), device=features.device) < self.config.probability

    @staticmethod
    def _masks(count: int, sizes: Tensor, widest: Tensor, positions: int) -> Tensor:
        """``(batch, positions)``: True inside any of ``count`` masks of up to ``widest`` within ``sizes``."""
        shape = (len(sizes), count, 1)
        draws = torch.rand(2, *shape, device=sizes.device)
        width = (draws[0] * (widest.view(-1, 1, 1) + 1)).floor()
        start = (draws[1] * (sizes.view(-1, 1, 1) - width + 1)).floor()
        position = torch.arange(positions, device=sizes.device)
        return ((position >= start) & (position < start + width)).any(1)


def _interpolate(features: Tensor, position: Tensor) -> Tensor:
    """``(batch, frames, bins)`` at positions ``(batch, frames)`` in frames, linearly."""
    batch, frames, bins = features.shape
    lower = position.floor().long().clamp(0, frames - 1)
    upper = (lower + 1).clamp(max=frames - 1)
    start = torch.arange(batch, device=features.device).unsqueeze(1) * frames
    flat = features.reshape(-1, bins)
    at_lower, at_upper = (flat.index_select(0, (start + index).flatten()) for index in (lower, upper))
    return torch.lerp(at_lower, at_upper, (position - lower).reshape(-1, 1)).view_as(features)


def _read_sounds(manifest: str, sample_rate: int) -> list[Tensor]:
    from asr.audio import read_audio

    if not manifest:
        return []
    sounds = [
        read_audio(entry.audio_filepath, sample_rate, entry.offset, entry.duration or None)
        for entry in read_manifest(manifest)
    ]
    if not sounds or not all(len(sound) for sound in sounds):
        raise UserError(f"{manifest}: holds no sounds, or empty ones")
    return sounds
