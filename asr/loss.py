"""CTC loss (Graves et al. 2006), with its gradient in one pass.

The forward and backward recursions run on probabilities, rescaled at every frame (Rabiner 1989), so the
inner loop is a multiplication and two additions where the logarithmic form pays three exponentials; the
loops are compiled by numba and take no interpreter lock. CUDA tensors take torch's native kernel.
"""

import itertools
import math
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Where probabilities could underflow, the loss is computed again in logarithms: a frame's least likely
# token by float32's exponential, or a target beside the likeliest path by float64's products.
LARGEST_GAP, LARGEST_DEFICIT = 80.0, 600.0


def frames_needed(labels: list[int]) -> int:
    """Fewest encoder frames that can emit these labels: one each, and a blank between equal neighbours."""
    return len(labels) + sum(left == right for left, right in itertools.pairwise(labels))


def ctc_loss(logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Negative log-likelihood of each target.

    Args:
        logits: float32 ``(batch, frames, tokens)``, not normalised; token 0 is the blank.
        lengths: int64 ``(batch,)``, valid frames.
        targets: int64 ``(batch, labels)``, padded with anything.
        target_lengths: int64 ``(batch,)``; a negative one leaves the utterance out (loss 0).

    Returns:
        float32 ``(batch,)``; infinite, with zero gradient, where the frames do not suffice.
    """
    if logits.is_cuda:
        return _native_ctc_loss(logits, lengths, targets, target_lengths)
    loss: Tensor = _CTCLoss.apply(logits, lengths, targets, target_lengths)
    return loss


def _native_ctc_loss(logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    if not logits.shape[1]:  # which torch refuses
        logits = functional.pad(logits, (0, 0, 0, 1))
    # 2-D int64 targets: cuDNN's kernel, which is not reproducible, is never chosen.
    losses: Tensor = functional.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        targets.clamp(min=1),
        lengths,
        target_lengths.clamp(min=0),
        reduction="none",
        zero_infinity=True,
    )
    later = torch.arange(targets.shape[1], device=targets.device)[1:]
    repeats = (targets[:, 1:] == targets[:, :-1]) & (later < target_lengths.unsqueeze(1))
    impossible = target_lengths + repeats.sum(1) > lengths
    return losses.masked_fill(impossible, math.inf).masked_fill(target_lengths < 0, 0.0)


class _CTCLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
        losses = np.zeros(len(logits), dtype=np.float32)
        gradient = np.zeros(logits.shape, dtype=np.float32)
        _batch_kernel(
            logits.detach().contiguous().numpy(),
            lengths.numpy(),
            targets.contiguous().numpy(),
            target_lengths.numpy(),
            losses,
            gradient,
        )
        result = torch.from_numpy(losses)
        if result.isinf().any():
            # Too few frames, or a target so unlikely that probabilities underflow: ask in logarithms.
            lost = result.isinf()
            with torch.enable_grad():
                again = logits.detach()[lost].double().requires_grad_()
                loss = _native_ctc_loss(again, lengths[lost], targets[lost], target_lengths[lost])
                (slope,) = torch.autograd.grad(loss.sum(), again)
            torch.from_numpy(gradient)[lost] = slope.float()
            result[lost] = loss.detach().float()
        ctx.save_for_backward(torch.from_numpy(gradient))
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(outputs[0].view(-1, 1, 1)), None, None, None


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
def _utterance_kernel(logits, target, gradient):  # type: ignore[no-untyped-def]
    """Loss of one utterance; writes d(loss)/d(logits) ``(frames, tokens)``.

    Infinite (and the gradient without meaning) where the frames do not suffice or precision might not.
    """
    frames, tokens = logits.shape
    states = 2 * len(target) + 1
    if frames == 0:
        return math.inf if len(target) else 0.0
    labels = np.zeros(states, dtype=np.int64)
    skips = np.zeros(states)
    for position in range(len(target)):
        labels[2 * position + 1] = target[position]
        if position and target[position] != target[position - 1]:
            skips[2 * position + 1] = 1.0
    probabilities = np.empty((frames, tokens))
    log_best = 0.0
    for t in range(frames):
        highest = logits[t].max()
        if highest - logits[t].min() > LARGEST_GAP:
            return math.inf
        total = 0.0
        for token in range(tokens):
            probabilities[t, token] = math.exp(logits[t, token] - highest)
            total += probabilities[t, token]
        log_best -= math.log(total)
        for token in range(tokens):
            probabilities[t, token] /= total

    # Two leading zeros stand for the states before the first one.
    alpha = np.zeros((frames, states + 2))
    log_likelihood = 0.0
    for t in range(frames):
        # States that cannot reach the end any more would only take mass from those that can.
        first, last = max(0, states - 2 * (frames - t)), min(states, 2 * t + 2)
        total = 0.0
        if t == 0:
            for s in range(first, last):
                alpha[0, s + 2] = probabilities[0, labels[s]]
                total += alpha[0, s + 2]
        else:
            before = alpha[t - 1]
            for s in range(first, last):
                mass = before[s + 2] + before[s + 1] + skips[s] * before[s]
                mass *= probabilities[t, labels[s]]
                alpha[t, s + 2] = mass
                total += mass
        if not total > 0.0:
            return math.nan if math.isnan(total) else math.inf
        log_likelihood += math.log(total)
        for s in range(first, last):
            alpha[t, s + 2] /= total
    ending = alpha[frames - 1, states + 1] + (alpha[frames - 1, states] if states > 1 else 0.0)
    if not ending > 0.0:
        return math.nan if math.isnan(ending) else math.inf
    log_likelihood += math.log(ending)
    if log_best - log_likelihood > LARGEST_DEFICIT:
        return math.inf

    # Two trailing zeros stand for the states after the last one.
    beta = np.zeros(states + 2)
    emitted = np.zeros(states + 2)
    occupancy = np.empty(tokens)
    beta[states - 1] = 1.0
    if states > 1:
        beta[states - 2] = 1.0
    for t in range(frames - 1, -1, -1):
        if t < frames - 1:
            for s in range(states):
                emitted[s] = beta[s] * probabilities[t + 1, labels[s]]
            total = 0.0
            for s in range(states - 1):
                beta[s] = emitted[s] + emitted[s + 1] + skips[s + 2 if s + 2 < states else 0] * emitted[s + 2]
                total += beta[s]
            beta[states - 1] = emitted[states - 1]
            total += beta[states - 1]
            for s in range(states):
                beta[s] /= total
        occupancy[:] = 0.0
        total = 0.0
        for s in range(states):
            mass = alpha[t, s + 2] * beta[s]
            occupancy[labels[s]] += mass
            total += mass
        if not total > 0.0:
            return math.inf
        for token in range(tokens):
            gradient[t, token] = probabilities[t, token] - occupancy[token] / total
    return -log_likelihood


@numba.njit(cache=True, nogil=True)
def _batch_kernel(  # type: ignore[no-untyped-def]
    logits, lengths, targets, target_lengths, losses, gradient
):
    for index in range(len(logits)):
        if target_lengths[index] >= 0:
            losses[index] = _utterance_kernel(
                logits[index, : lengths[index]],
                targets[index, : target_lengths[index]],
                gradient[index],
            )
