"""``asr evaluate``: decode a manifest and score it against its own texts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from asr.cli import options as flags
from asr.cores import usable_cores


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory, or en.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="JSON lines with texts.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Keep the hypotheses, JSON lines.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    decoder: flags.DecoderFlag = None,
    head: flags.HeadFlag = None,
    lm: flags.LMFlag = None,
    lexicon: flags.LexiconFlag = None,
    beam_size: flags.BeamSizeFlag = None,
    lm_weight: flags.LMWeightFlag = None,
    word_score: flags.WordScoreFlag = None,
    hotwords: flags.HotwordsFlag = None,
    rescore: flags.RescoreFlag = None,
    pause: flags.PauseFlag = None,
    no_speech_gate: flags.NoSpeechGateFlag = False,
    precision: flags.PrecisionFlag = "auto",
    threads: flags.ThreadsFlag = 0,
    batch_seconds: flags.BatchSecondsFlag = flags.BATCH_SECONDS,
) -> None:
    """Decode a manifest and measure word and character error rates."""
    import time

    from asr.cli.decode_manifest import decode_manifest
    from asr.cli.output import tell
    from asr.errors import UserError
    from asr.files import atomic_write, check_own_name, check_writable
    from asr.manifest import read_manifest
    from asr.scoring.summary import summarise

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
        pause=pause,
        no_speech_gate=no_speech_gate,
    )
    check_own_name(output, manifest)
    if output is not None:
        check_writable(output)
    utterances = read_manifest(manifest)
    without_text = sum(utterance.text is None for utterance in utterances)
    if without_text == len(utterances):
        raise UserError(f"{manifest}: no utterance has a text to compare with")
    if without_text:
        tell(f"{manifest}: {without_text} of {len(utterances)} utterances have no text and do not count")
    started = time.monotonic()
    decoded = decode_manifest(
        model, manifest, utterances, options, precision, threads or usable_cores(), batch_seconds
    )
    elapsed = time.monotonic() - started
    if output is not None:
        with atomic_write(output) as stream:
            stream.writelines(decoded.lines(nbest=False))
    measured = summarise(decoded.references(), decoded.best())
    seconds = sum(utterance.duration for utterance in decoded.utterances)
    if as_json:
        figures = measured.to_json() | {"without_text": without_text, "speed": seconds / elapsed}
        typer.echo(json.dumps(figures))
    else:
        typer.echo("\n".join(measured.lines()))
        typer.echo(f"{seconds / 60:.1f} minutes of audio, {seconds / elapsed:.0f} times real time", err=True)
    decoded.exit_if_failed()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)
