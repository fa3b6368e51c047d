"""What is made small in training."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from asr.denominator import UnitNgram, crf_denominator
from asr.loss import ctc_loss
from asr.model import Model
from asr.training.config import LossConfig
from asr.training.data import Batch
from asr.training.objective import Objective

TARGETS, LENGTHS, FRAMES = torch.tensor([[3, 4, 4], [5, 0, 0]]), torch.tensor([3, 1]), torch.tensor([12, 9])


def batch() -> Batch:
    return Batch(
        ["a", "b"], ["", ""], torch.zeros(2, 1), torch.ones(2).long(), {"characters": (TARGETS, LENGTHS)}
    )


def loss_and_gradient(objective: Objective, logits: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    loss = objective.loss("characters", logits, FRAMES, batch())
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient


def test_a_head_with_a_denominator_is_trained_on_ctc_crf(make_model: Callable[..., Model]) -> None:
    """The loss is CTC's, its share once more, and what other paths have: neither alone."""
    model = make_model()
    tokens = len(model.tokenizers["characters"].tokens)
    ngram = UnitNgram.estimate([[3, 4, 4], [5]], tokens, 2)
    logits = torch.randn(2, 12, tokens, generator=torch.Generator().manual_seed(1))
    counted: dict[str, float] = {}

    objective = Objective(
        LossConfig(ctc_share=0.25),
        model,
        {"characters": ngram},
        lambda name, value: counted.update({name: float(value)}),
    )
    loss, gradient = loss_and_gradient(objective, logits)

    ctc = ctc_loss(logits, FRAMES, TARGETS, LENGTHS)
    expected = (1.25 * ctc + crf_denominator(logits, FRAMES, TARGETS, LENGTHS, ngram)).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert counted == {
        "loss_characters": pytest.approx(loss.item(), rel=1e-5), "labels_characters": 4, "infinite": 0
    }  # fmt: skip
    plain, plain_gradient = loss_and_gradient(Objective(LossConfig(), model, {}, lambda *_: None), logits)
    assert plain.item() == pytest.approx(ctc.sum().item(), rel=1e-5)
    assert not torch.allclose(gradient, plain_gradient, atol=1e-3)
