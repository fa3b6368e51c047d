"""``asr tune``: find decoding weights and write them into a model directory."""

from pathlib import Path
from typing import Annotated

import typer

from asr.cli import options as flags
from asr.cores import usable_cores


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory; it is written to.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Development set with texts.")],
    lm: Annotated[Path | None, typer.Option("--lm", help="Word n-gram to put into the model.")] = None,
    lexicon: Annotated[Path | None, typer.Option("--lexicon", help="Lexicon to put into it.")] = None,
    rescore: Annotated[
        str | None,
        typer.Option("--rescore", help="Recurrent LM to put into it and use, or none to use none."),
    ] = None,
    head: flags.HeadFlag = None,
    beam_size: flags.BeamSizeFlag = None,
    pause: flags.PauseFlag = None,
    utterances: Annotated[
        int, typer.Option("--utterances", min=0, help="How many of the manifest, evenly spread (0: all).")
    ] = 0,
    threads: flags.ThreadsFlag = 0,
) -> None:
    """Choose the LM weight, word score and prior scale that give the lowest WER, and keep them.

    With a recurrent LM its share and weight are chosen too; the confidences of words are calibrated.
    Utterances are cut at pauses of half a second unless --pause or the model says otherwise.
    """
    from asr.batching import with_durations
    from asr.cli.output import exit_if_failed, quiet_libraries, tell
    from asr.cli.progress import show_progress
    from asr.decoding.options import DecodingOptions
    from asr.errors import UserError
    from asr.manifest import evenly_spread, read_manifest
    from asr.tuner import Tuner
    from asr.tuning import Trial

    options = DecodingOptions(
        decoder="beam",
        head=head,
        lm=None if lm is None else str(lm),
        lexicon=None if lexicon is None else str(lexicon),
        rescore=rescore,
        pause=pause,
        settings={} if beam_size is None else {"beam_size": beam_size},
    )
    tuner = Tuner(model, options, threads or usable_cores())
    texts = [utterance for utterance in read_manifest(manifest) if utterance.text]
    if not texts:
        raise UserError(f"{manifest}: no utterance has a text to compare with")
    chosen = with_durations(evenly_spread(texts, utterances))
    seconds = sum(utterance.duration for utterance in chosen)
    with quiet_libraries(), show_progress("computing emissions", seconds, "seconds") as advance:
        heard = tuner.hear(chosen, advance, tell)

    def tried(trial: Trial) -> None:
        typer.echo(f"{_listed(trial.weights)}: WER {trial.wer:.2f} %", err=True)

    best = tuner.search_weights(tried)
    typer.echo(f"WER {best.wer:.2f} %: {_listed(best.weights)}")
    rescored = tuner.search_rescoring(tried)
    if rescored is not None:
        typer.echo(f"WER {rescored.wer:.2f} % rescored: {_listed(rescored.weights)}")
    try:
        calibration = tuner.calibrate()
    except UserError as error:
        tell(f"{error}; they stay as they were")
    else:
        typer.echo(
            f"confidences: expected calibration error {100 * calibration.before:.1f} %, "
            f"calibrated {100 * calibration.after:.1f} % "
            "(fitted on every other utterance, measured on the rest)"
        )
    tuner.write()
    exit_if_failed(len(chosen) - heard, len(chosen))


def _listed(weights: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in weights.items())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tune)
