"""The denominator that makes CTC a conditional random field (CTC-CRF, Xiang & Ou 2019; kin to LF-MMI).

Plain CTC lets units be independent given the audio. Here an n-gram over units weighs every unit sequence,
and the target's posterior among all sequences is what is trained: its path sum divided by that of every
path. With CTC's gradient (softmax - occupancy of the target's paths) from :mod:`asr.loss`, what is left is
this partition function, whose gradient is (occupancy of all paths - softmax): the two are simply added.
"""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from asr.errors import UserError

LARGEST_TABLE = 10_000_000
# No unit is less likely than this after any history. So no state's future is beyond float32's range from
# another's, and what underflows cannot matter.
LEAST_PROBABILITY = 1e-6
TARGETS_AT_ONCE = 10_000
# A history with less of a frame's probability is not followed further: most of them, most of the time.
NEGLIGIBLE = 1e-8


class UnitNgram:
    """Dense n-gram over units, smoothed after Witten & Bell (1991).

    A history is its last ``order - 1`` units as digits to the base ``tokens``. Token 0, which is no unit,
    stands for the start in a history and for the end as a successor.

    Attributes:
        order: Length of the n-grams.
        table: float32 ``(tokens ** (order - 1), tokens)``, the probability of each successor.
    """

    def __init__(self, order: int, table: np.ndarray) -> None:
        self.order, self.table = order, np.ascontiguousarray(table, dtype=np.float32)
        self._logarithms = np.log(self.table.astype(np.float64)).ravel()

    @classmethod
    def estimate(cls, targets: Sequence[Sequence[int]], tokens: int, order: int) -> "UnitNgram":
        """Count the targets' n-grams.

        Args:
            targets: Ids of each target, 1 to ``tokens - 1``; empty ones are not counted.
            tokens: Number of tokens, the blank among them.
            order: 2 or 3.

        Raises:
            UserError: the dense table would be too large.
        """
        if tokens**order > LARGEST_TABLE:
            raise UserError(f"a denominator of order {order} over {tokens} tokens is too large")
        counts = np.zeros(tokens**order, dtype=np.int64)
        border = [0] * (order - 1)
        spoken = [target for target in targets if target]
        for first in range(0, len(spoken), TARGETS_AT_ONCE):
            framed = ((*border, *target) for target in spoken[first : first + TARGETS_AT_ONCE])
            units = np.fromiter(chain(chain.from_iterable(framed), border), dtype=np.int64)
            counts += np.bincount(_ngrams(units, tokens, order), minlength=tokens**order)
        counts = counts.reshape((tokens,) * order)
        if order == 3:
            counts[1:, 0] = 0  # a unit and the start after it: from one target into the next
        table = np.maximum(_witten_bell(counts), LEAST_PROBABILITY)
        return cls(order, (table / table.sum(-1, keepdims=True)).reshape(-1, tokens))

    def log_probability(self, targets: Tensor, target_lengths: Tensor) -> Tensor:
        """Of each target and its end.

        Args:
            targets: int64 ``(batch, labels)``, padded with anything.
            target_lengths: int64 ``(batch,)``; a negative one gives 0.

        Returns:
            float32 ``(batch,)``.
        """
        result, labels = torch.zeros(len(targets)), targets.cpu().numpy()
        for row, length in enumerate(target_lengths.tolist()):
            if length >= 0:
                units = np.pad(labels[row, :length], (self.order - 1, 1))
                result[row] = self._logarithms[_ngrams(units, self.table.shape[1], self.order)].sum()
        return result.to(targets.device)


def crf_denominator(
    logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, ngram: UnitNgram
) -> Tensor:
    """What, added to the CTC loss, makes it the target's negative log-posterior (never below 0).

    That is log Z - log p(target). The latter is constant, and there to make the number meaningful.

    Args:
        logits: float32 ``(batch, frames, tokens)``, not normalised; token 0 is the blank.
        lengths: int64 ``(batch,)``, valid frames.
        targets: int64 ``(batch, labels)``, padded with anything.
        target_lengths: int64 ``(batch,)``; a negative one leaves the utterance out (0, zero gradient). So
            must be left out what the CTC loss cannot learn, or it would be pushed away from every path.
        ngram: Over the same tokens.

    Returns:
        float32 ``(batch,)``.
    """
    taken = target_lengths >= 0
    prior = ngram.log_probability(targets, target_lengths)
    return log_partition(logits, lengths * taken, ngram) - prior


def log_partition(logits: Tensor, lengths: Tensor, ngram: UnitNgram) -> Tensor:
    """log Z: over all paths, the product of the frames' softmax and the n-gram of what the path spells.

    Computed on the CPU wherever the logits are, by one thread.

    Args:
        logits: float32 ``(batch, frames, tokens)``, not normalised; token 0 is the blank.
        lengths: int64 ``(batch,)``, valid frames.
        ngram: Over the same tokens.

    Returns:
        float32 ``(batch,)``, at most 0; 0, with zero gradient, where there are no frames.
    """
    result: Tensor = _LogPartition.apply(logits, lengths, ngram)
    return result


def _ngrams(units: np.ndarray, tokens: int, order: int) -> np.ndarray:
    """All n-grams in a row of units, each as a number to the base ``tokens``."""
    windows = np.lib.stride_tricks.sliding_window_view(units, order)
    return np.asarray(windows @ tokens ** np.arange(order - 1, -1, -1))


def _witten_bell(counts: np.ndarray) -> np.ndarray:
    """Probabilities of the last axis given the others, interpolated with those given one less."""
    tokens = counts.shape[-1]
    shorter = _witten_bell(counts.sum(0)) if counts.ndim > 1 else np.full(tokens, 1 / tokens)
    seen, kinds = counts.sum(-1, keepdims=True), (counts > 0).sum(-1, keepdims=True)
    smoothed = (counts + kinds * shorter) / np.maximum(seen + kinds, 1)
    return np.where(seen > 0, smoothed, shorter)


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, lengths: Tensor, ngram: UnitNgram) -> Tensor:
        values = np.zeros(len(logits), dtype=np.float32)
        gradient = np.zeros(logits.shape, dtype=np.float32)
        scores = logits.detach().cpu().contiguous().numpy()
        # Most states of a sure model are unlikely beyond float32; as subnormal numbers they cost tenfold.
        torch.set_flush_denormal(True)
        try:
            _batch_kernel(scores, lengths.cpu().numpy(), ngram.table, values, gradient)
        finally:
            torch.set_flush_denormal(False)
        ctx.save_for_backward(torch.from_numpy(gradient).to(logits.device))
        return torch.from_numpy(values).to(logits.device)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0].view(-1, 1, 1), None, None


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _utterance_kernel(logits, table, alpha, gradient):  # type: ignore[no-untyped-def]
    """log Z of one utterance; writes d(log Z)/d(logits) ``(frames, tokens)``.

    Forward and backward probabilities are rescaled at every frame (Rabiner 1989).
    A state is a history and whether the last frame emitted its last unit (0) or a blank after it (1);
    ``alpha`` ``(at least frames, 2, histories)`` is room for their forward probabilities. The successors
    of a history lie side by side, and so do the histories they lead to: what is inner in all loops.
    Histories that are negligible at a frame end there, forward and so backward too.
    """
    frames, tokens = logits.shape
    histories = len(table)
    blocks = histories // tokens
    # Only a blank lets the same unit follow, so its probability stands apart.
    lasts = np.arange(histories) % tokens
    others, repeats = table.copy(), np.empty(histories, dtype=np.float32)
    for history in range(histories):
        repeats[history] = table[history, lasts[history]]
        others[history, lasts[history]] = 0.0
    zero, one, negligible = np.float32(0.0), np.float32(1.0), np.float32(NEGLIGIBLE)
    probabilities = np.empty((frames, tokens), dtype=np.float32)
    for t in range(frames):
        highest = logits[t].max()
        total = zero
        for token in range(tokens):
            probabilities[t, token] = math.exp(logits[t, token] - highest)
            total += probabilities[t, token]
        for token in range(tokens):
            probabilities[t, token] /= total

    log_partition = 0.0
    start = np.zeros((2, histories), dtype=np.float32)
    start[1, 0] = one
    for t in range(frames):
        units, blanks = (start[0], start[1]) if t == 0 else (alpha[t - 1, 0], alpha[t - 1, 1])
        flow, silent = alpha[t, 0], alpha[t, 1]
        emission = probabilities[t]
        flow[:] = zero
        for oldest in range(tokens):
            for block in range(blocks):
                history, first = oldest * blocks + block, block * tokens
                mass = units[history] + blanks[history]
                silent[history] = mass * emission[0]
                if mass < negligible:
                    continue
                for token in range(tokens):
                    flow[first + token] += mass * others[history, token]
                flow[first + lasts[history]] += blanks[history] * repeats[history]
        total = zero
        for block in range(blocks):
            first = block * tokens
            flow[first] = zero
            for token in range(1, tokens):
                flow[first + token] = (flow[first + token] + units[first + token]) * emission[token]
            for token in range(tokens):
                total += flow[first + token] + silent[first + token]
        if not total > zero:
            return math.nan
        log_partition += math.log(total)
        for history in range(histories):
            flow[history] /= total
            silent[history] /= total
    ending = zero
    for history in range(histories):
        ending += (alpha[frames - 1, 0, history] + alpha[frames - 1, 1, history]) * table[history, 0]
    log_partition += math.log(ending)

    beta = np.empty((2, histories), dtype=np.float32)
    beta[0], beta[1] = table[:, 0], table[:, 0]
    emitted = np.zeros(histories, dtype=np.float32)
    occupancy = np.empty(tokens, dtype=np.float32)
    for t in range(frames - 1, -1, -1):
        occupancy[:] = zero
        silence = zero
        for block in range(blocks):
            first = block * tokens
            for token in range(tokens):
                occupancy[token] += alpha[t, 0, first + token] * beta[0, first + token]
                silence += alpha[t, 1, first + token] * beta[1, first + token]
        occupancy[0] = silence
        total = occupancy.sum()
        for token in range(tokens):
            gradient[t, token] = occupancy[token] / total - probabilities[t, token]
        if t == 0:
            break
        emission = probabilities[t]
        for block in range(blocks):
            first = block * tokens
            for token in range(1, tokens):
                emitted[first + token] = beta[0, first + token] * emission[token]
        total = zero
        before = alpha[t - 1]
        for oldest in range(tokens):
            for block in range(blocks):
                history, first = oldest * blocks + block, block * tokens
                mass = beta[1, history] * emission[0]
                if before[0, history] + before[1, history] < negligible:
                    beta[0, history] = mass + emitted[history]
                    beta[1, history] = mass
                    continue
                for token in range(tokens):
                    mass += emitted[first + token] * others[history, token]
                beta[0, history] = mass + emitted[history]
                beta[1, history] = mass + emitted[first + lasts[history]] * repeats[history]
                total += beta[0, history] + beta[1, history]
        for history in range(histories):
            beta[0, history] /= total
            beta[1, history] /= total
    return log_partition


@numba.njit(cache=True, nogil=True)
def _batch_kernel(logits, lengths, table, values, gradient):  # type: ignore[no-untyped-def]
    alpha = np.empty((logits.shape[1], 2, len(table)), dtype=np.float32)
    for index in range(len(logits)):
        if lengths[index] > 0:
            values[index] = _utterance_kernel(logits[index, : lengths[index]], table, alpha, gradient[index])
