"""The matched-pairs test of two systems (MAPSSWE).

Gillick and Cox, "Some statistical issues in the comparison of speech recognition algorithms" (ICASSP
1989); NIST's sentence-segment word error test. Utterances are cut into segments whose errors do not
depend on one another: wherever both systems have at least two words in a row right. The differences
of the two systems' errors in the segments are tested against a mean of zero.
"""

from dataclasses import dataclass
from math import erfc, sqrt, ulp
from statistics import NormalDist
from typing import Any

import numpy as np

from asr.scoring.alignment import CORRECT, INSERTION
from asr.scoring.analysis import edits
from asr.scoring.measures import Aligned

_WORDS_RIGHT_BETWEEN_SEGMENTS = 2


@dataclass(frozen=True)
class MatchedPairs:
    """Result of the test.

    Attributes:
        segments: Segments with an error of at least one system; few (below about 50) make the normal
            approximation poor.
        z: Mean difference (second minus first) over its standard error.
        p: Two-sided p-value: how probable a difference this large is between equal systems.
    """

    segments: int
    z: float
    p: float

    def to_json(self) -> dict[str, Any]:
        """What a report says of it."""
        return {"segments": self.segments, "z": self.z, "p": self.p}


def matched_pairs(first: Aligned, second: Aligned) -> MatchedPairs:
    """Test two systems that recognised the same references."""
    slots = [_erroneous_slots(system) for system in (first, second)]
    places, inverse = np.unique(np.concatenate(slots), axis=0, return_inverse=True)
    if not len(places):
        return MatchedPairs(0, 0.0, 1.0)
    utterance, slot = places.T
    words_between = slot[1:] // 2 - (slot[:-1] + 1) // 2
    starts = (np.diff(utterance) != 0) | (words_between >= _WORDS_RIGHT_BETWEEN_SEGMENTS)
    segment = np.concatenate(([0], np.cumsum(starts)))[inverse.reshape(-1)]
    sign = np.repeat([-1, 1], [len(system) for system in slots])
    differences = np.bincount(segment, sign)
    return _test(differences)


def _erroneous_slots(system: Aligned) -> np.ndarray:
    """Where the errors are, int64 ``(errors, 2)``: utterance and slot.

    Word ``k`` of the reference is slot ``2k + 1``; insertions before it fall in slot ``2k``.
    """
    found = edits(system)
    slot = 2 * found.position + (found.operation != INSERTION)
    wrong = found.operation != CORRECT
    return np.stack([found.utterance[wrong], slot[wrong]], axis=1)


def _test(differences: np.ndarray) -> MatchedPairs:
    size = len(differences)
    mean = differences.mean()
    error = differences.std(ddof=1) / sqrt(size) if size > 1 else 0.0
    if error == 0:
        # No spread to measure the mean by: what is left is that all differences have one sign.
        p = min(1.0, 2 * 0.5**size) if mean else 1.0
        least = max(p / 2, ulp(0.0))
        return MatchedPairs(size, float(-np.sign(mean)) * NormalDist().inv_cdf(least) + 0.0, p)
    z = mean / error
    return MatchedPairs(size, float(z), erfc(abs(z) / sqrt(2)))
