"""An LSTM's gates, by kernels of our own: its training pass in bfloat16, and single frames in 8 bits.

The training pass takes, on a CPU, about seven tenths of oneDNN's time.

Only what must go frame by frame does: the product of the hidden state with its weights, and the gates. All
other products are taken over all frames at once, the weights' gradients above all, which oneDNN sums frame
by frame (Appleyard et al. 2016, "Optimizing performance of recurrent neural networks on GPUs"). The gates
are computed in float32 and kept in bfloat16 for the backward pass; the cell state stays float32.
"""

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# numba takes a bare 1.0 for float64, in which half as many numbers fit into a register.
_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_LOG2_E, _LN_2, _LARGEST = np.float32(1 / np.log(2)), np.float32(np.log(2)), np.float32(60)
_THIRD, _FOURTH, _FIFTH = (np.float32(1 / factorial) for factorial in (6, 24, 120))
_SIXTEEN, _ROUND, _EVEN = np.uint32(16), np.uint32(0x7FFF), np.uint32(1)

_compiled = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
)


def lstm(x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One direction of one layer, from a hidden state of zeros; with its gradient.

    Args:
        x: bfloat16 ``(batch, time, input)`` on the CPU.
        weight_ih, weight_hh: bfloat16 ``(4 * hidden, input)`` and ``(4 * hidden, hidden)``, rows in torch's
            order: input gate, forget gate, new value, output gate.
        bias: bfloat16 ``(4 * hidden,)``.

    Returns:
        bfloat16 ``(batch, time, hidden)``, and the cell state after the last frame, float32
        ``(batch, hidden)``, through which no gradient flows.
    """
    output, cell = _LSTM.apply(x, weight_ih, weight_hh, bias)
    return output, cell


def lstm_step(
    inputs: tuple[Tensor, Tensor],
    hidden: tuple[Tensor, Tensor],
    scales: Tensor,
    bias: Tensor,
    before: Tensor,
) -> tuple[Tensor, Tensor]:
    """One frame of one layer, from products in whole numbers: the gates alone, without gradient.

    Args:
        inputs, hidden: int32 ``(batch, 4 * hidden)``, the products of the frame and of the hidden state
            before it with their weights, and of each a float32 scale of the rows ``(batch,)``.
        scales: Of their columns, float32 ``(2, 4 * hidden)``.
        bias: float32 ``(4 * hidden,)``.
        before: The cell state before the frame, float32 ``(batch, hidden)``.

    Returns:
        The hidden and the cell state after it, float32 ``(batch, hidden)``.
    """
    output, cell = torch.empty_like(before), torch.empty_like(before)
    arrays = [each.numpy() for each in (*inputs, *hidden, scales, bias, before, cell, output)]
    _step_frame(*arrays)
    return output, cell


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        batch, frames, inputs = x.shape
        size = weight_hh.shape[1]
        flat = x.transpose(0, 1).reshape(frames * batch, inputs)
        gates = functional.linear(flat, weight_ih, bias).view(frames, batch, 4 * size)
        # One more than frames: the states before the first.
        cells = torch.zeros(frames + 1, batch, size)
        hidden = torch.zeros(frames + 1, batch, size, dtype=x.dtype)
        recurrent = weight_hh.t().contiguous()
        gate_bits, cell_values, hidden_bits = _bits(gates), cells.numpy(), _bits(hidden)
        for t in range(frames):
            torch.addmm(gates[t], hidden[t], recurrent, out=gates[t])
            _forward_frame(gate_bits[t], cell_values[t], cell_values[t + 1], hidden_bits[t + 1])
        ctx.save_for_backward(flat, weight_ih, weight_hh, gates, cells, hidden)
        last = cells[-1].clone()
        ctx.mark_non_differentiable(last)
        return hidden[1:].transpose(0, 1), last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        flat, weight_ih, weight_hh, gates, cells, hidden = ctx.saved_tensors
        frames, batch, rows = gates.shape
        slope = outputs[0].transpose(0, 1).contiguous()
        gate_slopes = torch.empty_like(gates)
        hidden_slope = torch.zeros_like(hidden[0])
        cell_slope = np.zeros(hidden_slope.shape, dtype=np.float32)
        gate_bits, cell_values, slope_bits = _bits(gates), cells.numpy(), _bits(slope)
        gate_slope_bits, hidden_slope_bits = _bits(gate_slopes), _bits(hidden_slope)
        for t in range(frames - 1, -1, -1):
            _backward_frame(
                *(gate_bits[t], cell_values[t], cell_values[t + 1]),
                *(slope_bits[t], hidden_slope_bits, cell_slope, gate_slope_bits[t]),
            )
            torch.mm(gate_slopes[t], weight_hh, out=hidden_slope)
        flat_slopes = gate_slopes.view(frames * batch, rows)
        return (
            torch.mm(flat_slopes, weight_ih).view(frames, batch, flat.shape[1]).transpose(0, 1),
            torch.mm(flat_slopes.t(), flat),
            torch.mm(flat_slopes.t(), hidden[:-1].view(frames * batch, rows // 4)),
            flat_slopes.sum(0),
        )


def _bits(values: Tensor) -> np.ndarray:
    """A bfloat16 tensor's memory as uint16, which numpy and numba know."""
    return values.view(torch.int16).numpy().view(np.uint16)


@_compiled
def _forward_frame(gates, before, cell, hidden):  # type: ignore[no-untyped-def]
    """Gates ``(batch, 4 * hidden)`` from sums to values in place; the cell and hidden states after them."""
    batch, rows = gates.shape
    size = rows // 4
    values, output = np.empty(rows, np.float32), np.empty(size, np.float32)
    for b in range(batch):
        _widen(gates[b], values)
        _open_gates(values, before[b], cell[b], output)
        _narrow(output, hidden[b])
        _narrow(values, gates[b])


@_compiled
def _step_frame(inputs, inputs_scale, hidden, hidden_scale, scales, bias, before, cell, output):  # type: ignore[no-untyped-def]
    """From whole sums of products to cell and hidden states; see :func:`lstm_step`."""
    values = np.empty(len(bias), np.float32)
    for b in range(len(inputs)):
        first, second = inputs_scale[b], hidden_scale[b]
        for j in range(len(bias)):
            x, h = np.float32(inputs[b, j]) * scales[0, j], np.float32(hidden[b, j]) * scales[1, j]
            values[j] = first * x + second * h + bias[j]
        _open_gates(values, before[b], cell[b], output[b])


@_compiled
def _open_gates(values, before, cell, output):  # type: ignore[no-untyped-def]
    """One utterance's gates ``(4 * hidden,)`` from sums to values in place; its states after them."""
    size = len(cell)
    _sigmoid(values[: 2 * size], _ONE, values[: 2 * size])
    _sigmoid(values[2 * size : 3 * size], _TWO, values[2 * size : 3 * size])
    _sigmoid(values[3 * size :], _ONE, values[3 * size :])
    for j in range(size):
        values[2 * size + j] = _TWO * values[2 * size + j] - _ONE
        cell[j] = values[size + j] * before[j] + values[j] * values[2 * size + j]
    _sigmoid(cell, _TWO, output)
    for j in range(size):
        output[j] = values[3 * size + j] * (_TWO * output[j] - _ONE)


@_compiled
def _backward_frame(gates, before, cell, slope, hidden_slope, cell_slope, sums):  # type: ignore[no-untyped-def]
    """Gradient of the gates' sums ``(batch, 4 * hidden)``; the cell state's goes a frame back in place."""
    batch, rows = gates.shape
    size = rows // 4
    values, squashed = np.empty(rows, np.float32), np.empty(size, np.float32)
    above, later = np.empty(size, np.float32), np.empty(size, np.float32)
    for b in range(batch):
        _widen(gates[b], values)
        _widen(slope[b], above)
        _widen(hidden_slope[b], later)
        _sigmoid(cell[b], _TWO, squashed)
        for j in range(size):
            enter, forget = values[j], values[size + j]
            new, leave = values[2 * size + j], values[3 * size + j]
            tanh = _TWO * squashed[j] - _ONE
            outward = above[j] + later[j]
            inward = cell_slope[b, j] + outward * leave * (_ONE - tanh * tanh)
            values[j] = inward * new * enter * (_ONE - enter)
            values[size + j] = inward * before[b, j] * forget * (_ONE - forget)
            values[2 * size + j] = inward * enter * (_ONE - new * new)
            values[3 * size + j] = outward * tanh * leave * (_ONE - leave)
            cell_slope[b, j] = inward * forget
        _narrow(values, sums[b])


@_compiled
def _sigmoid(x, scale, out):  # type: ignore[no-untyped-def]
    """``1 / (1 + exp(-scale * x))``; twice that of ``2 * x``, less one, is the hyperbolic tangent.

    Plain arithmetic, so that the compiler takes 8 or 16 at once: ``exp(z)`` is a power of two, written into
    a float's exponent, times a polynomial. The bounds let what is not a number through.
    """
    size = len(x)
    fraction, exponent = np.empty(size, np.float32), np.empty(size, np.int32)
    power = exponent.view(np.float32)
    for j in range(size):
        z = -scale * x[j]
        z = _LARGEST if z > _LARGEST else z
        z = -_LARGEST if z < -_LARGEST else z
        whole = np.floor(z * _LOG2_E + _HALF)
        r = z - whole * _LN_2
        fraction[j] = _ONE + r * (_ONE + r * (_HALF + r * (_THIRD + r * (_FOURTH + r * _FIFTH))))
        exponent[j] = (np.int32(whole) + np.int32(127)) << np.int32(23)
    for j in range(size):
        out[j] = _ONE / (_ONE + fraction[j] * power[j])


@_compiled
def _widen(bits, values):  # type: ignore[no-untyped-def]
    """bfloat16 to float32."""
    wide = values.view(np.uint32)
    for j in range(len(bits)):
        wide[j] = np.uint32(bits[j]) << _SIXTEEN


@_compiled
def _narrow(values, bits):  # type: ignore[no-untyped-def]
    """float32 to the nearest bfloat16."""
    wide = values.view(np.uint32)
    for j in range(len(bits)):
        bits[j] = np.uint16((wide[j] + _ROUND + ((wide[j] >> _SIXTEEN) & _EVEN)) >> _SIXTEEN)
