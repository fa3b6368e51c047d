"""Two views of each utterance that are to agree."""

from pathlib import Path

import pytest
import torch
from finished import Train
from torch import Tensor

from asr.errors import UserError
from asr.training.config import load_recipe
from asr.training.consistency import disagreement, two_views
from asr.training.data import Batch


def logits_of(seed: int, rows: int, frames: int) -> Tensor:
    return torch.randn(rows, frames, 5, generator=torch.Generator().manual_seed(seed))


def test_views_that_agree_are_not_apart() -> None:
    logits = logits_of(1, 3, 4)
    apart = disagreement(torch.cat([logits, logits + 7.0]), torch.tensor([4, 2, 3] * 2))
    assert torch.allclose(apart, torch.zeros(6), atol=1e-5)


def test_each_view_is_pulled_towards_the_other_as_it_is() -> None:
    logits = logits_of(2, 4, 3).requires_grad_()
    apart = disagreement(logits, torch.tensor([3, 2, 3, 2]))
    apart.sum().backward()
    said = logits.detach().softmax(-1)
    other = said[[2, 3, 0, 1]]
    divergence = (other * (other.log() - said.log())).sum(-1)
    expected = torch.stack([divergence[0].sum(), divergence[1, :2].sum(),
                            divergence[2].sum(), divergence[3, :2].sum()])  # fmt: skip
    assert torch.allclose(apart.detach(), expected, atol=1e-5)
    assert logits.grad is not None
    assert torch.allclose(logits.grad[[0, 2]], (said - other)[[0, 2]], atol=1e-5)
    assert torch.allclose(logits.grad[[1, 3], :2], (said - other)[[1, 3], :2], atol=1e-5)
    assert not logits.grad[[1, 3], 2].any()


def test_padding_and_the_batch_do_not_count() -> None:
    views = logits_of(3, 2, 4)
    alone = disagreement(views, torch.tensor([4, 4]))
    padded = torch.full((6, 7, 5), 3.0)
    padded[[1, 4], :4] = views
    assert torch.allclose(disagreement(padded, torch.tensor([7, 4, 0] * 2))[[1, 4]], alone, atol=1e-5)


def test_what_was_said_comes_twice_as_the_features_do() -> None:
    targets = {"characters": (torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1]))}
    batch = Batch(["a", "b"], ["A B", "C"], torch.zeros(2, 9), torch.tensor([9, 8]), targets)
    features, lengths, twice = two_views(torch.arange(8.0).view(2, 2, 2), torch.tensor([2, 1]), batch)
    assert features[2:].equal(features[:2])
    assert lengths.tolist() == [2, 1, 2, 1]
    assert twice.texts == ["A B", "C"] * 2
    assert twice.targets["characters"][0].tolist() == [[1, 2], [3, 0]] * 2
    assert twice.targets["characters"][1].tolist() == [2, 1] * 2


def test_a_run_brings_its_views_together(train: Train) -> None:
    plain = ("schedule.steps=40", "data.dev=''", "encoder.dropout=0.3")
    free = train("free", *plain, "loss.consistency=1e-9")
    bound = train("bound", *plain, "loss.consistency=30")
    assert 0 < bound.log()[-1]["disagreement"] < 0.7 * free.log()[-1]["disagreement"]
    assert "disagreement" not in train("one view", *plain).log()[-1]


@pytest.mark.parametrize("drawn", ["augment.spec_augment.probability=1", "augment.vocal_tract=0.3"])
def test_the_views_are_drawn_apart(train: Train, drawn: str) -> None:
    """Without dropout they differ in what is done to their features, and in nothing else."""
    plain = ("schedule.steps=20", "data.dev=''", "encoder.dropout=0", "loss.consistency=1e-9")
    same = train("same", *plain, "augment.spec_augment.probability=0")
    apart = train("apart", *plain, "augment.spec_augment.probability=0", drawn)
    assert same.log()[-1]["disagreement"] == pytest.approx(0, abs=1e-6)
    assert apart.log()[-1]["disagreement"] > 5e-5


def test_views_that_are_warped_in_time_are_refused(recipe_file: Path) -> None:
    with pytest.raises(UserError, match=r"loss\.consistency: views warped in time"):
        load_recipe(recipe_file, ["loss.consistency=0.2", "augment.spec_augment.time_warp=5"])
