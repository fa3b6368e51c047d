"""What the search keeps in memory: records, and the arithmetic over them; compiled."""

import math
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: One record of an array, with its fields as attributes, as compiled code sees it.
Record: TypeAlias = Any

#: An integer, as compiled code takes it.
Number: TypeAlias = int | np.integer

#: Decorates what only other compiled functions call: without an entry from Python it compiles faster, and
#: it is cached as a part of those that call it.
allocating = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy")

#: The same for what makes no arrays. Such functions need not count references to arrays (NRT, numba's
#: runtime), which took a third of the search's time; and they are inlined, since an array is seven arguments.
internal = njit(
    nogil=True,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
    error_model="numpy",
    _nrt=False,
    forceinline=True,
)

#: The words (or, without a lexicon, the tokens) said so far. ``symbol`` is the last of them, ``score``
#: all that is not acoustic.
CONTEXT = np.dtype(
    [
        ("score", np.float64),
        ("parent", np.int32),
        ("symbol", np.int32),
        ("lm_state", np.int32),
        ("spelling_state", np.int32),
        ("hotword_state", np.int32),
    ],
    align=True,
)

#: A prefix in the beam: a context, a node of the lexicon's tree (-1 outside it) and the last token (0 where
#: it may come again without a blank: the separator), with the log-probabilities of its alignments that end
#: in a blank, in that token, and of both, ``total``; ``bonus`` is all that is not acoustic, look-ahead
#: included. ``trace`` is the best alignment so far (``route`` its part of the probability); if ``fresh`` is a
#: token, that token comes behind it in this frame. ``leader`` is the first of the candidates with the same
#: future, and the leader's ``winner`` the best of them.
PREFIX = np.dtype(
    [
        ("context", np.int32),
        ("node", np.int32),
        ("last", np.int32),
        ("trace", np.int32),
        ("fresh", np.int32),
        ("leader", np.int32),
        ("winner", np.int32),
        ("ends_in_blank", np.float64),
        ("ends_in_token", np.float64),
        ("total", np.float64),
        ("bonus", np.float64),
        ("score", np.float64),
        ("route", np.float64),
    ],
    align=True,
)

#: A prefix to come that completes a word or leaves the tree, so that its context must be looked up:
#: ``context`` is followed by ``symbol`` (and before that, if ``exit`` is a node, the tree is left there).
#: The other fields are those of the prefix.
PENDING = np.dtype(
    [
        ("context", np.int32),
        ("exit", np.int32),
        ("symbol", np.int32),
        ("node", np.int32),
        ("last", np.int32),
        ("trace", np.int32),
        ("fresh", np.int32),
        ("mass", np.float64),
    ],
    align=True,
)

#: What a candidate's score must reach in this frame, ``lowest``: the ``best`` score so far less the beam
#: threshold, and once there are candidates enough for the beam, that of the last of them. For this, scores
#: are counted (``counts``) in bins of ``width`` from ``ceiling`` down; ``above`` are those in the first
#: ``bins`` bins.
BAR = np.dtype(
    [
        ("best", np.float64),
        ("lowest", np.float64),
        ("ceiling", np.float64),
        ("width", np.float64),
        ("above", np.int64),
        ("bins", np.int64),
        ("counts", np.int32, (512,)),
    ],
    align=True,
)

#: A token of an alignment; ``context`` is the context that it completed, or -1. Record 0 is the start, its
#: token and frame are -1.
TRACE = np.dtype(
    [("previous", np.int32), ("token", np.int32), ("frame", np.int32), ("context", np.int32)], align=True
)

#: In ``frame``, a prefix with the alignment ``loser`` gave way to one with the alignment ``winner`` (trace
#: records); their scores' ``difference`` is at most 0.
LINK = np.dtype(
    [("difference", np.float64), ("winner", np.int32), ("loser", np.int32), ("frame", np.int32)], align=True
)


@internal
def add(first: float, second: float, summing: bool) -> float:
    """Sum (or, not ``summing``, maximum) of two probabilities in logarithms."""
    if first < second:
        first, second = second, first
    if not summing or second == -np.inf:
        return first
    return first + math.log1p(math.exp(second - first))


@allocating
def grown(records: NDArray, length: int) -> NDArray:
    """The same records with room for at least ``length``."""
    if length <= len(records):
        return records
    larger = np.empty(2 * length, dtype=records.dtype)
    for number in range(len(records)):
        larger[number] = records[number]
    return larger


@allocating
def empty_table(entries: int) -> NDArray[np.int32]:
    """A hash table with room for so many entries: at least twice the slots, a power of two."""
    size = 1024
    while size < 2 * entries:
        size *= 2
    table = np.empty(size, np.int32)
    for slot in range(size):
        table[slot] = -1
    return table


@internal
def mixed(first: int, second: int, third: int, fourth: int) -> int:
    """A hash of four numbers."""
    value = first * 0x9E3779B97F4A7C1 + second * 0x2545F4914F6CDD1D + third * 0x369DEA0F31A53F85
    value += fourth * 0x27BB2EE687B0B0FD
    value ^= value >> 32
    value *= 0x5851F42D4C957F2D
    return value ^ (value >> 29)


@internal
def kth_largest(values: NDArray[np.float64], count: int, k: int) -> float:
    """The ``k``-th largest of the first ``count`` values, which are reordered (Hoare 1961, "Find")."""
    low, high, wanted = 0, count - 1, k - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if wanted <= right:
            high = right
        elif wanted >= left:
            low = left
        else:
            break
    return values[wanted]
