"""Fewer frames for the recurrent layers: strided convolutions or frame stacking.

Every kind gives ``ceil(frames / factor)`` encoder frames, computes an utterance's frames from its own
input alone (padding is zeroed before each convolution), and can run piece by piece with the same result.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.frontend import valid_frames

# Two convolutions share the reduction in time; both halve the frequency axis.
STRIDES = {2: (2, 1), 3: (3, 1), 4: (2, 2)}
KERNEL = 3


class FrameStacking(nn.Module):
    """Put ``factor`` neighbouring frames side by side."""

    def __init__(self, features: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.output_size = features * factor

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames, features)`` to ``(batch, ceil(frames / factor), features * factor)``."""
        missing = -features.shape[1] % self.factor
        padded = functional.pad(features, (0, 0, 0, missing))
        return padded.reshape(len(padded), -1, self.output_size), -(-lengths // self.factor)

    def stream(
        self, features: Tensor, state: list[Tensor] | None, final: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Continue where ``state`` ended; ``final`` flushes what is left."""
        if state:
            features = torch.cat([state[0], features], dim=1)
        used = features.shape[1] if final else features.shape[1] // self.factor * self.factor
        lengths = torch.full((len(features),), used)
        stacked, _ = self(features[:, :used], lengths)
        return stacked, [features[:, used:]]


class ConvolutionalSubsampling(nn.Module):
    """Two convolutions of kernel 3 with ReLU, over time (1-D) or over time and frequency (2-D).

    The 2-D form is that of Deep Speech 2 (Amodei et al. 2016) and AlgoPerf's baseline, made small.
    """

    def __init__(self, features: int, factor: int, channels: int, dimensions: int) -> None:
        super().__init__()
        self.strides = STRIDES[factor]
        self.dimensions = dimensions
        if dimensions == 2:
            self.first = cast(nn.Module, nn.Conv2d(1, channels, KERNEL))
            self.second = cast(nn.Module, nn.Conv2d(channels, channels, KERNEL))
            self.output_size = channels * math.ceil(math.ceil(features / 2) / 2)
        else:
            self.first = nn.Conv1d(features, channels, KERNEL)
            self.second = nn.Conv1d(channels, channels, KERNEL)
            self.output_size = channels

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames, features)`` to ``(batch, ceil(frames / factor), output_size)``."""
        x = features
        for index in range(2):
            if index:
                x = x * self._mask(lengths, x)
            x = self._convolve(index, self._pad(x, 1, 1))
            lengths = -(-lengths // self.strides[index])
        return self._flatten(x), lengths

    def stream(
        self, features: Tensor, state: list[Tensor] | None, final: bool
    ) -> tuple[Tensor, list[Tensor]]:
        """Continue where ``state`` ended; ``final`` flushes what is left."""
        x, rests = features, []
        for index, stride in enumerate(self.strides):
            x = torch.cat([state[index], x], dim=1) if state else self._pad(x, 1, 0)
            if final:
                x = self._pad(x, 0, 1)
            count = max((x.shape[1] - KERNEL) // stride + 1, 0)
            rests.append(x[:, count * stride :])
            if not count:
                # Nothing is ready here, so the later layer gets no frames either.
                x = self._nothing(index, x)
            else:
                x = self._convolve(index, x[:, : (count - 1) * stride + KERNEL])
        return self._flatten(x), rests

    def _nothing(self, index: int, x: Tensor) -> Tensor:
        probe = self._pad(x[:, :0], KERNEL, 0)
        return self._convolve(index, probe)[:, :0]

    def _pad(self, x: Tensor, before: int, after: int) -> Tensor:
        """Add zero frames; time is dimension 1 whatever follows."""
        return functional.pad(x, (0, 0) * (x.dim() - 2) + (before, after))

    def _mask(self, lengths: Tensor, x: Tensor) -> Tensor:
        return valid_frames(lengths, x.shape[1]).view(x.shape[:2] + (1,) * (x.dim() - 2)).to(x.dtype)

    def _convolve(self, index: int, x: Tensor) -> Tensor:
        """One convolution on ``(batch, time, [frequency, channels] | channels)``, valid in time."""
        layer = cast(nn.Conv2d, self.second if index else self.first)
        weight, bias = layer.weight.to(x.dtype), cast(Tensor, layer.bias).to(x.dtype)
        if self.dimensions == 1:
            y = functional.conv1d(x.transpose(1, 2), weight, bias, self.strides[index])
            return functional.relu(y, inplace=True).transpose(1, 2)
        # Channels come last in memory, which oneDNN's and cuDNN's fastest kernels want.
        x = x.unsqueeze(-1) if x.dim() == 3 else x
        stride, padding = (self.strides[index], 2), (0, 1)
        y = functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride, padding)
        return functional.relu(y, inplace=True).permute(0, 2, 3, 1)

    def _flatten(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.output_size)


def build_subsampling(
    kind: str, features: int, factor: int, channels: int
) -> FrameStacking | ConvolutionalSubsampling:
    """``stack``, ``conv1d`` or ``conv2d`` with a factor of 2, 3 or 4."""
    if kind == "stack":
        return FrameStacking(features, factor)
    return ConvolutionalSubsampling(features, factor, channels, 1 if kind == "conv1d" else 2)
