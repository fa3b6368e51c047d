"""AdamW over one flat vector, learning-rate schedules and the running average of the weights.

All trained parameters are views into one vector and their gradients into another. Clipping, summing over
processes, averaging and the update are then one operation each, whatever the number of layers.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from asr.training.config import OptimizerConfig, ScheduleConfig


class FlatParameters:
    """Parameters and gradients of a network as two vectors.

    Attributes:
        values: float32 ``(size,)``; the parameters are views into it.
        gradient: float32 ``(size,)``; their gradients are views into it.
        statistics: float32 ``(extra,)``, lying behind the gradient in the same memory, so that one sum
            over the processes covers both.
        buffer: Gradient and statistics together.
    """

    def __init__(self, network: nn.Module, extra: int) -> None:
        named = [(name, value) for name, value in network.named_parameters() if value.requires_grad]
        # Matrices first: only they are decayed.
        named.sort(key=lambda pair: pair[1].dim() < 2)
        self.names = [name for name, _ in named]
        parameters = [value for _, value in named]
        self.decayed = sum(value.numel() for value in parameters if value.dim() >= 2)
        size = sum(value.numel() for value in parameters)
        device = parameters[0].device
        self.values = torch.empty(size, device=device)
        self.buffer = torch.zeros(size + extra, device=device)
        self.gradient, self.statistics = self.buffer[:size], self.buffer[size:]
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            self.values[start:end] = parameter.detach().flatten()
            parameter.data = self.values[start:end].view_as(parameter)
            parameter.grad = self.gradient[start:end].view_as(parameter)
            start = end


def build_optimizer(flat: FlatParameters, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW whose two parameters are the decayed and the other part of the vector."""
    parts = []
    for slice_, decay in (
        (slice(0, flat.decayed), config.weight_decay),
        (slice(flat.decayed, None), 0.0),
    ):
        part = nn.Parameter(flat.values[slice_])
        part.grad = flat.gradient[slice_]
        parts.append({"params": [part], "weight_decay": decay})
    return torch.optim.AdamW(parts, lr=config.lr, betas=config.betas, fused=True)


def learning_rate_factor(config: ScheduleConfig, step: int, progress: float) -> float:
    """Factor of the peak rate at a step (from 0), ``progress`` (0 to 1) of the run being done."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup))
    if config.kind == "plateau":
        return warmup
    fallen = max(0.0, min(1.0, (progress - config.hold) / max(1e-9, 1 - config.hold)))
    remaining = 1 - fallen if config.kind == "linear" else (1 + math.cos(math.pi * fallen)) / 2
    return warmup * (config.final + (1 - config.final) * remaining)


class RunningAverage:
    """Exponential average of the weights, younger at the start so that it is useful early."""

    def __init__(self, values: Tensor, decay: float) -> None:
        self.decay = decay
        self.values = values.clone()

    def update(self, values: Tensor, step: int) -> None:
        """Take in the weights after a step (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        self.values.lerp_(values, 1 - decay)

    @contextmanager
    def swapped_in(self, values: Tensor) -> Iterator[None]:
        """Put the average in the place of the weights for a while."""
        kept = values.clone()
        values.copy_(self.values)
        try:
            yield
        finally:
            values.copy_(kept)
