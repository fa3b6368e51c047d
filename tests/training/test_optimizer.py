"""Parameters as one vector, schedules, the running average."""

import pytest
import torch
from torch import nn

from asr.training.config import OptimizerConfig, ScheduleConfig
from asr.training.optimizer import FlatParameters, Optimisation, RunningAverage, learning_rate_factor


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def test_parameters_and_gradients_are_views_of_one_vector() -> None:
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    flat = FlatParameters(model, extra=2)
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
    model(torch.randn(5, 3)).square().sum().backward()
    total = sum(float(parameter.grad.square().sum()) for parameter in model.parameters())
    assert float(flat.gradient.square().sum()) == pytest.approx(total)
    assert not flat.statistics.any()
    flat.values.zero_()
    assert not any(parameter.any() for parameter in model.parameters())


def test_a_step_equals_adamw_on_the_parameters_with_matrices_alone_decayed() -> None:
    ours, theirs = network(), network()
    config = OptimizerConfig(lr=0.1, weight_decay=0.3, clip=0.0, average=0.0)
    optimisation = Optimisation(ours, config)
    matrices = [parameter for parameter in theirs.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in theirs.parameters() if parameter.dim() == 1]
    peer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}],
        lr=0.1,
        betas=config.betas,
    )
    for step in range(5):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        optimisation.flat.buffer.zero_()
        peer.zero_grad()
        for model in (ours, theirs):
            model(x).square().sum().backward()
        optimisation.update(0.1, step)
        peer.step()
    for ours_, theirs_ in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours_, theirs_, atol=1e-6, rtol=1e-5)


def test_a_gradient_is_clipped_to_its_largest_norm_and_one_that_is_not_finite_changes_nothing() -> None:
    optimisation = Optimisation(network(), OptimizerConfig(clip=0.5))
    optimisation.flat.gradient.fill_(3.0)
    size = len(optimisation.flat.gradient)
    assert optimisation.update(0.01, 0) == pytest.approx(3 * size**0.5)
    assert float(optimisation.flat.gradient.norm()) == pytest.approx(0.5, rel=1e-5)
    before = optimisation.flat.values.clone()
    for value in (float("nan"), float("inf")):
        optimisation.flat.gradient.fill_(value)
        optimisation.update(0.01, 1)
    assert torch.equal(optimisation.flat.values, before)


def test_the_state_survives_a_checkpoint() -> None:
    first, second = Optimisation(network(), OptimizerConfig()), Optimisation(network(), OptimizerConfig())
    for step in range(3):
        first.flat.gradient.normal_(generator=torch.Generator().manual_seed(step))
        first.update(0.01, step)
    assert second.restore({name: value.clone() for name, value in first.tensors().items()})
    for optimisation in (first, second):
        optimisation.flat.gradient.fill_(0.1)
        optimisation.update(0.01, 3)
    assert torch.equal(first.flat.values, second.flat.values)
    assert torch.equal(first.average.values, second.average.values)
    assert not second.restore({"values": torch.zeros(3)})


def test_the_rate_rises_over_the_warm_up() -> None:
    config = ScheduleConfig(warmup=10, kind="plateau")
    factors = [learning_rate_factor(config, step, 0.0) for step in range(20)]
    assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])
    assert factors[10:] == [1.0] * 10


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_the_rate_holds_and_falls_to_its_end(kind: str) -> None:
    config = ScheduleConfig(warmup=0, kind=kind, hold=0.4, final=0.1)
    factors = [learning_rate_factor(config, 99, progress / 100) for progress in range(0, 131)]
    assert factors[:41] == [1.0] * 41
    assert factors == sorted(factors, reverse=True)
    assert factors[70] == pytest.approx(0.55)
    assert factors[100:] == pytest.approx([0.1] * 31)


def test_the_average_forgets_its_youth_and_swaps_in_for_a_while() -> None:
    values = torch.zeros(3)
    average = RunningAverage(values, 0.9)
    for step in range(200):
        values.fill_(float(step >= 5))
        average.update(values, step)
    assert (average.values - 1).abs().max() < 1e-4
    values.fill_(7.0)
    with average.swapped_in(values):
        assert (values - 1).abs().max() < 1e-4
    assert (values == 7).all()
