"""``asr transcribe``: recordings to text, subtitles and tables."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli import options as flags
from asr.cores import usable_cores

if TYPE_CHECKING:
    from asr.errors import UserError
    from asr.inputs import Input
    from asr.outputs import Job
    from asr.transcriber import Transcriber
    from asr.transcript import Transcript
    from asr.writers import Writer

INPUT, OUTPUT, COMPUTING = "Input", "Output", "Computing"


def transcribe(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES…", help="Recordings, folders, patterns, manifests (.jsonl), or - for stdin."
        ),
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="Model directory, or en.")] = "en",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also what is in folders.", rich_help_panel=INPUT)
    ] = False,
    channel: Annotated[
        str | None,
        typer.Option(
            help="Which to transcribe, from 1; all: each by itself (default: their mean).",
            rich_help_panel=INPUT,
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="No header: signed 16-bit samples.", rich_help_panel=INPUT)
    ] = False,
    rate: Annotated[
        int | None,
        typer.Option("--rate", min=1000, help="Of --raw, in Hz (default: 16000).", rich_help_panel=INPUT),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="txt, json, jsonl, srt, vtt, tsv, ctm, textgrid, several with commas, or all.",
            rich_help_panel=OUTPUT,
        ),
    ] = "txt",
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "-o", help="A file for each recording.", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Do again what is in --output-dir.", rich_help_panel=OUTPUT),
    ] = False,
    highlight_words: Annotated[
        bool, typer.Option("--highlight-words", help="Times of words in vtt.", rich_help_panel=OUTPUT)
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Write text as it is said, a line at each pause.", rich_help_panel=flags.LIVE
        ),
    ] = False,
    look_ahead: flags.LookAheadFlag = None,
    decoder: flags.DecoderFlag = None,
    head: flags.HeadFlag = None,
    lm: flags.LMFlag = None,
    lexicon: flags.LexiconFlag = None,
    beam_size: flags.BeamSizeFlag = None,
    lm_weight: flags.LMWeightFlag = None,
    word_score: flags.WordScoreFlag = None,
    hotwords: flags.HotwordsFlag = None,
    rescore: flags.RescoreFlag = None,
    nbest: flags.NBestFlag = None,
    pause: flags.PauseFlag = None,
    no_speech_gate: flags.NoSpeechGateFlag = False,
    threads: flags.ThreadsFlag = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or mps.", rich_help_panel=COMPUTING)] = "cpu",
    precision: flags.PrecisionFlag = "auto",
    batch_seconds: flags.BatchSecondsFlag = flags.BATCH_SECONDS,
) -> None:
    """Write the words of recordings: a line each, with name and tab before the text if there are several."""
    from asr.cli.torch_import import import_torch

    import_torch()
    from asr.audio import RawFormat
    from asr.cli.output import exit_if_failed, tell
    from asr.errors import UserError
    from asr.inputs import find_inputs
    from asr.writers import JsonWriter, TextWriter, VttWriter, find_writers

    writers = find_writers(formats)
    if rate and not raw:
        raise UserError("--rate: is that of --raw samples; a file says its own")
    if overwrite and output_dir is None:
        raise UserError("--overwrite: goes with --output-dir")
    if highlight_words and not any(writer is VttWriter for writer in writers):
        raise UserError("--highlight-words: goes with --format vtt")
    if nbest is not None and nbest > 1 and not stream and not any(issubclass(w, JsonWriter) for w in writers):
        raise UserError("--nbest: goes with --format json or jsonl")
    if look_ahead is not None and not stream:
        raise UserError("--look-ahead: goes with --stream")
    if stream:
        _refuse_with_stream(
            {
                f"--format {formats}": writers != [TextWriter],
                "--output-dir": output_dir is not None,
                "--channel all": channel == "all",
                "--nbest": nbest is not None,
                "--pause": pause is not None,
                "--batch-seconds": batch_seconds != flags.BATCH_SECONDS,
            }
        )
    samples = RawFormat(rate or RawFormat.sample_rate) if raw else None
    found = find_inputs(files, recursive, _channel(channel), samples)
    if output_dir is None:
        _check_stdout(formats, writers, found)
    read = [name for name in (hotwords, lexicon) if name]
    jobs, errors = _plan(found, writers, output_dir, overwrite, read)
    for error in errors:
        tell(error)
    if jobs:
        from asr.transcriber import load_model

        options = flags.decoding_options(
            decoder=decoder,
            head=head,
            lm=lm,
            lexicon=lexicon,
            beam_size=beam_size,
            lm_weight=lm_weight,
            word_score=word_score,
            hotwords=hotwords,
            rescore=rescore,
            nbest=nbest,
            pause=pause,
            no_speech_gate=no_speech_gate,
        )
        transcriber = load_model(model, options, device, precision)
        several = len(found) > 1
        if stream:
            errors += _stream(jobs, transcriber, threads, look_ahead, several)
        else:
            ascii_only = output_dir is None and not _writes_utf8()
            makers = [writer(transcriber.provenance, highlight_words, ascii_only) for writer in writers]
            errors += _run(jobs, transcriber, makers, threads or usable_cores(), batch_seconds, several)
    exit_if_failed(len(errors), len(found))


def _plan(
    found: "Sequence[Input | UserError]",
    writers: "Sequence[type[Writer]]",
    output_dir: Path | None,
    overwrite: bool,
    read: "Sequence[str | Path]",
) -> "tuple[list[Job], list[UserError]]":
    """What is to be done, and what cannot be; says how much is done already."""
    from asr.cli.output import tell
    from asr.errors import UserError
    from asr.files import check_folder_writable, escape_name
    from asr.inputs import without_repeats
    from asr.outputs import Job, plan_files

    errors = [entry for entry in found if isinstance(entry, UserError)]
    inputs = [entry for entry in found if not isinstance(entry, UserError)]
    if output_dir is None:
        return [Job(entry, ()) for entry in inputs], errors
    inputs = without_repeats(inputs)
    manifests = {entry.manifest for entry in inputs if entry.manifest}
    planned = plan_files(inputs, writers, output_dir, overwrite, [*manifests, *read])
    errors += [entry for entry in planned if isinstance(entry, UserError)]
    jobs = [job for job in planned if isinstance(job, Job) and job.files]
    if jobs:
        check_folder_writable(output_dir)
    if kept := sum(isinstance(job, Job) and not job.files for job in planned):
        tell(f"{kept} of {len(inputs)} are in {escape_name(output_dir)} (--overwrite does them again)")
    return jobs, errors


def _writes_utf8() -> bool:
    """Whether standard output takes every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _stream(
    jobs: "Sequence[Job]", transcriber: "Transcriber", threads: int, look_ahead: float | None, several: bool
) -> "list[UserError]":
    """Write text as it settles; what went wrong."""
    from asr.cli.live import stream_inputs
    from asr.cli.output import quiet_libraries

    with quiet_libraries():
        return stream_inputs([job.input for job in jobs], transcriber, threads, look_ahead, several=several)


def _run(
    jobs: "Sequence[Job]",
    transcriber: "Transcriber",
    makers: "Sequence[Writer]",
    threads: int,
    batch_seconds: float,
    several: bool,
) -> "list[UserError]":
    """Transcribe and write; what went wrong."""
    from asr.cli.audio_progress import AudioProgress
    from asr.cli.output import quiet_libraries
    from asr.errors import UserError

    errors = []
    recordings = (job.input.recording for job in jobs)
    with quiet_libraries(), AudioProgress(len(jobs), transcriber.sample_rate) as progress:
        results = transcriber.transcribe_all(recordings, threads, batch_seconds, progress)
        for job, result in zip(jobs, results, strict=True):
            try:
                text = _deliver(job, result, makers, several)
            except UserError as error:
                errors.append(error)
                progress.failed(str(error))
            else:
                progress.result(text)
    return errors


def _deliver(job: "Job", result: "Transcript | UserError", makers: "Sequence[Writer]", several: bool) -> str:
    """Write the files of a result; what of it goes to standard output."""
    from asr.errors import UserError
    from asr.outputs import write_files

    if isinstance(result, UserError):
        raise result
    transcript = replace(result, speaker=job.input.speaker)
    if job.files:
        write_files(job, transcript, makers)
        return ""
    return _document(job.input.recording.name, transcript, makers[0], several)


def _refuse_with_stream(given: dict[str, bool]) -> None:
    from asr.errors import UserError

    unused = [flag for flag, present in given.items() if present]
    if unused:
        raise UserError(f"--stream: writes lines of text as they settle; it does not go with {unused[0]}")


def _channel(given: str | None) -> int | str | None:
    from asr.errors import UserError
    from asr.recording import ALL_CHANNELS

    if given is None or given == ALL_CHANNELS:
        return given
    if not given.isdecimal() or not int(given):
        raise UserError(f"--channel: {given!r} is neither a number from 1 on nor {ALL_CHANNELS}")
    return int(given)


def _check_stdout(
    formats: str, writers: "Sequence[type[Writer]]", found: "Sequence[Input | UserError]"
) -> None:
    """Refuse what would run into each other on standard output."""
    from asr.errors import UserError
    from asr.inputs import Input
    from asr.writers import CtmWriter, TextWriter, ctm_recording

    if len(writers) > 1:
        raise UserError(f"--format {formats}: several formats go into files: give --output-dir FOLDER")
    if len(found) > 1 and not (writers[0].many or writers[0] is TextWriter):
        raise UserError(
            f"--format {formats}: of several recordings goes into files: give --output-dir FOLDER"
            + (" (or --format jsonl)" if formats == "json" else "")
        )
    names = [ctm_recording(entry.recording.name) for entry in found if isinstance(entry, Input)]
    if writers[0] is CtmWriter and len(set(names)) < len(names):
        alike = next(name for name in names if names.count(name) > 1)
        raise UserError(
            f"--format {formats}: several recordings are called {alike}: give --output-dir FOLDER"
        )


def _document(name: str, transcript: "Transcript", maker: "Writer", several: bool) -> str:
    """What is written to standard output of one recording."""
    from asr.cli.output import shown_text
    from asr.files import escape_name
    from asr.writers import TextWriter

    if not isinstance(maker, TextWriter):
        return maker.document(name, transcript)
    text = shown_text(transcript)
    return f"{escape_name(name)}\t{text}\n" if several else f"{text}\n"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(transcribe)
