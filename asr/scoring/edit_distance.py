"""Levenshtein distances of many pairs of texts in characters, 64 rows of the table at a time.

Hyyrö, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances" (Nordic Journal
of Computing 10, 2003), after Myers (JACM 46, 1999): a column of the table is held as the signs of its
vertical differences, in machine words.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from asr.scoring.alignment import compiled, in_parallel

_CHARACTERS_WORTH_COMPILING = 50_000


def character_distances(
    references: Sequence[str], hypotheses: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Characters of each reference and its distance to the hypothesis of the same index.

    Returns:
        Two int64 arrays ``(texts,)``.
    """
    codes, offsets = _code_points(references)
    other_codes, other_offsets = _code_points(hypotheses)
    lengths = np.diff(offsets)
    distances = np.zeros(len(references), np.int64)
    differing = [index for index, (a, b) in enumerate(zip(references, hypotheses, strict=True)) if a != b]
    pairs = np.array(differing, np.int64)
    work = np.concatenate(([0], np.cumsum(lengths[pairs] + np.diff(other_offsets)[pairs])))
    if work[-1] > _CHARACTERS_WORTH_COMPILING:
        codes, other_codes, alphabet = _dense(codes, other_codes)
        kernel = compiled(_distances_of_range)

        def run(first: int, last: int) -> None:
            kernel(codes, offsets, other_codes, other_offsets, pairs[first:last], alphabet, distances)

        in_parallel(run, work * 1_000)
    else:
        for index in differing:
            distances[index] = _distance(references[index], hypotheses[index])
    return lengths, distances


def _code_points(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    return codes, np.concatenate(([0], np.cumsum([len(text) for text in texts], dtype=np.int64)))


def _dense(*arrays: np.ndarray) -> tuple[Any, ...]:
    """Number the code points that occur from 0; the last result is how many there are."""
    numbers = np.zeros(max(int(array.max(initial=0)) for array in arrays) + 1, np.int32)
    for array in arrays:
        numbers[array] = 1
    alphabet = int(numbers.sum())
    numbers = np.cumsum(numbers, dtype=np.int32) - 1
    return *(numbers[array] for array in arrays), alphabet


def _distance(reference: str, hypothesis: str) -> int:
    """The same recurrence in one Python integer: for a few texts, where compiling takes longer."""
    if not reference:
        return len(hypothesis)
    matches: dict[str, int] = {}
    for place, character in enumerate(reference):
        matches[character] = matches.get(character, 0) | 1 << place
    full = (1 << len(reference)) - 1
    last = 1 << len(reference) - 1
    positive, negative = full, 0
    distance = len(reference)
    for character in hypothesis:
        match = matches.get(character, 0)
        diagonal = (((match & positive) + positive) ^ positive) | match | negative
        up = negative | ~(diagonal | positive)
        down = positive & diagonal
        distance += bool(up & last) - bool(down & last)
        up = up << 1 | 1
        positive = (down << 1 | ~(diagonal | up)) & full
        negative = diagonal & up & full
    return distance


def _distances_of_range(
    references: Any, reference_offsets: Any, hypotheses: Any, hypothesis_offsets: Any, pairs: Any,
    alphabet: int, distances: Any,
) -> None:  # fmt: skip
    """Distances of the pairs listed, written into ``distances``."""
    one = np.uint64(1)
    top = np.uint64(63)
    longest = 0
    for index in pairs:
        longest = max(longest, reference_offsets[index + 1] - reference_offsets[index])
    most = longest // 64 + 1
    matches = np.zeros((alphabet, most), np.uint64)
    positive = np.zeros(most, np.uint64)
    negative = np.zeros(most, np.uint64)
    for index in pairs:
        start = reference_offsets[index]
        length = reference_offsets[index + 1] - start
        first = hypothesis_offsets[index]
        last = hypothesis_offsets[index + 1]
        if length == 0:
            distances[index] = last - first
            continue
        blocks = (length + 63) // 64
        for place in range(length):
            matches[references[start + place], place // 64] |= one << np.uint64(place % 64)
        for block in range(blocks):
            positive[block] = ~np.uint64(0)
            negative[block] = np.uint64(0)
        final = np.uint64((length - 1) % 64)
        distance = length
        for place in range(first, last):
            # Horizontal differences that enter a block from the one above: +1 at the table's top.
            up_in = one
            down_in = np.uint64(0)
            for block in range(blocks):
                p = positive[block]
                n = negative[block]
                match = matches[hypotheses[place], block] | down_in
                diagonal = (((match & p) + p) ^ p) | match | n
                up = n | ~(diagonal | p)
                down = p & diagonal
                if block == blocks - 1:
                    distance += np.int64(up >> final & one) - np.int64(down >> final & one)
                up_out = up >> top
                down_out = down >> top
                up = up << one | up_in
                down = down << one | down_in
                positive[block] = down | ~(diagonal | up)
                negative[block] = up & diagonal
                up_in = up_out
                down_in = down_out
        distances[index] = distance
        for place in range(length):
            matches[references[start + place], place // 64] = np.uint64(0)
