"""``asr decode``: a manifest to hypotheses."""

from pathlib import Path
from typing import Annotated

import typer

from asr.cli import options as flags
from asr.cores import usable_cores


def decode(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory, or en.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="JSON lines; see data/README.md.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Hypotheses, JSON lines (default: stdout).")
    ] = None,
    manifest_out: Annotated[
        Path | None,
        typer.Option("--manifest-out", help="Also write a manifest with the hypotheses as texts."),
    ] = None,
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
    precision: flags.PrecisionFlag = "auto",
    threads: flags.ThreadsFlag = 0,
    batch_seconds: flags.BatchSecondsFlag = flags.BATCH_SECONDS,
) -> None:
    """Write what a model hears in each utterance of a manifest, as JSON lines with id and text."""
    from asr.cli.decode_manifest import decode_manifest
    from asr.files import atomic_write, check_own_name, check_writable
    from asr.manifest import read_manifest, write_manifest

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
    check_own_name(output, manifest, manifest_out)
    check_own_name(manifest_out, manifest)
    for path in filter(None, (output, manifest_out)):
        check_writable(path)
    utterances = read_manifest(manifest)
    decoded = decode_manifest(
        model, manifest, utterances, options, precision, threads or usable_cores(), batch_seconds
    )
    lines = decoded.lines(nbest=nbest is not None and nbest > 1)
    if output is None:
        for line in lines:
            typer.echo(line, nl=False)
    else:
        with atomic_write(output) as stream:
            stream.writelines(lines)
    if manifest_out is not None:
        write_manifest(manifest_out, decoded.labelled())
    decoded.exit_if_failed()


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(decode)
