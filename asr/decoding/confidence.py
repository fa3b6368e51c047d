"""From raw posteriors to confidences that mean what they say."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.errors import UserError

_EDGE = 1e-4


def calibrated(posteriors: ArrayLike, slope: float = 1.0, offset: float = 0.0) -> NDArray[np.float64]:
    """Probabilities with their log-odds scaled and shifted (Platt 1999), the same shape as given."""
    raw = np.asarray(posteriors, dtype=np.float64)
    if slope == 1.0 and offset == 0.0:
        return raw
    return 1.0 / (1.0 + np.exp(-(slope * _log_odds(raw) + offset)))


def fit_calibration(posteriors: ArrayLike, correct: ArrayLike) -> tuple[float, float]:
    """The slope and offset for :func:`calibrated` that make ``correct`` likeliest.

    Args:
        posteriors: Raw confidence of every word (words,).
        correct: Whether it was right (words,).

    Raises:
        UserError: all words are right, or none: nothing can be learnt from them.
    """
    x, y = _log_odds(np.asarray(posteriors, dtype=np.float64)), np.asarray(correct, dtype=np.float64)
    if not 0 < y.sum() < len(y):
        raise UserError("confidences can be calibrated only on words of which some are right and some wrong")
    inputs = np.stack([x, np.ones_like(x)], axis=1)
    weights = np.zeros(2)
    # Newton's method on the logistic loss; a little ridge keeps separable data finite.
    ridge = 1e-3 * np.eye(2)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (p - y) + ridge @ weights
        curvature = (inputs * (p * (1 - p))[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curvature, gradient)
        # Short steps: the curvature of saturated odds says little about what is far away.
        weights -= step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def _log_odds(p: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.clip(p, _EDGE, 1 - _EDGE)
    return np.log(p) - np.log1p(-p)
