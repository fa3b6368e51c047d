"""Every recipe loads; those of LibriSpeech run on a tree of the corpus's form."""

from pathlib import Path
from typing import Any

import pytest

from asr.g2p.model import read_g2p_config
from asr.model import load_network
from asr.training.checkpoint import load_checkpoint
from asr.training.config import load_recipe
from asr.training.lm_trainer import load_lm_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted((FOLDER / "librispeech").glob("*.yaml"))
OTHERS = sorted(set(FOLDER.glob("*/*.yaml")) - set(RECIPES))

# The recipe's own road, made narrow: a test is no night.
SMALL = (
    *("encoder.layers=1", "encoder.hidden_size=8", "encoder.channels=4"),
    *("batching.max_seconds=8", "batching.max_duration=25"),
    *("schedule.epochs=0", "schedule.steps=5", "training.processes=1"),
)


@pytest.fixture(scope="module")
def corpus(librispeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with ``data/<split>.jsonl``, as the recipes expect them."""
    from asr.corpora.librispeech import prepare_librispeech

    folder = tmp_path_factory.mktemp("work")
    prepared = list(prepare_librispeech(librispeech, folder / "data"))
    assert len(prepared) == 9
    return folder


def test_there_are_recipes() -> None:
    assert {"mini.yaml", "100h.yaml", "960h.yaml"} <= {path.name for path in RECIPES}
    assert {"en", "lm", "g2p", "cells", "pretraining"} == {path.parent.name for path in OTHERS}


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: "/".join(path.parts[-2:]))
def test_the_other_recipes_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_CORPORA", "corpora")
    monkeypatch.setenv("ASR_TEXT", "text")
    if path.parent.name == "lm":
        assert load_lm_recipe(path, []).data.train == ["text/books.txt.xz"]
    elif path.parent.name == "g2p":
        assert read_g2p_config(path).training.epochs
    else:
        assert load_recipe(path).data.train


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipe_runs_five_steps_and_its_model_decodes(
    path: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_asr: Any
) -> None:
    recipe = load_recipe(path)
    assert recipe.schedule.epochs > 1
    monkeypatch.chdir(corpus)
    done = run_asr("train", path, *SMALL, "--output", tmp_path / "run")
    assert done.status == 0, done.stderr
    found = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found[1]["step"] == 5
    model = tmp_path / "run" / "model"
    assert done.stdout == f"{model}\n"
    assert load_network(model).config.training["development"]
    decoded = run_asr("decode", model, recipe.data.dev, "-o", tmp_path / "hyps.jsonl")
    assert decoded.status == 0, decoded.stderr
    scored = run_asr("score", recipe.data.dev, tmp_path / "hyps.jsonl", "--json")
    assert '"wer"' in scored.stdout
    evaluated = run_asr("evaluate", model, recipe.data.dev, "--json")
    assert '"wer"' in evaluated.stdout


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_dry_run_of_the_recipe_trains_nothing(
    path: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_asr: Any
) -> None:
    monkeypatch.chdir(corpus)
    done = run_asr("train", path, *SMALL, "--dry-run", "--output", tmp_path / "run")
    assert done.status == 0, done.stderr
    for part in ("parameters", "hours", "logits", "hidden_size: 8"):
        assert part in done.stdout
    assert not (tmp_path / "run").exists()


def test_the_six_cells_have_the_same_number_of_parameters(tmp_path: Path) -> None:
    from asr.encoder import CELLS
    from asr.training.network import build_model

    folder = RECIPES[0].parents[1] / "cells"
    (tmp_path / "lexicon.txt").write_text("A AH\n")
    rows = [line.split() for line in (folder / "sizes.txt").read_text().splitlines()]
    assert sorted(row[:2] for row in rows) == sorted([c, b] for c in CELLS for b in ("true", "false"))
    for cell, bidirectional, size in rows:
        shape = (
            f"encoder.cell={cell}",
            f"encoder.bidirectional={bidirectional}",
            f"encoder.hidden_size={size}",
        )
        lexicon = f"heads.phones.lexicon={tmp_path}/lexicon.txt"
        recipe = load_recipe(folder / "cells.yaml", [*shape, lexicon])
        parameters = sum(value.numel() for value in build_model(recipe).parameters())
        assert parameters == pytest.approx(2.5e6, rel=0.02)
