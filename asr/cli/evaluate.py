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

    from asr.cli.recognise import decode_manifest
    from asr.errors import UserError
    from asr.files import atomic_write, check_own_name, check_writable
    from asr.scoring import evaluate as align_texts
    from asr.scoring.bootstrap import interval
    from asr.scoring.calibration import word_outcomes

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
    started = time.monotonic()
    decoded = decode_manifest(
        model, str(manifest), options, precision, threads or usable_cores(), batch_seconds
    )
    elapsed = time.monotonic() - started
    if output is not None:
        with atomic_write(output) as stream:
            stream.writelines(decoded.lines(nbest=False))
    pairs = list(zip(decoded.utterances, decoded.hypotheses, strict=True))
    references = {utterance.id: utterance.text for utterance, _ in pairs if utterance.text is not None}
    if not references:
        raise UserError(f"{manifest}: no utterance has a text to compare with")
    hypotheses = {
        utterance.id: best[0].text for utterance, best in pairs if best and utterance.id in references
    }
    evaluation = align_texts(references, hypotheses)
    result = evaluation.score()
    confidences = {
        utterance.id: [word.confidence for word in best[0].words]
        for utterance, best in pairs
        if best and best[0].words
    }
    calibration_error = word_outcomes(evaluation, confidences).calibration_error
    bounds = interval(evaluation.words.errors, evaluation.words.totals)
    seconds = sum(utterance.duration for utterance in decoded.utterances)
    if as_json:
        figures = result.to_json() | {"interval": bounds.to_json(), "speed": seconds / elapsed}
        if calibration_error is not None:
            figures["expected_calibration_error"] = calibration_error
        typer.echo(json.dumps(figures))
    else:
        typer.echo(
            f"WER {result.wer:.2f} % (95 % interval {bounds.low:.2f} to {bounds.high:.2f}), "
            f"CER {result.cer:.2f} %, sentence errors {result.sentence_error_rate:.1f} %"
        )
        typer.echo(
            f"{result.words} words: {result.substitutions} substitutions, {result.deletions} deletions, "
            f"{result.insertions} insertions in {result.utterances} utterances"
        )
        if calibration_error is not None:
            typer.echo(
                f"expected calibration error of the words' confidences {100 * calibration_error:.1f} %"
            )
        typer.echo(f"{seconds / 60:.1f} minutes of audio, {seconds / elapsed:.0f} times real time", err=True)
    decoded.exit_if_failed()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evaluate)
