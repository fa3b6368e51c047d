"""The models that a run keeps beside its best one: the best few by their error rates, and the newest."""

import shutil
from collections.abc import Callable
from pathlib import Path

from asr.training.run_folder import KEPT_MODELS


def kept_models(folder: Path) -> list[Path]:
    """Models that a run kept in its folder, the best first."""
    return sorted(path for path in (folder / KEPT_MODELS).glob("*-step-*") if path.is_dir())


def keep_model(folder: Path, error: float, step: int, most: int, save: Callable[[Path], None]) -> None:
    """Keep another model, and of those before so many as are best.

    The newest stays whatever its error: where words are what is trained, that may rise as they improve.

    Args:
        folder: Of the run.
        error: Rate by which models are ranked, in percent.
        step: Optimizer steps that made the model.
        most: Models that are kept.
        save: Writes the model into a folder.
    """
    models = folder / KEPT_MODELS
    models.mkdir(exist_ok=True)
    whole = models / f"{min(error, 999.9999):08.4f}-step-{step:09d}"
    partial = folder / ".model.tmp"
    save(partial)
    shutil.rmtree(whole, ignore_errors=True)
    partial.rename(whole)
    for worse in kept_models(folder)[most:]:
        if worse != whole:
            shutil.rmtree(worse)
