"""Scalar quantisation with a codebook (Lloyd 1982, "Least squares quantization in PCM")."""

import numpy as np
from numpy.typing import NDArray

_ITERATIONS = 20


def codebook(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The ``size`` values (ascending) that stand for ``values`` with about the least squared error.

    Where there are at most ``size`` different values the codebook is exact; it is padded with its last.
    """
    ordered = np.sort(values.astype(np.float64))
    distinct = ordered[np.flatnonzero(np.diff(ordered, prepend=-np.inf))]
    if len(distinct) <= size:
        centres = distinct if len(distinct) else np.zeros(1)
        return np.pad(centres, (0, size - len(centres)), mode="edge").astype(np.float32)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = _initial_centres(ordered, size)
    for _ in range(_ITERATIONS):
        edges = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres.astype(np.float32)


def encode(values: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.intp]:
    """The index of the nearest centre for every value."""
    middles = (centres[1:].astype(np.float64) + centres[:-1]) / 2
    return np.searchsorted(middles, values)


def _initial_centres(ordered: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    # The best quantiser's centres lie with a density proportional to the cube root of the values'
    # density (Panter & Dite 1951).
    density, edges = np.histogram(ordered, bins=size)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    return np.interp((np.arange(size) + 0.5) / size * share[-1], share, edges)
