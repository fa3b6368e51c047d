"""``asr average``: one model of several."""

from pathlib import Path
from typing import Annotated

import typer


def average(
    sources: Annotated[
        list[Path], typer.Argument(metavar="RUN|MODEL…", help="A run folder, or model directories.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model directory to write.")],
    best: Annotated[
        int | None, typer.Option("--best", min=1, help="Of a run: so many with the lowest error.")
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", min=1, help="Of a run: so many of the newest.")
    ] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="How weights are stored: fp32, fp16, bf16, int8, int6.")
    ] = "fp32",
) -> None:
    """Average the weights of models of one network (of a run: all that it kept, or --best, --last)."""
    from asr.errors import UserError
    from asr.files import is_folder
    from asr.training.averaging import average_models, models_of_run
    from asr.training.run_folder import KEPT_MODELS

    if len(sources) == 1 and is_folder(sources[0] / KEPT_MODELS):
        sources = models_of_run(sources[0], best, last)
    elif best is not None or last is not None:
        raise UserError("--best and --last choose among the models of one run folder")
    average_models(sources, output, dtype)
    typer.echo(f"{output}: the mean of {', '.join(source.name for source in sources)}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(average)
