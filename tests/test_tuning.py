"""The search of decoding weights."""

import pytest

from asr.decoding.confidence import calibrated
from asr.errors import UserError
from asr.transcript import Hypothesis, Word
from asr.tuning import RESCORING_STEPS, calibrate, pattern_search

START = {"lm_weight": 1.0, "prior_scale": 0.0, "word_score": 0.0}


def test_it_finds_the_lowest_point_of_a_bowl() -> None:
    def bowl(weights: dict[str, float]) -> float:
        return (weights["lm_weight"] - 2.2) ** 2 + (weights["word_score"] + 1) ** 2 + weights["prior_scale"]

    best = pattern_search(bowl, START)
    assert best.weights["lm_weight"] == pytest.approx(2.2, abs=0.13)
    assert best.weights["word_score"] == pytest.approx(-1, abs=0.25)
    assert best.weights["prior_scale"] == 0.0


def test_weights_are_not_measured_twice() -> None:
    seen: list[tuple[float, ...]] = []

    def flat(weights: dict[str, float]) -> float:
        seen.append(tuple(weights.values()))
        return 1.0

    pattern_search(flat, START)
    assert len(seen) == len(set(seen))


def test_where_nothing_helps_the_start_stays() -> None:
    best = pattern_search(lambda weights: sum(abs(weights[name] - START[name]) for name in START), START)
    assert best.weights == START


def test_lm_weight_and_prior_never_become_negative() -> None:
    tried: list[float] = []

    def lower_is_better(weights: dict[str, float]) -> float:
        tried.append(min(weights["lm_weight"], weights["prior_scale"]))
        return weights["lm_weight"] + weights["prior_scale"]

    pattern_search(lower_is_better, START)
    assert min(tried) == 0.0


def test_a_share_stays_between_none_and_all() -> None:
    tried: list[float] = []

    def more_is_better(weights: dict[str, float]) -> float:
        tried.append(weights["mix"])
        return -weights["mix"]

    best = pattern_search(more_is_better, {"mix": 0.5, "lm_scale": 1.0}, first_steps=RESCORING_STEPS)
    assert max(tried) == best.weights["mix"] == 1.0


def heard(text: str, *confidences: float) -> list[Hypothesis]:
    words = (Word(word, 0, 1, sure) for word, sure in zip(text.split(), confidences, strict=True))
    return [Hypothesis(text, words=tuple(words))]


def test_confidences_are_fitted_on_one_half_and_measured_on_the_other() -> None:
    # Words of confidence 0.9 are right half of the time.
    nbests = [heard("A B", 0.9, 0.9), heard("A B C D", 0.9, 0.9, 0.9, 0.9)]
    found = calibrate(nbests, ["A X", "A B X Y"])
    assert found.before == pytest.approx(0.4)
    assert found.after < 0.01
    assert calibrated(0.9, found.slope, found.offset) == pytest.approx(0.5, abs=0.01)


def test_confidences_of_right_words_only_cannot_be_calibrated() -> None:
    with pytest.raises(UserError, match="calibrated"):
        calibrate([heard("A", 0.9), heard("A", 0.9)], ["A", "A"])
