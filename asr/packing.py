"""How weights are stored: in floating point, or in 8 or 6 bits where a model's size counts for more.

In 8 and in 6 bits matrices have a scale for each row, in half precision, as vectors are. Of 6 bits, four
quarters of a row share the bytes of three: half the size of half precision, and three eighths of it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_BITS = {"int8": 8, "int6": 6}
STORAGES = (*_TYPES, *_BITS)

_SCALE = ".scale"


def pack(parameters: Iterable[tuple[str, Tensor]], storage: str) -> dict[str, Tensor]:
    """Named weights as they are stored; ``storage`` is one of :data:`STORAGES`."""
    stored: dict[str, Tensor] = {}
    for name, value in parameters:
        stored |= _packed(name, value.detach().cpu(), storage)
    return stored


def unpack(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stored weights as float32, whatever they were stored as."""
    return {
        name: _unpacked(value, stored.get(name + _SCALE))
        for name, value in stored.items()
        if not name.endswith(_SCALE)
    }


def describe_stored(name: str, dtype: str, shape: Iterable[int]) -> tuple[int, str]:
    """How many weights an entry of a file holds, and how they are stored, by its dtype in safetensors."""
    count = int(torch.Size(shape).numel())
    if name.endswith(_SCALE):
        return 0, ""
    if dtype == "U8":
        return count * 4 // 3, "6 bits"
    return count, "8 bits" if dtype == "I8" else dtype


def _packed(name: str, value: Tensor, storage: str) -> dict[str, Tensor]:
    if storage in _TYPES:
        return {name: value.to(_TYPES[storage]).contiguous()}
    value = value.float()
    if value.ndim < 2:
        return {name: value.half()}
    # What cannot be quartered is small: kernels of convolutions.
    in_six = _BITS[storage] == 6 and value.ndim == 2 and value.shape[1] % 4 == 0
    most = 31 if in_six else 127
    scale = (value.abs().amax(1, keepdim=True) / most).half().clamp(min=torch.finfo(torch.half).tiny)
    numbers = (value / scale.float()).round().clamp(-most, most).to(torch.int8)
    return {name: _join(numbers) if in_six else numbers, name + _SCALE: scale}


def _join(numbers: Tensor) -> Tensor:
    """Numbers from -32 to 31 ``(rows, columns)`` to bytes ``(rows, 3 / 4 columns)``."""
    *first, last = (numbers + 32).to(torch.uint8).chunk(4, dim=1)
    return torch.cat([part | (last >> 2 * place & 3) << 6 for place, part in enumerate(first)], dim=1)


def _unpacked(value: Tensor, scale: Tensor | None) -> Tensor:
    if value.dtype == torch.uint8:
        first, second, third = value.chunk(3, dim=1)
        last = first >> 6 | second >> 6 << 2 | third >> 6 << 4
        value = torch.cat([first & 63, second & 63, third & 63, last], dim=1).float() - 32
    return value.float() if scale is None else value.float() * scale.float()
