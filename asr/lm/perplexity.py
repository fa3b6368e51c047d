"""How well a model predicts a text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UserError
from asr.lm import query
from asr.lm.ngram import NGram
from asr.lm.table import BEGIN_ID, UNKNOWN_ID
from asr.lm.text import PathLike, Report, no_report, read_blocks, split_units


@dataclass
class Perplexity:
    """Sums over a text; the ends of its sentences count as words, blank lines as nothing.

    Attributes:
        sentences: Number of sentences.
        words: Number of words, ends of sentences included.
        unknown: How many of them the model does not know.
        log_probability: Natural log-probability of all words.
        log_probability_known: The same without the unknown ones.
    """

    sentences: int = 0
    words: int = 0
    unknown: int = 0
    log_probability: float = 0.0
    log_probability_known: float = 0.0

    @property
    def with_unknown(self) -> float:
        """Perplexity of all words, an unknown one as probable as ``<unk>``."""
        return math.exp(-self.log_probability / self.words)

    @property
    def without_unknown(self) -> float:
        """Perplexity of the known words (they are predicted with the unknown ones in their contexts)."""
        known = self.words - self.unknown
        return math.exp(-self.log_probability_known / known) if known else math.nan


def measure_perplexity(lm: NGram, paths: Sequence[PathLike], report: Report = no_report) -> Perplexity:
    """Score texts, a sentence a line.

    Raises:
        UserError: a text cannot be read or there is no word in them.
    """
    total = Perplexity()
    known = {word.encode(): number for word, number in lm.word_ids.items()}
    for path in paths:
        for block in read_blocks(path, report):
            lines = b"".join(line for line in block.splitlines(keepends=True) if line.strip())
            if not lines:
                continue
            units = split_units(lines, lm.unit, path)
            ids = np.fromiter((known.get(unit, UNKNOWN_ID) for unit in units), np.uint32, len(units))
            scores = query.score_words(lm.arrays, lm.begin_state, lm.begin_state, BEGIN_ID, ids)
            begins, unknown = ids == BEGIN_ID, ids == UNKNOWN_ID
            total.sentences += int(begins.sum())
            total.words += int((~begins).sum())
            total.unknown += int(unknown.sum())
            total.log_probability += float(scores.sum(dtype=np.float64))
            total.log_probability_known += float(scores[~unknown].sum(dtype=np.float64))
    if not total.words:
        raise UserError(f"{', '.join(str(path) for path in paths)}: no words in the text")
    return total
