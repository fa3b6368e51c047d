"""What the pictures share: type, colours that colour-blind readers tell apart, axes of time, saving."""

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.files import atomic_write, check_writable
from asr.transcript import Word

try:
    import matplotlib as mpl
    from cycler import cycler
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise UserError("pictures need matplotlib: pip install 'asr-ctc[plot]'") from error

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito's palette, in the order of use."""
LINE_STYLES = ("-", "--", ":", "-.")
INK, MUTED, FAINT = "#1a1a1a", "#666666", "#d9d9d9"
ENERGY, PROBABILITY, OPENNESS, SIGNED = "magma", "Blues", "cividis", "RdBu_r"
"""Colour maps: spectra; probabilities on white; gates from shut to open; values of either sign."""

LETTER_WIDTH = 0.58
"""Of a letter relative to its size, with this font, on average."""
SMALLEST_WORD, LARGEST_WORD = 4.5, 8.5

FORMATS = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 200

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "text.color": INK,
    "lines.linewidth": 1.3,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.titlesize": 11.5,
    "figure.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "image.interpolation": "nearest",
    "svg.hashsalt": "asr",
}

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def styled(draw: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function draw in the common style, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def wrapper(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        with mpl.rc_context(STYLE):
            return draw(*arguments, **options)

    return wrapper


@styled
def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a picture; the name's ending says as what.

    Raises:
        UserError: another ending than ``.png``, ``.svg`` and ``.pdf``, or the file cannot be written.
    """
    check_format(path)
    kind = Path(path).suffix.lower().removeprefix(".")
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with atomic_write(path, "wb") as stream:
        figure.savefig(stream, format=kind, dpi=DOTS_PER_INCH, metadata=undated)


def check_format(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work is done, a name that no picture can have."""
    if Path(path).suffix.lower() not in FORMATS:
        raise UserError(f"{path}: pictures are {', '.join(FORMATS)}")
    check_writable(path)


def show_matrix(
    axes: Axes, values: NDArray[Any], seconds: tuple[float, float], colours: str, **options: Any
) -> Any:
    """Draw ``(time, rows)`` with time to the right and rows upwards; returns the image."""
    rows = values.shape[1]
    return axes.imshow(
        values.T,
        origin="lower",
        aspect="auto",
        extent=(*seconds, -0.5, rows - 0.5),
        cmap=colours,
        **options,
    )


class Panels:
    """Axes one above the other over the same time in seconds, with room for colour bars at their right."""

    def __init__(self, figure: Figure, heights: Sequence[float], seconds: float) -> None:
        self._figure = figure
        self._grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=(1, 0.016))
        self.axes: list[Axes] = []
        for row in range(len(heights)):
            shared = self.axes[0] if self.axes else None
            self.axes.append(figure.add_subplot(self._grid[row, 0], sharex=shared))
            self.axes[row].tick_params(labelbottom=row == len(heights) - 1)
        self.axes[0].set_xlim(0, seconds)
        self.axes[-1].set_xlabel("time (s)")

    def add_colour_bar(self, image: Any, rows: tuple[int, int], label: str) -> Any:
        """A colour bar beside the panels from the first of ``rows`` to the last."""
        place = self._figure.add_subplot(self._grid[rows[0] : rows[1] + 1, 1])
        bar = self._figure.colorbar(image, cax=place)
        bar.set_label(label)
        bar.outline.set_linewidth(0.4)
        return bar


def write_words(axes: Axes, words: Sequence[Word], inches: float = 7.0) -> None:
    """Turn axes into a band that shows when each word is said.

    The words are set as large as the room between them allows, upright where that is too small to read.

    Args:
        axes: Its limits in x are in seconds.
        words: With their times.
        inches: About how wide the axes are.
    """
    axes.set_ylim(0, 1)
    axes.axis("off")
    left, right = axes.get_xlim()
    points_per_second = inches * 72 / (right - left)
    centres = [(word.start + word.end) / 2 for word in words]
    rooms = np.diff(centres) * points_per_second
    widths = [LETTER_WIDTH * (len(word.text) + 1) for word in words]
    sizes = [room / ((one + two) / 2) for room, one, two in zip(rooms, widths, widths[1:], strict=False)]
    size = min([*sizes, LARGEST_WORD])
    upright = size < SMALLEST_WORD
    for word, centre in zip(words, centres, strict=True):
        axes.fill_between(
            [word.start, word.end], 0.0, 0.16, facecolor=COLOURS[0], edgecolor="white", linewidth=0.8
        )
        axes.text(
            centre,
            0.28,
            word.text.lower(),
            rotation=90 if upright else 0,
            fontsize=6.0 if upright else size,
            ha="center",
            va="bottom",
        )
