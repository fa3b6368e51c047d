import pytest
import torch
from safetensors.torch import save

from asr.packing import STORAGES, describe_stored, pack, unpack


def through(storage: str, **weights: torch.Tensor) -> dict[str, torch.Tensor]:
    return unpack(pack(weights.items(), storage))


@pytest.mark.parametrize(
    ("storage", "error"), [("fp32", 0.0), ("fp16", 3e-4), ("bf16", 3e-3), ("int8", 0.01), ("int6", 0.04)]
)
def test_weights_come_back_as_float32_near_what_they_were(storage: str, error: float) -> None:
    torch.manual_seed(0)
    weights = {"matrix": torch.randn(64, 160), "kernel": torch.randn(32, 8, 3, 3), "vector": torch.randn(7)}
    found = through(storage, **weights)
    assert found.keys() == weights.keys()
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert (value - weights[name]).norm() <= error * weights[name].norm()


def test_every_number_of_six_bits_comes_back_from_every_quarter() -> None:
    torch.manual_seed(0)
    numbers = torch.cat([torch.arange(-31.0, 32.0), torch.zeros(1)])
    rows = torch.stack([numbers[torch.randperm(64)] for _ in range(50)])
    assert torch.equal(through("int6", rows=0.25 * rows)["rows"], 0.25 * rows)


@pytest.mark.parametrize("storage", ["int8", "int6"])
def test_rows_of_nothing_stay_nothing(storage: str) -> None:
    assert torch.equal(through(storage, rows=torch.zeros(3, 8))["rows"], torch.zeros(3, 8))


def test_a_matrix_that_cannot_be_quartered_is_kept_in_eight_bits() -> None:
    assert pack([("odd", torch.ones(2, 6))], "int6")["odd"].dtype == torch.int8
    assert pack([("even", torch.ones(2, 8))], "int6")["even"].shape == (2, 6)


def test_each_storage_is_smaller_than_the_one_before() -> None:
    weights = [("weight", torch.randn(100, 400))]
    sizes = {storage: len(save(pack(weights, storage))) for storage in STORAGES}
    assert sizes["fp16"] == sizes["bf16"] < 0.51 * sizes["fp32"]
    assert sizes["int8"] < 0.52 * sizes["fp16"]
    assert sizes["int6"] < 0.39 * sizes["fp16"]


def test_weights_are_counted_as_they_were_before_packing() -> None:
    weights = [("matrix", torch.randn(10, 8)), ("odd", torch.randn(10, 3)), ("vector", torch.randn(5))]
    names = {torch.uint8: "U8", torch.int8: "I8", torch.float16: "F16"}
    facts = [
        describe_stored(name, names[value.dtype], value.shape)
        for name, value in pack(weights, "int6").items()
    ]
    assert sum(count for count, _ in facts) == 115
    assert {kind for _, kind in facts if kind} == {"6 bits", "8 bits", "F16"}
