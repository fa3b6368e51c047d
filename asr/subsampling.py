"""Fewer frames for the recurrent layers: strided convolutions, or frame stacking.

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


class ResidualBlock(nn.Module):
    """Two convolutions, of kernel 3 with ReLU and of kernel 1, whose output is added to their input.

    What the second one gives is zero at first, so a block can be put into a trained network (Goyal et al.
    2017, "Accurate, large minibatch SGD", section 5.1). Zipformer refines what its subsampling gives by
    such a block, too (Yao et al. 2024, section 3.1).
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv1d
        self.widen = cast(nn.Conv2d, convolution(channels, 2 * channels, KERNEL))
        self.narrow = cast(nn.Conv2d, convolution(2 * channels, channels, 1))
        nn.init.zeros_(self.narrow.weight)
        nn.init.zeros_(cast(Tensor, self.narrow.bias))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, time, [frequency, channels] | channels)`` to two frames less: valid in time."""
        return x[:, 1:-1] + _convolve(_convolve(x, self.widen).relu_(), self.narrow)


class ConvolutionalSubsampling(nn.Module):
    """Two convolutions of kernel 3 with ReLU, over time (1-D) or over time and frequency (2-D).

    The 2-D form is that of Deep Speech 2 (Amodei et al. 2016) and AlgoPerf's baseline, made small.
    """

    def __init__(self, features: int, factor: int, channels: int, dimensions: int, blocks: int = 0) -> None:
        super().__init__()
        self.strides = STRIDES[factor] + (1,) * blocks
        self.dimensions = dimensions
        if dimensions == 2:
            self.first = cast(nn.Module, nn.Conv2d(1, channels, KERNEL))
            self.second = cast(nn.Module, nn.Conv2d(channels, channels, KERNEL))
            self.output_size = channels * math.ceil(math.ceil(features / 2) / 2)
        else:
            self.first = nn.Conv1d(features, channels, KERNEL)
            self.second = nn.Conv1d(channels, channels, KERNEL)
            self.output_size = channels
        self.blocks = nn.ModuleList(ResidualBlock(channels, dimensions) for _ in range(blocks))

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, frames, features)`` to ``(batch, ceil(frames / factor), output_size)``."""
        x = features
        for index, stride in enumerate(self.strides):
            if index:
                x = x * self._mask(lengths, x)
            x = self._run(index, self._pad(x, 1, 1))
            lengths = -(-lengths // stride)
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
                x = self._run(index, x[:, : (count - 1) * stride + KERNEL])
        return self._flatten(x), rests

    def _nothing(self, index: int, x: Tensor) -> Tensor:
        probe = self._pad(x[:, :0], KERNEL, 0)
        return self._run(index, probe)[:, :0]

    def _pad(self, x: Tensor, before: int, after: int) -> Tensor:
        """Add zero frames; time is dimension 1 whatever follows."""
        return functional.pad(x, (0, 0) * (x.dim() - 2) + (before, after))

    def _mask(self, lengths: Tensor, x: Tensor) -> Tensor:
        return valid_frames(lengths, x.shape[1]).view(x.shape[:2] + (1,) * (x.dim() - 2)).to(x.dtype)

    def _run(self, index: int, x: Tensor) -> Tensor:
        """One of the convolutions, or a block, on frames and their neighbours."""
        if index > 1:
            return cast(Tensor, self.blocks[index - 2](x))
        if self.dimensions == 2 and x.dim() == 3:
            x = x.unsqueeze(-1)
        layer = cast(nn.Conv2d, self.second if index else self.first)
        return _convolve(x, layer, (self.strides[index], 2)).relu_()

    def _flatten(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], self.output_size)


def _convolve(x: Tensor, layer: nn.Conv1d | nn.Conv2d, strides: tuple[int, int] = (1, 1)) -> Tensor:
    """``(batch, time, [frequency, channels] | channels)``, valid in time, padded in frequency."""
    weight, bias = layer.weight.to(x.dtype), cast(Tensor, layer.bias).to(x.dtype)
    if x.dim() == 3:
        return functional.conv1d(x.transpose(1, 2), weight, bias, strides[0]).transpose(1, 2)
    # Channels come last in memory, which oneDNN's and cuDNN's fastest kernels want.
    padding = (0, weight.shape[3] // 2)
    return functional.conv2d(x.permute(0, 3, 1, 2), weight, bias, strides, padding).permute(0, 2, 3, 1)


def build_subsampling(
    kind: str, features: int, factor: int, channels: int, blocks: int
) -> FrameStacking | ConvolutionalSubsampling:
    """``stack``, ``conv1d`` or ``conv2d`` with a factor of 2, 3 or 4; the convolutions may have blocks."""
    if kind == "stack":
        return FrameStacking(features, factor)
    return ConvolutionalSubsampling(features, factor, channels, 1 if kind == "conv1d" else 2, blocks)
