"""Noises that are drawn, to be added to training audio: float32 ``(samples,)`` of any level."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

#: Draws a waveform ``(samples,)`` in which somebody speaks.
Voice = Callable[[np.random.Generator], Tensor]

PITCHES = (60.0, 1500.0)
"""Hz of the lowest note of a melody."""
SWELLS = (0.1, 10.0)
"""Hz at which noise swells."""
_KEYS = 30  # semitones over which notes are strewn
_ATTACK = 0.005  # seconds


def coloured_noise(samples: int, exponent: float, draw: np.random.Generator) -> Tensor:
    """Noise whose power falls as 1 / frequency ** exponent: 0 white, 1 pink, 2 brown."""
    spectrum = torch.fft.rfft(torch.from_numpy(draw.standard_normal(samples).astype(np.float32)))
    spectrum *= torch.arange(1, len(spectrum) + 1, dtype=torch.float32) ** (-exponent / 2)
    return torch.fft.irfft(spectrum, samples)


def babble(samples: int, voices: int, voice: Voice, draw: np.random.Generator) -> Tensor:
    """So many people talking at once, equally loud; what is too short is said again and again."""
    total = torch.zeros(samples)
    for _ in range(voices):
        said = voice(draw)
        if len(said):
            total += looped(said, samples, draw) / said.square().mean().sqrt().clamp(min=1e-5)
    return total


def music(samples: int, sample_rate: int, draw: np.random.Generator) -> Tensor:
    """Notes and chords with harmonics, plucked or held, steady or gliding, in a steady beat."""
    sound = np.zeros(samples)
    lowest, beat, decay = np.exp(draw.uniform(*np.log(PITCHES))), draw.uniform(0.12, 0.5), draw.uniform(0, 8)
    glide = draw.choice([0.0, 1.0]) * draw.uniform(0, 4)  # octaves a second, at most
    harmonics = np.arange(1, draw.integers(2, 9))
    strengths = harmonics ** -draw.uniform(0.5, 2)
    start = 0
    while start < samples:
        length = min(round(beat * draw.integers(1, 4) * sample_rate), samples - start)
        time = np.arange(length) / sample_rate
        envelope = np.exp(-decay * time) * np.minimum(1, time / _ATTACK)
        for key in draw.integers(0, _KEYS, draw.integers(1, 4)):
            pitch = lowest * 2 ** (key / 12 + draw.uniform(-glide, glide) * time)
            phase = np.cumsum(2 * np.pi * pitch / sample_rate)
            heard = harmonics * pitch.max(initial=0) < sample_rate / 2
            sound[start : start + length] += envelope * (
                strengths[heard] @ np.sin(np.outer(harmonics[heard], phase))
            )
        start += length
    return torch.from_numpy(sound.astype(np.float32))


def swelling(sound: Tensor, sample_rate: int, draw: np.random.Generator) -> Tensor:
    """A sound that swells and ebbs, as slowly as wind or as fast as syllables."""
    rate, depth, phase = np.exp(draw.uniform(*np.log(SWELLS))), draw.uniform(0, 3), draw.uniform(0, 2 * np.pi)
    time = torch.arange(len(sound)) / sample_rate
    return sound * torch.exp(depth * torch.sin(2 * np.pi * rate * time + phase))


def add_noise(waveform: Tensor, noise: Tensor, ratio: float) -> Tensor:
    """The sum of both, the noise ``ratio`` dB below the speech; silent noise adds nothing."""
    # torchaudio's add_noise makes silent noise infinitely loud.
    return waveform + noise * (waveform.norm() / (noise.norm().clamp(min=1e-9) * 10 ** (ratio / 20)))


def looped(sound: Tensor, samples: int, draw: np.random.Generator) -> Tensor:
    """A sound from a drawn moment on, repeated until it is ``samples`` long."""
    start = int(draw.integers(len(sound)))
    return sound.roll(-start).repeat(-(-samples // len(sound)))[:samples]
