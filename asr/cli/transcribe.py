"""``asr transcribe``: recordings to text."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from asr.cli import options as flags


def transcribe(
    files: Annotated[list[Path], typer.Argument(metavar="FILES…", help="Recordings of any format.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model directory, or en.")] = "en",
    decoder: flags.DecoderFlag = None,
    head: flags.HeadFlag = None,
    lm: flags.LMFlag = None,
    lexicon: flags.LexiconFlag = None,
    beam_size: flags.BeamSizeFlag = None,
    lm_weight: flags.LMWeightFlag = None,
    word_score: flags.WordScoreFlag = None,
    hotwords: flags.HotwordsFlag = None,
    rescore: flags.RescoreFlag = None,
    threads: flags.ThreadsFlag = 0,
) -> None:
    """Print the words of recordings, one line a file (name, tab, text where there are several)."""
    from asr.errors import UserError
    from asr.files import escape_name
    from asr.transcriber import load_model

    options = flags.decoding_options(
        decoder, head, lm, lexicon, beam_size, lm_weight, word_score, hotwords, rescore, None, threads
    )
    transcriber = load_model(model, options)
    failures = 0
    for path, result in zip(files, transcriber.transcribe_all(files, options.threads), strict=True):
        if isinstance(result, UserError):
            failures += 1
            sys.stderr.write(f"asr: {result}\n")
        else:
            name = f"{escape_name(path)}\t" if len(files) > 1 else ""
            sys.stdout.write(f"{name}{result.text}\n")
            sys.stdout.flush()
    if failures:
        if len(files) > 1:
            sys.stderr.write(f"asr: {failures} of {len(files)} files failed\n")
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(transcribe)
