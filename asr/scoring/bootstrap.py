"""Bootstrap intervals of error rates, and of the difference of two systems on the same utterances.

Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation" (ICASSP
2004): utterances, or clusters of them such as speakers, are drawn with replacement as often as there
are, and the pooled rate of each draw is computed; the interval lies between percentiles of the rates.

Utterances with the same counts are alike to a rate. So a replicate draws how often each *kind* of
utterance occurs, from the multinomial distribution: the same distribution of rates, however many
utterances there are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

REPLICATES = 10_000
SEED = 1

_DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """The middle ``level`` percent of the bootstrap distribution, in percent."""

    low: float
    high: float
    level: float = 95.0

    def to_json(self) -> list[float]:
        """``[low, high]``."""
        return [self.low, self.high]


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same utterances, rates in percent.

    Attributes:
        first, second: Their error rates.
        difference: ``second - first``: below zero, the second is better.
        interval: Of the difference.
        improvement: Share of the replicates, 0 to 1, in which the second system has fewer errors, a
            tie counting as half.
        replicates: Differences of the replicates, float64 ``(replicates,)``.
    """

    first: float
    second: float
    difference: float
    interval: Interval
    improvement: float
    replicates: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """What a report says of it."""
        return {
            "difference": self.difference,
            "interval": self.interval.to_json(),
            "probability_of_improvement": self.improvement,
        }


def interval(
    errors: np.ndarray,
    totals: np.ndarray,
    clusters: np.ndarray | None = None,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Interval:
    """The 95 % interval of a pooled error rate.

    Args:
        errors, totals: Errors and reference tokens of each utterance, int64 ``(utterances,)``.
        clusters: Which cluster each utterance belongs to, int64 ``(utterances,)`` from 0; utterances
            of a cluster are drawn together. None: every utterance by itself.
        replicates: How many draws.
        seed: Of the random numbers.
    """
    drawn = _draw(np.stack([errors, totals], axis=1), clusters, replicates, seed)
    return _interval(_rates(drawn[:, 0], drawn[:, 1]))


def compare(
    first_errors: np.ndarray,
    second_errors: np.ndarray,
    totals: np.ndarray,
    clusters: np.ndarray | None = None,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Comparison:
    """Compare two systems: each replicate draws the same utterances for both; arguments as above."""
    counts = np.stack([first_errors, second_errors, totals], axis=1)
    drawn = _draw(counts, clusters, replicates, seed)
    differences = _rates(drawn[:, 1] - drawn[:, 0], drawn[:, 2])
    first, second, total = counts.sum(axis=0)
    improvement = (differences < 0).mean() + (differences == 0).mean() / 2
    first_rate, second_rate, difference = map(float, _rates(np.array([first, second, second - first]), total))
    return Comparison(
        first_rate, second_rate, difference, _interval(differences), float(improvement), differences
    )


def _draw(counts: np.ndarray, clusters: np.ndarray | None, replicates: int, seed: int) -> np.ndarray:
    """Pooled counts of each replicate, float64 ``(replicates, columns)``, from ``(utterances, columns)``."""
    if clusters is not None:
        counts = np.stack([np.bincount(clusters, column) for column in counts.T], axis=1).astype(np.int64)
    if not len(counts):
        return np.zeros((replicates, counts.shape[1]))
    kinds, frequencies = np.unique(counts, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    size = max(1, _DRAWS_AT_ONCE // len(kinds))
    parts = []
    for start in range(0, replicates, size):
        rows = min(size, replicates - start)
        parts.append(generator.multinomial(len(counts), frequencies / len(counts), rows) @ kinds)
    return np.concatenate(parts).astype(np.float64)


def _rates(errors: np.ndarray, totals: np.ndarray) -> np.ndarray:
    return 100.0 * errors / np.maximum(totals, 1)


def _interval(rates: np.ndarray) -> Interval:
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(float(low), float(high))
