"""Weights in 8 bits, for models whose size counts for more than their last digit.

Matrices have a scale for each row, vectors are kept in half precision: half the size of half precision
everywhere.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


def pack(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Named weights as they are stored."""
    stored: dict[str, Tensor] = {}
    for name, value in parameters:
        stored |= _packed(name, value.detach().float().cpu())
    return stored


def _packed(name: str, value: Tensor) -> dict[str, Tensor]:
    if value.ndim < 2:
        return {name: value.half()}
    scale = (value.abs().amax(1, keepdim=True) / 127).half().clamp(min=torch.finfo(torch.half).tiny)
    return {name: (value / scale.float()).round().clamp(-127, 127).to(torch.int8), f"{name}.scale": scale}


def unpack(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stored weights as float32 (those without a scale, too)."""
    one = torch.ones(())
    return {
        name: value.float() * stored.get(f"{name}.scale", one).float()
        for name, value in stored.items()
        if not name.endswith(".scale")
    }
