"""Error rates of groups of utterances, such as speakers, with their intervals."""

import numpy as np
from matplotlib.figure import Figure

from asr.plots.style import COLOURS, FAINT, MUTED, styled
from asr.scoring.report import Report

PARTS = (("substitutions", COLOURS[0]), ("deletions", COLOURS[4]), ("insertions", COLOURS[3]))


@styled
def wer(report: Report, key: str = "speaker") -> Figure:
    """Bars of substitutions, deletions and insertions, and the 95 % interval, for each value of a key.

    Args:
        report: With a table of that key.
        key: What the groups are.
    """
    character = report.options.unit == "character"
    measure, tokens = ("CER", "characters") if character else ("WER", "words")
    rows = sorted(report.tables[key], key=lambda row: row.rate)
    figure = Figure(figsize=(7.2, 1.5 + 0.2 * len(rows)))
    axes = figure.subplots()
    places = np.arange(len(rows))
    left = np.zeros(len(rows))
    for part, colour in PARTS:
        shares = np.array([100 * getattr(row, part) / max(1, row.tokens) for row in rows])
        axes.barh(places, shares, left=left, height=0.7, color=colour, label=part)
        left += shares
    widest = left.max(initial=1.0)
    for place, row in zip(places, rows, strict=True):
        end = row.rate
        if row.interval is not None:
            axes.plot([row.interval.low, row.interval.high], [place, place], color="black", linewidth=0.9)
            end = max(end, row.interval.high)
        widest = max(widest, end)
        axes.annotate(
            f"{row.rate:.1f}  ({row.tokens:,} {tokens})".replace(",", "\u202f"),
            (end, place),
            (4, 0),
            textcoords="offset points",
            fontsize=7,
            va="center",
            color=MUTED,
        )
    total = report.score.cer if character else report.score.wer
    axes.axvline(total, color="black", linewidth=0.8, linestyle="--", zorder=0)
    axes.annotate(f"all: {total:.1f} %", (total, len(rows) - 0.4), fontsize=7.5, ha="center", va="bottom")
    axes.set(
        xlabel=f"{measure} (%); lines: 95 % intervals (bootstrap)",
        ylabel=key,
        xlim=(0, 1.25 * widest),
        ylim=(-0.6, len(rows) + 0.1),
    )
    axes.set_yticks(places, [row.label for row in rows], fontsize=7.5)
    axes.grid(True, axis="x", color=FAINT, zorder=0)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right")
    axes.set_title(f"{measure} by {key}")
    return figure
