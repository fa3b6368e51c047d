"""Modified Kneser-Ney estimation (Chen & Goodman 1999, interpolated, three discounts an order).

The details are those of KenLM's lmplz (Heafield et al. 2013): n-grams that begin with ``<s>`` keep their
plain counts, unigrams are interpolated with the uniform distribution over the words and ``<unk>``, and
what pruning by count takes goes to the back-off.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.lm.counts import CountLevel
from asr.lm.table import BEGIN_ID, Level
from asr.lm.text import Report, no_report

_CHUNK = 1 << 22
_FALLBACK = (0.5, 1.0, 1.5)


@dataclass
class Estimate:
    """Estimated levels and what they were estimated with.

    Attributes:
        levels: With the plain counts of their n-grams.
        discounts: For each order those of n-grams seen once, twice, and three times or more.
        substituted: Orders whose counts gave no usable discounts (small or artificial text), so that
            0.5, 1 and 1.5 were taken.
    """

    levels: list[Level]
    discounts: list[tuple[float, ...]]
    substituted: list[int]


def estimate(
    counted: Sequence[CountLevel], prune: Sequence[int] = (), report: Report = no_report
) -> Estimate:
    """Estimate a model from counts.

    Args:
        counted: The n-grams of each order.
        prune: For each order, n-grams that occur as often or less are left out; the last holds for higher
            orders too, none is 0 for all. Must not fall, and begins with 0: all words are kept.
        report: Is told the progress.

    Raises:
        UserError: ``prune`` breaks the rules above.
    """
    thresholds = check_prune(prune, len(counted))
    levels: list[Level] = []
    discounts: list[tuple[float, ...]] = []
    substituted: list[int] = []
    lower = np.full(1, 1.0 / (len(counted[0]) - 1))
    below = np.ones(1, dtype=bool)
    for order, (level, threshold) in enumerate(zip(counted, thresholds, strict=True), start=1):
        adjusted = _adjusted_counts(counted, order)
        discount = modified_discounts(adjusted)
        if discount is None:
            substituted.append(order)
            discount = _FALLBACK
        discounts.append(discount)
        kept = level.count > threshold if order > 1 else np.ones(len(level), dtype=bool)
        probability, gamma = _interpolate(level, adjusted, kept, np.array([0.0, *discount]), lower)
        if order == 1:
            # <s> is never predicted; it gets what a word never seen gets.
            probability[BEGIN_ID] = gamma[0] * lower[0]
        if levels:
            levels[-1].backoff[:] = np.log(gamma[below])
        renumbered = np.cumsum(below, dtype=np.uint32) - np.uint32(1)
        levels.append(
            Level(
                context=renumbered[level.context[kept]],
                word=np.array(level.word[kept]),
                log_probability=np.log(probability[kept]).astype(np.float32),
                backoff=np.zeros(int(kept.sum()), dtype=np.float32),
                count=np.array(level.count[kept]),
                suffix=renumbered[level.suffix[kept]],
            )
        )
        lower, below = probability, kept
        report("estimating", order / len(counted))
    return Estimate(levels, discounts, substituted)


def check_prune(prune: Sequence[int], orders: int) -> list[int]:
    """The count threshold of every order; rules and errors as in :func:`estimate`."""
    thresholds = list(prune) or [0]
    if len(thresholds) > orders:
        raise UserError(f"--prune: {len(thresholds)} thresholds for a model of order {orders}")
    thresholds += thresholds[-1:] * (orders - len(thresholds))
    if thresholds[0] != 0:
        raise UserError("--prune: the first threshold must be 0; limit the words with --vocabulary instead")
    if thresholds != sorted(thresholds):
        raise UserError("--prune: thresholds must not fall from one order to the next")
    return thresholds


def modified_discounts(adjusted: NDArray[np.integer]) -> tuple[float, ...] | None:
    """The three discounts of Chen & Goodman (1999), equation 26; None where the counts give none."""
    seen = np.bincount(np.minimum(adjusted, 5), minlength=6)
    if (seen[1:4] == 0).any():
        return None
    y = seen[1] / (seen[1] + 2 * seen[2])
    discounts = tuple(float(k - (k + 1) * y * seen[k + 1] / seen[k]) for k in (1, 2, 3))
    in_range = all(0 < discount <= k for k, discount in enumerate(discounts, start=1))
    return discounts if in_range else None


def _adjusted_counts(counted: Sequence[CountLevel], order: int) -> NDArray[np.int64]:
    """In how many contexts one word longer an n-gram occurs; the plain count where there is none longer."""
    plain = counted[order - 1].count.astype(np.int64)
    if order == 1:
        plain[BEGIN_ID] = 0
    if order == len(counted):
        return plain
    extensions = np.bincount(counted[order].suffix, minlength=len(plain))
    return np.where(extensions > 0, extensions, plain)


def _interpolate(
    level: CountLevel,
    adjusted: NDArray[np.int64],
    kept: NDArray[np.bool_],
    discount: NDArray[np.float64],
    lower: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Interpolate one order with the one below.

    Args:
        level: The n-grams (n).
        adjusted: Their adjusted counts (n,).
        kept: Which stay in the model (n,).
        discount: By adjusted count, 0 to 3 or more (4,).
        lower: Probabilities of the level below, which has m n-grams (m,).

    Returns:
        Probabilities (n,), those not kept without meaning, and the weights of the level below after each
        context (m,), 1 after contexts that nothing follows.
    """
    total = np.zeros(len(lower))
    left = np.zeros(len(lower))
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(level), _CHUNK)]
    for chunk in chunks:
        context, counts = level.context[chunk], adjusted[chunk]
        taken = np.where(kept[chunk], discount[np.minimum(counts, 3)], counts)
        first, size = int(context[0]), int(context[-1]) - int(context[0]) + 1
        total[first : first + size] += np.bincount(context - first, weights=counts)
        left[first : first + size] += np.bincount(context - first, weights=taken)
    gamma = np.divide(left, total, out=np.ones_like(total), where=total > 0)
    probability = np.empty(len(level))
    for chunk in chunks:
        context, counts = level.context[chunk], adjusted[chunk]
        own = (counts - discount[np.minimum(counts, 3)]) / total[context]
        probability[chunk] = own + gamma[context] * lower[level.suffix[chunk]]
    return probability, gamma
