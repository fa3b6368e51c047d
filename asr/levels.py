"""Quiet speech beside loud speech in one recording.

Features are normalised over all that is heard at once, which hides how loud a recording is, but not that
one speaker in it is far quieter than another: of two who talk by turns, the second 20 dB quieter, the
English model got 24 % of the words wrong instead of 13 % (benchmarks/README.md). So stretches of speech
that are quieter than the loudest moments by more than :data:`RANGE` are made louder before they are heard.

The level at a moment is that of the second and a half before it or of those after it, whichever is nearer
to what is heard just there, so that a change of speakers is a step (the filter of Kuwahara et al. 1976, in
one dimension).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from asr.frontend import FrontendConfig

Floats = NDArray[np.float32]

FRAME = 0.025
"""Seconds over which energy is measured."""
SIDE, NEAR = 1.5, 0.3
"""Seconds to each side of a moment over which the level is measured, and what is near the moment."""
RANGE = 12.0
"""Decibels by which stretches of speech may differ: so much did no harm in measurements."""
MOST = 20.0
"""Decibels by which speech is made louder at most: noise between words is made louder with it."""
SHORTEST = 1.5
"""Seconds of quiet speech at least: what is quiet for less are the ends of sentences and breaths."""
MODULATION = 10.0
"""Decibels between loud and quiet moments of speech at least; a steady noise has less."""
_LOUD, _QUIET = 0.9, 0.1  # quantiles
_SILENCE = 1e-10


def even_levels(waveforms: Sequence[Tensor], config: FrontendConfig) -> list[Tensor]:
    """Waveforms ``(samples,)`` whose quiet stretches of speech come within :data:`RANGE` of the loud ones.

    As they are where the front end does not normalise over what it hears (``cmvn: fixed``).
    """
    if config.cmvn == "fixed":
        return list(waveforms)
    return [_even(waveform, round(FRAME * config.sample_rate)) for waveform in waveforms]


def _even(waveform: Tensor, frame: int) -> Tensor:
    frames, side = len(waveform) // frame, round(SIDE / FRAME)
    if frames <= side:
        return waveform
    energy = waveform[: frames * frame].float().view(frames, frame).square().mean(1).cpu().numpy()
    decibels = _gain(10 * np.log10(energy + _SILENCE), side, round(NEAR / FRAME))
    if not decibels.any():
        return waveform
    # From the middle of each frame to that of the next one on a line.
    factor = functional.pad(torch.from_numpy(10 ** (decibels / 20))[None, None], (0, 1), mode="replicate")
    smooth = functional.interpolate(factor, scale_factor=frame, mode="linear")[0, 0, : len(waveform)]
    return waveform * smooth.to(waveform.device)


def _gain(loudness: Floats, side: int, near: int) -> Floats:
    """Decibels that each frame is to gain, of the loudness ``(frames,)`` of each in decibels."""
    frames = len(loudness)
    mirrored = np.pad(loudness, side, mode="reflect")
    # Row s is what follows on frame s - side; it is what comes before frame s as well.
    ordered = np.sort(sliding_window_view(mirrored, side), axis=1)
    levels, floors = (ordered[:, int(share * side)] for share in (_LOUD, _QUIET))
    before = np.arange(frames)
    after = before + side
    around = mirrored[side - near : side + near + frames]
    here = np.sort(sliding_window_view(around, 2 * near + 1), axis=1)[:, int(_LOUD * (2 * near + 1))]
    nearer = np.where(np.abs(levels[before] - here) < np.abs(levels[after] - here), before, after)
    level = levels[nearer]
    is_speech = level - floors[nearer] > MODULATION
    gain = np.clip(level.max() - level - RANGE, 0, MOST) * is_speech
    return gain * _runs(gain > 0, round(SHORTEST / FRAME))


def _runs(mask: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """Where a mask is true for so many frames on end."""
    if len(mask) < shortest:
        return np.zeros_like(mask)
    whole = sliding_window_view(mask, shortest).all(1)
    return np.asarray(sliding_window_view(np.pad(whole, shortest - 1), shortest).any(1))
