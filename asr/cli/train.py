"""``asr train``."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Values that replace the recipe's: optimizer.lr=1e-3")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Run folder (default: runs/<name of the recipe>)."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and how long it would take.")
    ] = False,
) -> None:
    """Train a model from manifests, as a recipe says."""
    from asr.training.config import load_recipe
    from asr.training.run import train as run

    folder = output or Path("runs") / recipe.stem
    checked = load_recipe(recipe, overrides or [])
    if dry_run:
        from asr.training.dry_run import describe

        for line in describe(checked, folder):
            typer.echo(line)
        return
    try:
        model = run(checked, folder, resume)
    except SystemExit as stop:
        if stop.code == 130:
            words = " ".join(["asr train", str(recipe), *(overrides or []), "--output", str(folder)])
            typer.echo(f"stopped; go on with: {words} --resume", err=True)
        raise
    typer.echo(model)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)
