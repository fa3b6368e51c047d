"""A recurrent layer unfolded in time over the words being said.

Above, the recording; in the middle some steps of the unfolded network, each with its input, the hidden
state and gates of both directions, and its output; below, hidden state and gates of many units at every
step, forward and backward.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.patches import FancyBboxPatch, Rectangle
from numpy.typing import NDArray
from torch import Tensor

from asr.aligner import recording_emissions
from asr.model import Model
from asr.plots.spectra import FEW_TICKS, draw_fbank
from asr.plots.style import (
    COLOURS,
    ENERGY,
    FAINT,
    INK,
    MUTED,
    OPENNESS,
    SIGNED,
    show_matrix,
    styled,
    write_words,
)
from asr.transcript import Word
from asr.unfolding import Steps, unfold

NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
GATE_LETTERS = {"input": "i", "forget": "f", "output": "o", "reset": "r", "update": "z"}
GATE_WORDS = {
    "input": "input gate\n(writes)",
    "forget": "forget gate\n(keeps)",
    "output": "output gate\n(shows)",
    "reset": "reset gate\n(hears the past)",
    "update": "update gate\n(keeps)",
}
UNITS_IN_A_BOX = 16
LABEL_ROOM = 0.095
"""Of the names at the left of the network, relative to its width."""
SMOOTHING = 5
"""Steps (about a phone) over which a unit's state is averaged to see how much it varies."""


@dataclass(frozen=True)
class _Layer:
    """What is drawn of a layer, with times of steps in seconds."""

    features: NDArray[np.float32]
    directions: list[tuple[str, Steps]]
    tokens: list[tuple[str, float]]
    step: float
    number: int
    factor: int

    @property
    def seconds(self) -> float:
        return len(self.tokens) * self.step


@styled
def unfolded(
    model: Model,
    waveform: Tensor,
    words: Sequence[Word],
    layer: int = 0,
    units: int = 32,
    steps: int = 10,
    start: float | None = None,
    title: str = "",
) -> Figure:
    """Draw one layer over a recording of some seconds.

    Args:
        model: The network.
        waveform: float32 ``(samples,)`` at its rate.
        words: What is said when.
        layer: Counted from 1; 0 for the top one.
        units: Hidden units shown: those that vary most, in the order in which they are most active.
        steps: Steps of the unfolded network.
        start: Second at which these begin; at the longest word without it.
        title: Name of the recording.
    """
    shown = _read(model, waveform, layer)
    first = _first_step(shown, words, steps, start)
    last = min(first + steps, len(shown.tokens))
    gates = list(shown.directions[0][1].gates)
    has_memory = shown.directions[0][1].memory is not None
    rows = 1 + has_memory + len(gates)
    figure = Figure(figsize=(11.0, 7.4 + 1.05 * rows))
    grid = figure.add_gridspec(3, 1, height_ratios=(2.0, 4.2, 0.5 + 1.1 * rows))
    _draw_recording(figure, grid[0], shown, model, words, (first, last))
    _draw_network(figure.add_subplot(grid[1]), shown, words, first, last)
    _draw_units(figure, grid[2], shown, words, units)
    cell = NAMES[model.config.encoder.cell]
    kind = f"Bidirectional {cell}" if model.config.encoder.bidirectional else cell
    where = f"layer {shown.number} of {model.config.encoder.layers}, {model.config.encoder.hidden_size} units"
    figure.suptitle(
        f"{kind} unfolded in time: {where}" + (f", over {title}" if title else ""), x=0.01, ha="left"
    )
    return figure


def _read(model: Model, waveform: Tensor, layer: int) -> _Layer:
    parts = unfold(model, waveform, layer)
    directions = [("forward", parts.forward)]
    if parts.backward is not None:
        directions.append(("backward", parts.backward))
    head = model.default_head
    emissions, _ = recording_emissions(model, waveform, head)
    names = model.tokenizers[head].tokens
    best = [(names[token], float(np.exp(row[token]))) for row in emissions for token in [int(row.argmax())]]
    return _Layer(
        parts.features.numpy(),
        directions,
        best[: len(parts.forward.hidden)],
        model.frame_shift,
        layer or model.config.encoder.layers,
        model.config.encoder.subsampling_factor,
    )


def _first_step(shown: _Layer, words: Sequence[Word], steps: int, start: float | None) -> int:
    if start is None:
        fitting = [word for word in words if word.end - word.start <= steps * shown.step] or list(words)
        word = max(fitting, key=lambda word: word.end - word.start, default=Word("", 0.0, 0.0))
        start = (word.start + word.end - steps * shown.step) / 2
    return int(np.clip(round(start / shown.step), 0, max(0, len(shown.tokens) - steps)))


def _draw_recording(
    figure: Figure,
    place: SubplotSpec,
    shown: _Layer,
    model: Model,
    words: Sequence[Word],
    zoomed: tuple[int, int],
) -> None:
    grid = place.subgridspec(2, 1, height_ratios=(0.3, 1), hspace=0.0)
    band, heard = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    for axes in (band, heard):
        axes.set_xlim(0, shown.seconds)
    draw_fbank(heard, shown.features, model.config.frontend, FEW_TICKS)
    heard.set_xlim(0, shown.seconds)
    heard.set_xlabel("time (s)")
    left, right = (step * shown.step for step in zoomed)
    low, high = heard.get_ylim()
    frame = Rectangle((left, low), right - left, high - low, fill=False, edgecolor="white", linewidth=1.6)
    heard.add_patch(frame)
    write_words(band, words, 9.6)
    band.set_title("a   What is heard: filter-bank features; the box is unfolded in b")


def _draw_network(axes: Axes, shown: _Layer, words: Sequence[Word], first: int, last: int) -> None:
    """The textbook's picture, with the values that the network really had."""
    axes.axis("off")
    backward = len(shown.directions) > 1
    top = 4.35 if backward else 3.1
    axes.set_xlim(-LABEL_ROOM * (last - first), last - first + 0.05)
    for column, step in enumerate(range(first, last)):
        _draw_input(axes, shown, step, column + 0.5)
        _draw_arrow(axes, (column + 0.5, 0.72), (column + 0.5, 0.95))
        for row, (direction, steps) in enumerate(shown.directions):
            _draw_cell(axes, steps, step, column + 0.5, 1.45 + 1.25 * row)
            ahead = direction == "forward"
            ends = (column + 0.86, column + 1.14) if ahead else (column + 0.14, column - 0.14)
            if column < last - first - 1 if ahead else column > 0:
                _draw_arrow(axes, (ends[0], 1.45 + 1.25 * row), (ends[1], 1.45 + 1.25 * row), COLOURS[row])
        if backward:
            _draw_bypasses(axes, column + 0.5)
        _draw_output(axes, shown.tokens[step], column + 0.5, top)
        axes.text(column + 0.5, -0.42, f"{step * shown.step:.2f} s", fontsize=7, ha="center", color=MUTED)
    left = -0.95 * LABEL_ROOM * (last - first)
    _label_rows(axes, shown, top, left)
    _draw_words_below(axes, shown, words, first, last)
    axes.set_ylim(-1.0, top + 0.85)
    gates = ", ".join(f"{GATE_LETTERS[gate]} {gate}" for gate in shown.directions[0][1].gates)
    bars = f" Bars: how open the gates are, mean over all units ({gates})." if gates else ""
    axes.set_title(f"b   The network unfolded: {last - first} steps, each the same cell one step later")
    axes.text(
        left,
        top + 0.62,
        f"Squares: {UNITS_IN_A_BOX} units of the hidden state, from −1 (blue) to 1 (red), handed on along "
        f"the coloured arrows.{bars}",
        fontsize=8,
        color=MUTED,
    )


def _draw_input(axes: Axes, shown: _Layer, step: int, x: float) -> None:
    frames = shown.features[step * shown.factor : (step + 1) * shown.factor]
    low, high = np.quantile(shown.features, (0.01, 0.995))
    extent = (x - 0.16, x + 0.16, -0.2, 0.7)
    axes.imshow(frames.T, origin="lower", aspect="auto", extent=extent, cmap=ENERGY, vmin=low, vmax=high)


def _draw_cell(axes: Axes, steps: Steps, step: int, x: float, y: float) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.33, y - 0.48),
            0.66,
            0.96,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor="white",
            edgecolor=MUTED,
            linewidth=0.8,
        )
    )
    chosen = _order(steps.hidden.numpy(), UNITS_IN_A_BOX)
    values = steps.hidden[step].numpy()[chosen].reshape(-1, 2)
    right = x - 0.02 if steps.gates else x + 0.13
    extent = (right - 0.26, right, y - 0.4, y + 0.4)
    axes.imshow(values, aspect="auto", extent=extent, cmap=SIGNED, vmin=-1, vmax=1, zorder=3)
    axes.add_patch(Rectangle(extent[::2], 0.26, 0.8, fill=False, edgecolor=FAINT, linewidth=0.5, zorder=4))
    for number, (name, gate) in enumerate(steps.gates.items()):
        left = x + 0.05 + 0.085 * number
        opened = float(gate[step].mean())
        axes.add_patch(Rectangle((left, y - 0.28), 0.06, 0.68, facecolor=FAINT, linewidth=0))
        axes.add_patch(Rectangle((left, y - 0.28), 0.06, 0.68 * opened, facecolor=INK, linewidth=0))
        axes.text(left + 0.03, y - 0.32, GATE_LETTERS[name], fontsize=6, ha="center", va="top")


def _draw_bypasses(axes: Axes, x: float) -> None:
    """From the input to the backward cell, and from the forward cell to the output."""
    for side, low, high in ((-0.38, 0.8, 2.35), (0.38, 1.8, 3.55)):
        edge = side * 0.33 / 0.38
        axes.plot(
            [x if side < 0 else x + edge, x + side, x + side, x + edge if side < 0 else x],
            [low, low, high, high],
            color=MUTED,
            linewidth=0.7,
            alpha=0.7,
            zorder=0,
        )


def _draw_output(axes: Axes, token: tuple[str, float], x: float, y: float) -> None:
    name, probability = token
    blank = name.startswith("<")
    axes.text(
        x,
        y,
        "blank" if blank else name,
        fontsize=7.5 if blank else 10,
        weight="normal" if blank else "bold",
        color=MUTED if blank else INK,
        ha="center",
    )
    axes.text(x, y - 0.06, f"{probability:.2f}", fontsize=6.5, color=MUTED, ha="center", va="top")
    _draw_arrow(axes, (x, y - 0.95 if y > 4 else y - 1.1), (x, y - 0.3))


def _draw_arrow(
    axes: Axes, tail: tuple[float, float], head: tuple[float, float], colour: str = MUTED
) -> None:
    width = 0.9 if colour == MUTED else 1.8
    axes.annotate(
        "",
        head,
        tail,
        arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": width, "shrinkA": 0, "shrinkB": 0},
    )


def _label_rows(axes: Axes, shown: _Layer, top: float, left: float) -> None:
    lower = "layer 1" if shown.number == 2 else f"layers\n1 to {shown.number - 1}"
    below = f"input,\nthrough {lower}" if shown.number > 1 else "input"
    labels = [(0.25, below, INK), (top - 0.05, "output\n(likeliest token,\nprobability)", INK)]
    for row, (direction, _) in enumerate(shown.directions):
        remembers = "the past" if direction == "forward" else "the future"
        labels.append((1.45 + 1.25 * row, f"{direction}:\nremembers\n{remembers}", COLOURS[row]))
    for y, text, colour in labels:
        axes.text(left, y, text, fontsize=7.5, color=colour, va="center", linespacing=1.15)


def _draw_words_below(axes: Axes, shown: _Layer, words: Sequence[Word], first: int, last: int) -> None:
    for word in words:
        left = max(word.start / shown.step - first, 0.0)
        right = min(word.end / shown.step - first, float(last - first))
        if right - left > 0.2:
            axes.plot([left + 0.05, right - 0.05], [-0.58, -0.58], color=COLOURS[0], linewidth=2.5)
            axes.text((left + right) / 2, -0.94, word.text.lower(), fontsize=9, ha="center")


def _draw_units(figure: Figure, place: SubplotSpec, shown: _Layer, words: Sequence[Word], units: int) -> None:
    """Hidden state, memory and gates of some units at every step; one column a direction."""
    columns = len(shown.directions)
    gates = list(shown.directions[0][1].gates)
    has_memory = shown.directions[0][1].memory is not None
    rows = ["hidden", *(["memory"] if has_memory else []), *gates]
    grid = place.subgridspec(
        len(rows) + 1,
        columns + 1,
        height_ratios=(0.45, *[1.0] * len(rows)),
        width_ratios=(*[1.0] * columns, 0.018),
    )
    for column, (direction, steps) in enumerate(shown.directions):
        band = figure.add_subplot(grid[0, column])
        band.set_xlim(0, shown.seconds)
        order = _order(steps.hidden.numpy(), units)
        for row, name in enumerate(rows, start=1):
            axes = figure.add_subplot(grid[row, column])
            image, label = _draw_values(axes, steps, name, order, shown.seconds)
            axes.set_ylabel(label if column == 0 else "")
            axes.set_yticks([])
            axes.tick_params(labelbottom=row == len(rows))
            for word in words:
                axes.axvline(word.start, color="white" if name in gates else MUTED, linewidth=0.4, alpha=0.6)
            if column == columns - 1:
                bar = figure.colorbar(image, cax=figure.add_subplot(grid[row, columns]))
                bar.outline.set_linewidth(0.4)
                bar.set_label("openness" if name in gates else "value")
        axes.set_xlabel("time (s)")
        write_words(band, words, 4.6)
        arrow = "reads from left to right →" if direction == "forward" else "← reads from right to left"
        band.set_title(f"{'cd'[column]}   {direction}: {arrow}", color=COLOURS[column])


def _draw_values(
    axes: Axes, steps: Steps, name: str, order: NDArray[np.int64], seconds: float
) -> tuple[Any, str]:
    if name == "hidden":
        image = show_matrix(axes, steps.hidden.numpy()[:, order], (0.0, seconds), SIGNED, vmin=-1, vmax=1)
        return image, f"hidden state h\n({len(order)} units)"
    if name == "memory":
        # What the output gate lets through, on the scale of the hidden state: h = o tanh(c).
        assert steps.memory is not None
        values = steps.memory.tanh().numpy()[:, order]
        return show_matrix(axes, values, (0.0, seconds), SIGNED, vmin=-1, vmax=1), "memory\ntanh(c)"
    values = steps.gates[name].numpy()[:, order]
    return show_matrix(axes, values, (0.0, seconds), OPENNESS, vmin=0, vmax=1), GATE_WORDS[name]


def _order(hidden: NDArray[np.float32], units: int) -> NDArray[np.int64]:
    """The units that vary most from word to word, by the time at which they are furthest from their mean.

    The latest comes first, because rows are drawn from the bottom: the picture reads from top left.
    """
    window = np.ones(SMOOTHING) / SMOOTHING
    slow = np.apply_along_axis(np.convolve, 0, hidden - hidden.mean(axis=0), window, "same")
    chosen = np.argsort(-slow.var(axis=0), kind="stable")[:units]
    order: NDArray[np.int64] = chosen[np.argsort(-np.abs(slow[:, chosen]).argmax(axis=0), kind="stable")]
    return order
