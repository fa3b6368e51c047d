"""The training loop, top to bottom.

A run is decided by its recipe. What is random in a step follows from the seed and the step, so a
checkpoint needs no generator's state: weights, optimizer, counters and the position suffice to go on
exactly where a run stopped.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asr import __version__
from asr.augmentation import SpecAugment
from asr.batching import Item, plan_epoch, share_of
from asr.errors import UserError
from asr.frontend import valid_frames
from asr.model import Model, save_network
from asr.scoring import Score
from asr.training.checkpoint import load_checkpoint, save_checkpoint
from asr.training.config import Recipe
from asr.training.consistency import two_views
from asr.training.data import Batch, TrainingData, development_utterances, prefetched
from asr.training.distributed import Ranks, Stopped, StopRequest, heed_stop
from asr.training.evaluation import DevelopmentSet, unwritable
from asr.training.kept_models import keep_model, kept_models
from asr.training.network import build_model, initialise_from, training_precision
from asr.training.objective import Objective
from asr.training.optimizer import Optimisation, learning_rate_factor
from asr.training.position import Position
from asr.training.reporter import Reporter
from asr.training.run_folder import CHECKPOINTS, MODEL
from asr.vocal_tract import VocalTract

STEPS_PER_REPORT = 20
STATISTICS = (
    *("frames", "padded", "blanks", "infinite", "disagreement"),
    *("word_errors", "words", "stop", "seconds"),
)


@dataclass
class TrainerPosition(Position):
    """What else a checkpoint holds.

    Attributes:
        best: Lowest error rate so far (percent).
        unimproved: Evaluations since then.
        plateau: Factor of the learning rate that the plateau schedule has reached.
        skipped: Steps without a finite gradient; ``skipped_in_a_row`` of them just now.
    """

    best: float = float("inf")
    unimproved: int = 0
    plateau: float = 1.0
    skipped: int = 0
    skipped_in_a_row: int = 0


class Trainer:
    """One run in one process.

    Args:
        recipe: What to do.
        folder: Run folder: checkpoints, logs, and the model directory ``model``.
        ranks: This process among all of them.
        model: The network, where it is not simply that of the recipe.
    """

    def __init__(self, recipe: Recipe, folder: Path, ranks: Ranks, model: Model | None = None) -> None:
        self.recipe, self.folder, self.ranks = recipe, folder, ranks
        self.model = model or build_model(recipe)
        source = recipe.training.init_from
        self.left = initialise_from(self.model, source) if source else []
        self.model.to(ranks.device)
        self.model.precision = training_precision(recipe.training.precision, ranks.device)
        self.vocal_tract = VocalTract(recipe.augment.vocal_tract, recipe.frontend).to(ranks.device)
        self.spec_augment = SpecAugment(recipe.augment.spec_augment)
        self.data = TrainingData(recipe, self.model)
        self.development = DevelopmentSet(
            development_utterances(recipe.data, bool(self.model.tokenizers)),
            recipe.frontend.sample_rate,
            recipe.data.cache,
            recipe.batching.max_seconds / ranks.processes,
        )
        self.objective = Objective(recipe.loss, self.model, self.data.denominators, self._count)
        self.heads = list(self.model.heads)
        self.views = 2 if recipe.loss.consistency else 1
        # What is counted in a step: loss and labels of each head, then STATISTICS.
        names = [f"{what}_{head}" for what in ("loss", "labels") for head in self.heads]
        self.counted = {name: number for number, name in enumerate([*names, *STATISTICS])}
        self.optimisation = Optimisation(self.model, recipe.optimizer, len(self.counted))
        self.flat, self.average = self.optimisation.flat, self.optimisation.average
        self.position = TrainerPosition()
        self.reporter: Reporter | None = None
        self.stop = StopRequest()
        self.started = self.checkpoint_at = self.reported_at = 0.0
        self.heard = 0.0

    def run(self, resume: bool) -> None:
        """Train to the end of the schedule.

        Raises:
            Stopped: asked to stop; the state is saved.
            UserError: the run cannot go on (disk full, no finite gradients, memory).
        """
        if resume:
            self._resume()
            self.ranks.check_resumed(self.position.step, self.folder)
        if self.ranks.is_main:
            self.reporter = Reporter(self.folder, self.recipe.training.tensorboard)
        try:
            with heed_stop() as self.stop:
                self._announce()
                self._try_longest_batch()
                self.checkpoint_at = self.reported_at = time.monotonic()
                self.started = self.checkpoint_at - self.position.seconds
                while not self._is_over():
                    self._train_epoch()
                self._checkpoint()
        finally:
            if self.reporter is not None:
                self.reporter.close()

    def _train_epoch(self) -> None:
        position = self.position
        plan = self.plan(position.epoch)
        position.plan(len(plan), self.recipe.optimizer.accumulate)
        evaluate_at = self._evaluation_points()
        batches = self._batches(plan[position.batch :])
        accumulated = 0
        for batch in prefetched(batches) if self.ranks.device.type == "cuda" else batches:
            if not accumulated:
                self._seed_step()
                self.flat.buffer.zero_()
            self.backward(batch)
            position.batch += 1
            accumulated += 1
            if accumulated == self.recipe.optimizer.accumulate or position.batch == len(plan):
                accumulated = 0
                stop_asked = self._step()
                if position.batch in evaluate_at or self._is_over():
                    self._evaluate()
                if stop_asked:
                    self._checkpoint()
                    raise Stopped
                if self._is_over():
                    return
                if time.monotonic() - self.checkpoint_at > 60 * self.recipe.training.checkpoint_minutes:
                    self._checkpoint()
        position.end_epoch()

    def backward(self, batch: Batch) -> None:
        """Add the gradient and the statistics of this process's part of a batch to the buffer."""
        if not batch.ids:
            return
        device = self.ranks.device
        features, lengths = self.model.frontend(batch.waveforms.to(device), batch.lengths.to(device))
        if not lengths.any():
            return
        if self.views == 2:
            features, lengths, batch = two_views(features, lengths, batch)
        features = self.spec_augment(self.vocal_tract(features), lengths)
        logits, frames = self.model.logits(features, lengths, self.heads)
        total = torch.zeros((), device=device)
        for name, scores in zip(self.heads, logits, strict=True):
            total = total + self.objective.loss(name, scores, frames, batch)
        total.backward()
        best = logits[0].detach().argmax(-1)
        self._count("blanks", ((best == 0) & valid_frames(frames, best.shape[1])).sum())
        self._count("padded", best.numel())
        self._count("frames", frames.sum())

    def _step(self) -> bool:
        """Sum gradients over the processes and update the weights; whether a process was asked to stop."""
        position, flat = self.position, self.flat
        self._count("stop", float(self.stop.is_made))
        self._count("seconds", (time.monotonic() - self.started) / self.ranks.processes)
        self.ranks.sum(flat.buffer)
        found = dict(zip(self.counted, flat.statistics.tolist(), strict=True))
        position.seconds = max(position.seconds, found["seconds"])
        # Per second of audio: batches of many short utterances weigh as much as those of few long ones.
        audio = max(found["frames"], 1.0) * self.model.frame_shift
        flat.gradient.div_(audio)
        rate = self._learning_rate()
        norm = self.optimisation.update(rate, position.step)
        if math.isfinite(norm):
            position.skipped_in_a_row = 0
        else:
            self._skip()
        position.step += 1
        self.heard += audio / self.views
        if self.reporter is not None and position.step % STEPS_PER_REPORT == 0:
            self._report(found, norm, rate)
        return bool(found["stop"])

    def _evaluate(self) -> None:
        """Keep the averaged weights of now, where there is a development set if they do well on it."""
        if self.development.utterances:
            self._measure()
        elif self.ranks.is_main:
            with self.average.swapped_in(self.flat.values):
                self._save_model(self.folder / MODEL, {})

    def _measure(self) -> None:
        """Measure the averaged weights; keep them where they are among the best."""
        position = self.position
        with self.average.swapped_in(self.flat.values):
            scores, examples = self.development.evaluate(self.model, self.ranks, self.data.denominators)
            error = scores[self.model.default_head].wer
            improved = self._improves(error)
            rates = {name: {"wer": result.wer, "cer": result.cer} for name, result in scores.items()}
            self._keep(error, improved, rates)
        if self.reporter is not None:
            metrics: dict[str, Any] = {"step": position.step, "epoch": position.epoch + 1}
            lines = [f"epoch {position.epoch + 1} step {position.step}, {position.seconds / 60:.1f} min:"]
            for name, result in scores.items():
                metrics |= {f"wer_{name}": result.wer, f"cer_{name}": result.cer, name: examples[name]}
                metrics[f"units_{name}"] = self.model.tokenizers[name].units
                lines.append(f"  {name}: {_describe(self.model, name, result)}; e.g. {examples[name]}")
            self.reporter.evaluation(metrics, lines)

    def _improves(self, error: float) -> bool:
        """Whether an error is the least so far; the schedule takes note of it."""
        position, schedule = self.position, self.recipe.schedule
        improved = error < position.best
        position.best = min(error, position.best)
        position.unimproved = 0 if improved else position.unimproved + 1
        if schedule.kind == "plateau" and position.unimproved % schedule.patience == 0 and not improved:
            position.plateau *= schedule.factor
        return improved

    def _keep(self, error: float, improved: bool, rates: dict[str, Any]) -> None:
        if not self.ranks.is_main:
            return
        step, most = self.position.step, self.recipe.training.keep
        keep_model(self.folder, error, step, most, lambda folder: self._save_model(folder, rates))
        if improved:
            self._save_model(self.folder / MODEL, rates)

    def _save_model(self, folder: Path, rates: dict[str, Any]) -> None:
        position = self.position
        self.model.config.training = {
            "asr": __version__,
            "manifests": ["/".join(Path(source.manifest).parts[-2:]) for source in self.recipe.data.train],
            "hours": round(float(self.data.durations.sum()) / 3600, 2),
            "steps": position.step,
            "epochs": round(position.epoch + position.batch / position.batches, 2),
            "minutes": round(position.seconds / 60, 1),
            "development": rates,
        }
        save_network(folder, self.model, weights=self._weights())

    def _weights(self) -> dict[str, Tensor]:
        """What a model directory holds of the network."""
        return dict(self.model.named_parameters())

    def _report(self, found: dict[str, float], norm: float, rate: float) -> None:
        assert self.reporter is not None
        now = time.monotonic()
        losses = {name: found[f"loss_{name}"] / max(1.0, found[f"labels_{name}"]) for name in self.heads}
        metrics = {
            "step": self.position.step,
            "epoch": self.position.epoch + 1,
            "loss": sum(losses.values()) / len(losses),
            **{f"loss_{name}": value for name, value in losses.items()},
            "lr": rate,
            "gradient_norm": norm,
            "hours_per_second": self.heard / 3600 / (now - self.reported_at),
            "padding": 1 - found["frames"] / max(found["padded"], 1.0),
            "blanks": found["blanks"] / max(found["frames"], 1.0),
            "infinite_losses": found["infinite"],
            "minutes": self.position.seconds / 60,
        }
        if self.views == 2:
            metrics["disagreement"] = found["disagreement"] / max(found["frames"], 1.0)
        if found["words"]:
            metrics["expected_wer"] = 100 * found["word_errors"] / found["words"]
        self.heard, self.reported_at = 0.0, now
        self.reporter.step(self._progress(), metrics)

    def _announce(self) -> None:
        if self.reporter is None:
            return
        hours = self.data.durations.sum() / 3600
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        precision = str(self.model.precision).removeprefix("torch.")
        self.reporter.message(
            f"training on {hours:.1f} hours ({len(self.data.utterances)} utterances), "
            f"{parameters / 1e6:.1f} M parameters, {precision}, {self.ranks.processes} process(es)"
        )
        for line in (*self.data.dropped.lines(), *unwritable(self.development.utterances, self.model)):
            self.reporter.message(line)
        if self.left:
            self.reporter.message(f"not in training.init_from, so new: {', '.join(self.left)}")
        if self._is_over():
            self.reporter.message(
                "at the end of its schedule; to go on, raise schedule.steps, epochs or minutes"
            )

    def _try_longest_batch(self) -> None:
        """Too little memory should show in the first second, not in the middle of the night."""
        longest = max(self.plan(0), key=lambda batch: len(batch) * max(item.duration for item in batch))
        self._seed_step()
        try:
            for batch in self._batches([longest]):
                self.backward(batch)
        except (RuntimeError, MemoryError) as error:
            if "memory" not in str(error) and not isinstance(error, MemoryError):
                raise
            raise UserError(
                f"a batch of {self.recipe.batching.max_seconds:g} s does not fit in memory; "
                "lower batching.max_seconds (and raise optimizer.accumulate as much)"
            ) from error

    def _skip(self) -> None:
        position, limit = self.position, self.recipe.loss.non_finite_limit
        position.skipped += 1
        position.skipped_in_a_row += 1
        if self.reporter is not None:
            self.reporter.message(f"step {position.step}: gradient not finite, skipped")
        if position.skipped_in_a_row >= limit:
            batch = self.plan(position.epoch)[position.batch - 1]
            ids = ", ".join(self.data.utterances[item.index].id for item in batch[:10])
            raise UserError(
                f"{limit} steps in a row had no finite gradient, the last with {ids}; "
                "lower optimizer.lr, or look at these utterances"
            )

    def plan(self, epoch: int) -> list[list[Item]]:
        """The batches of an epoch."""
        recipe, data = self.recipe, self.data
        return plan_epoch(
            data.durations, data.sources, recipe.batching, recipe.augment.speed, recipe.training.seed, epoch
        )

    def _batches(self, plan: list[list[Item]]) -> Iterator[Batch]:
        for items in plan:
            share = share_of(items, self.ranks.rank, self.ranks.processes)
            yield self.data.load(share, self.position.epoch)

    def _evaluation_points(self) -> set[int]:
        """After how many batches of this epoch the development set is decoded."""
        every, epoch = self.recipe.training.evaluate_every, self.position.epoch
        # A little more, since three times a third may be less than one.
        before, until = (math.floor(epochs / every + 1e-6) for epochs in (epoch, epoch + 1))
        points = [(number * every - epoch) * self.position.batches for number in range(before + 1, until + 1)]
        # A step may take several batches; the last one of an epoch takes what is left.
        accumulate = self.recipe.optimizer.accumulate
        steps = [max(1, math.ceil(round(point) / accumulate)) for point in points]
        return {min(step * accumulate, self.position.batches) for step in steps}

    def _progress(self) -> float:
        """Fraction of the run that is done."""
        return self.position.progress(self.recipe.schedule)

    def _is_over(self) -> bool:
        patience = self.recipe.schedule.stop_after
        return self._progress() >= 1 or bool(patience and self.position.unimproved >= patience)

    def _learning_rate(self) -> float:
        factor = learning_rate_factor(self.recipe.schedule, self.position.step, self._progress())
        return self.recipe.optimizer.lr * self.position.plateau * factor

    def _seed_step(self) -> None:
        self.position.seed_torch(self.recipe.training.seed, self.ranks.rank)

    def _count(self, name: str, value: Tensor | float) -> None:
        self.flat.statistics[self.counted[name]] += value

    def _checkpoint(self) -> None:
        self.checkpoint_at = time.monotonic()
        if not self.ranks.is_main:
            return
        tensors = self.optimisation.tensors()
        save_checkpoint(self.folder / CHECKPOINTS, self.position.step, tensors, asdict(self.position))

    def _resume(self) -> None:
        found = load_checkpoint(self.folder / CHECKPOINTS)
        if found is None:
            # Models of a run that begins anew would mix with those to come.
            if kept_models(self.folder):
                raise UserError(
                    f"{self.folder}: holds models and no checkpoint, so there is nothing to continue; choose "
                    "another --output, or move its models away"
                )
            return
        tensors, state = found
        if not self.optimisation.restore(tensors):
            raise UserError(f"{self.folder}: its checkpoint is of another network; --output another folder")
        # A checkpoint of an earlier version does not say how many batches its epoch has.
        batches = {"batches": len(self.plan(state["epoch"]))}
        self.position = TrainerPosition(**batches | state)


def _describe(model: Model, head: str, result: Score) -> str:
    if model.tokenizers[head].units == "phones":
        return f"phone error rate {result.wer:.2f} %"
    return f"WER {result.wer:.2f} %, CER {result.cer:.2f} %"
