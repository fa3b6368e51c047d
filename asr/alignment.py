"""CTC forced alignment: when the tokens and words of a known text were said.

The likeliest path through the CTC trellis (Viterbi 1967; Graves et al. 2006). The trellis of an hour of
speech and its chapter has billions of cells, so only every thousandth column of scores is kept; on the
way back the columns between two kept ones are computed again, in the narrow band that the path can reach
from where it is. That gives the exact path in memory that grows with the text, not with text times audio.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.errors import UserError
from asr.tokenizer import BLANK_ID
from asr.transcript import Word

if TYPE_CHECKING:
    import torch

BLOCK = 1024
"""Frames between kept columns: balances their memory with that of a band of ``BLOCK`` by ``BLOCK`` cells."""


@dataclass(frozen=True)
class Alignment:
    """Where each token lies.

    Attributes:
        tokens: int64 ``(tokens,)``, what was aligned.
        path: int32 ``(frames,)``, position in ``tokens`` that each frame says, -1 for a blank.
        starts, ends: int64 ``(tokens,)``, first encoder frame of each token and the one after its last.
        scores: float64 ``(tokens,)``, mean log-probability of each token over its frames.
        score: Log-probability of the whole path, blanks included.
    """

    tokens: NDArray[np.int64]
    path: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: NDArray[np.float64]
    score: float


def align(emissions: "torch.Tensor | NDArray[np.float32]", tokens: Sequence[int]) -> Alignment:
    """The likeliest path that says exactly these tokens.

    Args:
        emissions: Log-probabilities ``(frames, vocabulary)`` of one recording; token 0 is the blank.
        tokens: Token ids without blanks; none aligns everything with the blank.

    Raises:
        UserError: the recording is too short for the text, or the emissions hold NaN or give a token no
            probability at all.
    """
    scores = np.ascontiguousarray(emissions, dtype=np.float32)
    ids = np.asarray(tokens, dtype=np.int64)
    if np.isnan(scores).any():
        raise UserError("emissions hold NaN; the model is broken")
    needed = len(ids) + int(np.count_nonzero(ids[1:] == ids[:-1]))
    if needed > len(scores):
        raise UserError(
            f"the text does not fit the recording: {len(ids)} tokens need at least {needed} frames, "
            f"the recording has {len(scores)}"
        )
    path = _best_path(scores, ids, BLOCK)
    chosen = scores[np.arange(len(path)), np.where(path >= 0, ids[path] if len(ids) else BLANK_ID, BLANK_ID)]
    total = float(chosen.sum(dtype=np.float64))
    if total == -np.inf:
        raise UserError("the text cannot be aligned: the model gives one of its tokens no probability")
    said = np.flatnonzero(path >= 0)
    starts = np.searchsorted(path[said], np.arange(len(ids)))
    counts = np.diff(np.append(starts, len(said)))
    sums = np.add.reduceat(chosen[said].astype(np.float64), starts) if len(ids) else np.zeros(0)
    first = said[starts]
    return Alignment(ids, path, first, first + counts, sums / np.maximum(counts, 1), total)


def word_times(
    alignment: Alignment,
    words: Sequence[str],
    spans: Sequence[tuple[int, int]],
    frame_shift: float,
    duration: float = math.inf,
) -> tuple[Word, ...]:
    """Words with times.

    Args:
        alignment: Of the text's tokens.
        words: The text.
        spans: Of each word its tokens, from the first to the one after the last.
        frame_shift: Seconds from one encoder frame to the next.
        duration: Of the recording in seconds: its last frame may reach beyond it.

    Returns:
        Each word from the first frame of its first token to the end of the last frame of its last; its
        confidence is the geometric mean of its tokens' probabilities.
    """
    return tuple(
        Word(
            word,
            round(min(int(alignment.starts[begin]) * frame_shift, duration), 6),
            round(min(int(alignment.ends[end - 1]) * frame_shift, duration), 6),
            float(np.exp(alignment.scores[begin:end].mean())),
        )
        for word, (begin, end) in zip(words, spans, strict=True)
    )


# A column of the trellis is (2, tokens + 1). Entry [0, m] is the best path that has said m tokens and is
# in the m-th, entry [1, m] the one that is in the blank behind it; [0, 0] is never reached.
_SAYING, _RESTING = 0, 1


@njit(cache=True, nogil=True)
def _best_path(emissions: NDArray, tokens: NDArray, block: int) -> NDArray:
    frames, size = len(emissions), len(tokens)
    labels = np.zeros(size + 1, np.int64)
    labels[1:] = tokens
    # A token that equals the one before it needs a blank between them.
    repeat = np.zeros(size + 1, np.float64)
    for m in range(2, size + 1):
        if labels[m] == labels[m - 1]:
            repeat[m] = -np.inf
    blocks = max(1, (frames + block - 1) // block)
    kept = np.full((blocks, 2, size + 1), -np.inf)
    kept[0, _RESTING, 0] = 0.0
    columns = np.full((2, 2, size + 1), -np.inf)
    columns[0] = kept[0]
    for t in range((blocks - 1) * block):
        # Tokens that can have been said by now, and that still leave time for the rest.
        low, high = max(0, size - (frames - t - 1)), min(size, t + 1)
        _advance(emissions[t], labels, repeat, columns[t % 2], columns[(t + 1) % 2], low, high)
        if (t + 1) % block == 0:
            kept[(t + 1) // block] = columns[(t + 1) % 2]

    path = np.full(frames, -1, np.int32)
    said, kind = size, -1
    width = min(block, size) + 1
    trellis = np.full((min(block, frames) + 1, 2, width), -np.inf)
    for number in range(blocks - 1, -1, -1):
        first, last = number * block, min((number + 1) * block, frames)
        base = max(0, said - (last - first))
        reach = said - base + 1
        trellis[0, :, :reach] = kept[number, :, base : said + 1]
        for t in range(first, last):
            # The lowest column of a band is right in its first row only, and needed there only.
            _advance(
                emissions[t],
                labels[base : said + 1],
                repeat[base : said + 1],
                trellis[t - first],
                trellis[t - first + 1],
                0,
                reach - 1,
            )
        if kind < 0:
            ends = trellis[last - first, :, reach - 1]
            kind = _RESTING if ends[_RESTING] > ends[_SAYING] else _SAYING
        for t in range(last - 1, first - 1, -1):
            before = trellis[t - first]
            m = said - base
            if kind == _RESTING:
                if m and before[_SAYING, m] > before[_RESTING, m]:
                    kind = _SAYING
                continue
            path[t] = said - 1
            stay, rest, step = (
                before[_SAYING, m],
                before[_RESTING, m - 1],
                before[_SAYING, m - 1] + repeat[said],
            )
            if step > stay and step > rest:
                said -= 1
            elif rest > stay:
                said, kind = said - 1, _RESTING
    return path


@njit(cache=True, nogil=True)
def _advance(
    emission: NDArray,
    labels: NDArray,
    repeat: NDArray,
    before: NDArray,
    after: NDArray,
    low: int,
    high: int,
) -> None:
    """The next column of the trellis, between two numbers of tokens said."""
    blank = np.float64(emission[BLANK_ID])
    saying, resting = before[_SAYING], before[_RESTING]
    for m in range(low, high + 1):
        after[_RESTING, m] = max(resting[m], saying[m]) + blank
    after[_SAYING, low] = -np.inf
    for m in range(max(low, 1), high + 1):
        best = max(saying[m], resting[m - 1], saying[m - 1] + repeat[m])
        after[_SAYING, m] = best + emission[labels[m]]
