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


class Optimisation:
    """Weights, AdamW and the running average: all that a step changes and a checkpoint keeps."""

    def __init__(self, network: nn.Module, config: OptimizerConfig, statistics: int = 0) -> None:
        self.config = config
        self.flat = FlatParameters(network, statistics)
        self.optimizer = build_optimizer(self.flat, config)
        self.average = RunningAverage(self.flat.values, config.average)

    def update(self, rate: float, step: int) -> float:
        """Clip the gradient and update weights and average, unless it is not finite.

        Returns:
            The gradient's norm before clipping.
        """
        flat = self.flat
        norm = float(flat.gradient.norm())
        if not math.isfinite(norm):
            return norm
        if self.config.clip and norm > self.config.clip:
            flat.gradient.mul_(self.config.clip / norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.average.update(flat.values, step)
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold."""
        tensors = {"values": self.flat.values, "average": self.average.values}
        for number, state in enumerate(self.optimizer.state.values()):
            tensors |= {f"{key}.{number}": value for key, value in state.items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> bool:
        """Take back what :meth:`tensors` gave; False where it is of another network."""
        if tensors["values"].shape != self.flat.values.shape:
            return False
        self.flat.values.copy_(tensors["values"])
        self.average.values.copy_(tensors["average"])
        for number, group in enumerate(self.optimizer.param_groups):
            (part,) = group["params"]
            if f"step.{number}" not in tensors:
                continue  # no step was taken yet
            self.optimizer.state[part] = {
                key: tensors[f"{key}.{number}"].to(part.device) for key in ("step", "exp_avg", "exp_avg_sq")
            }
        return True
