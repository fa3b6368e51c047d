"""``asr compare``: two systems on the same utterances."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("compare")(compare)


def compare(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="References, as asr score reads them.")],
    first: Annotated[Path, typer.Argument(metavar="A", help="Hypotheses of the first system.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Hypotheses of the second system.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also draw it: a .png, .svg or .pdf."),
    ] = None,
    labels: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Names of the systems in the picture (default: the files')."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="Rows by speaker, duration or any key of the references; repeatable."
        ),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="KEY", help="Draw whole groups in the bootstrap, such as speaker.")
    ] = None,
    normalize: Annotated[
        str,
        typer.Option(metavar="NAME", help="none, librispeech, basic or whisper-en, applied to all texts."),
    ] = "none",
    cer: Annotated[bool, typer.Option("--cer", help="Compare characters, not words.")] = False,
    replicates: Annotated[
        int, typer.Option("--bootstrap", min=100, metavar="N", help="Bootstrap replicates.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 1,
) -> None:
    """Tell whether two systems differ; draw it, with their kinds of error, and both group by group."""
    from asr.errors import UserError
    from asr.scoring import report_text
    from asr.scoring.normalizers import normalizer
    from asr.scoring.report import Options, report_pair
    from asr.scoring.texts import read

    if labels is not None and output is None:
        raise UserError("--labels: are those of the picture: goes with --output")
    if output is not None:
        from asr.plots.style import check_format

        check_format(output)
    options = Options(
        normalizer(normalize), "character" if cer else "word", tuple(by or ()), cluster, replicates, seed
    )
    pair = report_pair(read(reference), read(first, hypotheses=True), read(second, hypotheses=True), options)
    if output is not None:
        from asr.plots.comparison import comparison
        from asr.plots.style import save

        save(comparison(pair, labels or (first.stem, second.stem)), output)
    typer.echo(report_text.pair_summary(pair))
