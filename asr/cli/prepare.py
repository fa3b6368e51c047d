"""``asr prepare``: corpora to manifests, and what is in a manifest."""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr.corpora.preparation import Prepared
    from asr.corpora.statistics import Statistics
    from asr.errors import UserError

_NAMES_SHOWN = 5
_BAR_WIDTH = 40
_COUNTS_A_LINE = 6

prepare = typer.Typer(help="Turn corpora into manifests, and look at what is in them.", no_args_is_help=True)

Strict = Annotated[bool, typer.Option("--strict", help="Exit with status 1 if there are problems.")]


def register(app: typer.Typer) -> None:
    """Add ``asr prepare`` with its subcommands."""
    app.add_typer(prepare, name="prepare")


@prepare.command()
def librispeech(
    root: Annotated[
        Path,
        typer.Argument(
            metavar="ROOT", help="Folder with the splits, or one split; only --download writes to it."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the manifests, <split>.jsonl.")
    ] = Path(),
    download: Annotated[
        list[str] | None,
        typer.Option(help="First fetch this official split into ROOT, train-clean-5 say; repeatable."),
    ] = None,
    download_url: Annotated[
        str, typer.Option(help="Fetch from this mirror of OpenSLR's /resources.", show_default=False)
    ] = "",
    strict: Strict = False,
) -> None:
    """Write one manifest a split of a LibriSpeech tree: ROOT/<split>/<speaker>/<chapter>/*.flac."""
    from asr.cli.progress import show_progress
    from asr.corpora.librispeech import OPENSLR, download_librispeech, prepare_librispeech
    from asr.corpora.preparation import check_outside
    from asr.errors import UserError

    check_outside(output, root)
    if download_url and not download:
        raise UserError("--download-url: goes with --download")
    for split in download or ():
        download_librispeech(root, split, download_url or OPENSLR, partial(show_progress, unit="bytes"))
    _report(prepare_librispeech(root, output, show_progress), strict)


@prepare.command()
def folder(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder of recordings, with a .txt beside each.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The manifest to write, FILE.jsonl.")],
    table: Annotated[
        Path | None,
        typer.Option(help="CSV or TSV whose header names an audio and a text column, instead of .txt."),
    ] = None,
    letters: Annotated[
        bool, typer.Option("--letters", help="Write texts as models do: A-Z, apostrophe and space.")
    ] = False,
    strict: Strict = False,
) -> None:
    """Write the manifest of any folder of recordings."""
    from asr.cli.progress import show_progress
    from asr.corpora.folder import prepare_folder

    _report([prepare_folder(root, output, table, letters, show_progress)], strict)


@prepare.command()
def stats(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="JSON lines.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the tables.")] = False,
) -> None:
    """Show what is in a manifest: hours, speakers, durations, characters, problems."""
    from dataclasses import asdict

    from asr.corpora.statistics import describe_manifest

    statistics = describe_manifest(manifest)
    if as_json:
        sys.stdout.write(json.dumps(asdict(statistics), ensure_ascii=False) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _statistics_lines(statistics))


def _report(results: Iterable["Prepared | UserError"], strict: bool) -> None:
    """Each manifest on stdout as it is done, its problems on stderr, by kind."""
    from asr.cli.output import exit_if_failed, tell
    from asr.corpora.preparation import problems_file
    from asr.errors import UserError

    faulty = False
    failed = total = 0
    for prepared in results:
        total += 1
        if isinstance(prepared, UserError):
            tell(prepared)
            failed += 1
            continue
        note = " (unchanged)" if prepared.reused else ""
        sys.stdout.write(
            f"{prepared.manifest}: {prepared.utterances} utterances, {prepared.seconds / 3600:.2f} h, "
            f"{prepared.speakers} speakers{note}\n"
        )
        sys.stdout.flush()
        name = prepared.manifest.stem
        for kind, count in sorted(Counter(problem.kind for problem in prepared.problems).items()):
            names = [problem.name for problem in prepared.problems if problem.kind == kind]
            sys.stderr.write(f"{name}: {kind} ({count}): {_first(names)}\n")
        if prepared.problems:
            faulty = True
            sys.stderr.write(f"{name}: all problems are listed in {problems_file(prepared.manifest)}\n")
    exit_if_failed(failed, total)
    if strict and faulty:
        raise typer.Exit(1)


def _first(names: Sequence[str]) -> str:
    """The first few names and how many more there are."""
    more = len(names) - _NAMES_SHOWN
    return "; ".join(names[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def _statistics_lines(statistics: "Statistics") -> Iterable[str]:
    yield f"hours        {statistics.hours:.2f}"
    yield f"utterances   {statistics.utterances}"
    yield f"speakers     {statistics.speakers}"
    yield f"words        {statistics.words} ({statistics.distinct_words} different)"
    yield (
        f"duration     {statistics.minimum:.2f} / {statistics.median:.2f} / {statistics.mean:.2f} / "
        f"{statistics.maximum:.2f} s (shortest / median / mean / longest)"
    )
    largest = max((bin.utterances for bin in statistics.histogram), default=1)
    for bin in statistics.histogram:
        bar = "#" * round(_BAR_WIDTH * bin.utterances / largest)
        yield f"  {bin.start:6g} - {bin.end:<6g} s {bin.utterances:8d} {bar}".rstrip()
    yield f"characters   {len(statistics.characters)} different"
    counts = [f"{symbol!r} {count}" for symbol, count in statistics.characters.items()]
    for start in range(0, len(counts), _COUNTS_A_LINE):
        yield "  " + "".join(f"{count:14}" for count in counts[start : start + _COUNTS_A_LINE]).rstrip()
    yield f"repeated     {statistics.repeated_texts} utterances have a text that occurred before"
    yield f"problems     {'none' if not statistics.problems else ''}".rstrip()
    for kind, ids in statistics.problems.items():
        yield f"  {kind} ({len(ids)}): {_first(ids)}"
