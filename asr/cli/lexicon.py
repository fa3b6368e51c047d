"""``asr lexicon``: pronunciations from a dictionary, by rules, and by a grapheme-to-phoneme model."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from asr.g2p import G2p
    from asr.lexicon import Guess

_NAMES_SHOWN = 5

lexicon = typer.Typer(help="Pronunciations of words, for models of phones.", no_args_is_help=True)

Dictionary = Annotated[Path, typer.Argument(help="Pronouncing dictionary, as CMUdict's cmudict.dict.")]
G2pModel = Annotated[
    str, typer.Option("--g2p", help="Grapheme-to-phoneme model: a directory, or 'en', which ships.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Add ``asr lexicon`` with its subcommands."""
    app.add_typer(lexicon, name="lexicon")


@lexicon.command()
def build(
    words: Annotated[Path, typer.Argument(help="Words, one a line, or a language model's directory.")],
    dictionary: Annotated[
        Path, typer.Option("--dictionary", help="Pronouncing dictionary, as CMUdict's cmudict.dict.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The lexicon to write (compressed: FILE.gz); stdout without it."),
    ] = None,
    g2p: Annotated[
        str,
        typer.Option("--g2p", help="Model for the remaining words: a directory, 'en' (ships), or 'none'."),
    ] = "en",
    variants: Annotated[int, typer.Option("--variants", min=1, help="Pronunciations a word at most.")] = 4,
    as_json: Json = False,
) -> None:
    """Give every word of a list its pronunciations."""
    from asr.errors import UserError
    from asr.files import check_own_name, check_writable
    from asr.lexicon import (
        build_lexicon,
        format_lexicon,
        read_dictionary,
        read_words,
        words_file,
        write_lexicon,
    )

    check_own_name(output, words_file(words), dictionary)
    if output is not None:
        check_writable(output)
    known = read_dictionary(dictionary)
    built = build_lexicon(
        read_words(words), known, None if g2p == "none" else _guess(g2p, variants), variants
    )
    if not built.entries:
        raise UserError(f"{words}: nothing gives a pronunciation of any word, such as {built.missing[0]!r}")
    if output is None:
        sys.stdout.writelines(format_lexicon(built.entries))
    else:
        write_lexicon(output, built.entries)
    # With the lexicon itself on stdout, what is said about it goes to stderr.
    stream = sys.stderr if output is None else sys.stdout
    total = sum(built.sources.values())
    if as_json:
        stream.write(json.dumps({"words": total, **built.sources, "missing": len(built.missing)}) + "\n")
    else:
        by_source = ", ".join(f"{count} {source}" for source, count in built.sources.items())
        stream.write(f"{total} words ({by_source}), {len(built.entries)} pronunciations\n")
    if built.missing:
        names = ", ".join(built.missing[:_NAMES_SHOWN])
        sys.stderr.write(f"{len(built.missing)} left out, as nothing gives their pronunciation: {names}\n")


@lexicon.command()
def pronounce(
    words: Annotated[list[str], typer.Argument(help="Words or names.")],
    g2p: G2pModel = "en",
    variants: Annotated[int, typer.Option("--variants", min=1, help="Pronunciations of each.")] = 1,
) -> None:
    """Print pronunciations as lines of a lexicon, from the spelling alone."""
    from asr import g2p as model
    from asr.lexicon import format_lexicon

    for word in words:
        sys.stdout.writelines(
            format_lexicon((model.plain(word), phones) for phones in model.pronounce(word, variants, g2p))
        )


@lexicon.command()
def train_g2p(
    dictionary: Dictionary,
    config: Annotated[Path, typer.Option("--config", help="Shape and training, YAML.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model directory to write.")],
    as_json: Json = False,
) -> None:
    """Train a grapheme-to-phoneme model; a share of the dictionary is held out to measure it."""
    from asr.cli.garbage import collect_as_usual
    from asr.errors import UserError
    from asr.files import check_folder_writable, exists
    from asr.g2p import load_g2p, read_g2p_config, save_g2p
    from asr.g2p.model import CONFIG
    from asr.g2p.training import measure_g2p, split_dictionary, train_g2p
    from asr.lexicon import read_dictionary

    collect_as_usual()
    settings = read_g2p_config(config)
    if exists(output / CONFIG):
        raise UserError(f"{output}: holds a model already; give --output another folder")
    check_folder_writable(output)
    train, held = split_dictionary(
        read_dictionary(dictionary), settings.training.held_out, settings.training.seed
    )
    sys.stderr.write(f"{len(train)} words to train on, {len(held)} held out\n")

    def report(epoch: int, loss: float, model: "G2p") -> None:
        save_g2p(output, model)
        sys.stderr.write(f"epoch {epoch} of {settings.training.epochs}: loss {loss:.3f} a word\n")

    train_g2p(train, settings, report)
    model = load_g2p(output)  # measured as it is stored
    model.config.results = {
        "dictionary": dictionary.name,
        "trained_on": len(train),
        **measure_g2p(model, held),
    }
    save_g2p(output, model)
    _print_rates(model.config.results, as_json)


@lexicon.command()
def test_g2p(dictionary: Dictionary, g2p: G2pModel = "en", as_json: Json = False) -> None:
    """Measure a grapheme-to-phoneme model on the words that its training held out."""
    from asr.g2p import load_g2p
    from asr.g2p.training import measure_g2p, split_dictionary
    from asr.lexicon import read_dictionary

    model = load_g2p(g2p)
    training = model.config.training
    _, held = split_dictionary(read_dictionary(dictionary), training.held_out, training.seed)
    _print_rates(measure_g2p(model, held), as_json)


def _guess(name: str, variants: int) -> "Guess":
    from asr.cli.progress import show_progress
    from asr.g2p import load_g2p, nbest

    model = load_g2p(name)

    def guess(words: list[str]) -> dict[str, Any]:
        with show_progress("pronunciations", len(words)) as advance:
            return nbest(model, words, variants, report=advance)

    return guess


def _print_rates(results: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    sys.stdout.write(
        f"phone error rate {results['phone_error_rate']:.2f} %, "
        f"word error rate {results['word_error_rate']:.2f} % on {results['words']} held-out words\n"
    )
