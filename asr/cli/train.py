"""``asr train``."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
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
    folder = output or Path("runs") / recipe.stem
    if dry_run:
        from asr.training.config import load_recipe
        from asr.training.dry_run import describe

        for line in describe(load_recipe(recipe, overrides or []), folder):
            typer.echo(line)
        return
    start("train", recipe, overrides or [], folder, resume)


def start(command: str, recipe: Path, overrides: list[str], folder: Path, resume: bool) -> None:
    """Run to the end and print the model directory; a run that was stopped says how to go on."""
    from asr.cli.garbage import collect_as_usual
    from asr.cli.output import tell
    from asr.training.config import load_recipe
    from asr.training.distributed import is_first
    from asr.training.run import train as run

    collect_as_usual()
    with telling_how_to_go_on(["asr", command], recipe, overrides, folder):
        model = run(load_recipe(recipe, overrides), folder, resume, command == "pretrain", tell)
    if is_first():
        typer.echo(model)


@contextmanager
def telling_how_to_go_on(
    command: list[str], recipe: Path, overrides: list[str], folder: Path
) -> Iterator[None]:
    """For a run that may be stopped."""
    from asr.training.distributed import STOPPED, is_first

    try:
        yield
    except SystemExit as stop:
        if stop.code == STOPPED and is_first():
            words = shlex.join([*command, str(recipe), *overrides, "--output", str(folder), "--resume"])
            typer.echo(f"stopped; go on with: {words}", err=True)
        raise


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)
