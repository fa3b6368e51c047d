"""``asr lm train``: a recurrent language model of text."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML); see recipes/lm.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Values that replace the recipe's: model.cell=gru")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder (default: runs/<name of the recipe>).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
) -> None:
    """Train a recurrent language model, for --rescore."""
    from asr.cli.garbage import collect_as_usual
    from asr.cli.train import telling_how_to_go_on
    from asr.training.distributed import is_first
    from asr.training.lm_trainer import load_lm_recipe, train_lm

    collect_as_usual()
    folder = output or Path("runs") / recipe.stem
    with telling_how_to_go_on(["asr", "lm", "train"], recipe, overrides or [], folder):
        model = train_lm(load_lm_recipe(recipe, overrides or []), folder, resume, _say)
    if is_first():
        typer.echo(model)


def _say(line: str) -> None:
    typer.echo(line, err=True)
