"""How likely every token is on the whole: what may be subtracted from emissions in decoding.

A network's posteriors divided by the prior are scaled likelihoods (Bourlard & Morgan 1994); for CTC a part
of the prior is divided out (Miao et al. 2015, "EESEN", section 3.2).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.errors import UserError


def mean_posterior(emissions: Iterable[ArrayLike]) -> NDArray[np.float32]:
    """Mean probability of every token over all frames: float32 (vocabulary), adds up to 1.

    Args:
        emissions: Log-probabilities (frames, vocabulary) of utterances, without padding.

    Raises:
        UserError: there is not one frame.
    """
    total, frames = None, 0
    for utterance in emissions:
        posteriors = np.exp(np.asarray(utterance, dtype=np.float64))
        total = posteriors.sum(axis=0) + (0.0 if total is None else total)
        frames += len(posteriors)
    if total is None or not frames:
        raise UserError("no frames to take the tokens' prior from; give at least one utterance")
    return (total / frames).astype(np.float32)
