"""Runs of a tiny recipe."""

from pathlib import Path

import pytest
from finished import Finished, Train

from asr.training.config import load_recipe
from asr.training.run import train as train_recipe


@pytest.fixture
def train(recipe_file: Path, tmp_path: Path) -> Train:
    """Train the tiny recipe in this process: ``train("name", "key=value", resume=True)``."""

    def run(name: str, *overrides: str, resume: bool = False) -> Finished:
        train_recipe(load_recipe(recipe_file, overrides), tmp_path / name, resume)
        return Finished(tmp_path / name)

    return run
