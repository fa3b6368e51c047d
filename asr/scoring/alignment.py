"""Minimum-cost alignment of references and hypotheses, with sclite's costs and sclite's ties.

A text is a sequence of token ids (words or characters); a batch of texts is one flat array and the
offsets that cut it. The loops are compiled by numba, unless there is so little to do that loading it
would take longer than the work.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any

import numpy as np

from asr.cores import usable_cores

CORRECT, SUBSTITUTION, DELETION, INSERTION = range(4)

_CELLS_WORTH_COMPILING = 400_000
_WORK_WORTH_THREADS = 1_000_000


@dataclass(frozen=True)
class Costs:
    """What an edit costs; a match is free."""

    insertion: int = 3
    deletion: int = 3
    substitution: int = 4


SCLITE_COSTS = Costs()
UNIT_COSTS = Costs(1, 1, 1)


@dataclass(frozen=True)
class Ragged:
    """Sequences of token ids: ``tokens`` int32 ``(total,)``, ``offsets`` int64 ``(sequences + 1,)``."""

    tokens: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, int64 ``(sequences,)``."""
        return np.diff(self.offsets)

    def of(self, index: int) -> list[int]:
        """One sequence."""
        tokens: list[int] = self.tokens[self.offsets[index] : self.offsets[index + 1]].tolist()
        return tokens


@dataclass(frozen=True)
class Alignments:
    """How each hypothesis becomes its reference.

    Attributes:
        operations: uint8 ``(all operations,)``, CORRECT, SUBSTITUTION, DELETION or INSERTION, one
            utterance after the other.
        offsets: int64 ``(utterances + 1,)``; those of utterance ``i`` are
            ``operations[offsets[i] : offsets[i + 1]]``.
        counts: int64 ``(utterances, 4)``, how many there are of each operation.
    """

    operations: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray

    def of(self, index: int) -> np.ndarray:
        """The operations of one utterance, from its first token to its last."""
        return self.operations[self.offsets[index] : self.offsets[index + 1]]


def number_words(*groups: Sequence[str]) -> tuple[list[Ragged], list[str]]:
    """Number the words of several lists of texts that have one space between words.

    Returns:
        The ids of each list, the same word having the same id in all of them, and the words by id.
    """
    ids: defaultdict[str, int] = defaultdict(count().__next__)
    numbered = []
    for texts in groups:
        offsets = _offsets([text.count(" ") + 1 if text else 0 for text in texts])
        words = " ".join(texts).split()
        numbered.append(Ragged(np.fromiter(map(ids.__getitem__, words), np.int32, len(words)), offsets))
    return numbered, list(ids)


def number_characters(*groups: Sequence[str]) -> tuple[list[Ragged], list[str]]:
    """Number the characters of several lists of texts; results as of :func:`number_words`."""
    codes = [
        np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32) for texts in groups
    ]
    present = np.zeros(max(int(array.max(initial=0)) for array in codes) + 1, np.bool_)
    for array in codes:
        present[array] = True
    ids = np.cumsum(present, dtype=np.int32) - 1
    numbered = [
        Ragged(ids[array], _offsets([len(text) for text in texts]))
        for array, texts in zip(codes, groups, strict=True)
    ]
    return numbered, [chr(code) for code in np.flatnonzero(present).tolist()]


def align(references: Ragged, hypotheses: Ragged, costs: Costs = SCLITE_COSTS) -> Alignments:
    """Align each hypothesis with the reference of the same index.

    Among alignments of the same cost, sclite's is chosen: seen from the last word, a match or a
    substitution before a deletion or insertion, and an insertion before a deletion. Counts of
    substitutions, deletions and insertions depend on this choice.
    """
    work = np.concatenate(([0], np.cumsum((references.lengths + 1) * (hypotheses.lengths + 1))))
    # Each utterance writes where it could not meet its neighbours: at most all tokens of both texts.
    starts = references.offsets + hypotheses.offsets
    operations = np.empty(starts[-1], np.uint8)
    counts = np.zeros((len(references), 4), np.int64)
    kernel = compiled(_align_range) if work[-1] > _CELLS_WORTH_COMPILING else _align_range

    def run(first: int, last: int) -> None:
        kernel(
            references.tokens, references.offsets, hypotheses.tokens, hypotheses.offsets, first, last,
            costs.insertion, costs.deletion, costs.substitution, operations, counts,
        )  # fmt: skip

    in_parallel(run, work)
    lengths = counts.sum(axis=1)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    places = np.arange(offsets[-1]) + np.repeat(starts[:-1] - offsets[:-1], lengths)
    return Alignments(operations[places], offsets, counts)


@cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The machine code of a function, kept on disk between runs; numba is loaded by the first call."""
    from numba import njit

    return njit(cache=True, nogil=True)(function)


def in_parallel(run: Callable[[int, int], None], work: np.ndarray) -> None:
    """Call ``run(first, last)`` on stretches of the utterances that hold about the same work.

    Args:
        run: Releases the interpreter's lock for most of its time.
        work: Running total of the work, ``(utterances + 1,)``, starting with 0.
    """
    threads = usable_cores()
    if work[-1] <= _WORK_WORTH_THREADS or threads == 1:
        run(0, len(work) - 1)
        return
    cuts = np.searchsorted(work, np.linspace(0, work[-1], 4 * threads + 1)[1:-1])
    edges = [0, *map(int, cuts), len(work) - 1]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, edges[:-1], edges[1:]))


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def _align_range(
    references: Any, reference_offsets: Any, hypotheses: Any, hypothesis_offsets: Any, first: int, last: int,
    insertion: int, deletion: int, substitution: int, operations: Any, counts: Any,
) -> None:  # fmt: skip
    """Align utterances ``first`` to ``last - 1``; writes into the last two arguments."""
    width = 1
    area = 1
    for index in range(first, last):
        rows = reference_offsets[index + 1] - reference_offsets[index] + 1
        columns = hypothesis_offsets[index + 1] - hypothesis_offsets[index] + 1
        width = max(width, columns)
        area = max(area, rows * columns)
    steps = np.zeros(area, np.uint8)
    costs = np.zeros(width, np.int64)
    for index in range(first, last):
        reference_start = reference_offsets[index]
        hypothesis_start = hypothesis_offsets[index]
        rows = reference_offsets[index + 1] - reference_start
        columns = hypothesis_offsets[index + 1] - hypothesis_start
        start = reference_start + hypothesis_start
        same = rows == columns
        for place in range(rows if same else 0):
            if references[reference_start + place] != hypotheses[hypothesis_start + place]:
                same = False
                break
        if same:
            operations[start : start + rows] = CORRECT
            counts[index, CORRECT] = rows
            continue
        stride = columns + 1
        for column in range(1, stride):
            costs[column] = column * insertion
            steps[column] = INSERTION
        costs[0] = 0
        for row in range(1, rows + 1):
            word = references[reference_start + row - 1]
            diagonal = costs[0]
            costs[0] = left = row * deletion
            base = row * stride
            steps[base] = DELETION
            for column in range(1, stride):
                step = CORRECT
                best = diagonal
                if hypotheses[hypothesis_start + column - 1] != word:
                    step = SUBSTITUTION
                    best += substitution
                diagonal = costs[column]
                deleted = diagonal + deletion
                inserted = left + insertion
                if best > deleted or best > inserted:
                    if deleted < inserted:
                        step = DELETION
                        best = deleted
                    else:
                        step = INSERTION
                        best = inserted
                costs[column] = left = best
                steps[base + column] = step
        row = rows
        column = columns
        length = 0
        while row > 0 or column > 0:
            step = steps[row * stride + column]
            operations[start + length] = step
            counts[index, step] += 1
            length += 1
            if step != INSERTION:
                row -= 1
            if step != DELETION:
                column -= 1
        for place in range(length // 2):
            step = operations[start + place]
            operations[start + place] = operations[start + length - 1 - place]
            operations[start + length - 1 - place] = step
