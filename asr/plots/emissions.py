"""What a model says: token probabilities over time, and a known text aligned with them."""

import textwrap

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from torch import Tensor

from asr.aligner import Aligner, recording_emissions
from asr.decoding.greedy import greedy_decode
from asr.errors import UserError
from asr.levels import even_levels
from asr.model import Model
from asr.plots.spectra import FEW_TICKS, draw_fbank
from asr.plots.style import (
    COLOURS,
    MUTED,
    PROBABILITY,
    Panels,
    show_matrix,
    styled,
    write_words,
)

LIKELY = 0.05
"""Tokens that never reach this probability get no row."""
LONGEST = 60.0
"""Seconds that a picture holds."""


@styled
def emissions(model: Model, waveform: Tensor, head: str | None = None, title: str = "") -> Figure:
    """Probabilities of the tokens over time, with those that best-path decoding takes.

    Args:
        model: The network.
        waveform: float32 ``(samples,)`` at its rate.
        head: CTC head; the default one without it.
        title: Name of the recording.
    """
    _check_length(waveform, model.config.frontend.sample_rate)
    head = head or model.default_head
    tokenizer = model.tokenizers[head]
    found, _ = recording_emissions(model, waveform, head)
    best = greedy_decode(torch.from_numpy(found)[None], torch.tensor([len(found)]), tokenizer)[0]
    probabilities = np.exp(found)
    rows = [token for token in range(1, found.shape[1]) if probabilities[:, token].max(initial=0) >= LIKELY]
    seconds = len(found) * model.frame_shift
    figure = Figure(figsize=(max(8.0, 1.6 * seconds), 3.2 + 0.15 * len(rows)))
    panels = Panels(figure, (4, 2, max(2.0, 0.7 * len(rows))), seconds)
    heard, blank, said = panels.axes
    image = draw_fbank(heard, _features(model, waveform), model.config.frontend, FEW_TICKS)
    panels.add_colour_bar(image, (0, 0), "std. dev.")
    edges = np.arange(len(found) + 1) * model.frame_shift
    blank.stairs(probabilities[:, 0], edges, fill=True, color=MUTED, alpha=0.35, linewidth=0)
    blank.set(ylim=(0, 1), ylabel="P(blank)", yticks=(0, 1))
    image = show_matrix(said, probabilities[:, rows], (0.0, seconds), PROBABILITY, vmin=0, vmax=1)
    panels.add_colour_bar(image, (2, 2), "probability")
    said.set_yticks(range(len(rows)), [tokenizer.tokens[token] for token in rows], fontsize=7)
    said.set_ylabel(f"token ({tokenizer.units})")
    for token, frame in zip(best.tokens, best.frames, strict=True):
        if token in rows:
            said.text(
                (frame + 0.5) * model.frame_shift,
                rows.index(token) + 0.75,
                tokenizer.tokens[token],
                fontsize=6.5,
                color=COLOURS[1],
                weight="bold",
                ha="center",
                va="bottom",
                path_effects=[withStroke(linewidth=1.5, foreground="white")],
            )
    said.set_ylim(-0.5, len(rows) + 0.5)
    heard.set_title(f"{title}: emissions of head “{head}”" if title else f"Emissions of head “{head}”")
    decoded = textwrap.fill(f"best path: {best.text}", round(13 * figure.get_figwidth()))
    said.set_title(decoded, fontsize=8, weight="normal", color=COLOURS[1])
    return figure


@styled
def alignment(aligner: Aligner, waveform: Tensor, text: str, title: str = "") -> Figure:
    """A text aligned with its recording: words, the probability of every token, the likeliest path.

    Args:
        aligner: Model and speller.
        waveform: float32 ``(samples,)`` at the model's rate.
        text: What was said.
        title: Name of the recording.
    """
    model = aligner.model
    _check_length(waveform, aligner.sample_rate)
    aligned = aligner.align(waveform, text)
    result = aligned.alignment
    names = [aligner.tokenizer.tokens[token] for token in result.tokens]
    found, _ = recording_emissions(model, waveform, aligner.head)
    probabilities = np.exp(found[:, result.tokens])
    seconds = len(probabilities) * model.frame_shift
    size = max(2.0, 0.1 * len(names))
    figure = Figure(figsize=(max(8.0, 1.6 * seconds), 3.2 + size))
    panels = Panels(figure, (0.34, 1.3, 0.6, size), seconds)
    band, heard, sure, said = panels.axes
    image = draw_fbank(heard, _features(model, waveform), model.config.frontend, FEW_TICKS)
    panels.add_colour_bar(image, (1, 1), "std. dev.")
    for number, word in enumerate(aligned.transcript.words):
        heard.vlines([word.start, word.end], *heard.get_ylim(), color="white", linewidth=0.5, alpha=0.7)
        if number % 2:
            said.axvspan(word.start, word.end, color=MUTED, alpha=0.13, linewidth=0)
        sure.fill_between([word.start, word.end], word.confidence, color=COLOURS[0], linewidth=0)
    sure.set(ylim=(0, 1), yticks=(0, 1), ylabel="word\nconfidence")
    image = show_matrix(said, probabilities, (0.0, seconds), PROBABILITY, vmin=0, vmax=1)
    panels.add_colour_bar(image, (3, 3), "probability")
    times = np.stack([result.starts, result.ends], axis=1).ravel() * model.frame_shift
    said.plot(times, np.repeat(np.arange(len(names)), 2), color=COLOURS[1], linewidth=1.0)
    said.set_yticks(range(len(names)), names, fontsize=5.5)
    said.set_ylim(len(names) - 0.5, -0.5)
    said.set_ylabel(f"text ({aligner.tokenizer.units}), from top to bottom")
    write_words(band, aligned.transcript.words, 0.85 * figure.get_figwidth())
    band.set_title(f"{title}: forced alignment" if title else "Forced alignment")
    return figure


def _features(model: Model, waveform: Tensor) -> NDArray[np.float32]:
    (heard,) = even_levels([waveform], model.config.frontend)
    features, _ = model.frontend(heard[None], torch.tensor([len(heard)]))
    array: NDArray[np.float32] = features[0].numpy()
    return array


def _check_length(waveform: Tensor, sample_rate: int) -> None:
    """The picture grows with the recording, so that frames stay visible; a long one is refused."""
    seconds = len(waveform) / sample_rate
    if seconds > LONGEST:
        raise UserError(
            f"{seconds:.0f} s do not fit into one picture; "
            f"choose {LONGEST:g} s at most with --offset and --duration"
        )
