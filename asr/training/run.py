"""Start or continue a training run."""

from dataclasses import dataclass
from pathlib import Path

from asr.errors import UserError
from asr.training.checkpoint import load_checkpoint
from asr.training.config import Recipe, write_recipe
from asr.training.data import AudioStore, TrainingData, development_utterances
from asr.training.distributed import Ranks, launch
from asr.training.trainer import Stopped, Trainer, build_model


@dataclass(frozen=True)
class Run:
    """What every process of a run is told."""

    recipe: Recipe
    folder: Path
    resume: bool


def train(recipe: Recipe, folder: Path, resume: bool = False) -> Path:
    """Train a recipe in a run folder; returns the model directory.

    Raises:
        UserError: the folder holds another run, or the recipe cannot be trained.
        SystemExit: stopped before the end (130 after Ctrl-C); the state is saved.
    """
    if not resume and load_checkpoint(folder / "checkpoints") is not None:
        raise UserError(
            f"{folder}: holds a run already; continue it with --resume or choose another --output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # Mistakes in the data, and the decoding of the audio, come before any process is started.
    data = TrainingData(recipe, build_model(recipe))
    development = AudioStore(
        development_utterances(recipe.data), recipe.frontend.sample_rate, recipe.data.cache
    )
    del data, development
    write_recipe(folder / "recipe.yaml", recipe)
    launch(_train, Run(recipe, folder, resume), recipe.training.processes)
    return folder / "model"


def _train(ranks: Ranks, run: Run) -> None:
    try:
        Trainer(run.recipe, run.folder, ranks).run(run.resume)
    except Stopped:
        raise SystemExit(130) from None
