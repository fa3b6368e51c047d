import numpy as np
import pytest

from asr.decoding.confidence import calibrated, fit_calibration
from asr.decoding.prior import mean_posterior
from asr.errors import UserError
from asr.scoring.calibration import expected_calibration_error


def test_calibration_makes_confidences_true():
    random = np.random.default_rng(0)
    truth = random.uniform(0.05, 0.95, 20_000)
    correct = random.random(20_000) < truth
    log_odds = 2.5 * np.log(truth / (1 - truth)) + 1.0
    boastful = 1 / (1 + np.exp(-log_odds))
    slope, offset = fit_calibration(boastful, correct)
    assert (slope, offset) == pytest.approx((0.4, -0.4), abs=0.03)
    before = expected_calibration_error(boastful, correct)
    assert expected_calibration_error(calibrated(boastful, slope, offset), correct) < 0.02 < before


def test_certain_words_do_not_break_the_fit():
    slope, offset = fit_calibration([1.0, 1.0, 0.0, 1.0], [1, 1, 0, 1])
    assert np.isfinite([slope, offset]).all()


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(UserError, match="calibrated"):
        fit_calibration([0.5, 0.6], [1, 1])


def test_calibration_error_is_the_mean_gap():
    assert expected_calibration_error([0.95] * 10, [1] * 5 + [0] * 5) == pytest.approx(0.45)
    assert expected_calibration_error([], []) == 0.0
    assert expected_calibration_error([1.0, 0.0], [1, 0]) == 0.0


def test_mean_posterior_counts_every_frame_alike():
    first, second = np.log([[0.5, 0.5]]), np.log([[0.1, 0.9], [0.3, 0.7]])
    assert mean_posterior([first, second]) == pytest.approx([0.3, 0.7])
    with pytest.raises(UserError, match="prior"):
        mean_posterior([])
