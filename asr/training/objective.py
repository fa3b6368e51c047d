"""What is made small in training: the loss of each head."""

from collections.abc import Callable

import torch
from torch import Tensor

from asr.denominator import UnitNgram, crf_denominator
from asr.loss import ctc_loss
from asr.model import Model
from asr.training.config import LossConfig
from asr.training.consistency import disagreement
from asr.training.data import Batch
from asr.training.word_errors import WordErrors

Count = Callable[[str, Tensor | float], None]


class Objective:
    """CTC, or CTC-CRF where a head has a denominator; views' disagreement; the default head's word errors.

    Args:
        config: Shares of the parts.
        model: The network that is trained.
        denominators: n-grams over units of the heads that have one.
        count: Is told by name what adds up over batches and processes: ``loss_`` and ``labels_`` of each
            head, ``infinite`` (targets too long for their frames), ``disagreement`` between views,
            ``word_errors`` expected among ``words``.
    """

    def __init__(
        self, config: LossConfig, model: Model, denominators: dict[str, UnitNgram], count: Count
    ) -> None:
        self._config, self._model, self._denominators, self._count = config, model, denominators, count
        self._word_errors = WordErrors(config.word_errors, model) if config.word_errors.weight else None

    def loss(self, name: str, logits: Tensor, frames: Tensor, batch: Batch) -> Tensor:
        """Loss of a head, summed over a batch and weighted as the head is.

        Args:
            name: The head.
            logits: float32 ``(batch, frames, tokens)``.
            frames: int64 ``(batch,)``, valid frames.
            batch: What was said.
        """
        targets, target_lengths = (part.to(logits.device) for part in batch.targets[name])
        losses = ctc_loss(logits, frames, targets, target_lengths)
        impossible = losses.isinf()
        if name in self._denominators:
            learnable = target_lengths.masked_fill(impossible, -1)
            excess = crf_denominator(logits, frames, targets, learnable, self._denominators[name])
            losses = (1 + self._config.ctc_share) * losses + excess
        finite = losses.masked_fill(impossible, 0.0)
        self._count(f"loss_{name}", finite.detach().sum())
        self._count(f"labels_{name}", target_lengths.clamp(min=0).sum())
        self._count("infinite", impossible.sum())
        loss = finite.sum()
        if self._config.consistency:
            apart = disagreement(logits, frames).sum()
            self._count("disagreement", apart.detach())
            loss = loss + self._config.consistency * apart
        if self._word_errors is not None and name == self._model.default_head:
            expected = self._expected_errors(self._word_errors, logits, frames, batch, target_lengths >= 0)
            loss = loss + self._config.word_errors.weight * expected
        return self._model.config.heads[name].weight * loss

    def _expected_errors(
        self, word_errors: WordErrors, logits: Tensor, frames: Tensor, batch: Batch, spelled: Tensor
    ) -> Tensor:
        """Those of the utterances that the head can spell."""
        expected = (word_errors(logits, frames, batch.texts) * spelled).sum()
        words = torch.tensor([len(text.split()) for text in batch.texts], device=logits.device)
        self._count("word_errors", expected.detach())
        self._count("words", (words * spelled).sum())
        return expected
