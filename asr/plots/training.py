"""How training runs went: loss, error rates, learning rate, gradients, speed, waste."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from asr.errors import UserError
from asr.files import is_folder
from asr.plots.style import COLOURS, LINE_STYLES, styled

LOG = "train.jsonl"
SMOOTHING = 9
"""Reports over which the bold curves are averaged (a median, so that one odd step leaves no bump)."""


@dataclass(frozen=True)
class Run:
    """A run's log: ``steps`` are reports of training steps, ``evaluations`` of the development set."""

    name: str
    steps: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read ``train.jsonl`` of a run folder; of a step done twice (after a resume) the later report counts.

    Raises:
        UserError: there is no such log, it is broken, or it is still empty.
    """
    path = Path(folder) / LOG if is_folder(folder) else Path(folder)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read; give the folder of a training run ({error})") from error
    steps: dict[int, dict[str, Any]] = {}
    evaluations: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            (steps if "loss" in entry else evaluations)[int(entry["step"])] = entry
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # the run is being written to, or was killed
                break
            raise UserError(f"{path}: line {number} is no report of a training run") from error
    if not steps and not evaluations:
        raise UserError(f"{path}: holds no reports yet; a run writes one every 20 steps")
    name = path.resolve().parent.name if path.name == LOG else path.stem
    return Run(name, *([part[step] for step in sorted(part)] for part in (steps, evaluations)))


@styled
def training(runs: Sequence[Run]) -> Figure:
    """Six panels over optimizer steps; several runs are told apart by colour, heads by the kind of line."""
    figure = Figure(figsize=(10.0, 5.6))
    grid = figure.subplots(2, 3, sharex=True)
    for axes in grid.flat:
        axes.grid(True, axis="y")
        axes.margins(x=0.01)
    (loss, error, rate), (gradient, speed, waste) = grid
    for number, run in enumerate(runs):
        colour = COLOURS[number % len(COLOURS)]
        _draw_heads(loss, run, "loss", run.steps, number, len(runs))
        _draw_errors(error, run, number, len(runs))
        _draw(rate, run.steps, "lr", colour, run.name, 1000.0, smooth=False)
        _draw(gradient, run.steps, "gradient_norm", colour, run.name)
        _draw(speed, run.steps, "hours_per_second", colour, run.name, scale=3600.0)
        for position, (key, label) in enumerate((("padding", "padding"), ("blanks", "blanks"))):
            many = len(runs) > 1
            shade = colour if many else COLOURS[position]
            style = LINE_STYLES[position] if many else "-"
            _draw(waste, run.steps, key, shade, f"{run.name}: {label}" if many else label, 100.0, style)
    loss.set(title="Training loss", ylabel="CTC loss (nats per label)")
    error.set(title="Development set", ylabel="error rate (%)")
    rate.set(title="Learning rate", ylabel="learning rate (10⁻³)")
    gradient.set(title="Gradient before clipping", ylabel="norm (per second of audio)", yscale="log")
    for axis in (gradient.yaxis.set_major_formatter, gradient.yaxis.set_minor_formatter):
        axis(lambda value, _: f"{value:g}")
    speed.set(title="Speed", ylabel="audio heard (s per s)")
    error.set_ylim(bottom=0)
    speed.set_ylim(bottom=0)
    waste.set(title="Shares of frames", ylabel="share (%)", ylim=(0, 100))
    for axes in grid[1]:
        axes.set_xlabel("optimizer step")
    for axes in (loss, error, waste):
        if axes.lines:
            axes.legend(loc="best")
    if len(runs) > 1:
        rate.legend(loc="best")
    names = ", ".join(run.name for run in runs)
    minutes = max((run.steps[-1].get("minutes", 0.0) for run in runs if run.steps), default=0.0)
    figure.suptitle(f"Training of {names} ({minutes:.0f} minutes)", x=0.01, ha="left")
    return figure


def heads_of(run: Run, what: str) -> list[str]:
    """Names of the heads that a run reports a measure of."""
    entries = run.steps if what == "loss" else run.evaluations
    return list(
        {
            key.removeprefix(f"{what}_"): None
            for entry in entries
            for key in entry
            if key.startswith(f"{what}_")
        }
    )


def _draw_heads(
    axes: Axes, run: Run, what: str, entries: list[dict[str, Any]], number: int, runs: int
) -> None:
    for position, head in enumerate(heads_of(run, what)):
        label = head if runs == 1 else f"{run.name}: {head}"
        colour = COLOURS[(position if runs == 1 else number) % len(COLOURS)]
        style = LINE_STYLES[0 if runs == 1 else position % len(LINE_STYLES)]
        _draw(axes, entries, f"{what}_{head}", colour, label, 1.0, style)


def _draw_errors(axes: Axes, run: Run, number: int, runs: int) -> None:
    for position, head in enumerate(heads_of(run, "wer")):
        # Logs of earlier versions do not say what a head writes.
        units = next((line[key] for line in run.evaluations if (key := f"units_{head}") in line), head)
        unit = "PER" if units == "phones" else "WER"
        label = f"{head} ({unit})" if runs == 1 else f"{run.name}: {head} ({unit})"
        colour = COLOURS[(position if runs == 1 else number) % len(COLOURS)]
        steps, values = _series(run.evaluations, f"wer_{head}")
        style = "-" if runs == 1 else LINE_STYLES[position % len(LINE_STYLES)]
        if not len(values):
            continue
        axes.plot(steps, values, style, color=colour, label=label, marker="o", markersize=3)
        axes.annotate(
            f"{values[-1]:.1f}",
            (steps[-1], values[-1]),
            (4, 0),
            textcoords="offset points",
            fontsize=7.5,
            va="center",
            color=colour,
        )


def _draw(
    axes: Axes,
    entries: list[dict[str, Any]],
    key: str,
    colour: str,
    label: str,
    scale: float = 1.0,
    style: str = "-",
    smooth: bool = True,
) -> None:
    steps, values = _series(entries, key)
    if smooth and len(values) > SMOOTHING:
        axes.plot(steps, scale * values, color=colour, linewidth=0.5, alpha=0.35)
        values = _median(values)
    axes.plot(steps, scale * values, style, color=colour, label=label)


def _series(entries: list[dict[str, Any]], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and values of the entries that have a finite value."""
    known = [(entry["step"], entry[key]) for entry in entries if np.isfinite(entry.get(key, np.nan))]
    pairs = np.array(known, dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    half = SMOOTHING // 2
    return np.array([np.median(values[max(0, at - half) : at + half + 1]) for at in range(len(values))])
