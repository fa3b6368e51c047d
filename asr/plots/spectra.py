"""What is heard: spectrogram and filter bank."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from asr.frontend import filter_position
from asr.plots.style import COLOURS, ENERGY, Panels, show_matrix, styled

if TYPE_CHECKING:
    from asr.frontend import Frontend, FrontendConfig

WINDOW, HOP = 0.025, 0.005
FFT_SIZE = 1024
RANGE = 70.0
"""Decibels below the loudest point that are still told apart."""
TICKS, FEW_TICKS = (100, 250, 500, 1000, 2000, 4000, 7000), (500, 1000, 2000, 4000)


def power_spectrogram(waveform: Tensor, sample_rate: int) -> NDArray[np.float32]:
    """Power in dB relative to a sine of full scale, ``(frames, frequencies)``, frames of 25 ms every 5 ms."""
    window = torch.hann_window(round(WINDOW * sample_rate))
    size = max(FFT_SIZE, len(window))
    padded = torch.nn.functional.pad(waveform, (0, max(0, size - len(waveform))))
    spectrum = torch.stft(
        padded, size, round(HOP * sample_rate), len(window), window, center=True, return_complex=True
    )
    power = (spectrum.abs() / (window.sum() / 2)).square()
    decibels: NDArray[np.float32] = (10 * (power + 1e-12).log10()).T.numpy()
    return decibels


@styled
def spectrogram(waveform: Tensor, sample_rate: int, title: str = "") -> Figure:
    """Waveform and spectrogram of a recording.

    Args:
        waveform: float32 ``(samples,)`` in [-1, 1].
        sample_rate: In Hz.
        title: Name of the recording.
    """
    figure = Figure(figsize=(8.0, 4.4))
    seconds = len(waveform) / sample_rate
    panels = Panels(figure, (1, 3), seconds)
    upper, lower = panels.axes
    upper.plot(np.arange(len(waveform)) / sample_rate, waveform, color=COLOURS[0], linewidth=0.4)
    peak = max(float(waveform.abs().max()), 1e-3) if len(waveform) else 1.0
    upper.set(ylabel="amplitude\n(full scale = 1)", ylim=(-1.1 * peak, 1.1 * peak))
    image = draw_spectrogram(lower, power_spectrogram(waveform, sample_rate), seconds, sample_rate)
    panels.add_colour_bar(image, (1, 1), "power (dB re full-scale sine)")
    upper.set_title(f"{title}: waveform and spectrogram" if title else "Waveform and spectrogram")
    return figure


def draw_spectrogram(
    axes: Axes,
    decibels: NDArray[np.float32],
    seconds: float,
    sample_rate: int,
    loudest: float | None = None,
) -> Any:
    """Draw a spectrogram from its loudest point (or a given one) down; returns the image."""
    top = float(decibels.max()) if loudest is None else loudest
    image = show_matrix(axes, decibels, (0.0, seconds), ENERGY, vmin=top - RANGE, vmax=top)
    image.set_extent((0.0, seconds, 0.0, sample_rate / 2000))
    axes.set(ylabel="frequency (kHz)")
    return image


@styled
def fbank(frontend: "Frontend", waveform: Tensor, title: str = "") -> Figure:
    """The features that a model hears.

    Args:
        frontend: Of the model.
        waveform: float32 ``(samples,)`` at its rate.
        title: Name of the recording.
    """
    figure = Figure(figsize=(8.0, 3.4))
    features, _ = frontend(waveform[None], torch.tensor([len(waveform)]))
    panels = Panels(figure, (1,), features.shape[1] * frontend.config.frame_shift)
    (axes,) = panels.axes
    image = draw_fbank(axes, features[0].numpy(), frontend.config)
    what = f"{frontend.config.mel_bins} log-mel filter-bank energies"
    axes.set_title(f"{title}: {what}" if title else what)
    panels.add_colour_bar(image, (0, 0), feature_unit(frontend.config))
    return figure


def draw_fbank(
    axes: Axes, features: NDArray[np.float32], config: "FrontendConfig", ticks: Sequence[int] = TICKS
) -> Any:
    """Draw ``(frames, mel_bins)`` over seconds, some bins named by their frequency in Hz."""
    seconds = len(features) * config.frame_shift
    low, high = (float(np.quantile(features, share)) for share in (0.01, 0.995)) if len(features) else (0, 1)
    image = show_matrix(axes, features, (0.0, seconds), ENERGY, vmin=low, vmax=high)
    shown = [hertz for hertz in ticks if config.low_frequency < hertz < config.high_frequency]
    positions = filter_position(torch.tensor(shown, dtype=torch.float64), config)
    axes.set_yticks(positions.tolist(), [f"{hertz / 1000:g}" for hertz in shown])
    axes.set_ylabel("frequency\n(kHz, mel scale)")
    return image


def feature_unit(config: "FrontendConfig") -> str:
    """What the values of the features are."""
    if config.cmvn == "utterance":
        return "standard deviations from the bin's mean"
    return "log energy (shifted and scaled)"
