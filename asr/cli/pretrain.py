"""``asr pretrain``."""

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.train import start


def pretrain(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML) with a one-directional encoder.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Values that replace the recipe's: loss.ahead=5")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder (default: runs/<recipe>-pretraining).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
) -> None:
    """Let an encoder learn to forecast speech, without texts; then train with training.init_from=…/model."""
    folder = output or Path("runs") / f"{recipe.stem}-pretraining"
    start("pretrain", recipe, overrides or [], folder, resume)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(pretrain)
