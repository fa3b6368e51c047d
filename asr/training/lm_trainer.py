"""Training of recurrent language models on text, a sentence a line."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from asr.errors import UserError
from asr.lm.rnn import RNNLM, RNNLMConfig, pad_sentences, save_rnn_lm
from asr.lm.table import BEGIN_ID, END_ID, SPECIAL_WORDS, UNKNOWN_ID
from asr.lm.text import read_lines
from asr.training.checkpoint import load_checkpoint, save_checkpoint
from asr.training.config import OptimizerConfig, ScheduleConfig
from asr.training.distributed import Ranks, launch
from asr.training.network import choose_precision
from asr.training.optimizer import Optimisation, learning_rate_factor

SENTENCES_SORTED_TOGETHER = 20_000


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
        evaluate_every: Steps between measurements of the development text's perplexity.
        precision: ``auto``, ``fp32`` or ``bf16``.
        processes: Data-parallel processes (0: one a core on a CPU, one a GPU).
    """

    data: LMDataConfig = field(default_factory=LMDataConfig)
    model: RNNLMConfig = field(default_factory=RNNLMConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
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
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        recipe = OmegaConf.to_object(
            OmegaConf.merge(
                OmegaConf.structured(LMRecipe), OmegaConf.create(content), OmegaConf.from_dotlist(overrides)
            )
        )
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: {str(error).strip().splitlines()[0]}") from error
    assert isinstance(recipe, LMRecipe)
    if not recipe.data.train or not recipe.data.dev:
        raise UserError(f"{path}: data.train and data.dev must name texts")
    if (
        recipe.schedule.kind == "plateau"
        or bool(recipe.schedule.epochs) + bool(recipe.schedule.steps) + bool(recipe.schedule.minutes) != 1
    ):
        raise UserError(f"{path}: schedule needs one of epochs, steps and minutes, and kind cosine or linear")
    if recipe.optimizer.accumulate != 1 or recipe.schedule.stop_after:
        raise UserError(f"{path}: optimizer.accumulate and schedule.stop_after are not for language models")
    for key, least in (("batch_words", 1), ("evaluate_every", 1), ("processes", 0)):
        if getattr(recipe, key) < least:
            raise UserError(f"{path}: {key}: must be at least {least}")
    return recipe


@dataclass
class LMPosition:
    """Where a run is: steps done, epoch under way, batches of it done and in all, seconds spent."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    batches: int = 1
    seconds: float = 0.0


class Text:
    """Sentences as ids, one after the other.

    Attributes:
        ids: uint32 ``(words,)`` with ``<s>`` and ``</s>`` around each sentence.
        starts: int64 ``(sentences + 1,)``.
    """

    def __init__(self, paths: list[str], word_ids: dict[bytes, int]) -> None:
        ids: list[NDArray[np.uint32]] = []
        lengths: list[int] = []
        for path in paths:
            for line in read_lines(path):
                words = line.split()
                if words:
                    sentence = [BEGIN_ID, *(word_ids.get(word, UNKNOWN_ID) for word in words), END_ID]
                    ids.append(np.array(sentence, dtype=np.uint32))
                    lengths.append(len(sentence))
        if not ids:
            raise UserError(f"{', '.join(paths)}: no words in the text")
        self.ids = np.concatenate(ids)
        self.starts = np.concatenate([[0], np.cumsum(lengths)])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batches(self, order: NDArray[np.int64], words: int) -> Iterator[list[NDArray[np.uint32]]]:
        """Sentences in batches of like length, of at most so many padded words."""
        lengths = np.diff(self.starts)[order]
        for first in range(0, len(order), SENTENCES_SORTED_TOGETHER):
            part = slice(first, first + SENTENCES_SORTED_TOGETHER)
            chosen = order[part][np.argsort(lengths[part], kind="stable")]
            batch: list[NDArray[np.uint32]] = []
            for sentence in chosen:
                content = self.ids[self.starts[sentence] : self.starts[sentence + 1]]
                if batch and len(content) * (len(batch) + 1) > words:
                    yield batch
                    batch = []
                batch.append(content)
            if batch:
                yield batch


def frequent_words(paths: list[str], size: int) -> list[str]:
    """The most frequent words, behind the special ones."""
    counts: dict[bytes, int] = {}
    for path in paths:
        for line in read_lines(path):
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    try:
        return [*SPECIAL_WORDS, *(word.decode() for word in ranked[:size])]
    except UnicodeDecodeError as error:
        raise UserError(f"{', '.join(paths)}: the text is not UTF-8 ({error})") from error


def perplexity(model: RNNLM, text: Text, batch_words: int) -> float:
    """Perplexity of all words, ends of sentences included, unknown ones as ``<unk>``."""
    model.eval()
    total, words = 0.0, 0
    device = model.embedding.weight.device
    with torch.inference_mode():
        for batch in text.batches(np.arange(len(text)), batch_words):
            ids, lengths = _padded(batch, device)
            total += float(model(ids, lengths).sum())
            words += int(lengths.sum())
    model.train()
    return math.exp(-total / words)


def _padded(batch: list[NDArray[np.uint32]], device: torch.device) -> tuple[Tensor, Tensor]:
    ids, lengths = pad_sentences([sentence.tolist() for sentence in batch])
    return ids.to(device), lengths.to(device)


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
        UserError: as :meth:`LMTrainer.run` does.
    """
    launch(_train, LMRun(recipe, folder, resume, say), recipe.processes)
    return folder / "model"


def _train(ranks: Ranks, run: LMRun) -> None:
    LMTrainer(run.recipe, run.folder, run.say, ranks).run(run.resume)


class LMTrainer:
    """One run of a recipe in a run folder.

    Args:
        recipe: What to do.
        folder: Checkpoints, and the model directory ``model``.
        say: Told of progress, a line at a time.
        ranks: This process among all of them.
    """

    def __init__(
        self, recipe: LMRecipe, folder: Path, say: Callable[[str], None], ranks: Ranks | None = None
    ) -> None:
        self.recipe, self.folder, self.say = recipe, folder, say
        self.ranks = ranks or Ranks()
        self.batch_words = math.ceil(recipe.batch_words / self.ranks.processes)
        words = frequent_words(recipe.data.train, recipe.data.vocabulary_size)
        known = {word.encode(): number for number, word in enumerate(words)}
        self.text, self.dev = Text(recipe.data.train, known), Text([recipe.data.dev], known)
        torch.manual_seed(recipe.seed)
        self.model = RNNLM(recipe.model, words).train().to(self.ranks.device)
        self.model.precision = choose_precision(recipe.precision, self.ranks.device)
        # Summed over the processes behind the gradient: seconds, which all must count alike, and words.
        self.optimisation = Optimisation(self.model, recipe.optimizer, statistics=2)
        self.position = LMPosition()
        self.started = self.spoken = 0.0
        self.heard = 0

    def run(self, resume: bool) -> Path:
        """Train to the end of the schedule; returns the model directory.

        Raises:
            UserError: the folder holds a run and ``resume`` is not asked for, or gradients are not finite.
        """
        found = load_checkpoint(self.folder / "checkpoints")
        if found is not None:
            if not resume:
                raise UserError(f"{self.folder}: holds a run already; continue it with --resume")
            tensors, state = found
            if not self.optimisation.restore(tensors):
                raise UserError(f"{self.folder}: its checkpoint is of another network")
            self.position = LMPosition(**state)
        size = self.optimisation.flat.values.numel()
        if self.ranks.is_main:
            self.say(
                f"{len(self.text)} sentences, {len(self.text.ids)} words, {size / 1e6:.1f} M parameters, "
                f"{self.ranks.processes} process(es)"
            )
        self.spoken = time.monotonic()
        self.started = self.spoken - self.position.seconds
        while self._progress() < 1:
            self._train_epoch()
        self._keep()
        return self.folder / "model"

    def _train_epoch(self) -> None:
        position, seed, ranks = self.position, self.recipe.seed, self.ranks
        draw = np.random.default_rng((seed, position.epoch))
        batches = list(self.text.batches(draw.permutation(len(self.text)), self.batch_words))
        while len(batches) < ranks.processes:
            batches += batches
        # Each process must have one in every step; the few that are left over come in other epochs.
        position.batches = len(batches) // ranks.processes
        order = draw.permutation(len(batches))[ranks.rank :: ranks.processes][: position.batches]
        for number in order[position.batch :]:
            torch.manual_seed((seed * 1_000_003 + position.step) * ranks.processes + ranks.rank)
            self._step(batches[number])
            if position.step % self.recipe.evaluate_every == 0:
                self._keep()
            if self._progress() >= 1:
                return
        position.epoch += 1
        position.batch = 0

    def _step(self, batch: list[NDArray[np.uint32]]) -> None:
        position, optimisation = self.position, self.optimisation
        flat = optimisation.flat
        flat.buffer.zero_()
        ids, lengths = _padded(batch, self.ranks.device)
        loss = -self.model(ids, lengths).mean() / self.ranks.processes
        loss.backward()
        spent = (time.monotonic() - self.started) / self.ranks.processes
        flat.statistics += torch.stack([lengths.new_tensor(spent, dtype=torch.float32), lengths.sum()])
        self.ranks.sum(flat.buffer)
        seconds, words = flat.statistics.tolist()
        factor = learning_rate_factor(self.recipe.schedule, position.step, self._progress())
        if not math.isfinite(optimisation.update(self.recipe.optimizer.lr * factor, position.step)):
            raise UserError(f"step {position.step}: the gradient is not finite; lower optimizer.lr")
        position.step += 1
        position.batch += 1
        position.seconds = max(position.seconds, seconds)
        self.heard += int(words)

    def _keep(self) -> None:
        """Measure the averaged weights, write them and a checkpoint."""
        if not self.ranks.is_main:
            return
        with self.optimisation.average.swapped_in(self.optimisation.flat.values):
            measured = perplexity(self.model, self.dev, self.recipe.batch_words)
            save_rnn_lm(self.folder / "model", self.model)
        save_checkpoint(
            self.folder / "checkpoints",
            self.position.step,
            self.optimisation.tensors(),
            asdict(self.position),
        )
        now = time.monotonic()
        speed = self.heard / max(1e-9, now - self.spoken)
        done = f"{self._progress():4.0%} step {self.position.step}"
        self.say(f"{done}: perplexity {measured:.1f}, {speed:.0f} words/s")
        self.heard, self.spoken = 0, now

    def _progress(self) -> float:
        position = self.position
        epochs = position.epoch + position.batch / position.batches
        return self.recipe.schedule.progress(epochs, position.step, position.seconds)
