"""The LSTM's training pass: values and gradients of torch's, as near as bfloat16 is."""

import pytest
import torch
from torch import Tensor, nn

from asr.encoder import EncoderConfig, Recurrence
from asr.lstm import lstm


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).bfloat16()


def arguments(batch: int, frames: int, inputs: int, size: int, scale: float = 1.0) -> list[Tensor]:
    """Input, weights and bias, as bfloat16 has them."""
    return [
        random(batch, frames, inputs, seed=1, scale=scale),
        random(4 * size, inputs, seed=2, scale=0.3),
        random(4 * size, size, seed=3, scale=0.3),
        random(4 * size, seed=4, scale=0.3),
    ]


def peer(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The same in float32 by ``nn.LSTM``."""
    layer = nn.LSTM(x.shape[2], weight_hh.shape[1], batch_first=True)
    state = {"weight_ih_l0": weight_ih, "weight_hh_l0": weight_hh, "bias_ih_l0": bias}
    output, (_, cell) = torch.func.functional_call(layer, state | {"bias_hh_l0": torch.zeros_like(bias)}, x)
    return output, cell[0]


def is_near(ours: Tensor, exact: Tensor, tolerance: float) -> bool:
    ours, exact = ours.detach().float(), exact.detach().float()
    return bool((ours - exact).norm() <= tolerance * exact.norm())


# Sizes that fill no register, one utterance, one frame; large sums, at which gates are shut or open.
@pytest.mark.parametrize(
    ("batch", "frames", "inputs", "size", "scale"),
    [(3, 17, 5, 7, 1.0), (1, 40, 24, 32, 1.0), (4, 1, 8, 16, 1.0), (5, 30, 16, 33, 30.0)],
)
def test_values_and_gradients_are_those_of_torch(
    batch: int, frames: int, inputs: int, size: int, scale: float
) -> None:
    ours = [each.requires_grad_() for each in arguments(batch, frames, inputs, size, scale)]
    exact = [each.detach().float().requires_grad_() for each in ours]
    output, cell = lstm(*ours)
    expected, expected_cell = peer(*exact)
    assert output.dtype == torch.bfloat16
    assert is_near(output, expected, 0.02)
    assert is_near(cell, expected_cell, 0.02)
    slope = random(*expected.shape, seed=5)
    output.backward(slope)
    expected.backward(slope.float())
    for one, other in zip(ours, exact, strict=True):
        assert is_near(one.grad, other.grad, 0.03)


def test_an_utterance_does_not_depend_on_those_beside_it() -> None:
    x, *weights = arguments(6, 12, 8, 16)
    together, _ = lstm(x, *weights)
    alone = torch.cat([lstm(x[number : number + 1], *weights)[0] for number in range(6)])
    torch.testing.assert_close(alone, together, atol=0.01, rtol=0)


def test_no_utterances_give_no_gradient() -> None:
    x, *weights = (each.requires_grad_() for each in arguments(0, 5, 8, 16))
    output, cell = lstm(x, *weights)
    assert (output.shape, cell.shape) == ((0, 5, 16), (0, 16))
    output.sum().backward()
    assert x.grad.shape == (0, 5, 8)
    assert not weights[1].grad.any()


def test_what_is_not_a_number_stays_visible() -> None:
    x, *weights = arguments(2, 5, 8, 16)
    x[1, 2, 3] = torch.nan
    output, _ = lstm(x, *weights)
    assert output[0].isfinite().all()
    assert output[1, 2:].isnan().all()
    leaf = weights[1].requires_grad_()
    lstm(x, *weights)[0].sum().backward()
    assert leaf.grad.isnan().all()


def test_a_second_backward_pass_gives_the_same_gradient() -> None:
    x, *weights = arguments(2, 5, 8, 16)
    x.requires_grad_()
    loss = lstm(x, *weights)[0].float().square().sum()
    first, second = (torch.autograd.grad(loss, x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_layer_says_the_same_in_training_and_after_it() -> None:
    torch.manual_seed(0)
    layer = Recurrence(EncoderConfig(hidden_size=24), 16)
    x = random(3, 20, 16)
    training, (hidden, cell) = layer.train()(x)
    assert training.grad_fn is not None and "LSTM" in type(training.grad_fn).__name__
    with torch.no_grad():
        after, (last, last_cell) = layer.eval()(x)
    for one, other in ((training, after), (hidden, last), (cell, last_cell)):
        assert one.shape == other.shape
        assert is_near(one, other, 0.01)
