"""Codebooks: exact where they can be, close where not."""

import numpy as np
import pytest

from asr.lm.quantization import codebook, encode


def test_few_values_are_kept_exactly() -> None:
    values = np.array([-3.5, 0.0, -1.25, 0.0], dtype=np.float32)
    centres = codebook(values, 256)
    assert len(centres) == 256
    assert np.array_equal(centres[encode(values, centres)], values)


def test_no_values_give_a_codebook_all_the_same() -> None:
    assert codebook(np.zeros(0, dtype=np.float32), 256).shape == (256,)


def test_the_error_of_a_normal_distribution_is_that_of_the_best_quantiser() -> None:
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    centres = codebook(values, 256)
    error = np.mean((centres[encode(values, centres)] - values) ** 2)
    # Panter and Dite (1951): pi sqrt(3) / 2 / N^2 for a normal distribution and N levels.
    assert error == pytest.approx(np.pi * np.sqrt(3) / 2 / 256**2, rel=0.05)


def test_one_value_far_away_does_not_draw_the_others_along() -> None:
    values = np.random.default_rng(0).uniform(-10, 0, 50_000).astype(np.float32)
    values[7] = -230
    centres = codebook(values, 256)
    assert centres[encode(values, centres)][7] == pytest.approx(-230)
    assert np.abs(centres[encode(values, centres)] - values).max() < 0.1
