"""Matrix products in 8 bits."""

import pytest
import torch
from torch import nn

from asr.eight_bits import EightBitMatrix, step_in_eight_bits
from asr.encoder import EncoderConfig, RecurrentStack
from asr.precision import fast_eight_bits

pytestmark = pytest.mark.skipif(not fast_eight_bits(), reason="a CPU without products of bytes")


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (3, 1, 7), (3, 7, 13), (70, 64, 33)])
def test_products_are_near_the_exact_ones(rows: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(outputs, inputs), torch.randn(rows, inputs)
    error = EightBitMatrix(weight)(x) - x @ weight.t()
    # Each of both factors is off by half a step, a 254th of its row's largest value.
    steps = x.norm(dim=1)[:, None] * weight.abs().amax(1) + weight.norm(dim=1) * x.abs().amax(1)[:, None]
    assert (error.abs() <= steps * inputs**0.5 / 254 + 1e-3).all()


def test_one_large_row_spoils_no_other_and_zeros_stay() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(4, 8), torch.randn(3, 8)
    weight[0] *= 1e6
    x[1] *= 1e6
    x[2] = 0
    found = EightBitMatrix(weight)(x)
    assert found[2].eq(0).all()
    assert torch.allclose(found[0, 1:], x[0] @ weight[1:].t(), atol=0.1)


def test_a_row_is_computed_alike_among_any_others() -> None:
    torch.manual_seed(0)
    matrix, x = EightBitMatrix(torch.randn(300, 200)), torch.randn(100, 200)
    together = matrix(x)
    assert all(torch.equal(matrix(x[first : first + 7]), together[first : first + 7]) for first in range(94))
    columns_first = x.t().contiguous().t()
    assert torch.equal(matrix(columns_first), together)
    assert torch.equal(matrix(columns_first[:1]), together[:1])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("projection", [0, 12])
def test_layers_are_stepped_nearly_as_in_single_precision(cell: str, projection: int) -> None:
    torch.manual_seed(0)
    shape = EncoderConfig(cell=cell, bidirectional=False, layers=2, hidden_size=40, projection=projection)
    stack = RecurrentStack(shape, 12).eval()
    for parameter in stack.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)
    frames = torch.randn(6, 5, 12)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        state, outputs = None, []
        for frame in frames:
            output, state = stack.step(frame, state)
            outputs.append(output)
        return torch.stack(outputs)

    exact = run()
    step_in_eight_bits(stack)
    assert torch.allclose(run(), exact, atol=0.03)


def test_probabilities_are_near_the_exact_ones_and_the_same_among_any_rows() -> None:
    torch.manual_seed(0)
    weight, x, chosen = torch.randn(300, 40) / 4, torch.randn(150, 40), torch.randint(300, (150,))
    matrix = EightBitMatrix(weight)
    found = matrix.log_probabilities(x, chosen)
    exact = (x @ weight.t()).log_softmax(1).gather(1, chosen[:, None]).squeeze(1)
    assert torch.allclose(found, exact, atol=0.05)
    assert torch.equal(matrix.log_probabilities(x[70:80], chosen[70:80]), found[70:80])
    everything = matrix.log_probabilities(x[:1].expand(300, -1), torch.arange(300))
    assert everything.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert matrix.log_probabilities(1e4 * x, chosen).isfinite().all()
