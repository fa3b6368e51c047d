"""The search of decoding weights."""

import pytest

from asr.tuning import pattern_search

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
