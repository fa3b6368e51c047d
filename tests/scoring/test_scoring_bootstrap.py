"""Intervals and tests of significance."""

import numpy as np
import pytest

from asr.scoring import evaluate
from asr.scoring.bootstrap import compare, interval
from asr.scoring.significance import matched_pairs

RANDOM = np.random.default_rng(5)
TOTALS = RANDOM.integers(1, 40, 300)
ERRORS = RANDOM.binomial(TOTALS, RANDOM.beta(1, 6, 300))


def test_interval_is_that_of_drawing_utterances_one_by_one():
    drawn = RANDOM.integers(0, 300, (8_000, 300))
    rates = 100 * ERRORS[drawn].sum(axis=1) / TOTALS[drawn].sum(axis=1)
    low, high = np.percentile(rates, [2.5, 97.5])
    found = interval(ERRORS, TOTALS, replicates=8_000)
    assert (found.low, found.high) == (pytest.approx(low, rel=0.03), pytest.approx(high, rel=0.03))
    assert found.low < 100 * ERRORS.sum() / TOTALS.sum() < found.high


def test_the_seed_fixes_the_interval():
    first, again, other = (interval(ERRORS, TOTALS, replicates=200, seed=seed) for seed in (3, 3, 4))
    assert first == again != other


def test_speakers_who_differ_make_the_interval_wider_when_drawn_whole():
    speakers = np.arange(300) // 30
    errors = np.where(speakers % 2 == 0, 0, TOTALS // 2)
    alone, together = (interval(errors, TOTALS, drawn, 1_000) for drawn in (None, speakers))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_no_utterances_and_no_words_give_an_interval_of_nothing():
    nothing = np.zeros(0, np.int64)
    assert interval(nothing, nothing, replicates=10).to_json() == [0.0, 0.0]
    assert interval(np.zeros(3, np.int64), np.zeros(3, np.int64), replicates=10).to_json() == [0.0, 0.0]


def test_equal_systems_are_better_half_of_the_time_with_no_difference():
    found = compare(ERRORS, ERRORS, TOTALS, replicates=200)
    assert (found.difference, found.improvement, found.interval.to_json()) == (0.0, 0.5, [0.0, 0.0])


def test_pairing_sees_a_small_steady_gain_that_the_separate_intervals_hide():
    better = np.maximum(ERRORS - (np.arange(300) % 4 == 0), 0)
    found = compare(ERRORS, better, TOTALS, replicates=2_000)
    assert found.improvement > 0.999
    assert found.interval.high < 0
    assert interval(better, TOTALS, replicates=500).high > interval(ERRORS, TOTALS, replicates=500).low
    assert found.difference == pytest.approx(found.second - found.first)


def segments(first: str, second: str, reference: str = "A B C D E F G H I J") -> int:
    systems = [evaluate({"u": reference}, {"u": text}).words for text in (first, second)]
    return matched_pairs(*systems).segments


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("A B C D E F G H I J", "A B C D E F G H I J", 0),
        ("X B C D E F G H I J", "A B C D E F G H I X", 2),
        ("A X C X E F G H I J", "A B C D E F G H I J", 1),
        ("A X C D X F G H I J", "A B C D E F G H I J", 2),
        ("A X C D E F G H I J", "A B C X E F G H I J", 1),
        ("A B C Z D E F G H I J", "A B C D X F G H I J", 1),
        ("A B C Z D E X G H I J", "A B C D E F G H I J", 2),
    ],
)
def test_segments_end_where_both_systems_have_two_words_right(first, second, expected):
    assert segments(first, second) == expected


def test_errors_of_different_utterances_are_never_one_segment():
    references = {"a": "A B", "b": "C D"}
    wrong, right = evaluate(references, {"a": "A X", "b": "X D"}), evaluate(references, references)
    assert matched_pairs(wrong.words, right.words).segments == 2


def test_matched_pairs_sign_and_certainty():
    references = {str(i): "A B C" for i in range(60)}
    good, bad = dict(references), dict(references)
    bad |= {str(i): "A X C" for i in range(40)}
    good |= {str(i): "X B C" for i in range(50, 60)}
    found = matched_pairs(evaluate(references, bad).words, evaluate(references, good).words)
    assert found.z < 0
    assert found.p < 1e-3
    same = matched_pairs(evaluate(references, bad).words, evaluate(references, bad).words)
    assert (same.z, same.p) == (0.0, 1.0)


@pytest.mark.parametrize(("segments", "p"), [(1, 1.0), (2, 0.5), (10, 2**-9), (60, 2**-59), (1100, 0.0)])
def test_equal_differences_are_as_certain_as_their_number_makes_them(segments, p):
    references = {str(i): "A B C" for i in range(segments)}
    bad = {name: "A X C" for name in references}
    found = matched_pairs(evaluate(references, bad).words, evaluate(references, references).words)
    assert found.p == pytest.approx(p)
    assert -40 < found.z <= 0
    assert f"{found.z:+.2f}" != "-0.00"
