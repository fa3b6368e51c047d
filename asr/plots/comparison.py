"""Two systems on the same utterances: their difference, their kinds of error, and both group by group."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asr.plots.style import COLOURS, FAINT, INK, MUTED, styled
from asr.scoring.bootstrap import Comparison
from asr.scoring.report import PairReport, Report

FIRST, SECOND = COLOURS[0], COLOURS[1]
KINDS = ("substitutions", "deletions", "insertions")
MOST_GROUPS = 60


@styled
def comparison(pair: PairReport, labels: tuple[str, str]) -> Figure:
    """The bootstrap distribution of the difference, errors by kind, and a row for each group.

    Args:
        pair: Two systems, compared with a bootstrap.
        labels: What to call them.

    Returns:
        The figure; rates in percent of the reference's words or characters.
    """
    assert pair.comparison is not None
    tables = {key: _most_different(rows) for key, rows in pair.tables.items()}
    heights = [2.4, *(0.7 + 0.19 * len(rows) for rows in tables.values())]
    figure = Figure(figsize=(8.0, sum(heights) + 0.3))
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=(1.15, 1))
    measure = "CER" if pair.first.options.unit == "character" else "WER"
    _draw_kinds(figure.add_subplot(grid[0, 0]), pair, labels, measure)
    _draw_difference(figure.add_subplot(grid[0, 1]), pair, pair.comparison, labels, measure)
    for place, (key, rows) in enumerate(tables.items(), start=1):
        rates = figure.add_subplot(grid[place, 0])
        differences = figure.add_subplot(grid[place, 1], sharey=rates)
        left_out = len(pair.tables[key]) - len(rows)
        _draw_groups(rates, differences, key, rows, labels, measure)
        if left_out:
            rates.set_title(f"By {key}: the {len(rows)} that differ most, of {len(rows) + left_out}")
    return figure


def _most_different(rows: dict[str, Comparison]) -> dict[str, Comparison]:
    kept = set(sorted(rows, key=lambda label: -abs(rows[label].difference))[:MOST_GROUPS])
    return {label: row for label, row in rows.items() if label in kept}


def _draw_kinds(axes: Axes, pair: PairReport, labels: tuple[str, str], measure: str) -> None:
    """Stacked bars of the kinds of error, the interval of the whole rate at their ends."""
    for place, report in enumerate((pair.first, pair.second)):
        left = 0.0
        for kind, (name, colour) in enumerate(zip(KINDS, (COLOURS[4], COLOURS[3], COLOURS[5]), strict=True)):
            width = _shares(report)[kind]
            axes.barh(place, width, 0.52, left, color=colour, label=name if place == 0 else None, linewidth=0)
            if width:
                axes.text(left + width / 2, place, f"{width:.1f}", ha="center", va="center", fontsize=7.5)
            left += width
        interval = report.cer_interval if measure == "CER" else report.wer_interval
        if interval:
            axes.plot([interval.low, interval.high], [place - 0.36] * 2, color=INK, linewidth=1.0)
            axes.text(interval.high, place - 0.36, f"  {left:.2f} %", va="center", fontsize=8, weight="bold")
    axes.set_yticks([0, 1], labels)
    axes.set(xlabel=f"{measure} (%); line: 95 % interval", ylim=(1.75, -0.6), title="Errors by kind")
    axes.set_xlim(0, axes.get_xlim()[1] * 1.12)
    axes.legend(ncols=3, loc="lower left", handlelength=1.0, columnspacing=1.2)


def _shares(report: Report) -> list[float]:
    counts = report.aligned.alignments.counts.sum(axis=0)
    return [float(100.0 * count / max(int(report.aligned.totals.sum()), 1)) for count in counts[1:]]


def _draw_difference(
    axes: Axes, pair: PairReport, found: Comparison, labels: tuple[str, str], measure: str
) -> None:
    """The bootstrap distribution, coloured by which system is better."""
    edges = np.histogram_bin_edges(found.replicates, 60)
    heights, _ = np.histogram(found.replicates, edges)
    centres = (edges[1:] + edges[:-1]) / 2
    colours = [SECOND if centre < 0 else FIRST for centre in centres]
    axes.bar(centres, heights, np.diff(edges), color=colours, alpha=0.75, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    top = heights.max(initial=1)
    axes.plot([found.interval.low, found.interval.high], [1.07 * top] * 2, color=INK, linewidth=1.2)
    axes.plot(found.difference, 1.07 * top, "o", color=INK, markersize=4)
    axes.set(
        xlabel=f"{measure}, {labels[1]} − {labels[0]} (percentage points)",
        ylabel="bootstrap replicates",
        ylim=(0, 1.45 * top),
        title=_minus(
            f"Difference {found.difference:+.2f} [{found.interval.low:+.2f}, {found.interval.high:+.2f}]"
        ),
    )
    axes.text(
        0.02,
        0.97,
        f"{labels[1]} better in {100 * found.improvement:.1f} % of the replicates\n"
        f"matched pairs (MAPSSWE): p = {pair.matched_pairs.p:.2g}",
        transform=axes.transAxes,
        va="top",
        fontsize=8,
    )


def _draw_groups(
    rates: Axes,
    differences: Axes,
    key: str,
    rows: dict[str, Comparison],
    labels: tuple[str, str],
    measure: str,
) -> None:
    """Both rates of each group on the left, the difference with its interval on the right."""
    places = np.arange(len(rows))
    first = np.array([row.first for row in rows.values()])
    second = np.array([row.second for row in rows.values()])
    rates.hlines(places, first, second, color=MUTED, linewidth=1.0, zorder=1)
    rates.plot(first, places, "o", color=FIRST, markersize=4.5, label=labels[0])
    rates.plot(second, places, "o", color=SECOND, markersize=4.5, label=labels[1])
    rates.set_yticks(places, list(rows))
    rates.set(xlabel=f"{measure} (%)", ylim=(len(rows) - 0.4, -0.6), title=f"By {key}")
    rates.set_xlim(left=0)
    rates.grid(axis="x", color=FAINT)
    rates.legend(loc="lower left")
    for place, row in zip(places, rows.values(), strict=True):
        colour = MUTED
        if row.interval.high < 0:
            colour = SECOND
        elif row.interval.low > 0:
            colour = FIRST
        differences.plot([row.interval.low, row.interval.high], [place] * 2, color=colour, linewidth=1.4)
        differences.plot(row.difference, place, "o", color=colour, markersize=4)
    differences.axvline(0, color=INK, linewidth=0.8)
    differences.tick_params(labelleft=False)
    differences.grid(axis="x", color=FAINT)
    differences.set(
        xlabel=f"{measure}, {labels[1]} − {labels[0]} (percentage points)",
        title="Difference, 95 % interval (grey: holds zero)",
    )


def _minus(text: str) -> str:
    return text.replace("-", "−")
