"""CTC-CRF's denominator: what all paths add up to under an n-gram, and its slope."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.denominator import LEAST_PROBABILITY, UnitNgram, crf_denominator, log_partition
from asr.errors import UserError
from asr.loss import ctc_loss

IMPOSSIBLE = -1e12  # a logarithm that autograd can work with, unlike that of 0


def random_ngram(tokens: int, order: int, seed: int) -> UnitNgram:
    """Of random targets, some n-grams of which were never seen."""
    draw = np.random.default_rng(seed)
    targets = [draw.integers(1, tokens, size).tolist() for size in draw.integers(0, 8, 6)]
    return UnitNgram.estimate(targets, tokens, order)


def prior(ngram: UnitNgram, units: tuple[int, ...]) -> float:
    """Probability of a unit sequence by its definition."""
    tokens = ngram.table.shape[1]
    history, product = [0] * (ngram.order - 1), 1.0
    for unit in (*units, 0):
        number = sum(each * tokens**place for place, each in enumerate(reversed(history)))
        product *= float(ngram.table[number, unit])
        history = [*history[1:], unit]
    return product


def every_path(probabilities: Tensor, ngram: UnitNgram) -> dict[tuple[int, ...], Tensor]:
    """Each unit sequence that paths spell, with its prior times the paths' probability, by definition."""
    frames, tokens = probabilities.shape
    found: dict[tuple[int, ...], Tensor] = {}
    for path in itertools.product(range(tokens), repeat=frames):
        units = tuple(token for token, _ in itertools.groupby(path) if token)
        product = probabilities[torch.arange(frames), torch.tensor(path)].prod()
        found[units] = found.get(units, torch.zeros(())) + product * prior(ngram, units)
    return found


def in_logarithms(logits: Tensor, ngram: UnitNgram) -> Tensor:
    """log Z of one utterance, the forward recursion over (history, blank?) in float64."""
    tokens = ngram.table.shape[1]
    histories = len(ngram.table)
    table = torch.from_numpy(ngram.table).double().log()
    history = torch.arange(histories)
    heads = history[:, None] % (histories // tokens) * tokens + torch.arange(tokens)
    same = history[:, None] % tokens == torch.arange(tokens)
    unit, blank = torch.full((2, histories), IMPOSSIBLE, dtype=torch.float64)
    blank[0] = 0.0
    for emission in logits.double().log_softmax(-1):
        leaving = torch.where(same, blank[:, None], torch.logaddexp(unit, blank)[:, None]) + table
        arriving = torch.stack(
            [leaving[:, 1:].flatten()[heads[:, 1:].flatten() == each].logsumexp(0) for each in history]
        )
        unit, blank = (
            torch.logaddexp(arriving, unit) + emission[history % tokens],
            torch.logaddexp(unit, blank) + emission[0],
        )
        unit = unit.masked_fill(history % tokens == 0, IMPOSSIBLE)
    return (torch.logaddexp(unit, blank) + table[:, 0]).logsumexp(0)


def value_and_slope(logits: Tensor, lengths: Tensor, ngram: UnitNgram) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    values = log_partition(leaf, lengths, ngram)
    (slope,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), slope


def random_logits(*shape: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    return spread * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(2, 3),
    st.sampled_from([2, 3]),
    st.integers(0, 10**6),
    st.sampled_from([0.5, 3.0, 12.0]),
)
def test_value_and_slope_are_those_of_the_sum_over_all_paths(
    frames: int, tokens: int, order: int, seed: int, spread: float
) -> None:
    ngram = random_ngram(tokens, order, seed)
    logits = random_logits(1, frames, tokens, spread=spread, seed=seed)
    value, slope = value_and_slope(logits, torch.tensor([frames]), ngram)
    leaf = logits[0].double().requires_grad_()
    expected = sum(every_path(leaf.softmax(-1), ngram).values(), torch.zeros(())).log()
    (expected_slope,) = torch.autograd.grad(expected, leaf)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    torch.testing.assert_close(slope[0].double(), expected_slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0, 1e4])
def test_long_utterances_equal_the_recursion_in_logarithms(order: int, spread: float) -> None:
    ngram = random_ngram(6, order, seed=1)
    logits = random_logits(1, 80, 6, spread=spread)
    value, slope = value_and_slope(logits, torch.tensor([80]), ngram)
    leaf = logits[0].clone().requires_grad_()
    expected = in_logarithms(leaf, ngram)
    (expected_slope,) = torch.autograd.grad(expected, leaf)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-4)
    torch.testing.assert_close(slope[0], expected_slope, rtol=1e-3, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5), st.sampled_from([2, 3]), st.integers(0, 10**6), st.lists(st.integers(1, 2), max_size=3)
)
def test_with_it_the_ctc_loss_is_the_targets_negative_log_posterior(
    frames: int, order: int, seed: int, target: list[int]
) -> None:
    ngram = random_ngram(3, order, seed)
    logits = random_logits(1, frames, 3, spread=3.0, seed=seed)
    arguments = (logits, torch.tensor([frames]), torch.tensor([target or [0]]), torch.tensor([len(target)]))
    loss = (ctc_loss(*arguments) + crf_denominator(*arguments, ngram)).item()
    paths = every_path(logits[0].double().softmax(-1), ngram)
    if tuple(target) not in paths:
        assert math.isinf(loss)
        return
    posterior = paths[tuple(target)] / sum(paths.values(), torch.zeros(()))
    assert loss == pytest.approx(-posterior.log().item(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_a_negative_log_posterior_is_never_below_zero(order: int, spread: float) -> None:
    ngram = random_ngram(8, order, seed=2)
    targets = torch.randint(1, 8, (6, 10), generator=torch.Generator().manual_seed(3))
    lengths, target_lengths = torch.full((6,), 40), torch.tensor([0, 1, 3, 5, 8, 10])
    logits = random_logits(6, 40, 8, spread=spread)
    # Certain of the target in half of the rows: what is left is the prior's, or nothing.
    for row in (1, 3, 5):
        logits[row, :, 0] += 30
        for position in range(int(target_lengths[row])):
            logits[row, 4 * position, targets[row, position]] += 60
    arguments = (logits, lengths, targets, target_lengths)
    losses = ctc_loss(*arguments) + crf_denominator(*arguments, ngram)
    assert losses.isfinite().all()
    assert losses.min() > -1e-4


def test_neither_the_batch_nor_padding_counts() -> None:
    ngram = random_ngram(7, 3, seed=4)
    logits, lengths = random_logits(4, 30, 7), torch.tensor([30, 12, 1, 21])
    values, slope = value_and_slope(logits, lengths, ngram)
    for row, length in enumerate(lengths.tolist()):
        logits[row, length:] = 1e4
        alone, slope_alone = value_and_slope(logits[row : row + 1, :length], lengths[row : row + 1], ngram)
        torch.testing.assert_close(alone[0], values[row], atol=0, rtol=0)
        torch.testing.assert_close(slope_alone[0], slope[row, :length], atol=0, rtol=0)
    again, slope_again = value_and_slope(logits, lengths, ngram)
    torch.testing.assert_close(again, values, atol=0, rtol=0)
    torch.testing.assert_close(slope_again, slope, atol=0, rtol=0)
    for row, length in enumerate(lengths.tolist()):
        assert not slope[row, length:].any()


def test_without_frames_it_is_nothing() -> None:
    for frames in (0, 3):
        values, slope = value_and_slope(
            torch.zeros(2, frames, 4), torch.tensor([0, 0]), random_ngram(4, 2, 0)
        )
        assert values.tolist() == [0.0, 0.0]
        assert not slope.any()


def test_an_utterance_that_is_left_out_is_not_pushed_away_from_every_path() -> None:
    logits = random_logits(3, 20, 5).requires_grad_()
    targets, target_lengths = torch.ones(3, 4, dtype=torch.int64), torch.tensor([4, -1, 2])
    values = crf_denominator(logits, torch.full((3,), 20), targets, target_lengths, random_ngram(5, 3, 5))
    (slope,) = torch.autograd.grad(values.sum(), logits)
    assert values[1] == 0
    assert [bool(row.any()) for row in slope] == [True, False, True]


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("spread", [100.0, 1e4, 1e30])
def test_a_long_utterance_of_extreme_logits_is_finite(order: int, spread: float) -> None:
    logits = random_logits(1, 3000, 40, spread=spread)
    logits[0, 1000:2000, 0] += 2 * spread
    value, slope = value_and_slope(logits, torch.tensor([3000]), random_ngram(40, order, seed=6))
    assert value.isfinite().all()
    assert slope.isfinite().all()
    assert slope.sum(-1).abs().max() < 1e-3


def test_logits_that_are_not_numbers_give_a_value_that_is_none() -> None:
    logits = random_logits(2, 10, 5)
    logits[0, 3, 2] = math.nan
    values, _ = value_and_slope(logits, torch.tensor([10, 10]), random_ngram(5, 3, 7))
    assert values.isnan().tolist() == [True, False]


@pytest.mark.parametrize("order", [2, 3])
def test_the_ngram_is_a_distribution_near_what_was_counted(order: int) -> None:
    targets = [[1, 2, 3], [1, 2, 2], [], [1, 3]] * 500
    ngram = UnitNgram.estimate(targets, 5, order)
    np.testing.assert_allclose(ngram.table.sum(-1), 1.0, rtol=1e-6)
    assert ngram.table.min() >= 0.99 * LEAST_PROBABILITY
    assert ngram.table[0, 1] == pytest.approx(1.0, abs=0.01), "every target begins with 1"
    after_one = ngram.table[1]  # with order 3: after the start and 1
    assert after_one[[2, 3]].tolist() == pytest.approx([2 / 3, 1 / 3], abs=0.01)
    after_three = ngram.table[3 if order == 2 else 2 * 5 + 3]
    assert after_three[0] == pytest.approx(1.0, abs=0.01), "every target ends at 3"
    unseen = ngram.table[4 if order == 2 else 4 * 5 + 4]
    assert unseen.argmax() in (0, 1, 2)
    assert unseen[4] < 0.01


def test_an_ngram_without_targets_knows_nothing() -> None:
    np.testing.assert_allclose(UnitNgram.estimate([], 4, 3).table, 0.25)


def test_probabilities_of_targets_are_products_of_the_table() -> None:
    ngram = random_ngram(6, 3, seed=8)
    targets = torch.tensor([[1, 2, 2, 5], [4, 99, 99, 99], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = ngram.log_probability(targets, torch.tensor([4, 1, 0, -1]))
    expected = [math.log(prior(ngram, units)) for units in ((1, 2, 2, 5), (4,), ())]
    assert found.tolist() == pytest.approx([*expected, 0.0], rel=1e-5)


def test_a_table_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(UserError, match="order 3 over 1000 tokens is too large"):
        UnitNgram.estimate([[1]], 1000, 3)
