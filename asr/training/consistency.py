"""Consistency regularisation of CTC (Yao et al. 2025, "CR-CTC: consistency regularization on CTC").

Every utterance goes through the network twice, with other voices, masks and dropout (that of the recurrent
weights, one mask a batch, is the same). Besides the loss of each of these views there is that of their
disagreement: what is masked in one is to be heard from what surrounds it, as the other view hears it.
"""

from dataclasses import replace

from torch import Tensor

from asr.frontend import valid_frames
from asr.training.data import Batch


def two_views(features: Tensor, lengths: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Batch]:
    """Every utterance twice: row ``n`` and row ``n + utterances`` are the two views of one.

    Args:
        features: ``(utterances, frames, mel_bins)``, not yet varied.
        lengths: int64 ``(utterances,)``.
        batch: What they are. Its ids, texts and targets come twice, its waveforms, of which the features
            were made, once.
    """
    targets = {
        name: (values.repeat(2, 1), sizes.repeat(2)) for name, (values, sizes) in batch.targets.items()
    }
    twice = replace(batch, ids=batch.ids * 2, texts=batch.texts * 2, targets=targets)
    return features.repeat(2, 1, 1), lengths.repeat(2), twice


def disagreement(logits: Tensor, frames: Tensor) -> Tensor:
    """How far the views of each utterance are from each other, summed over its frames.

    The Kullback-Leibler divergence of each view from the other, which is taken for granted: no gradient
    goes through what is to be agreed with.

    Args:
        logits: float32 ``(2 * utterances, frames, tokens)``, as :func:`two_views` orders them.
        frames: int64 ``(2 * utterances,)``, valid frames.

    Returns:
        float32 ``(2 * utterances,)``, in nats.
    """
    scores = logits.log_softmax(-1)
    others = scores.detach().roll(len(scores) // 2, 0)
    divergence = (others.exp() * (others - scores)).sum(-1)
    return divergence.masked_fill(~valid_frames(frames, scores.shape[1]), 0.0).sum(1)
