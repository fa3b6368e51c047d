"""A recipe's augmentation, to check by eye: the same utterance as recorded and after each change."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from asr.augmentation import AugmentConfig, SpecAugment, WaveformAugmentation
from asr.errors import UserError
from asr.frontend import Frontend, FrontendConfig
from asr.plots.spectra import FEW_TICKS, draw_fbank, draw_spectrogram, power_spectrogram
from asr.plots.style import styled
from asr.vocal_tract import VocalTract


@styled
def augment(
    config: AugmentConfig, frontend: FrontendConfig, waveform: Tensor, seed: int = 1, title: str = ""
) -> Figure:
    """Spectrogram of the utterance, then of each change that the recipe may make, made for certain.

    Args:
        config: The recipe's augmentation.
        frontend: The recipe's features, on which the vocal tract and SpecAugment work.
        waveform: float32 ``(samples,)`` at the front end's rate.
        seed: Of what is drawn (SNR, room, noise, masks).
        title: Name of the recording.

    Raises:
        UserError: the recipe changes nothing.
    """
    rate = frontend.sample_rate
    changes = list(_changes(config, waveform, rate, seed))
    on_features = list(_on_features(config, frontend, waveform, seed))
    if not changes and not on_features:
        raise UserError("this recipe has no augmentation: every speed is 1, the rest 0")
    versions = [("as recorded", waveform), *changes]
    upper = -(-len(versions) // 2)
    rows = upper + -(-len(on_features) // 2)
    figure = Figure(figsize=(10.0, 0.5 + 1.75 * rows))
    grid = figure.add_gridspec(rows, 2)
    longest = max(len(version) for _, version in versions) / rate
    loudest = float(power_spectrogram(waveform, rate).max())
    for number, (name, version) in enumerate(versions):
        axes = figure.add_subplot(grid[number // 2, number % 2])
        image = draw_spectrogram(axes, power_spectrogram(version, rate), len(version) / rate, rate, loudest)
        axes.set(xlim=(0, longest), title=name, xlabel="time (s)")
        if number % 2:
            axes.set_ylabel("")
            bar = figure.colorbar(image, ax=axes, pad=0.015, fraction=0.04)
            bar.set_label("power (dB)")
            bar.outline.set_linewidth(0.4)
    for number, (name, features) in enumerate(on_features):
        axes = figure.add_subplot(grid[upper + number // 2, number % 2])
        draw_fbank(axes, features[0].numpy(), frontend, FEW_TICKS)
        axes.set(xlim=(0, longest), title=name, xlabel="time (s)")
        if number % 2:
            axes.set_ylabel("")
    figure.suptitle(f"Augmentation{f' of {title}' if title else ''}", x=0.01, ha="left")
    return figure


def _changes(config: AugmentConfig, waveform: Tensor, rate: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Each change alone, with what it came to, and last all of them at once."""
    none = AugmentConfig(gain=config.gain)
    noise = replace(config.noise, probability=float(config.noise.probability > 0))
    room = replace(config.reverberation, probability=float(config.reverberation.probability > 0))
    level, telephone = float(config.gain_probability > 0), float(config.telephone > 0)
    for speed in sorted(set(config.speed) - {1.0}):
        yield f"speed × {speed:g}", _apply(replace(none, speed=[speed]), waveform, speed, rate, seed)
    if room.probability:
        source = f"from {Path(room.manifest).name}" if room.manifest else "a drawn room"
        yield f"reverberation: {source}", _apply(replace(none, reverberation=room), waveform, 1.0, rate, seed)
    if noise.probability:
        noisy = _apply(replace(none, noise=noise), waveform, 1.0, rate, seed)
        ratio = _decibels(waveform) - _decibels(noisy - waveform)
        yield f"noise: signal-to-noise ratio {ratio:.1f} dB", noisy
    if config.noise.alone:
        alone = WaveformAugmentation(config, rate).noise_alone(waveform, np.random.default_rng(seed))
        yield "noise alone", alone
    if telephone:
        yield "telephone band", _apply(replace(none, telephone=telephone), waveform, 1.0, rate, seed)
    if level:
        louder = _apply(replace(none, gain_probability=level), waveform, 1.0, rate, seed)
        change = f"{_decibels(louder) - _decibels(waveform):+.1f}".replace("-", "−")
        yield f"gain {change} dB", louder
    if sum(bool(chance) for chance in (room.probability, noise.probability, telephone, level)) > 1:
        everything = replace(
            none, noise=noise, reverberation=room, telephone=telephone, gain_probability=level
        )
        yield "all of these but speed", _apply(everything, waveform, 1.0, rate, seed)


def _on_features(
    config: AugmentConfig, frontend: FrontendConfig, waveform: Tensor, seed: int
) -> Iterator[tuple[str, Tensor]]:
    """Features ``(1, frames, mel_bins)`` as they are and after each change; none without any."""
    masks = config.spec_augment
    if not config.vocal_tract and not masks.probability:
        return
    features, lengths = Frontend(frontend)(waveform[None], torch.tensor([len(waveform)]))
    yield "features as heard", features
    torch.manual_seed(seed)
    if config.vocal_tract:
        factor = 1 + config.vocal_tract
        features = VocalTract(config.vocal_tract, frontend).stretch(features, torch.tensor([[factor]]))
        yield f"vocal tract: frequencies × {factor:g}", features
    if not masks.probability:
        return
    vary = SpecAugment(replace(masks, probability=1.0))
    warped = vary.warp(features, lengths)
    if masks.time_warp:
        yield f"SpecAugment: time warped by up to {masks.time_warp} frames", warped
    masked = vary.mask(warped, lengths)
    share = float((masked != warped).float().mean())
    also = ", after the warp" if masks.time_warp else ""
    yield f"SpecAugment: {share:.0%} of the features masked{also}", masked


def _apply(config: AugmentConfig, waveform: Tensor, speed: float, rate: int, seed: int) -> Tensor:
    # There is nobody else here to babble.
    vary = WaveformAugmentation(config, rate, lambda draw: waveform)
    return vary(waveform, speed, np.random.default_rng(seed))


def _decibels(waveform: Tensor) -> float:
    return float(10 * waveform.square().mean().clamp(min=1e-12).log10())
