"""An LSTM's training pass in bfloat16 on a CPU, in about seven tenths of oneDNN's time.

Only what must go frame by frame does: the product of the hidden state with its weights, and the gates. All
other products are taken over all frames at once, the weights' gradients above all, which oneDNN sums frame
by frame (Appleyard et al. 2016, "Optimizing performance of recurrent neural networks on GPUs"). The gates
are computed in float32 and kept in bfloat16 for the backward pass; the cell state stays float32.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from asr.kernels import ONE, TWO, compiled, narrow, open_gates, sigmoid, widen


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


@compiled
def _forward_frame(gates, before, cell, hidden):  # type: ignore[no-untyped-def]
    """Gates ``(batch, 4 * hidden)`` from sums to values in place; the cell and hidden states after them."""
    batch, rows = gates.shape
    size = rows // 4
    values, output = np.empty(rows, np.float32), np.empty(size, np.float32)
    for b in range(batch):
        widen(gates[b], values)
        open_gates(values, before[b], cell[b], output)
        narrow(output, hidden[b])
        narrow(values, gates[b])


@compiled
def _backward_frame(gates, before, cell, slope, hidden_slope, cell_slope, sums):  # type: ignore[no-untyped-def]
    """Gradient of the gates' sums ``(batch, 4 * hidden)``; the cell state's goes a frame back in place."""
    batch, rows = gates.shape
    size = rows // 4
    values, squashed = np.empty(rows, np.float32), np.empty(size, np.float32)
    above, later = np.empty(size, np.float32), np.empty(size, np.float32)
    for b in range(batch):
        widen(gates[b], values)
        widen(slope[b], above)
        widen(hidden_slope[b], later)
        sigmoid(cell[b], TWO, squashed)
        for j in range(size):
            enter, forget = values[j], values[size + j]
            new, leave = values[2 * size + j], values[3 * size + j]
            tanh = TWO * squashed[j] - ONE
            outward = above[j] + later[j]
            inward = cell_slope[b, j] + outward * leave * (ONE - tanh * tanh)
            values[j] = inward * new * enter * (ONE - enter)
            values[size + j] = inward * before[b, j] * forget * (ONE - forget)
            values[2 * size + j] = inward * enter * (ONE - new * new)
            values[3 * size + j] = outward * tanh * leave * (ONE - leave)
            cell_slope[b, j] = inward * forget
        narrow(values, sums[b])
