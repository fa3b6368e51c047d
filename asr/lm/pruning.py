"""Making a model smaller by what its n-grams are worth (Stolcke 1998, "Entropy-based pruning").

The worth of an n-gram is the relative entropy between the model with it and the model without. A history's
probability is taken from the text's counts where the table has them: the product of Kneser-Ney
probabilities, whose lower orders are not those of the text, chooses worse (Chelba et al. 2010). An n-gram
stays together with all the n-grams that it begins and ends with.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.lm.ngram import packed_size, spelled_size
from asr.lm.table import BEGIN_ID, END_ID, Level, NGramTable
from asr.lm.text import Report, no_report

_CHUNK = 1 << 22
_NARROW = 1 << 16
# In the packed form a context takes about three times the room of an n-gram; on held-out text a price of
# two n-grams gave the lowest perplexity at equal size.
_CONTEXT_PRICE = 2.0
_TOLERANCE = 0.005
_SEARCH_STEPS = 40
# Keeps logarithms finite where rounding makes a model's sums reach 1.
_LEAST_REST = 1e-9


def prune_by_entropy(table: NGramTable, threshold: float, report: Report = no_report) -> NGramTable:
    """Drop the n-grams whose loss costs less than ``threshold`` (nats a word of relative entropy).

    Raises:
        UserError: an n-gram's ending is missing from the table, as in files that other tools pruned.
    """
    pruner = _Pruner(table, report)
    return pruner.pruned(pruner.select(threshold), {"entropy_threshold": threshold})


def prune_to_size(table: NGramTable, size: int, bits: int = 8, report: Report = no_report) -> NGramTable:
    """Drop the least useful n-grams until the packed model (``NGram.from_table(table, bits)``) fits.

    A context must be worth its room, and words beyond the 65,536 most frequent keep only their 1-gram, so
    that an id takes two bytes.

    Args:
        table: The model.
        size: Bytes on disk.
        bits: Of a quantised value.
        report: Is told the progress.

    Raises:
        UserError: the words alone take more room, or as :func:`prune_by_entropy`.
    """
    spelled = spelled_size(table.words)
    if _size(table, [np.ones(count, dtype=bool) for count in table.counts], bits, spelled) <= size:
        return table
    pruner = _Pruner(table, report)
    pruner.forget_rare_words()
    kept = pruner.select(np.inf)
    if (least := _size(table, kept, bits, spelled)) > size:
        raise UserError(f"--size: the words alone take {least:,} bytes of {size:,}; take fewer words")
    low, high = np.log(1e-12), 0.0
    for step in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        chosen = pruner.select(float(np.exp(middle)), _CONTEXT_PRICE)
        reached = _size(table, chosen, bits, spelled)
        report("choosing n-grams", (step + 1) / _SEARCH_STEPS)
        if reached > size:
            low = middle
        else:
            high, kept = middle, chosen
            if reached > size * (1 - _TOLERANCE):
                break
    report("choosing n-grams", 1.0)
    return pruner.pruned(kept, {"entropy_threshold": float(np.exp(high)), "size": size})


class _Pruner:
    """A model's n-grams, what each is worth, and what is left without some of them.

    Lists have an entry an order; ``kept`` is bool (n,) for each.
    """

    def __init__(self, table: NGramTable, report: Report) -> None:
        self._table = table
        self._levels = table.levels
        self._suffixes = _suffixes(table.levels)
        self._rests = [
            _rests(below, level, suffix)
            for (below, level), suffix in zip(pairwise(self._levels), self._suffixes[1:], strict=True)
        ]
        self._divergences = self._measure(report)

    def forget_rare_words(self) -> None:
        """Have all n-grams dropped in which words beyond the 65,536 first do not come first."""
        rare = np.zeros(len(self._levels[0]), dtype=bool)
        for level, divergence in zip(self._levels[1:], self._divergences[1:], strict=True):
            rare = (level.word >= _NARROW) | rare[level.context]
            divergence[rare] = -np.inf

    def select(self, threshold: float, context_price: float = 0.0) -> list[NDArray[np.bool_]]:
        """Choose the n-grams worth ``threshold``, and those that they begin or end with.

        With a price, a context's n-grams stay only where together they are worth so many thresholds more.
        """
        kept = []
        needed = np.zeros(len(self._levels[-1]), dtype=bool)
        for number in range(len(self._levels) - 1, 0, -1):
            context, size = self._levels[number].context, len(self._levels[number - 1])
            keep = (self._divergences[number] >= threshold) | needed
            if context_price:
                surplus = self._divergences[number][keep] - threshold
                surplus[needed[keep]] = np.inf
                gains = np.bincount(context[keep], weights=surplus, minlength=size)
                keep &= (gains >= context_price * threshold)[context]
            needed = np.zeros(size, dtype=bool)
            needed[context[keep]] = True
            needed[self._suffixes[number][keep]] = True
            kept.append(keep)
        kept.append(np.ones(len(self._levels[0]), dtype=bool))
        return kept[::-1]

    def pruned(self, kept: list[NDArray[np.bool_]], provenance: dict[str, object]) -> NGramTable:
        """The chosen n-grams, with the back-offs that make their probabilities sum to 1."""
        result: list[Level] = []
        below_kept = np.ones(1, dtype=bool)
        for number, (level, keep) in enumerate(zip(self._levels, kept, strict=True)):
            if number:
                backoff = self._backoffs(number, keep)
                result[-1].backoff[:] = backoff[below_kept]
            renumbered = np.cumsum(below_kept, dtype=np.uint32) - np.uint32(1)
            chosen = level.select(keep)
            chosen.context = renumbered[chosen.context]
            chosen.suffix = renumbered[self._suffixes[number][keep]]
            result.append(chosen)
            below_kept = keep
        table = self._table
        return NGramTable(table.words, result, table.unit, {**table.provenance, **provenance})

    def _backoffs(self, number: int, keep: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Natural logarithms of the back-off weights of the level below ``number``."""
        below, level, suffix = self._levels[number - 1], self._levels[number], self._suffixes[number]
        rest, rest_below = self._rests[number - 1]
        rest = rest + _sums(level.context, level.log_probability, len(below), ~keep)
        rest_below = rest_below + _sums(level.context, below.log_probability[suffix], len(below), ~keep)
        followed = np.bincount(level.context[keep], minlength=len(below)) > 0
        return np.where(followed, np.log(rest / rest_below), 0.0).astype(np.float32)

    def _measure(self, report: Report) -> list[NDArray[np.float32]]:
        """The relative entropy (nats a word) that each n-gram's loss costs; infinite at order 1."""
        divergences = [np.full(len(self._levels[0]), np.inf, dtype=np.float32)]
        history = _history_of_words(self._levels[0])
        for number in range(1, len(self._levels)):
            level = self._levels[number]
            result = np.empty(len(level), dtype=np.float32)
            for start in range(0, len(level), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                result[chunk] = self._divergence(number, chunk, history)
                report(f"weighing {number + 1}-grams", start / len(level))
            divergences.append(result)
            history = _next_history(self._levels[0], level, history)
        return divergences

    def _divergence(self, number: int, chunk: slice, history: NDArray[np.float64]) -> NDArray[np.float64]:
        level, below = self._levels[number], self._levels[number - 1]
        context = level.context[chunk]
        log_p = level.log_probability[chunk].astype(np.float64)
        log_q = below.log_probability[self._suffixes[number][chunk]].astype(np.float64)
        rest, rest_below = (values[context] for values in self._rests[number - 1])
        before = np.log(rest / rest_below)
        after = np.log((rest + np.exp(log_p)) / (rest_below + np.exp(log_q)))
        return -history[context] * (np.exp(log_p) * (log_q + after - log_p) + rest * (after - before))


def _suffixes(levels: list[Level]) -> list[NDArray[np.uint32]]:
    """For every n-gram the index, in the level below, of the one without its first word."""
    suffixes = [np.zeros(len(levels[0]), dtype=np.uint32)]
    for order, (below, level) in enumerate(pairwise(levels), start=2):
        if level.suffix is not None:
            suffixes.append(level.suffix)
            continue
        if order == 2:
            suffixes.append(level.word)
            continue
        known = below.context.astype(np.uint64) << np.uint64(32) | below.word
        wanted = suffixes[-1][level.context].astype(np.uint64) << np.uint64(32) | level.word
        found = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
        if len(wanted) and (not len(known) or (known[found] != wanted).any()):
            raise UserError(
                f"the ending of a {order}-gram is missing: this model was pruned; prune the whole one"
            )
        suffixes.append(found.astype(np.uint32))
    return suffixes


def _rests(
    below: Level, level: Level, suffix: NDArray[np.uint32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a context's n-grams leave of 1, by their own probabilities and by the level below's: (m,) each."""
    rest_below = np.maximum(1 - _sums(level.context, below.log_probability[suffix], len(below)), _LEAST_REST)
    # More exact than 1 minus the sum of rounded probabilities.
    return np.exp(below.backoff.astype(np.float64)) * rest_below, rest_below


def _sums(
    context: NDArray[np.uint32],
    log_probability: NDArray[np.float32],
    size: int,
    chosen: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The sum of (chosen) probabilities after each of ``size`` contexts."""
    sums = np.zeros(size)
    for start in range(0, len(context), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        weights = np.exp(log_probability[chunk].astype(np.float64))
        if chosen is not None:
            weights[~chosen[chunk]] = 0.0
        first, last = int(context[chunk][0]), int(context[chunk][-1])
        sums[first : last + 1] += np.bincount(context[chunk] - first, weights=weights)
    return sums


def _history_of_words(words: Level) -> NDArray[np.float64]:
    if words.count is not None:
        return words.count / _tokens(words)
    history = np.exp(words.log_probability.astype(np.float64))
    # A sentence begins as often as one ends.
    history[BEGIN_ID] = history[END_ID]
    return history


def _next_history(words: Level, level: Level, history: NDArray[np.float64]) -> NDArray[np.float64]:
    if level.count is not None and words.count is not None:
        return level.count / _tokens(words)
    return history[level.context] * np.exp(level.log_probability.astype(np.float64))


def _tokens(words: Level) -> int:
    assert words.count is not None
    return int(words.count.sum(dtype=np.int64)) - int(words.count[BEGIN_ID])


def _size(table: NGramTable, kept: list[NDArray[np.bool_]], bits: int, spelled: int) -> int:
    contexts, wide = 1, False
    for level, keep in zip(table.levels[1:], kept[1:], strict=True):
        context = level.context[keep]
        contexts += int(np.count_nonzero(context[1:] != context[:-1])) + bool(len(context))
        wide |= int(level.word[keep].max(initial=0)) >= _NARROW
    return packed_size(spelled, [int(keep.sum()) for keep in kept], contexts, wide, bits)
