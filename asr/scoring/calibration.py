"""Whether word confidences mean what they say: of words with confidence 0.8, eight in ten are right."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.scoring.alignment import CORRECT, DELETION
from asr.scoring.measures import Evaluation


class WordOutcomes(NamedTuple):
    """Recognised words with what was thought of them and what became of them.

    Attributes:
        confidences: float64 (words), 0 to 1.
        correct: bool (words).
    """

    confidences: NDArray[np.float64]
    correct: NDArray[np.bool_]

    @property
    def calibration_error(self) -> float | None:
        """:func:`expected_calibration_error` of these words; None where there are none."""
        return expected_calibration_error(*self) if len(self.confidences) else None


def word_outcomes(evaluation: Evaluation, confidences: Mapping[str, Sequence[float]]) -> WordOutcomes:
    """Which of the recognised words are right, beside their confidences.

    Args:
        evaluation: References and hypotheses, aligned.
        confidences: Of each word of a hypothesis, by utterance id. Utterances that are not in it, or whose
            number of words is another (normalised texts), are left out.
    """
    found: list[float] = []
    correct = [np.zeros(0, dtype=np.bool_)]
    for index, name in enumerate(evaluation.ids):
        operations = evaluation.words.alignments.of(index)
        recognised = operations[operations != DELETION]
        values = confidences.get(name, ())
        if len(values) == len(recognised):
            found += values
            correct.append(recognised == CORRECT)
    return WordOutcomes(np.array(found, dtype=np.float64), np.concatenate(correct))


def expected_calibration_error(confidences: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Mean distance of confidence and accuracy over equally wide bins, weighted by their words (0 to 1).

    Guo et al. 2017, "On calibration of modern neural networks".
    """
    p, y = np.asarray(confidences, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if not len(p):
        return 0.0
    place = np.minimum((p * bins).astype(int), bins - 1)
    surplus = np.bincount(place, weights=p - y, minlength=bins)
    return float(np.abs(surplus).sum() / len(p))
