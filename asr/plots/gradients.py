"""The vanishing gradient: how strongly an output depends on inputs of long ago."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from asr.gradients import Reach
from asr.plots.style import COLOURS, LINE_STYLES, MUTED, styled

DEPTH = 1e-8
"""Below the strongest: what is weaker is not drawn."""


@styled
def gradients(reaches: Sequence[Reach]) -> Figure:
    """Norm of the Jacobian against the lag k, on a logarithmic scale, a curve a network."""
    figure = Figure(figsize=(6.6, 4.0))
    axes = figure.subplots()
    for number, reach in enumerate(reaches):
        axes.plot(
            reach.lags.numpy(),
            reach.norms.numpy(),
            LINE_STYLES[number % len(LINE_STYLES)],
            color=COLOURS[number % len(COLOURS)],
            label=_label(reach),
        )
    strongest = max(float(reach.norms.max()) for reach in reaches)
    weakest = min(float(reach.norms.min()) for reach in reaches)
    axes.set(yscale="log", ylim=(max(weakest, DEPTH * strongest) / 2, 3 * strongest))
    low = min(int(reach.lags.min()) for reach in reaches)
    high = max(int(reach.lags.max()) for reach in reaches)
    axes.set_xlim(low, high)
    axes.grid(True)
    shifts = {reach.frame_shift for reach in reaches}
    if len(shifts) == 1 and (shift := shifts.pop()):
        above = axes.secondary_xaxis(
            "top", functions=(lambda k: np.asarray(k) * shift, lambda s: np.asarray(s) / shift)
        )
        above.set_xlabel("k (s)")
    axes.set_xlabel(
        "lag k (steps): the input lies k steps before the output"
        + (", after it where k < 0" if low < 0 else "")
    )
    axes.set_ylabel("‖ ∂ output(t) / ∂ input(t − k) ‖")
    if low < 0:
        axes.axvline(0, color=MUTED, linewidth=0.6)
    axes.legend(loc="best")
    axes.set_title("How far back the gradient reaches")
    return figure


def _label(reach: Reach) -> str:
    if reach.frame_shift:
        return reach.name
    return f"{reach.name}, untrained: halves every {reach.half_life:.1f} steps"
