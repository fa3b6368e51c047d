"""A run killed at any moment and resumed ends with the weights of one that was not."""

import json
import multiprocessing
import os
import random
import signal
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from finished import Finished, Train

from asr.training import checkpoint, trainer
from asr.training.config import load_recipe
from asr.training.run import train as train_recipe

STEPS = 12
STEP = random.Random(20)


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Processes that have torch loaded when they begin."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["asr.training.run", "asr.loss"])
    yield context


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train_and_die(recipe: Path, folder: Path, resume: bool, where: str, step: int) -> None:
    """Train, and be killed at a step, or half-way through a file that is written at or after that step."""
    now = 0
    take_step, write, save_model = trainer.Trainer._step, checkpoint._write, trainer.save_network

    def stepping(self: Any) -> bool:
        nonlocal now
        now = self.position.step + 1
        if where == "step" and now >= step:
            kill()
        return take_step(self)

    def writing(path: Path, content: bytes) -> None:
        if path.name == where and now >= step:
            path.write_bytes(content[: len(content) // 2])
            kill()
        write(path, content)

    def saving(path: Path, *arguments: Any, **options: Any) -> None:
        save_model(path, *arguments, **options)
        if where == "model" and now >= step:
            (path / "model.safetensors").write_bytes(b"half")
            (path / "config.yaml").unlink()
            kill()

    trainer.Trainer._step, checkpoint._write, trainer.save_network = stepping, writing, saving  # type: ignore
    train_recipe(load_recipe(recipe), folder, resume)


@pytest.fixture(scope="module")
def whole() -> dict[str, Finished]:
    """The run that no one disturbed, once for all tests."""
    return {}


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2), (3, 1)])
def test_a_run_that_goes_on_with_other_batches_does_the_rest_of_its_epoch(
    train: Train, monkeypatch: pytest.MonkeyPatch, before: float, after: float
) -> None:
    """Less memory than was thought is a reason to go on with smaller batches."""
    epoch = ("schedule.steps=0", "schedule.epochs=1", "data.dev=''", "optimizer.accumulate=1")
    sizes = {size: train(f"of {size}", *epoch, f"batching.max_seconds={size}") for size in (before, after)}
    number = {size: run.position["batches"] for size, run in sizes.items()}
    assert number[before] != number[after]
    take_step = trainer.Trainer._step
    half = max(1, number[before] // 2)
    monkeypatch.setattr(trainer.Trainer, "_step", lambda self: take_step(self) or self.position.step == half)
    with pytest.raises(SystemExit):
        train("run", *epoch, f"batching.max_seconds={before}")
    monkeypatch.undo()
    resumed = train("run", *epoch, f"batching.max_seconds={after}", resume=True)
    done = half * number[after] // number[before]
    assert resumed.position["step"] == half + number[after] - done
    assert 0 < number[after] - done < number[after]


def test_a_checkpoint_that_does_not_count_its_batches_goes_on_where_it_was(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = ("schedule.steps=0", "schedule.epochs=1", "data.dev=''", "batching.max_seconds=2")
    whole = train("whole", *epoch)
    take_step = trainer.Trainer._step
    monkeypatch.setattr(trainer.Trainer, "_step", lambda self: take_step(self) or self.position.step == 2)
    with pytest.raises(SystemExit):
        train("run", *epoch)
    monkeypatch.undo()
    (state,) = (tmp_path / "run" / "checkpoints").rglob("state.json")
    found = json.loads(state.read_text())
    assert found.pop("batches") == whole.position["batches"] > 2
    state.write_text(json.dumps(found))
    assert train("run", *epoch, resume=True).position["step"] == whole.position["step"]


@pytest.mark.parametrize(
    "deaths",
    [
        [("step", STEP.randint(2, STEPS))],
        [("step", 1)],
        [("step", STEP.randint(2, 6)), ("step", STEP.randint(8, STEPS))],
        [("tensors.safetensors", STEP.randint(2, STEPS))],
        [("state.json", STEP.randint(2, STEPS))],
        [("tensors.safetensors", 1)],
        [("model", 6)],
        [("model", 6), ("state.json", 9), ("tensors.safetensors", 10)],
    ],
    ids=lambda deaths: "-".join(f"{where.split('.')[0]}{step}" for where, step in deaths),
)
def test_a_killed_run_ends_with_the_same_bits(
    processes: ForkServerContext,
    train: Train,
    recipe_file: Path,
    tmp_path: Path,
    whole: dict[str, Finished],
    deaths: list[tuple[str, int]],
) -> None:
    if not whole:
        whole["run"] = train("whole")
    for number, (where, step) in enumerate(deaths):
        arguments = (recipe_file, tmp_path / "run", number > 0, where, step)
        process = processes.Process(target=train_and_die, args=arguments)
        process.start()
        process.join(600)
        assert process.exitcode == -signal.SIGKILL
    resumed, undisturbed = train("run", resume=True), whole["run"]
    assert resumed.tensors.keys() == undisturbed.tensors.keys()
    for name, value in undisturbed.tensors.items():
        assert torch.equal(resumed.tensors[name], value), name
    clock = {"seconds": 0.0}
    assert resumed.position | clock == undisturbed.position | clock
    for file in ("model", "models"):
        files = sorted(path for path in (undisturbed.folder / file).rglob("*.safetensors"))
        assert files
        for path in files:
            same = resumed.folder / path.relative_to(undisturbed.folder)
            assert same.read_bytes() == path.read_bytes()
    left = {path.name for path in resumed.folder.rglob("*") if path.name.startswith(".")}
    assert not left - {".model.tmp"}
