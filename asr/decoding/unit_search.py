"""Best-path decoding under an n-gram over units: how a CTC-CRF head is read where there is no lexicon.

Such a head was trained against the denominator's n-gram (:mod:`asr.denominator`) and leaves to it what it
knows: the likeliest token of every frame says little. The Viterbi search (1967) is exact.
"""

from typing import TYPE_CHECKING

import numba
import numpy as np

from asr.errors import UserError
from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from torch import Tensor

    from asr.denominator import UnitNgram
    from asr.tokenizer import Tokenizer

_STAYED = -1


def best_paths(
    emissions: "Tensor", lengths: "Tensor", tokenizer: "Tokenizer", ngram: "UnitNgram"
) -> list[Hypothesis]:
    """The path of every utterance with the largest product of its emissions and its units' n-gram.

    Args:
        emissions: Log-probabilities, float32 ``(batch, frames, tokens)``, on the CPU; token 0 is the blank.
        lengths: Frames of each utterance, ``(batch,)``.
        tokenizer: Turns token ids into text.
        ngram: Over the same tokens.

    Returns:
        One hypothesis an utterance: its score is that product's logarithm, its frames are those where each
        token begins.

    Raises:
        UserError: an utterance's emissions hold NaN.
    """
    table = np.log(ngram.table)
    scores, found = emissions.float().contiguous().numpy(), []
    for number, length in enumerate(lengths.tolist()):
        utterance = scores[number, :length]
        if np.isnan(utterance).any():
            raise UserError(f"utterance {number + 1} of the batch: emissions hold NaN; the model is broken")
        score, path = _best_path(utterance, table)
        frames = np.flatnonzero(path)
        tokens = path[frames].tolist()
        found.append(Hypothesis(tokenizer.decode(tokens), score, tuple(tokens), tuple(frames.tolist())))
    return found


@numba.njit(cache=True, nogil=True)
def _best_path(emissions, table):  # type: ignore[no-untyped-def]
    """Score of the best path, and the token that begins at each frame (0: none does), int64 ``(frames,)``.

    A state is a history and whether the last frame emitted its last unit (0) or a blank after it (1).
    """
    frames, tokens = emissions.shape
    histories = len(table)
    blocks = histories // tokens
    unlikely = np.float32(-np.inf)
    units, blanks = np.full(histories, unlikely), np.full(histories, unlikely)
    blanks[0] = np.float32(0.0)
    arrived, rested = np.empty(histories, dtype=np.float32), np.empty(histories, dtype=np.float32)
    # Where a unit's state was entered from: twice the history, plus 1 for its blank.
    origins = np.empty((frames, histories), dtype=np.int32)
    from_blank = np.empty((frames, histories), dtype=np.bool_)
    for t in range(frames):
        arrived[:] = unlikely
        origin = origins[t]
        for oldest in range(tokens):
            for block in range(blocks):
                history, first = oldest * blocks + block, block * tokens
                last = history % tokens
                blank_is_best = blanks[history] >= units[history]
                best = blanks[history] if blank_is_best else units[history]
                from_blank[t, history] = blank_is_best
                rested[history] = best + emissions[t, 0]
                code = 2 * history + (1 if blank_is_best else 0)
                for token in range(1, tokens):
                    if token != last:
                        score = best + table[history, token]
                        if score > arrived[first + token]:
                            arrived[first + token] = score
                            origin[first + token] = code
                if last and blanks[history] + table[history, last] > arrived[first + last]:
                    arrived[first + last] = blanks[history] + table[history, last]
                    origin[first + last] = 2 * history + 1
        for history in range(histories):
            if units[history] >= arrived[history]:
                arrived[history] = units[history]
                origin[history] = _STAYED
            arrived[history] += emissions[t, history % tokens]
        units, arrived = arrived, units
        blanks, rested = rested, blanks

    best, state = np.float32(-np.inf), 0
    for history in range(histories):
        for blank in range(2):
            score = (blanks[history] if blank else units[history]) + table[history, 0]
            if score > best:
                best, state = score, 2 * history + blank
    path = np.zeros(frames, dtype=np.int64)
    for t in range(frames - 1, -1, -1):
        history = state // 2
        if state % 2:
            state = 2 * history + (1 if from_blank[t, history] else 0)
        elif origins[t, history] != _STAYED:
            path[t] = history % tokens
            state = origins[t, history]
    return best, path
