"""CTC loss: what the paths add up to, and its slope."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from asr.loss import _native_ctc_loss, ctc_loss, frames_needed


def value_and_slope(logits: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    losses = ctc_loss(leaf, *rest)
    losses.masked_fill(losses.isinf(), 0.0).sum().backward()
    assert leaf.grad is not None
    return losses.detach(), leaf.grad


def torch_value_and_slope(
    logits: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """torch's own loss in float64."""
    leaf = logits.double().requires_grad_()
    losses = functional.ctc_loss(
        leaf.log_softmax(-1).transpose(0, 1), targets, lengths, target_lengths, reduction="none"
    )
    (slope,) = torch.autograd.grad(losses.masked_fill(losses.isinf(), 0.0).sum(), leaf)
    return losses.detach(), slope


def batch(rows: int, frames: int, tokens: int, labels: int, spread: float, seed: int) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    return (
        spread * torch.randn(rows, frames, tokens, generator=draw),
        torch.randint(labels * 2, frames + 1, (rows,), generator=draw),
        torch.randint(1, tokens, (rows, labels), generator=draw),
        torch.randint(0, labels + 1, (rows,), generator=draw),
    )


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0, 20.0])
def test_value_and_gradient_equal_torchs_in_float64(spread: float) -> None:
    logits, lengths, targets, target_lengths = batch(6, 60, 29, 20, spread, seed=int(spread * 10))
    found, slope = value_and_slope(logits, lengths, targets, target_lengths)
    expected, expected_slope = torch_value_and_slope(logits, lengths, targets, target_lengths)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slope.double(), expected_slope, rtol=1e-4, atol=1e-5)


def every_path(log_probabilities: np.ndarray, target: list[int]) -> float:
    """Loss by its definition: add up all paths that collapse to the target."""
    frames, tokens = log_probabilities.shape
    total = 0.0
    for path in itertools.product(range(tokens), repeat=frames):
        merged = [token for token, _ in itertools.groupby(path)]
        if [token for token in merged if token] == target:
            total += math.exp(sum(log_probabilities[t, token] for t, token in enumerate(path)))
    return -math.log(total) if total else math.inf


@settings(max_examples=60)
@given(
    st.integers(1, 5),
    st.integers(2, 3),
    st.lists(st.integers(1, 2), max_size=4),
    st.integers(0, 10**6),
    st.sampled_from([0.5, 3.0, 12.0]),
)
def test_the_loss_is_the_sum_over_all_paths(
    frames: int, tokens: int, target: list[int], seed: int, spread: float
) -> None:
    target = [min(label, tokens - 1) for label in target]
    logits = spread * torch.randn(1, frames, tokens, generator=torch.Generator().manual_seed(seed))
    row = torch.tensor([target or [0]])
    losses, slope = value_and_slope(logits, torch.tensor([frames]), row, torch.tensor([len(target)]))
    expected = every_path(logits[0].double().log_softmax(-1).numpy(), target)
    assert losses.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert math.isinf(expected) == (frames < frames_needed(target))
    # A softmax's gradient adds up to nothing at every frame.
    assert slope.sum(-1).abs().max() < 1e-5


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    logits, lengths, targets, target_lengths = batch(1, 8, 4, 3, 1.0, seed=3)
    arguments = (lengths, targets, target_lengths)
    _, slope = value_and_slope(logits, *arguments)
    for t, token in itertools.product(range(8), range(4)):
        step = torch.zeros_like(logits)
        step[0, t, token] = 1e-2
        difference = ctc_loss(logits + step, *arguments) - ctc_loss(logits - step, *arguments)
        assert slope[0, t, token].item() == pytest.approx(difference.item() / 2e-2, abs=2e-3)


def test_a_target_that_does_not_fit_is_infinite_and_pulls_at_nothing() -> None:
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2, 3, 4, 1], [1, 1, 1, 0, 0], [1, 2, 3, 4, 0]])
    losses, slope = value_and_slope(logits, torch.full((3,), 4), targets, torch.tensor([5, 3, 4]))
    assert losses.isinf().tolist() == [True, True, False]
    assert not slope[:2].any()
    assert slope[2].any()


def test_an_utterance_without_frames_is_infinite_unless_nothing_was_said() -> None:
    losses, slope = value_and_slope(
        torch.zeros(2, 3, 4), torch.tensor([0, 0]), torch.tensor([[1], [1]]), torch.tensor([1, 0])
    )
    assert losses.tolist() == [math.inf, 0.0]
    assert not slope.any()


@pytest.mark.parametrize("frames", [0, 3])
@pytest.mark.parametrize("labels", [0, 1])
def test_torchs_kernel_takes_utterances_without_frames_or_labels(frames: int, labels: int) -> None:
    targets, lengths = torch.ones(1, labels).long(), torch.tensor([labels])
    logits = torch.zeros(1, frames, 4, requires_grad=True)
    loss = _native_ctc_loss(logits, torch.tensor([frames]), targets, lengths)
    torch.testing.assert_close(loss, ctc_loss(logits, torch.tensor([frames]), targets, lengths))
    assert loss.isinf().item() == (labels > frames)
    loss.sum().backward()


def test_a_target_length_of_minus_one_leaves_the_utterance_out() -> None:
    logits, lengths, targets, target_lengths = batch(3, 20, 6, 5, 1.0, seed=5)
    whole, whole_slope = value_and_slope(logits, lengths, targets, target_lengths)
    target_lengths[1] = -1
    losses, slope = value_and_slope(logits, lengths, targets, target_lengths)
    assert losses[1] == 0
    assert not slope[1].any()
    torch.testing.assert_close(losses[[0, 2]], whole[[0, 2]], atol=0, rtol=0)
    torch.testing.assert_close(slope[[0, 2]], whole_slope[[0, 2]], atol=0, rtol=0)


def test_padding_of_frames_and_labels_counts_for_nothing() -> None:
    logits, lengths, targets, target_lengths = batch(4, 30, 6, 8, 1.0, seed=6)
    losses, slope = value_and_slope(logits, lengths, targets, target_lengths)
    for row in range(4):
        logits[row, lengths[row] :] = 1e4
        targets[row, target_lengths[row] :] = 99
    again, slope_again = value_and_slope(logits, lengths, targets, target_lengths)
    torch.testing.assert_close(losses, again, atol=0, rtol=0)
    torch.testing.assert_close(slope, slope_again, atol=0, rtol=0)
    for row in range(4):
        assert not slope[row, lengths[row] :].any()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([60.0, 300.0, 1000.0, 1e4]))
def test_extremely_peaked_logits_give_the_true_value_and_gradient(seed: int, spread: float) -> None:
    logits, lengths, targets, target_lengths = batch(3, 14, 4, 4, spread, seed)
    found, slope = value_and_slope(logits, lengths, targets, target_lengths)
    expected, expected_slope = torch_value_and_slope(logits, lengths, targets, target_lengths)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
    assert slope.isfinite().all()
    torch.testing.assert_close(slope.double(), expected_slope, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("gap", [20.0, 35.0, 50.0, 70.0, 100.0, 200.0, 400.0])
def test_a_sure_blank_does_not_drown_the_labels(gap: float) -> None:
    """Forward mass stays at the start, backward mass at the end: neither may vanish where they meet."""
    logits = torch.zeros(1, 20, 5)
    logits[..., 0] = gap
    arguments = (torch.tensor([20]), torch.tensor([[1, 2, 3, 4, 1, 2, 3, 4, 1, 2]]), torch.tensor([10]))
    found, slope = value_and_slope(logits, *arguments)
    expected, expected_slope = torch_value_and_slope(logits, *arguments)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(slope.double(), expected_slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gap", [30.0, 1000.0])
def test_a_path_that_is_certain_costs_nothing(gap: float) -> None:
    logits = gap * functional.one_hot(torch.tensor([[1, 0, 1, 2]]), 3).float()
    losses, slope = value_and_slope(logits, torch.tensor([4]), torch.tensor([[1, 1, 2]]), torch.tensor([3]))
    assert losses.item() == pytest.approx(0, abs=1e-6)
    assert slope.abs().max() < 1e-6


def test_logits_that_are_not_numbers_give_a_loss_that_is_none() -> None:
    logits, lengths, targets, target_lengths = batch(2, 20, 6, 5, 1.0, seed=7)
    logits[0, 3, 2] = math.nan
    target_lengths[:] = 3
    losses, _ = value_and_slope(logits, lengths, targets, target_lengths)
    assert losses.isnan().tolist() == [True, False]


def test_torchs_kernel_as_cuda_uses_it_means_the_same() -> None:
    logits, lengths, targets, target_lengths = batch(4, 20, 6, 5, 1.0, seed=8)
    target_lengths[:] = torch.tensor([-1, 5, 3, 5])
    lengths[3] = 2
    for function in (ctc_loss, _native_ctc_loss):
        leaf = logits.clone().requires_grad_()
        losses = function(leaf, lengths, targets, target_lengths)
        losses.masked_fill(losses.isinf(), 0.0).sum().backward()
        if function is ctc_loss:
            expected, slope = losses.detach(), leaf.grad
        else:
            torch.testing.assert_close(losses.detach(), expected, atol=1e-4, rtol=1e-5)
            torch.testing.assert_close(leaf.grad, slope, atol=1e-5, rtol=1e-4)


def test_frames_needed_are_one_a_label_and_one_between_equal_neighbours() -> None:
    assert [frames_needed(labels) for labels in ([], [1], [1, 2], [1, 1], [1, 1, 1, 2, 2])] == [0, 1, 2, 3, 8]
