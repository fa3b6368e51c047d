"""A recipe: everything that decides a training run, in one YAML file.

Keys are checked: an unknown one or a value of the wrong type is one clear line. Any value can be
overridden on the command line (``optimizer.lr=1e-3``). Paths are relative to the current directory and
may use ``${oc.env:NAME}``.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from asr.augmentation import AugmentConfig
from asr.batching import BatchingConfig
from asr.decoding.settings import check_settings
from asr.encoder import EncoderConfig
from asr.errors import UserError
from asr.frontend import FrontendConfig
from asr.model import HeadConfig, check_heads
from asr.training.checks import PRECISIONS, Choices, Ranges, check_order, check_values
from asr.training.recipe_file import read_recipe


@dataclass
class TrainingSource:
    """A manifest to train on; ``share`` is its fraction of each epoch's audio (0: every utterance once)."""

    manifest: str = ""
    share: float = 0.0
    min_confidence: float = 0.0


@dataclass
class DataConfig:
    """Manifests.

    Attributes:
        train: What is trained on.
        dev: Manifest that WER is measured on while training.
        dev_utterances: How many of it, evenly spread (0: all).
        cache: Folder in which decoded audio is kept, for compressed corpora that fit on the disk.
    """

    train: list[TrainingSource] = field(default_factory=list)
    dev: str = ""
    dev_utterances: int = 0
    cache: str = ""


@dataclass
class WordErrorsConfig:
    """Wrong words that a search expects to find, of the default head (:mod:`asr.training.word_errors`).

    Attributes:
        weight: Of each expected error in the loss (0: nothing is searched).
        model: Model directory whose language model, lexicon and decoding weights are used.
        beam_size: Of the search.
        nbest: Readings of an utterance that are compared.
        rescore: Whether they are scored anew by the directory's recurrent language model.
        posterior_scale: Factor of the scores when the readings' probabilities are made of them: the
            smaller, the more those count that are not the best.
    """

    weight: float = 0.0
    model: str = ""
    beam_size: int = 100
    nbest: int = 8
    rescore: bool = False
    posterior_scale: float = 1.0


@dataclass
class LossConfig:
    """CTC loss, or in pre-training the forecast's.

    Attributes:
        ahead: Encoder frames from what is heard to what is forecast (``asr pretrain``).
        non_finite_limit: Steps in a row without a finite gradient after which the run stops.
        ctc_share: Plain CTC that is added to the loss of heads with a ``denominator``.
        consistency: Of the disagreement between two views of each utterance, in the loss of every head
            (:mod:`asr.training.consistency`; the paper has 0.2). With it a batch takes twice the time and
            memory. 0: one view.
        word_errors: Minimum word error rate training, beside the head's other loss.
    """

    ahead: int = 3
    non_finite_limit: int = 20
    ctc_share: float = 0.1
    consistency: float = 0.0
    word_errors: WordErrorsConfig = field(default_factory=WordErrorsConfig)


@dataclass
class OptimizerConfig:
    """AdamW (Loshchilov & Hutter 2019).

    Attributes:
        lr: Peak learning rate.
        betas, weight_decay: As in the paper; biases and normalisation are not decayed.
        clip: Largest norm of the gradient (0: none).
        accumulate: Batches whose gradients make one step.
        average: Decay of the running average of the weights that is evaluated and kept (0: none).
    """

    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 5.0
    accumulate: int = 1
    average: float = 0.999


@dataclass
class ScheduleConfig:
    """Length of the run, in exactly one of epochs, steps or minutes, and the learning rate over it.

    Attributes:
        kind: ``cosine``, ``linear`` (both fall to ``final`` of the peak) or ``plateau`` (falls by
            ``factor`` when the development error has not improved for ``patience`` evaluations).
        warmup: Steps of linear rise.
        hold: Fraction of the run at the peak before it falls.
        stop_after: Evaluations without improvement that end the run early (0: never).
    """

    epochs: float = 0.0
    steps: int = 0
    minutes: float = 0.0
    kind: str = "cosine"
    warmup: int = 200
    hold: float = 0.0
    final: float = 0.01
    factor: float = 0.5
    patience: int = 2
    stop_after: int = 0

    def progress(self, epochs: float, steps: int, seconds: float) -> float:
        """Fraction of the run (0 to 1) that so many epochs, steps and seconds are."""
        if self.steps:
            return steps / self.steps
        return seconds / 60 / self.minutes if self.minutes else epochs / self.epochs


@dataclass
class TrainingConfig:
    """How the run is carried out.

    Attributes:
        seed: Of everything random.
        precision: ``auto`` (bf16 where the machine computes it fast), ``fp32`` or ``bf16``.
        processes: Data-parallel processes (0: one a core on a CPU, one a GPU).
        init_from: Model directory whose fitting weights are the start.
        freeze: Patterns (shell style) of parameters that stay as they are.
        evaluate_every: Epochs between evaluations.
        checkpoint_minutes: Between checkpoints inside an epoch.
        keep: Best models kept, and the newest one.
        tensorboard: Write TensorBoard files too.
    """

    seed: int = 1
    precision: str = "auto"
    processes: int = 0
    init_from: str = ""
    freeze: list[str] = field(default_factory=list)
    evaluate_every: float = 1.0
    checkpoint_minutes: float = 10.0
    keep: int = 3
    tensorboard: bool = False


@dataclass
class Recipe:
    """All sections of a recipe."""

    data: DataConfig = field(default_factory=DataConfig)
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tokenizer: HeadConfig = field(default_factory=HeadConfig)
    heads: dict[str, HeadConfig] = field(default_factory=dict)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: dict[str, Any] = field(default_factory=dict)

    def all_heads(self) -> dict[str, HeadConfig]:
        """The heads, or the single one that ``tokenizer`` describes."""
        return self.heads or {self.tokenizer.units: self.tokenizer}


def load_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read, merge and check a recipe.

    Raises:
        UserError: missing file, broken YAML, unknown key, wrong type or a value outside its choices.
    """
    return read_recipe(Recipe, path, overrides, _check)


CHOICES: Choices = {"training.precision": PRECISIONS}
RANGES: Ranges = {
    "data.dev_utterances": (0, math.inf),
    "augment.gain": (0, math.inf),
    "augment.gain_probability": (0, 1),
    "augment.telephone": (0, 1),
    "augment.vocal_tract": (0, 0.5),
    "augment.noise.probability": (0, 1),
    "augment.noise.alone": (0, 1),
    "augment.noise.babble": (0, 1),
    "augment.noise.music": (0, 1),
    "augment.reverberation.probability": (0, 1),
    "augment.reverberation.rt60": (0, 10),
    "augment.spec_augment.probability": (0, 1),
    "augment.spec_augment.frequency_masks": (0, math.inf),
    "augment.spec_augment.frequency_width": (0, math.inf),
    "augment.spec_augment.time_masks": (0, math.inf),
    "augment.spec_augment.time_width": (0, math.inf),
    "augment.spec_augment.time_share": (0, 1),
    "augment.spec_augment.time_warp": (0, math.inf),
    "batching.max_seconds": (1, math.inf),
    "batching.jitter": (0, math.inf),
    "loss.ahead": (1, math.inf),
    "loss.non_finite_limit": (1, math.inf),
    "loss.ctc_share": (0, math.inf),
    "loss.consistency": (0, math.inf),
    "loss.word_errors.weight": (0, math.inf),
    "loss.word_errors.beam_size": (1, math.inf),
    "loss.word_errors.nbest": (2, math.inf),
    "loss.word_errors.posterior_scale": (0.001, math.inf),
    "training.seed": (0, 2**32),
    "training.processes": (0, math.inf),
    "training.evaluate_every": (0.001, math.inf),
    "training.checkpoint_minutes": (0, math.inf),
    "training.keep": (1, math.inf),
}


PAIRS = (("batching.min_duration", "batching.max_duration"),)
SPANS = ("augment.noise.snr", "augment.reverberation.rt60")


def _check(recipe: Recipe) -> None:
    """Raise :class:`UserError` for the first value that makes no sense."""
    if not recipe.data.train or not all(source.manifest for source in recipe.data.train):
        raise UserError("data.train must list at least one manifest")
    recipe.frontend.check()
    recipe.encoder.check()
    check_heads(recipe.all_heads(), recipe.encoder.layers)
    check_values(recipe, CHOICES, RANGES)
    check_order(recipe, PAIRS, SPANS)
    shares = [source.share for source in recipe.data.train]
    if any(shares) and (min(shares) <= 0 or abs(sum(shares) - 1) > 1e-3):
        raise UserError("the shares of data.train must be given for all and add up to 1")
    if not recipe.data.dev and (recipe.schedule.kind == "plateau" or recipe.schedule.stop_after):
        raise UserError("schedule: plateau and stop_after look at the error on data.dev, which is not given")
    if recipe.heads and recipe.tokenizer != HeadConfig():
        raise UserError("tokenizer: describes a single head; beside heads it has no meaning")
    for name, head in recipe.all_heads().items():
        if head.units == "phones" and not head.lexicon:
            raise UserError(f"heads.{name}: phones need a lexicon (heads.{name}.lexicon)")
        if head.units == "wordpieces" and not head.wordpieces:
            raise UserError(f"heads.{name}: word pieces need sentencepiece's model (heads.{name}.wordpieces)")
    if recipe.augment.noise.babble + recipe.augment.noise.music > 1:
        raise UserError("augment.noise: babble and music are shares of the noises, at most 1 together")
    if recipe.loss.consistency and recipe.augment.spec_augment.time_warp:
        raise UserError("loss.consistency: views warped in time cannot agree; set time_warp to 0")
    noise, rooms, word_errors = recipe.augment.noise, recipe.augment.reverberation, recipe.loss.word_errors
    is_noisy = noise.probability or noise.alone
    for section, given, amount, useless in (
        ("augment.noise", "manifest", "probability", noise.manifest and not is_noisy),
        ("augment.reverberation", "manifest", "probability", rooms.manifest and not rooms.probability),
        ("loss.word_errors", "model", "weight", word_errors.model and not word_errors.weight),
    ):
        if useless:
            raise UserError(f"{section}.{given}: has no effect while {section}.{amount} is 0")
    if recipe.loss.word_errors.weight and not recipe.loss.word_errors.model:
        raise UserError("loss.word_errors.model: name a model directory with a language model and a lexicon")
    check_settings(recipe.decoding, recipe.all_heads())
