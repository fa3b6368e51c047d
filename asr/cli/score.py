"""``asr score``: error rates of hypotheses against references."""

import json
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("score")(score)


def score(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Reference texts.")],
    hypothesis: Annotated[Path, typer.Argument(metavar="HYP", help="Recognised texts.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Word and character error rates, texts paired by utterance id."""
    from asr import scoring

    result = scoring.score(scoring.read_texts(reference), scoring.read_texts(hypothesis, hypotheses=True))
    if as_json:
        typer.echo(json.dumps(result.to_json()))
        return
    typer.echo(f"WER {result.wer:.2f} %  ({result.errors} errors in {result.words} words: ", nl=False)
    typer.echo(f"{result.substitutions} S, {result.deletions} D, {result.insertions} I)")
    typer.echo(f"CER {result.cer:.2f} %  sentence errors {result.sentence_error_rate:.1f} %")
