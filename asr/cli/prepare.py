"""``asr prepare``: corpora to manifests, and what is in a manifest."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr.corpora.preparation import Prepared

_NAMES_SHOWN = 5

prepare = typer.Typer(help="Turn corpora into manifests, and look at what is in them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add ``asr prepare`` with its subcommands."""
    app.add_typer(prepare, name="prepare")


@prepare.command()
def librispeech(
    root: Annotated[Path, typer.Argument(help="Folder with the splits (or one split); never written to.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the manifests, <split>.jsonl.")
    ] = Path(),
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there are problems.")] = False,
) -> None:
    """Write one manifest a split of a LibriSpeech tree: ROOT/<split>/<speaker>/<chapter>/*.flac."""
    from asr.cli.progress import show_progress
    from asr.corpora.librispeech import prepare_librispeech

    problems = 0
    for prepared in prepare_librispeech(root, output, show_progress):
        _report(prepared)
        problems += len(prepared.problems)
    if strict and problems:
        raise typer.Exit(1)


def _report(prepared: "Prepared") -> None:
    """The result on stdout, problems on stderr: first the count of a kind, then some names."""
    from asr.corpora.preparation import problems_file

    note = " (unchanged)" if prepared.reused else ""
    sys.stdout.write(
        f"{prepared.manifest}: {prepared.utterances} utterances, {prepared.seconds / 3600:.2f} h, "
        f"{prepared.speakers} speakers{note}\n"
    )
    sys.stdout.flush()
    name = prepared.manifest.stem
    for kind, count in sorted(Counter(problem.kind for problem in prepared.problems).items()):
        names = [problem.name for problem in prepared.problems if problem.kind == kind][:_NAMES_SHOWN]
        more = f"; and {count - len(names)} more" if count > len(names) else ""
        sys.stderr.write(f"{name}: {kind} ({count}): {'; '.join(names)}{more}\n")
    if prepared.problems:
        sys.stderr.write(f"{name}: all problems are in {problems_file(prepared.manifest)}\n")
