"""``asr score``: error rates of hypotheses against references, and of two systems against each other."""

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.output import tell

if TYPE_CHECKING:
    from asr.scoring.report import Report

LINE_WIDTH = 100


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("score")(score)


def score(
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="REF",
            help="References: manifest, JSON lines, Kaldi text, trn or stm, seen from the content.",
        ),
    ],
    hypothesis: Annotated[
        Path, typer.Argument(metavar="HYP", help="Hypotheses: JSON lines, Kaldi text, trn, ctm or stm.")
    ],
    second: Annotated[
        Path | None, typer.Argument(metavar="[HYP2]", help="A second system, compared with the first.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    normalize: Annotated[
        str,
        typer.Option(metavar="NAME", help="none, librispeech, basic or whisper-en, applied to both sides."),
    ] = "none",
    cer: Annotated[
        bool, typer.Option("--cer", help="Tables and error lists of characters, not words.")
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="A table by speaker, duration or any key of the references; repeatable."
        ),
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="KEY", help="Draw whole groups in the bootstrap, such as speaker.")
    ] = None,
    replicates: Annotated[
        int, typer.Option("--bootstrap", min=0, metavar="N", help="Bootstrap replicates; 0: no intervals.")
    ] = 10_000,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the bootstrap (default: 1).")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse missing and superfluous ids (else they count as errors).")
    ] = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="Also confusions, deletions, insertions and the worst utterances."),
    ] = False,
    worst: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Worst utterances in --report (default: 10).")
    ] = None,
    most: Annotated[
        int | None, typer.Option("--top", min=1, metavar="N", help="Longest list in --report (default: 15).")
    ] = None,
    alignments: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every utterance aligned, REF over HYP.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page to search, sort and listen to.")
    ] = None,
    embed_audio: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Worst utterances whose audio goes into --html (default: 50)."),
    ] = None,
) -> None:
    """Word and character error rates; texts are paired by utterance id."""
    from asr.errors import UserError
    from asr.files import check_own_name
    from asr.scoring import report_text
    from asr.scoring.normalizers import normalizer
    from asr.scoring.report import Options, report_pair
    from asr.scoring.report import report as report_one
    from asr.scoring.texts import read

    if not report and (worst is not None or most is not None):
        raise UserError("--worst and --top shorten what --report prints: give it, too")
    if html is None and embed_audio is not None:
        raise UserError("--embed-audio is about the page that --html writes: give it, too")
    if not replicates and (cluster is not None or seed is not None):
        raise UserError("--cluster and --seed are about the bootstrap, which --bootstrap 0 leaves out")
    check_own_name(alignments, reference, hypothesis, html)
    check_own_name(html, reference, hypothesis)
    unit = "character" if cer else "word"
    options = Options(
        normalizer(normalize), unit, tuple(by or ()), cluster, replicates, 1 if seed is None else seed, strict
    )
    references = read(reference)
    first = read(hypothesis, hypotheses=True)
    if second is not None:
        if by and not replicates:
            raise UserError("--by tells two systems apart by the bootstrap, which --bootstrap 0 leaves out")
        if report or html or alignments:
            raise UserError("--report, --html and --alignments describe one system: give one HYP")
        pair = report_pair(references, first, read(second, hypotheses=True), options)
        _warn(pair.first)
        _warn(pair.second)
        typer.echo(json.dumps(pair.to_json()) if as_json else report_text.pair_summary(pair))
        return
    single = report_one(references, first, options)
    _warn(single)
    if alignments is not None:
        _write_alignments(single, alignments)
    if html is not None:
        from asr.scoring.report_html import write_page

        embed = 50 if embed_audio is None else embed_audio
        write_page(html, single, embed, tell)
    _print(single, as_json, report, worst, most or 15)


def _warn(report: "Report") -> None:
    from asr.scoring.report import mismatch

    if report.score.missing or report.score.extra:
        problem = mismatch(report.score.missing, report.score.extra)
        tell(f"{report.hypothesis.path}: counted as errors: {problem}")


def _print(report: "Report", as_json: bool, with_errors: bool, worst: int | None, most: int) -> None:
    from asr.scoring import report_text
    from asr.scoring.analysis import analyse

    result = report.to_json() if as_json else {}
    text = "" if as_json else report_text.summary(report)
    if with_errors:
        analysis = analyse(report.aligned, most)
        if as_json:
            result["report"] = analysis.to_json(report.evaluation.ids, worst)
        else:
            width = shutil.get_terminal_size((LINE_WIDTH, 0)).columns
            text += "\n\n" + report_text.errors(
                report, analysis, 10 if worst is None else worst, width, sys.stdout.isatty()
            )
    typer.echo(json.dumps(result) if as_json else text)


def _write_alignments(report: "Report", path: Path) -> None:
    from asr.files import atomic_write
    from asr.scoring import report_text

    with atomic_write(path) as stream:
        for lines in report_text.alignments(report):
            stream.write(lines + "\n")
