"""Start or continue a training run."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr.audio import probe
from asr.audio_reader import check_begin
from asr.errors import UserError
from asr.manifest import Utterance
from asr.training.checkpoint import refuse_second_run
from asr.training.config import Recipe
from asr.training.data import AudioStore, TrainingData, development_utterances
from asr.training.distributed import STOPPED, Ranks, Stopped, is_first, is_first_here, launch
from asr.training.evaluation import check_spelling
from asr.training.network import build_model, initialise_from
from asr.training.pretrainer import Pretrainer, build_forecaster
from asr.training.recipe_file import changed_values, write_recipe
from asr.training.run_folder import MODEL, RECIPE
from asr.training.trainer import Trainer

_OF_THE_UNITS = ("units", "wordpieces", "word_ends", "layer")


@dataclass(frozen=True)
class Run:
    """What every process of a run is told."""

    recipe: Recipe
    folder: Path
    resume: bool
    pretraining: bool


def train(
    recipe: Recipe,
    folder: Path,
    resume: bool = False,
    pretraining: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train a recipe in a run folder; returns the model directory.

    With ``pretraining`` the encoder learns to forecast speech instead (see ``pretrainer.py``). ``say`` is
    told what is not as it was when the run that is continued began.

    Raises:
        UserError: the folder holds another run, or the recipe cannot be trained.
        SystemExit: stopped before the end (130 after Ctrl-C); the state is saved.
    """
    if not resume:
        refuse_second_run(folder)
    if is_first_here():
        _check_data(recipe, pretraining)
    if is_first():
        path = folder / RECIPE
        if resume:
            _compare(path, recipe, say)
        write_recipe(path, recipe)
    launch(_train, Run(recipe, folder, resume, pretraining), recipe.training.processes)
    return folder / MODEL


def _compare(path: Path, recipe: Recipe, say: Callable[[str], None]) -> None:
    """Refuse a recipe of another network than the one before; tell everything else that changed."""
    if not path.is_file():
        say(f"{path.parent}: there is no run to continue, so it begins here")
        return
    for key, (before, now) in changed_values(path, recipe).items():
        section, _, name = key.partition(".")
        is_shape = section in ("frontend", "encoder") and "dropout" not in name
        is_unit = section in ("heads", "tokenizer") and name.rpartition(".")[2] in _OF_THE_UNITS
        starts_elsewhere = key == "training.init_from" and recipe.training.freeze
        if is_shape or is_unit or starts_elsewhere or key == "training.freeze":
            raise UserError(
                f"{path}: the run began with {key} {before}, not {now}; continue it so, or --output another"
            )
        say(f"{key}: {now} (was {before})")


def _check_data(recipe: Recipe, pretraining: bool) -> None:
    """Mistakes in the data, and the decoding of the audio, come before any process is started."""
    model = build_forecaster(recipe) if pretraining else build_model(recipe)
    if recipe.training.init_from:
        initialise_from(model, recipe.training.init_from)
    data = TrainingData(recipe, model)
    development = development_utterances(recipe.data, bool(model.tokenizers))
    if not pretraining:
        check_spelling(development, model)
    AudioStore(development, recipe.frontend.sample_rate, recipe.data.cache)
    if not recipe.data.cache:
        for source, (indices, _) in zip(recipe.data.train, data.sources, strict=True):
            _check_audio(source.manifest, [data.utterances[index] for index in indices])
        _check_audio(recipe.data.dev, development)
        # What training cannot read it meets at once, mostly; what is measured only after a while.
        latest: dict[str, float] = {}
        for utterance in development:
            path = utterance.audio_filepath
            latest[path] = max(utterance.offset, latest.get(path, 0.0))
        for path, offset in latest.items():
            check_begin(path, offset, probe(path).duration)


def _check_audio(manifest: str, utterances: list[Utterance]) -> None:
    missing = [path for item in utterances if not Path(path := item.audio_filepath).exists()]
    if missing:
        raise UserError(
            f"{manifest}: the audio of {len(missing)} of {len(utterances)} utterances is gone "
            f"({missing[0]} first); move it back, or prepare the manifest again"
        )


def _train(ranks: Ranks, run: Run) -> int:
    make = Pretrainer if run.pretraining else Trainer
    try:
        make(run.recipe, run.folder, ranks).run(run.resume)
    except Stopped:
        return STOPPED
    return 0
