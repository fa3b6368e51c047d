"""What a recipe would do, without doing it."""

import time
from collections.abc import Iterator
from pathlib import Path

from omegaconf import OmegaConf
from torch import nn

from asr.batching import Item, share_of
from asr.cores import ComputingOn, usable_cores
from asr.training.config import Recipe
from asr.training.distributed import Ranks, default_processes
from asr.training.trainer import Trainer

BYTES_PER_PARAMETER = 5 * 4  # weights, gradient, two moments of AdamW, running average


def describe(recipe: Recipe, folder: Path) -> Iterator[str]:
    """Lines: the resolved recipe, parameters of each part, data, memory, first batch's shapes, time."""
    processes = recipe.training.processes or default_processes()
    trainer = Trainer(recipe, folder, Ranks(processes=1))  # which finds mistakes, before a line is written
    yield OmegaConf.to_yaml(OmegaConf.structured(recipe), resolve=True).rstrip()
    encoder = trainer.model.encoder
    parts: dict[str, nn.Module] = {"subsampling": encoder.subsampling, "recurrent layers": encoder.recurrent}
    parts |= {f"head {name}": head for name, head in trainer.model.heads.items()}
    yield ""
    for name, part in parts.items():
        yield f"{name}: {sum(value.numel() for value in part.parameters()):,} parameters"
    size = trainer.flat.values.numel()
    yield f"in all: {size:,} trained; {size * BYTES_PER_PARAMETER / 1e6:.0f} MB a process with their state"
    yield from trainer.data.dropped.lines()
    plan = trainer.plan(0)
    hours = float(trainer.data.durations.sum()) / 3600
    yield f"data: {hours:.2f} hours, {len(trainer.data.utterances)} utterances, {len(plan)} batches an epoch"
    middle = plan[len(plan) // 2]
    batch = trainer.data.load(share_of(middle, 0, processes), 0)
    features, lengths = trainer.model.frontend(batch.waveforms, batch.lengths)
    logits, frames = trainer.model.logits(features, lengths, trainer.heads)
    shapes = f"waveforms {tuple(batch.waveforms.shape)}, features {tuple(features.shape)}"
    twice = ", each utterance twice (loss.consistency)" if trainer.views == 2 else ""
    yield f"a batch of one process: {shapes}{twice}"
    for name, scores in zip(trainer.heads, logits, strict=True):
        yield f"  {name}: logits {tuple(scores.shape)}, targets {tuple(batch.targets[name][0].shape)}"
    heard = processes * float(frames.sum()) * trainer.model.frame_shift
    speed = heard / _step_seconds(trainer, middle, processes)
    yield f"speed on CPUs: about {speed:.0f} s of audio a second, {hours * 60 / speed:.1f} minutes an epoch"
    schedule = recipe.schedule
    if schedule.epochs:
        yield f"the run: about {schedule.epochs * hours / speed:.1f} hours"
    elif schedule.minutes:
        epochs = schedule.minutes / 60 * speed / hours
        yield f"the run: {schedule.minutes:g} minutes, about {epochs:.1f} epochs"


def _step_seconds(trainer: Trainer, batch: list[Item], processes: int) -> float:
    """Seconds that one of several processes takes for its share of a batch, on its share of the cores.

    The second of two steps: the first one compiles.
    """
    with ComputingOn(max(1, usable_cores() // processes)):
        for _ in range(2):
            started = time.monotonic()
            trainer.backward(trainer.data.load(share_of(batch, 0, processes), 0))
            elapsed = time.monotonic() - started
    return elapsed
