"""``asr align``: when each word of a known text was said."""

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli import options as flags
from asr.cores import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asr.aligner import AlignedText
    from asr.corpora.cutting import CutOptions
    from asr.manifest import Utterance

JSON, CUTTING = "json", "Cutting"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("align")(align)


def align(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory, or en.")],
    source: Annotated[
        Path, typer.Argument(metavar="MANIFEST|FILE", help="Manifest (.jsonl) with texts, or a recording.")
    ],
    text: Annotated[str | None, typer.Option("--text", "-t", help="What the recording says.")] = None,
    text_file: Annotated[
        Path | None,
        typer.Option("--text-file", help="File that holds it; its lines become segments; - for stdin."),
    ] = None,
    format_name: Annotated[
        str,
        typer.Option(
            "--format", "-f", help="json (a line a text), ctm, textgrid, srt, vtt, tsv (milliseconds)."
        ),
    ] = JSON,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File, or a folder for several textgrid, srt, vtt or tsv."),
    ] = None,
    head: flags.HeadFlag = None,
    lexicon: Annotated[
        Path | None,
        typer.Option(help="Pronunciations for a phone model (default: the model's lexicon.txt)."),
    ] = None,
    threads: flags.ThreadsFlag = 0,
    manifest_out: Annotated[
        Path | None,
        typer.Option(
            "--manifest-out",
            help="Also a manifest to train on: the recordings cut at pauses.",
            rich_help_panel=CUTTING,
        ),
    ] = None,
    pause: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Seconds between words in which to cut (default: 0.4).", rich_help_panel=CUTTING
        ),
    ] = None,
    shortest: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Less speech, in seconds, is cut off only at pauses of 2 s or more (default: 2).",
            rich_help_panel=CUTTING,
        ),
    ] = None,
    longest: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Seconds; longer pieces are left out (default: 20).", rich_help_panel=CUTTING
        ),
    ] = None,
) -> None:
    """Times and scores of words and tokens; times are seconds from the start of the utterance."""
    from asr.cli.torch_import import import_torch

    import_torch()
    from asr.aligner import Aligner
    from asr.cli.output import exit_if_failed, quiet_libraries, tell
    from asr.cli.progress import show_progress
    from asr.errors import UserError
    from asr.files import check_own_name, check_writable

    utterances = _utterances(source, text, text_file)
    documents = _Documents(format_name, output, [utterance.id for utterance in utterances])
    cutting = _cutting(pause, shortest, longest, manifest_out)
    check_own_name(output, source, text_file)
    check_own_name(manifest_out, source, text_file, output)
    if manifest_out is not None:
        check_writable(manifest_out)
    aligner = Aligner.load(model, head, lexicon)
    seconds = sum(utterance.duration for utterance in utterances)
    failures = 0
    results = []
    with quiet_libraries(), show_progress(f"aligning {source}", seconds, "seconds") as advance:
        for result in aligner.align_all(utterances, threads or usable_cores(), advance, tell):
            if isinstance(result, UserError):
                tell(result)
                failures += 1
            else:
                results.append(result)
    if results or not failures:
        documents.write(results)
        if manifest_out is not None:
            _write_pieces(manifest_out, utterances, results, cutting)
    exit_if_failed(failures, len(utterances))


def _cutting(
    pause: float | None, shortest: float | None, longest: float | None, manifest_out: Path | None
) -> "CutOptions":
    from asr.corpora.cutting import CutOptions
    from asr.errors import UserError

    settings = {"pause": pause, "shortest": shortest, "longest": longest}
    given = {name: value for name, value in settings.items() if value is not None}
    if given and manifest_out is None:
        raise UserError(f"--{next(iter(given))}: goes with --manifest-out")
    cutting = CutOptions(**given)
    if {"shortest", "longest"} <= set(given) and cutting.shortest > cutting.longest:
        raise UserError(f"--shortest {cutting.shortest:g}: is more than --longest {cutting.longest:g}")
    return cutting


def _write_pieces(
    path: Path, utterances: "list[Utterance]", results: "list[AlignedText]", options: "CutOptions"
) -> None:
    """Write a manifest of the pieces between pauses, and say how much of the audio they are."""
    from asr.corpora.cutting import cut_for_training
    from asr.errors import UserError
    from asr.manifest import write_manifest

    aligned = {result.id: result for result in results}
    pieces = [
        piece
        for utterance in utterances
        if (result := aligned.get(utterance.id))
        for piece in cut_for_training(
            replace(utterance, duration=result.transcript.duration),
            result.transcript.words,
            options,
            result.phones,
        )
    ]
    kept = [piece for piece in pieces if piece is not None]
    if not kept:
        raise UserError(f"{path}: not written, since no piece was fit to train on")
    write_manifest(path, kept)
    minutes = sum(piece.duration for piece in kept) / 60
    heard = sum(result.transcript.duration for result in results) / 60
    typer.echo(f"{path}: {len(kept)} utterances, {minutes:.1f} of {heard:.1f} minutes", err=True)
    if len(kept) < len(pieces):
        typer.echo(f"left out {len(pieces) - len(kept)}: too long, or not written in letters", err=True)


def _utterances(source: Path, text: str | None, text_file: Path | None) -> "list[Utterance]":
    from asr.audio import probe
    from asr.errors import UserError
    from asr.files import escape_name, is_named_pipe
    from asr.manifest import Utterance, read_manifest

    if text is not None and text_file is not None:
        raise UserError("--text and --text-file: give one of them")
    if source.suffix in (".jsonl", ".json"):
        if text is not None or text_file is not None:
            raise UserError(f"{source}: a manifest has its own texts; leave --text and --text-file out")
        return read_manifest(source)
    if text_file is not None:
        text = _read_text(text_file)
    if text is None:
        raise UserError(f"{source}: say what it says with --text or --text-file (or give a manifest, .jsonl)")
    if is_named_pipe(source):
        raise UserError(f"{escape_name(source)}: is a pipe, and what is aligned is read twice; save it first")
    return [Utterance(source.stem, str(source), probe(source).duration, text=text)]


def _read_text(path: Path) -> str:
    from asr.errors import UserError

    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _file_name(identifier: str) -> str:
    return identifier.replace("/", "_")


class _Documents:
    """Where results go, checked before any work is done."""

    def __init__(self, format_name: str, output: Path | None, ids: list[str]) -> None:
        from asr.errors import UserError
        from asr.files import check_writable, is_file, is_folder
        from asr.writers import ctm_recording, find_writers

        self._writer = None
        self._output = output
        self._folder = False
        if format_name != JSON:
            if format_name not in ("ctm", "textgrid", "srt", "vtt", "tsv"):
                raise UserError(f"--format: {format_name!r} is not one of json, ctm, textgrid, srt, vtt, tsv")
            (writer,) = find_writers(format_name)
            self._writer = writer()
            self._folder = not writer.many and (len(ids) > 1 or (output is not None and is_folder(output)))
        named = output is not None and output.suffix == f".{format_name}"
        if self._folder and (output is None or is_file(output) or (named and not is_folder(output))):
            raise UserError(f"--format {format_name}: of several texts goes into files: give -o FOLDER")
        if self._folder or format_name == "ctm":
            called = _file_name if self._folder else ctm_recording
            for name, count in Counter(map(called, ids)).items():
                if count > 1:
                    raise UserError(f"{count} texts would be called {name}: give them other ids")
        if output is not None and not self._folder:
            check_writable(output)

    def write(self, results: "list[AlignedText]") -> None:
        """Write all results to the file or folder, or to standard output."""
        from asr.files import atomic_write

        if self._folder:
            assert self._writer is not None and self._output is not None
            for result in results:
                name = f"{_file_name(result.id)}.{self._writer.extension}"
                with atomic_write(self._output / name) as stream:
                    stream.write(self._document(result))
        elif self._output is not None:
            with atomic_write(self._output) as stream:
                stream.writelines(self._lines(results))
        else:
            sys.stdout.writelines(self._lines(results))

    def _lines(self, results: "list[AlignedText]") -> "Iterator[str]":
        return (self._document(result) for result in results)

    def _document(self, result: "AlignedText") -> str:
        from asr.files import utf8_name
        from asr.writers import TextGridWriter, text_grid

        if self._writer is None:
            return json.dumps(result.to_json() | {"id": utf8_name(result.id)}, ensure_ascii=False) + "\n"
        if isinstance(self._writer, TextGridWriter):
            return text_grid(result.tiers(), result.transcript.duration)
        return self._writer.document(result.id, result.transcript)
