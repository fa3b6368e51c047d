"""Products with matrices in 8 bits, for recurrent layers that are stepped through a few rows at a time.

Twice as fast as bfloat16 where the CPU adds products of bytes itself (AVX-512 VNNI, AMX), and five times as
fast as float32; only there (:func:`asr.precision.fast_eight_bits`), since elsewhere sums may overflow. Whole
numbers are added without rounding: what a row gives does not depend on the rows that it is computed with.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr.encoder import Recurrence, RecurrentStack
from asr.kernels import ONE, compiled, exponential, open_gates

_MOST = 127
_ROWS = 64  # of a softmax that are worked on at once, so that they stay in the cache
_TINY = 1e-30  # instead of a scale of 0


class EightBitMatrix:
    """A weight matrix ``(outputs, inputs)``; rows of weights and of inputs have a scale each.

    Attributes:
        scales: Of the weights' rows ``(outputs,)``.
    """

    def __init__(self, weight: Tensor) -> None:
        values, scales = _in_eight_bits(weight.detach().float())
        # A copy: a single column is row-major as it is, and the product would read beyond it.
        self._values = values.t().clone(memory_format=torch.contiguous_format)
        self.scales = scales.squeeze(1)

    def __call__(self, x: Tensor) -> Tensor:
        """``(rows, inputs)`` to float32 ``(rows, outputs)``, on the CPU."""
        sums, scales = self.sums(x)
        return sums.float().mul_(scales.unsqueeze(1)).mul_(self.scales)

    def sums(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Products before they are scaled, int32 ``(rows, outputs)``, and the rows' scales ``(rows,)``."""
        values, scales = _in_eight_bits(x)
        return torch._int_mm(values, self._values), scales.squeeze(1)

    def log_probabilities(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Of one output of each row ``(rows, inputs)``, among all by softmax: float32 ``(rows,)``."""
        found = torch.empty(len(x))
        for rows, outputs, target in zip(*(each.split(_ROWS) for each in (x, chosen, found)), strict=True):
            parts = (*self.sums(rows), self.scales, outputs, target)
            _log_probabilities(*(each.numpy() for each in parts))
        return found


def _in_eight_bits(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127, and the scale of each row ``(rows, 1)``."""
    scales = (rows.abs().amax(1, keepdim=True) / _MOST).clamp_(min=_TINY)
    values = (rows / scales).round_().to(torch.int8, memory_format=torch.contiguous_format)
    return values, scales


def step_in_eight_bits(stack: RecurrentStack) -> None:
    """Put 8-bit matrices into layers of one direction, which nothing but ``step`` can run then."""
    layers: Iterable[Any] = stack.layers
    for layer in layers:
        if layer.forward_pass.cell == "lstm":
            layer.forward_pass = _LSTM(layer.forward_pass)
        else:
            put_eight_bits(layer.forward_pass, "weight_ih")
            put_eight_bits(layer.forward_pass, "weight_hh")
        if layer.projection is not None:
            put_eight_bits(layer.projection)


def put_eight_bits(module: nn.Module, name: str = "weight") -> None:
    """Put an 8-bit matrix in the place of a parameter."""
    matrix = EightBitMatrix(getattr(module, name))
    delattr(module, name)  # the parameter
    setattr(module, name, matrix)


class _LSTM(nn.Module):
    """In the place of an LSTM's :class:`Recurrence`, most of whose time the gates would take."""

    def __init__(self, exact: Recurrence) -> None:
        super().__init__()
        self._inputs, self._hidden = EightBitMatrix(exact.weight_ih), EightBitMatrix(exact.weight_hh)
        self._scales = torch.stack([self._inputs.scales, self._hidden.scales])
        self._bias = (exact.bias_ih + exact.bias_hh).detach().float()
        self._size = exact.hidden_size

    def step(self, x: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, Sequence[Tensor]]:
        """As :meth:`Recurrence.step`."""
        hidden, cell = state or torch.zeros(2, len(x), self._size)
        y, after = torch.empty(2, len(x), self._size)
        sums = (*self._inputs.sums(x), *self._hidden.sums(hidden))
        _step(*(each.numpy() for each in (*sums, self._scales, self._bias, cell, after, y)))
        return y, (y, after)


@compiled
def _step(inputs, input_scales, hidden, hidden_scales, gate_scales, bias, before, cell, output):  # type: ignore[no-untyped-def]
    """From whole sums of products to an LSTM's states.

    Args:
        inputs, hidden: Products of what is heard and of the hidden state, int32 ``(rows, 4 * hidden)``.
        input_scales, hidden_scales: Of their rows, float32 ``(rows,)``.
        gate_scales: Of the columns of both, float32 ``(2, 4 * hidden)``.
        bias: float32 ``(4 * hidden,)``.
        before: The cell state, float32 ``(rows, hidden)``.
        cell, output: Take the cell and the hidden state after it, float32 ``(rows, hidden)``.
    """
    values = np.empty(len(bias), np.float32)
    for b in range(len(inputs)):
        first, second = input_scales[b], hidden_scales[b]
        for j in range(len(bias)):
            x, h = np.float32(inputs[b, j]) * gate_scales[0, j], np.float32(hidden[b, j]) * gate_scales[1, j]
            values[j] = first * x + second * h + bias[j]
        open_gates(values, before[b], cell[b], output[b])


@compiled
def _log_probabilities(sums, row_scales, output_scales, chosen, found):  # type: ignore[no-untyped-def]
    """Log-softmax of one output of each row, into ``found``, float32 ``(rows,)``.

    Args:
        sums: Products, int32 ``(rows, outputs)``.
        row_scales, output_scales: Of both, float32 ``(rows,)`` and ``(outputs,)``.
        chosen: Outputs, int64 ``(rows,)``.
    """
    size = len(output_scales)
    values, powers = np.empty(size, np.float32), np.empty(size, np.float32)
    for b in range(len(sums)):
        largest = np.float32(-np.inf)
        for j in range(size):
            values[j] = row_scales[b] * np.float32(sums[b, j]) * output_scales[j]
            largest = max(largest, values[j])
        for j in range(size):
            values[j] -= largest
        exponential(values, ONE, powers)
        total = np.float32(0)
        for j in range(size):
            total += powers[j]
        found[b] = values[chosen[b]] - np.log(total)
