"""``asr tune``: find decoding weights and write them into a model directory."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from asr.cli import options as flags
from asr.cores import usable_cores

UNCALIBRATED = {"confidence_slope": 1.0, "confidence_offset": 0.0}


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
    from asr import tuning
    from asr.cli.output import quiet_libraries
    from asr.cli.progress import show_progress
    from asr.decoding.options import NONE, DecodingOptions, choose_head, decoder_builder, write_prior
    from asr.decoding.phrases import PAUSE, cut_at_pauses
    from asr.decoding.prior import mean_posterior
    from asr.decoding.settings import beam_config, config_for_rescoring, phrase_pause, rescoring_config
    from asr.errors import UserError
    from asr.lm.ngram import NGram
    from asr.lm.rnn import load_rnn_lm
    from asr.manifest import evenly_spread, read_manifest
    from asr.model import PRETRAINED, find_model, write_config
    from asr.pauses import pause_tokens
    from asr.precision import fast_eight_bits
    from asr.transcriber import load_acoustic_model

    folder = find_model(model)
    if folder.resolve().parent == PRETRAINED.resolve():
        raise UserError(f"{model}: is part of the program; copy {folder} and tune the copy")
    network = load_acoustic_model(folder)
    defaults = {"pause": PAUSE} | network.config.decoding
    rescoring_lm = None if rescore in (None, NONE) else Path(str(rescore))
    if rescore is None and defaults.get("rescoring"):
        rescoring_lm = folder / "rescoring_lm"
    rnn = None if rescoring_lm is None else load_rnn_lm(rescoring_lm, fast_eight_bits())
    options = DecodingOptions(
        decoder="beam",
        head=head,
        pause=pause,
        settings={} if beam_size is None else {"beam_size": beam_size},
    )
    chosen_head, threads = choose_head(network, options), threads or usable_cores()
    # What is missing or does not fit is told before anything is written.
    defaults["pause"] = phrase_pause(defaults, options)
    given = replace(
        options, lm=None if lm is None else str(lm), lexicon=None if lexicon is None else str(lexicon)
    )
    decoder_builder(folder, network, given)
    own = folder / "lexicon.txt"
    if chosen_head != network.default_head and lexicon is None and own.is_file():
        raise UserError(
            f"{own}: is written in the tokens of head {network.default_head}, and there is one for the head "
            f"that is decoded; give {chosen_head} a --lexicon, or remove it"
        )
    if rnn is not None and lm is None and not (folder / "lm").is_dir():
        raise UserError("--rescore: needs the n-gram of the first pass; give --lm")
    chosen = evenly_spread([utterance for utterance in read_manifest(manifest) if utterance.text], utterances)
    if not chosen:
        raise UserError(f"{manifest}: no utterance has a text to compare with")
    seconds = sum(utterance.duration for utterance in chosen)
    with quiet_libraries(), show_progress("computing emissions", seconds, "seconds") as advance:
        emissions, references = tuning.compute_emissions(network, chosen, chosen_head, threads, advance)
    for source, name in ((lm, "lm"), (lexicon, "lexicon.txt"), (rescoring_lm, "rescoring_lm")):
        if source is not None:
            tuning.install(source, folder / name)
    write_prior(folder, chosen_head, mean_posterior(emissions))

    def tell(trial: tuning.Trial) -> None:
        typer.echo(f"{_listed(trial.weights)}: WER {trial.wer:.2f} %", err=True)

    defaults |= {"head": chosen_head, "decoder": "beam", **(options.settings or {})}
    calibrated = {name: defaults.get(name, neutral) for name, neutral in UNCALIBRATED.items()}
    defaults |= UNCALIBRATED
    network.config.decoding = defaults
    build = decoder_builder(folder, network, options)
    config = beam_config(defaults, options)
    tokens = pause_tokens(network.tokenizers[chosen_head])
    phrases = cut_at_pauses(emissions, defaults["pause"], network.frame_shift, tokens)
    measure = tuning.measure_with(build, config, phrases, references, threads)
    start = {name: getattr(config, name) for name in tuning.FIRST_STEPS}
    best = tuning.pattern_search(measure, start, tell)
    defaults |= {name: round(value, 4) for name, value in best.weights.items()}

    rescoring = rescoring_config(defaults)
    config = beam_config(defaults, options)
    if rnn is not None:
        config = config_for_rescoring(config, rescoring)
    nbests = build(config).decode_batch(phrases.emissions, threads=threads)
    defaults.pop("rescoring", None)
    typer.echo(f"WER {best.wer:.2f} %: {_listed(best.weights)}")
    if rnn is not None:
        ngram = NGram.load(folder / "lm")
        scored = tuning.ScoredLists(nbests, rnn, ngram, config.lm_weight, rescoring.context)
        start = {"mix": rescoring.mix, "lm_scale": rescoring.lm_scale}
        best = tuning.pattern_search(scored.measure(phrases, references), start, tell, tuning.RESCORING_STEPS)
        nbests = scored.reordered(best.weights)
        kept = {name: round(value, 4) for name, value in best.weights.items()}
        defaults["rescoring"] = asdict(rescoring) | kept
        typer.echo(f"WER {best.wer:.2f} % rescored: {_listed(best.weights)}")
    try:
        calibration = tuning.calibrate(phrases.join(nbests), references)
    except UserError as error:
        typer.echo(f"asr: {error}; they stay as they were", err=True)
        defaults |= calibrated
    else:
        defaults["confidence_slope"] = round(calibration.slope, 4)
        defaults["confidence_offset"] = round(calibration.offset, 4)
        typer.echo(
            f"confidences: expected calibration error {100 * calibration.before:.1f} %, "
            f"calibrated {100 * calibration.after:.1f} % "
            "(fitted on every other utterance, measured on the rest)"
        )
    write_config(folder, network.config)


def _listed(weights: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in weights.items())


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tune)
