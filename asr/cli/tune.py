"""``asr tune``: find decoding weights and write them into a model directory."""

from pathlib import Path
from typing import Annotated

import typer

from asr.cli import options as flags


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model directory; it is written to.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Development set with texts.")],
    lm: Annotated[Path | None, typer.Option("--lm", help="Word n-gram to put into the model.")] = None,
    lexicon: Annotated[Path | None, typer.Option("--lexicon", help="Lexicon to put into it.")] = None,
    head: flags.HeadFlag = None,
    beam_size: flags.BeamSizeFlag = None,
    utterances: Annotated[
        int, typer.Option("--utterances", min=0, help="How many of the manifest, evenly spread (0: all).")
    ] = 0,
    threads: flags.ThreadsFlag = 0,
) -> None:
    """Choose the LM weight, word score and prior scale that give the lowest WER, and keep them."""
    import numpy as np

    from asr.cli.progress import show_progress
    from asr.decoding.options import (
        DecodingOptions,
        beam_config,
        choose_head,
        decoder_builder,
        write_prior,
    )
    from asr.decoding.prior import mean_posterior
    from asr.errors import UserError
    from asr.manifest import evenly_spread, read_manifest
    from asr.model import find_model, load_network, write_config
    from asr.recognition import recognise
    from asr.tuning import FIRST_STEPS, Trial, install, measure_with, pattern_search

    folder = find_model(model)
    network = load_network(folder)
    for source, name in ((lm, "lm"), (lexicon, "lexicon.txt")):
        if source is not None:
            install(source, folder / name)
    options = DecodingOptions(
        decoder="beam",
        head=head,
        threads=threads or flags.cores(),
        settings={} if beam_size is None else {"beam_size": beam_size},
    )
    chosen_head = choose_head(network, options)
    chosen = evenly_spread([utterance for utterance in read_manifest(manifest) if utterance.text], utterances)
    if not chosen:
        raise UserError(f"{manifest}: no utterance has a text to compare with")
    seconds = sum(utterance.duration for utterance in chosen)
    with show_progress("computing emissions", seconds, "seconds") as advance:
        found = recognise(
            network,
            lambda emissions, frames: [
                np.ascontiguousarray(each[:count])
                for each, count in zip(emissions.numpy(), frames, strict=True)
            ],
            chosen,
            chosen_head,
            threads=options.threads,
            advance=advance,
        )
    pairs = [
        (each, utterance.text or "")
        for each, utterance in zip(found.results, chosen, strict=True)
        if each is not None
    ]
    if not pairs:
        raise UserError(f"{manifest}: none of its audio can be read; e.g. {found.failures[0]}")
    emissions, references = [each for each, _ in pairs], [text for _, text in pairs]
    write_prior(folder, chosen_head, mean_posterior(emissions))

    config = beam_config(network.config.decoding, options)
    build = decoder_builder(folder, network, options)
    measure = measure_with(build, config, emissions, references, options.threads)

    def tell(trial: Trial) -> None:
        weights = ", ".join(f"{name} {value:g}" for name, value in trial.weights.items())
        typer.echo(f"{weights}: WER {trial.wer:.2f} %", err=True)

    best = pattern_search(measure, {name: getattr(config, name) for name in FIRST_STEPS}, tell)
    network.config.decoding |= {"head": chosen_head, "decoder": "beam", **(options.settings or {})}
    network.config.decoding |= {name: round(value, 4) for name, value in best.weights.items()}
    write_config(folder, network.config)
    typer.echo(
        f"WER {best.wer:.2f} %: " + ", ".join(f"{key} {value:g}" for key, value in best.weights.items())
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tune)
