"""Counting n-grams of all orders.

An n-gram is its context's number and its last word, packed in one 64-bit key whatever the order. The
numbers come from sorting: once the n-grams of one order are sorted, every token of the text learns the
number of the n-gram that ends with it, and that is the context of its successor.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.lm.corpus import Corpus
from asr.lm.runs import Column, SortedRuns
from asr.lm.table import BEGIN_ID
from asr.lm.text import Report, no_report

_CHUNK = 1 << 22
_NONE = np.uint32(0xFFFFFFFF)


@dataclass
class CountLevel:
    """The distinct n-grams of one order, sorted by (context, word); arrays are uint32 (n,), on disk.

    Attributes:
        context: Number of the n-gram without its last word in the level below.
        word: Id of the last word.
        count: Occurrences in the text.
        suffix: Number of the n-gram without its first word in the level below.
    """

    context: NDArray[np.uint32]
    word: NDArray[np.uint32]
    count: NDArray[np.uint32]
    suffix: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.word)


def count_ngrams(corpus: Corpus, order: int, directory: Path, report: Report = no_report) -> list[CountLevel]:
    """Count all n-grams up to ``order``; those of sentence starts begin with ``<s>``.

    Memory is bounded whatever the length of the text; ``directory`` needs room for about 16 bytes a token
    and 32 an n-gram.
    """
    size = len(corpus.words)
    zeros = np.zeros(size, dtype=np.uint32)
    levels = [CountLevel(zeros, np.arange(size, dtype=np.uint32), corpus.counts.astype(np.uint32), zeros)]
    ending = corpus.tokens
    for length in range(2, order + 1):
        level, ending = _count_level(corpus.tokens, ending, length, directory, report)
        levels.append(level)
    return levels


def _count_level(
    tokens: NDArray[np.uint32], ending: NDArray[np.uint32], length: int, directory: Path, report: Report
) -> tuple[CountLevel, NDArray[np.uint32]]:
    """Count the n-grams of one length.

    Args:
        tokens: The text.
        ending: Number of the shorter n-gram that ends with each token, ``_NONE`` where there is none.
        length: n.
        directory: For the files.
        report: Is told the progress.

    Returns:
        The level, and the number of the n-gram that ends with each token.
    """
    runs = SortedRuns(directory, f"{length}-gram")
    ending_here = Column(directory / f"{length}-gram.ending", np.uint32)
    ending_here.append(np.array([_NONE]))
    starts = range(1, len(tokens), _CHUNK)
    for start in starts:
        word = tokens[start : start + _CHUNK]
        context = ending[start - 1 : start + len(word) - 1]
        valid = (context != _NONE) & (word != BEGIN_ID)
        keys = context[valid].astype(np.uint64) << np.uint64(32) | word[valid].astype(np.uint64)
        places = np.full(len(word), _NONE, dtype=np.uint32)
        places[valid] = runs.add(keys, ending[start : start + len(word)][valid])
        ending_here.append(places)
        report(f"counting {length}-grams", 0.8 * start / len(tokens))
    columns = {
        name: Column(directory / f"{length}-gram.{name}", np.uint32)
        for name in ("context", "word", "count", "suffix")
    }
    for keys, counts, suffixes in runs.merge():
        columns["context"].append(keys >> np.uint64(32))
        columns["word"].append(keys & np.uint64(0xFFFFFFFF))
        columns["count"].append(counts)
        columns["suffix"].append(suffixes)
    following = ending_here.finish()
    for number, start in enumerate(starts):
        places = following[start : start + _CHUNK]
        valid = places != _NONE
        places[valid] = runs.places(number)[places[valid]]
    report(f"counting {length}-grams", 1.0)
    return CountLevel(**{name: column.finish() for name, column in columns.items()}), following
