"""The text that a recurrent language model learns from: sentences as ids, in batches of like length."""

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.lm.table import BEGIN, BEGIN_ID, END, END_ID, SPECIAL_WORDS, UNKNOWN, UNKNOWN_ID
from asr.lm.text import read_lines

SENTENCES_SORTED_TOGETHER = 20_000


class Text:
    """Sentences as ids, one after the other.

    Attributes:
        ids: uint32 ``(words,)`` with ``<s>`` and ``</s>`` around each sentence.
        starts: int64 ``(sentences + 1,)``.
    """

    def __init__(self, paths: Sequence[str], word_ids: dict[bytes, int]) -> None:
        ids, starts = array("I"), array("q", [0])
        for path in paths:
            for line in read_lines(path):
                words = line.split()
                if words:
                    ids.append(BEGIN_ID)
                    ids.extend(word_ids.get(word, UNKNOWN_ID) for word in words)
                    ids.append(END_ID)
                    starts.append(len(ids))
        if not ids:
            raise UserError(f"{', '.join(paths)}: no words in the text")
        self.ids: NDArray[np.uint32] = np.frombuffer(ids, dtype=np.uint32)
        self.starts: NDArray[np.int64] = np.frombuffer(starts, dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """What tells this text from others."""
        return hashlib.sha256(self.ids.data).hexdigest()

    def __len__(self) -> int:
        return len(self.starts) - 1

    def sentences(self, numbers: NDArray[np.int64]) -> list[list[int]]:
        """The ids of some sentences."""
        return [self.ids[self.starts[number] : self.starts[number + 1]].tolist() for number in numbers]

    def batches(self, order: NDArray[np.int64], words: int) -> Iterator[NDArray[np.int64]]:
        """Numbers of sentences in batches of like length, of at most so many padded words."""
        lengths = np.diff(self.starts)[order]
        for first in range(0, len(order), SENTENCES_SORTED_TOGETHER):
            part = slice(first, first + SENTENCES_SORTED_TOGETHER)
            by_length = np.argsort(lengths[part], kind="stable")
            chosen, sizes = order[part][by_length], lengths[part][by_length].tolist()
            begin = 0
            for place, size in enumerate(sizes):
                # The longest comes last: it says how long all are padded.
                if place > begin and size * (place + 1 - begin) > words:
                    yield chosen[begin:place]
                    begin = place
            yield chosen[begin:]


def frequent_words(paths: list[str], size: int) -> list[str]:
    """The most frequent words, behind the special ones."""
    counts: dict[bytes, int] = {}
    for path in paths:
        for line in read_lines(path):
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
    for mark in (BEGIN, END):
        if mark.encode() in counts:
            raise UserError(f"{', '.join(paths)}: {mark} stands in the text: it marks sentences, take it out")
    counts.pop(UNKNOWN.encode(), None)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    try:
        return [*SPECIAL_WORDS, *(word.decode() for word in ranked[:size])]
    except UnicodeDecodeError as error:
        raise UserError(f"{', '.join(paths)}: the text is not UTF-8 ({error})") from error
