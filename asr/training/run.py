"""Start or continue a training run."""

from dataclasses import dataclass
from pathlib import Path

from asr.errors import UserError
from asr.training.checkpoint import load_checkpoint
from asr.training.config import Recipe, write_recipe
from asr.training.data import AudioStore, TrainingData, development_utterances
from asr.training.distributed import Ranks, launch
from asr.training.network import build_model
from asr.training.pretrainer import Pretrainer, build_forecaster
from asr.training.trainer import Stopped, Trainer


@dataclass(frozen=True)
class Run:
    """What every process of a run is told."""

    recipe: Recipe
    folder: Path
    resume: bool
    pretraining: bool


def train(recipe: Recipe, folder: Path, resume: bool = False, pretraining: bool = False) -> Path:
    """Train a recipe in a run folder; returns the model directory.

    With ``pretraining`` the encoder learns to forecast speech instead (see ``pretrainer.py``).

    Raises:
        UserError: the folder holds another run, or the recipe cannot be trained.
        SystemExit: stopped before the end (130 after Ctrl-C); the state is saved.
    """
    if not resume and load_checkpoint(folder / "checkpoints") is not None:
        raise UserError(
            f"{folder}: holds a run already; continue it with --resume or choose another --output"
        )
    model = build_forecaster(recipe) if pretraining else build_model(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    # Mistakes in the data, and the decoding of the audio, come before any process is started.
    TrainingData(recipe, model)
    development = development_utterances(recipe.data, bool(model.tokenizers))
    AudioStore(development, recipe.frontend.sample_rate, recipe.data.cache)
    write_recipe(folder / "recipe.yaml", recipe)
    launch(_train, Run(recipe, folder, resume, pretraining), recipe.training.processes)
    return folder / "model"


def _train(ranks: Ranks, run: Run) -> None:
    make = Pretrainer if run.pretraining else Trainer
    try:
        make(run.recipe, run.folder, ranks).run(run.resume)
    except Stopped:
        raise SystemExit(130) from None
