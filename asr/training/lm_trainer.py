"""Training of recurrent language models on text, a sentence a line."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.encoder import CELLS
from asr.errors import UserError
from asr.files import check_folder_writable
from asr.lm.rnn import RNNLM, RNNLMConfig, load_rnn_lm, pad_sentences, save_rnn_lm
from asr.training.checkpoint import load_checkpoint, refuse_second_run, save_checkpoint
from asr.training.checks import PRECISIONS, Choices, Ranges, check_values
from asr.training.config import OptimizerConfig, ScheduleConfig
from asr.training.distributed import STOPPED, Ranks, Stopped, StopRequest, heed_stop, is_first, launch
from asr.training.lm_data import Text, frequent_words
from asr.training.network import training_precision
from asr.training.optimizer import Optimisation, learning_rate_factor
from asr.training.position import Position
from asr.training.recipe_file import changed_values, read_recipe, write_recipe
from asr.training.run_folder import CHECKPOINTS, MODEL, RECIPE


@dataclass
class LMDataConfig:
    """Texts (plain, .gz, .xz or manifests) and the vocabulary's size."""

    train: list[str] = field(default_factory=list)
    dev: str = ""
    vocabulary_size: int = 20_000


@dataclass
class LMRecipe:
    """All sections of a recipe for a recurrent language model.

    Attributes:
        batch_words: Padded words in a batch, which the processes share.
        init_from: Model directory of a language model of the same shape and vocabulary, whose weights
            are the start.
        evaluate_every: Steps between measurements of the development text's perplexity.
        precision: ``auto``, ``fp32`` or ``bf16``.
        processes: Data-parallel processes (0: one a core on a CPU, one a GPU).
    """

    data: LMDataConfig = field(default_factory=LMDataConfig)
    model: RNNLMConfig = field(default_factory=RNNLMConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    init_from: str = ""
    batch_words: int = 4000
    evaluate_every: int = 1000
    precision: str = "auto"
    processes: int = 0
    seed: int = 1


def load_lm_recipe(path: Path, overrides: list[str]) -> LMRecipe:
    """Read, merge and check a recipe.

    Raises:
        UserError: it cannot be read, has an unknown key or a wrong value.
    """
    return read_recipe(LMRecipe, path, overrides, _check)


CHOICES: Choices = {
    "schedule.kind": ("cosine", "linear"),
    "precision": PRECISIONS,
    "model.cell": tuple(CELLS),
}
RANGES: Ranges = {
    "data.vocabulary_size": (4, math.inf),
    "model.layers": (1, math.inf),
    "model.hidden_size": (1, math.inf),
    "model.embedding_size": (1, math.inf),
    "model.dropout": (0, 0.999999),
    "model.cutoffs": (1, math.inf),
    "batch_words": (1, math.inf),
    "evaluate_every": (1, math.inf),
    "processes": (0, math.inf),
    "seed": (0, 2**32),
}


def _check(recipe: LMRecipe) -> None:
    """Raise :class:`UserError` for the first value that makes no sense."""
    check_values(recipe, CHOICES, RANGES)
    cutoffs = recipe.model.cutoffs
    if any(low >= high for low, high in pairwise(cutoffs)):
        raise UserError(f"model.cutoffs: {cutoffs} do not rise")
    if not recipe.data.train or not recipe.data.dev:
        raise UserError("data.train and data.dev must name texts")
    if recipe.optimizer.accumulate != 1 or recipe.schedule.stop_after:
        raise UserError("optimizer.accumulate and schedule.stop_after are not for language models")


def initialise_from(model: RNNLM, source: str) -> None:
    """Take the weights of another language model.

    Raises:
        UserError: it cannot be read, or is of another shape or vocabulary.
    """
    other = load_rnn_lm(source)
    if other.words != model.words:
        raise UserError(f"{source}: its vocabulary is not that of data.train; init_from needs the same")
    try:
        model.load_state_dict(other.state_dict())
    except RuntimeError as error:
        raise UserError(f"{source}: its shape is not that of the recipe's model; see its rnn.yaml") from error


def perplexity(model: RNNLM, text: Text, batch_words: int) -> float:
    """Perplexity of all words, ends of sentences included, unknown ones as ``<unk>``."""
    model.eval()
    total, words = 0.0, 0
    with torch.inference_mode():
        for batch in text.batches(np.arange(len(text)), batch_words):
            ids, lengths = pad_sentences(text.sentences(batch))
            device = model.embedding.weight.device
            total += float(model(ids.to(device), lengths.to(device)).sum())
            words += int(lengths.sum())
    model.train()
    return math.exp(-total / words)


@dataclass(frozen=True)
class LMRun:
    """What every process of a run is told; ``say`` must be a function of a module."""

    recipe: LMRecipe
    folder: Path
    resume: bool
    say: Callable[[str], None]


def train_lm(recipe: LMRecipe, folder: Path, resume: bool, say: Callable[[str], None]) -> Path:
    """Train a recipe in a run folder; returns the model directory.

    Raises:
        UserError: the folder holds a run and ``resume`` is not asked for, or the run cannot go on.
        SystemExit: stopped before the end (130 after Ctrl-C); the state is saved.
    """
    if not resume:
        refuse_second_run(folder)
    check_folder_writable(folder)
    if is_first():
        path = folder / RECIPE
        if resume and path.is_file():
            for key, (before, now) in changed_values(path, recipe).items():
                say(f"{key}: {now} (was {before})")
        write_recipe(path, recipe)
    launch(_train, LMRun(recipe, folder, resume, say), recipe.processes)
    return folder / MODEL


def _train(ranks: Ranks, run: LMRun) -> int:
    try:
        LMTrainer(run.recipe, run.folder, run.say, ranks).run(run.resume)
    except Stopped:
        return STOPPED
    return 0


class LMTrainer:
    """One run in one process.

    Args:
        recipe: What to do.
        folder: Checkpoints, and the model directory ``model``.
        say: Told of progress, a line at a time.
        ranks: This process among all of them.
    """

    def __init__(
        self, recipe: LMRecipe, folder: Path, say: Callable[[str], None], ranks: Ranks | None = None
    ) -> None:
        self.recipe, self.folder, self.ranks = recipe, folder, ranks or Ranks()
        self.say = say if self.ranks.is_main else _say_nothing
        words = frequent_words(recipe.data.train, recipe.data.vocabulary_size)
        known = {word.encode(): number for number, word in enumerate(words)}
        self.text, self.dev = Text(recipe.data.train, known), Text([recipe.data.dev], known)
        torch.manual_seed(recipe.seed)
        self.model = RNNLM(recipe.model, words).train().to(self.ranks.device)
        if recipe.init_from:
            initialise_from(self.model, recipe.init_from)
        self.model.precision = training_precision(recipe.precision, self.ranks.device)
        # Words, seconds and wishes to stop are summed over the processes behind the gradient.
        self.optimisation = Optimisation(self.model, recipe.optimizer, statistics=3)
        self.position = Position()
        self.started = self.spoken = 0.0
        self.heard = 0

    def run(self, resume: bool) -> None:
        """Train to the end of the schedule.

        Raises:
            Stopped: asked to stop; the state is saved.
            UserError: the checkpoint is of another network, or gradients are not finite.
        """
        if resume:
            self._resume()
        size = self.optimisation.flat.values.numel()
        self.say(
            f"{len(self.text)} sentences, {len(self.text.ids)} words, {size / 1e6:.1f} M parameters, "
            f"{self.ranks.processes} process(es)"
        )
        self.spoken = time.monotonic()
        self.started = self.spoken - self.position.seconds
        with heed_stop() as stop:
            while self.position.progress(self.recipe.schedule) < 1:
                self._train_epoch(stop)
        self._keep()

    def _resume(self) -> None:
        found = load_checkpoint(self.folder / CHECKPOINTS)
        if found is not None:
            tensors, state = found
            # A checkpoint of an earlier version does not say which words it is of.
            if state.pop("vocabulary", vocabulary := self._vocabulary()) != vocabulary:
                raise UserError(
                    f"{self.folder}: its vocabulary is no longer that of data.train; --output another folder"
                )
            if not self.optimisation.restore(tensors):
                raise UserError(f"{self.folder}: its checkpoint is of another network")
            text = state.pop("text", self.text.digest)
            self.position = Position(**state)
            if text != self.text.digest and self.position.batch:
                self.say("data.train: another text than before, so the epoch begins anew")
                self.position.batch = 0
        self.ranks.check_resumed(self.position.step, self.folder)

    def _vocabulary(self) -> str:
        """What tells the words of the embeddings from others, or from the same in another order."""
        return hashlib.sha256("\n".join(self.model.words).encode()).hexdigest()

    def _train_epoch(self, stop: StopRequest) -> None:
        position, seed = self.position, self.recipe.seed
        draw = np.random.default_rng((seed, position.epoch))
        batches = list(self.text.batches(draw.permutation(len(self.text)), self.recipe.batch_words))
        position.plan(len(batches))
        for number in draw.permutation(len(batches))[position.batch :]:
            position.seed_torch(seed, self.ranks.rank)
            stopping = self._step(batches[number], stop.is_made)
            if position.step % self.recipe.evaluate_every == 0 or stopping:
                self._keep()
            if stopping:
                raise Stopped
            if self.position.progress(self.recipe.schedule) >= 1:
                return
        position.end_epoch()

    def _step(self, batch: NDArray[np.int64], stop_asked: bool) -> bool:
        """Learn from a batch, of which each process has a part; whether a process was asked to stop."""
        position, flat, ranks = self.position, self.optimisation.flat, self.ranks
        flat.buffer.zero_()
        words = 0
        if len(own := batch[ranks.rank :: ranks.processes]):
            ids, lengths = pad_sentences(self.text.sentences(own))
            words = int(lengths.sum())
            loss: Tensor = -self.model(ids.to(ranks.device), lengths.to(ranks.device)).sum()
            loss.backward()
        spent = (time.monotonic() - self.started) / ranks.processes
        flat.statistics.copy_(torch.tensor([float(words), spent, float(stop_asked)]))
        ranks.sum(flat.buffer)
        words, seconds, stopping = flat.statistics.tolist()
        flat.gradient.div_(words)
        schedule = self.recipe.schedule
        factor = learning_rate_factor(schedule, position.step, position.progress(schedule))
        rate = self.recipe.optimizer.lr * factor
        if not math.isfinite(self.optimisation.update(rate, position.step)):
            raise UserError(f"step {position.step}: the gradient is not finite; lower optimizer.lr")
        position.step += 1
        position.batch += 1
        position.seconds = max(position.seconds, seconds)
        self.heard += int(words)
        return bool(stopping)

    def _keep(self) -> None:
        """Measure the averaged weights, write them and a checkpoint."""
        if not self.ranks.is_main:
            return
        with self.optimisation.average.swapped_in(self.optimisation.flat.values):
            measured = perplexity(self.model, self.dev, self.recipe.batch_words)
            save_rnn_lm(self.folder / MODEL, self.model)
        save_checkpoint(
            self.folder / CHECKPOINTS,
            self.position.step,
            self.optimisation.tensors(),
            asdict(self.position) | {"vocabulary": self._vocabulary(), "text": self.text.digest},
        )
        now = time.monotonic()
        speed = self.heard / max(1e-9, now - self.spoken)
        done = f"{self.position.progress(self.recipe.schedule):4.0%} step {self.position.step}"
        self.say(f"{done}: perplexity {measured:.1f}, {speed:.0f} words/s")
        self.heard, self.spoken = 0, now


def _say_nothing(line: str) -> None:
    """The processes beside the first one."""
