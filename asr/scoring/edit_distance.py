"""Levenshtein distances of many pairs of texts, 64 rows of the table at a time.

Hyyrö, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances" (Nordic Journal
of Computing 10, 2003), after Myers (JACM 46, 1999): a column of the table is held as the signs of its
vertical differences, in machine words.
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from asr.scoring.alignment import Ragged, compiled, in_parallel

_TOKENS_WORTH_COMPILING = 50_000


def edit_distances(references: Ragged, hypotheses: Ragged, vocabulary: int) -> np.ndarray:
    """The Levenshtein distance of each reference to the hypothesis of the same index.

    Args:
        references, hypotheses: Token ids below ``vocabulary``.
        vocabulary: How many different tokens there are.

    Returns:
        int64 ``(texts,)``.
    """
    distances = np.zeros(len(references), np.int64)
    work = references.offsets + hypotheses.offsets
    if work[-1] > _TOKENS_WORTH_COMPILING:
        kernel = compiled(_distances_of_range)

        def run(first: int, last: int) -> None:
            kernel(
                references.tokens, references.offsets, hypotheses.tokens, hypotheses.offsets, first, last,
                vocabulary, distances,
            )  # fmt: skip

        in_parallel(run, work)
    else:
        for index in range(len(references)):
            distances[index] = edit_distance(references.of(index), hypotheses.of(index))
    return distances


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """The Levenshtein distance of two texts.

    The same recurrence in one Python integer: for a few texts, where compiling takes longer.
    """
    if reference == hypothesis or not reference:
        return abs(len(hypothesis) - len(reference))
    matches: dict[Hashable, int] = {}
    for place, token in enumerate(reference):
        matches[token] = matches.get(token, 0) | 1 << place
    full = (1 << len(reference)) - 1
    last = 1 << len(reference) - 1
    positive, negative = full, 0
    distance = len(reference)
    for token in hypothesis:
        match = matches.get(token, 0)
        diagonal = (((match & positive) + positive) ^ positive) | match | negative
        up = negative | ~(diagonal | positive)
        down = positive & diagonal
        distance += bool(up & last) - bool(down & last)
        up = up << 1 | 1
        positive = (down << 1 | ~(diagonal | up)) & full
        negative = diagonal & up & full
    return distance


def _distances_of_range(
    references: Any, reference_offsets: Any, hypotheses: Any, hypothesis_offsets: Any, first: int, last: int,
    vocabulary: int, distances: Any,
) -> None:  # fmt: skip
    """Distances of utterances ``first`` to ``last - 1``, written into ``distances``."""
    one = np.uint64(1)
    zero = np.uint64(0)
    top = np.uint64(63)
    longest = 0
    for index in range(first, last):
        longest = max(longest, reference_offsets[index + 1] - reference_offsets[index])
    matches = np.zeros((vocabulary, longest // 64 + 1), np.uint64)
    positive = np.zeros(longest // 64 + 1, np.uint64)
    negative = np.zeros(longest // 64 + 1, np.uint64)
    for index in range(first, last):
        reference = references[reference_offsets[index] : reference_offsets[index + 1]]
        hypothesis = hypotheses[hypothesis_offsets[index] : hypothesis_offsets[index + 1]]
        length = len(reference)
        if length == 0:
            distances[index] = len(hypothesis)
            continue
        blocks = (length + 63) // 64
        for place in range(length):
            matches[reference[place], place // 64] |= one << np.uint64(place % 64)
        positive[:blocks] = ~zero
        negative[:blocks] = zero
        final = np.uint64((length - 1) % 64)
        distance = length
        for token in hypothesis:
            # Horizontal differences that enter a block from the one above; +1 at the table's top.
            up_above = one
            down_above = zero
            for block in range(blocks):
                p = positive[block]
                n = negative[block]
                match = matches[token, block] | down_above
                diagonal = (((match & p) + p) ^ p) | match | n
                up = n | ~(diagonal | p)
                down = p & diagonal
                if block == blocks - 1:
                    if up >> final & one:
                        distance += 1
                    if down >> final & one:
                        distance -= 1
                shifted_up = up << one | up_above
                shifted_down = down << one | down_above
                up_above = up >> top
                down_above = down >> top
                positive[block] = shifted_down | ~(diagonal | shifted_up)
                negative[block] = shifted_up & diagonal
        distances[index] = distance
        for place in range(length):
            matches[reference[place], place // 64] = zero
