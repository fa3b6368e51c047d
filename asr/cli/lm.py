"""``asr lm``: language models from text, what is in them, and how well they predict."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.errors import UserError
from asr.files import is_file, is_folder

if TYPE_CHECKING:
    from asr.lm.table import NGramTable
    from asr.lm.text import Report

RECURRENT = "rnn.yaml"  # in the directory of a recurrent model
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)[bB]?")
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}

lm = typer.Typer(help="Language models.", no_args_is_help=True)

Model = Annotated[Path, typer.Argument(metavar="LM", help="A model's directory, or an ARPA file.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    """Add ``asr lm`` with its subcommands."""
    from asr.cli import lm_train

    lm.command("train")(lm_train.train)
    app.add_typer(lm, name="lm")


@lm.command()
def build(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...",
            help="Texts, a sentence a line (plain, .gz, .xz, a manifest's .jsonl, or - for stdin); "
            "or one model, to convert or prune it.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Directory for decoding, or FILE.arpa, FILE.arpa.gz.")
    ],
    order: Annotated[
        int | None, typer.Option(min=1, max=6, help="Length of the longest n-grams (default: 3).")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="words (the default) or characters.")] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|N",
            help="Words to know: a list or lexicon, or the N most frequent; others become <unk>.",
        ),
    ] = None,
    prune: Annotated[
        str,
        typer.Option(
            metavar="COUNTS",
            help="Drop n-grams seen so often or less, by order, the last number for the rest ('0 0 1').",
        ),
    ] = "0",
    entropy: Annotated[
        float | None,
        typer.Option(min=0.0, help="Drop n-grams that cost less relative entropy than this (1e-8, say)."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Prune by entropy until the directory fits (20MB).")
    ] = None,
    bits: Annotated[
        int | None, typer.Option(help="Bits of a directory's probabilities: 8 (the default) or 16.")
    ] = None,
    temporary: Annotated[
        Path | None, typer.Option(help="Folder for large temporary files (default: the system's).")
    ] = None,
) -> None:
    """Estimate an n-gram model: modified Kneser-Ney, as KenLM's lmplz does it."""
    from asr.lm.build import build_table
    from asr.lm.formats import check_output, is_arpa, is_model, load_table, save_table
    from asr.lm.pruning import prune_by_entropy, prune_to_size
    from asr.lm.text import UNITS

    check_output(output)
    if bits is not None and is_arpa(output):
        raise UserError("--bits: are those of a directory; an ARPA file holds decimal numbers")
    bits = 8 if bits is None else bits
    _check_choices(UNITS[0] if unit is None else unit, bits, entropy, size)
    target = _bytes(size) if size is not None else None
    counts = _counts(prune)
    with _stages() as report:
        if models := [text for text in texts if is_model(text)]:
            if len(texts) > 1 or order or unit or vocabulary is not None or any(counts):
                raise UserError(
                    f"{models[0]}: a model is converted alone, with --bits, --entropy or --size at most"
                )
            table = load_table(models[0])
        else:
            words = _vocabulary(vocabulary)
            table = build_table(texts, order or 3, unit or UNITS[0], words, counts, temporary, report)
        if entropy is not None:
            table = prune_by_entropy(table, entropy, report)
        if target is not None:
            table = prune_to_size(table, target, bits, report)
        save_table(output, table, bits)
    _tell(table, output)


@lm.command()
def info(model: Model, as_json: AsJson = False) -> None:
    """Show what is in a model, n-gram or recurrent, and where it comes from."""
    facts = _recurrent_facts(model) if is_file(model / RECURRENT) else _ngram_facts(model)
    files = sorted(model.iterdir()) if is_folder(model) else [model]
    facts["bytes"] = sum(file.stat().st_size for file in files)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        typer.echo(f"{name.replace('_', ' '):22} {_plain(value)}")


@lm.command()
def perplexity(
    model: Model,
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Texts, a sentence a line, or manifests (.jsonl).")
    ],
    as_json: AsJson = False,
) -> None:
    """Measure how well a model predicts texts: the lower, the better."""
    if is_file(model / RECURRENT):
        from asr.lm.rnn import load_rnn_lm, measure_rnn_perplexity

        found = measure_rnn_perplexity(load_rnn_lm(model), texts)
    else:
        from asr.lm.formats import load_ngram
        from asr.lm.perplexity import measure_perplexity

        with _stages() as report:
            found = measure_perplexity(load_ngram(model), texts, report)
    without = found.without_unknown
    if as_json:
        values = {"perplexity": found.with_unknown, "perplexity_without_unknown": without}
        typer.echo(json.dumps({**values, **asdict(found)}))
        return
    typer.echo(f"perplexity             {found.with_unknown:.2f}")
    typer.echo(f"without unknown words  {without:.2f}")
    typer.echo(f"unknown words          {found.unknown} of {found.words}")
    typer.echo(f"sentences              {found.sentences}")


def _ngram_facts(model: Path) -> dict[str, Any]:
    from asr.lm.formats import load_ngram

    loaded = load_ngram(model)
    return {
        "order": loaded.order,
        "unit": loaded.unit,
        "vocabulary": loaded.counts[0],
        "ngrams": loaded.counts,
        **loaded.provenance,
    }


def _recurrent_facts(model: Path) -> dict[str, Any]:
    from asr.lm.rnn import load_rnn_lm

    loaded = load_rnn_lm(model)
    parameters = sum(parameter.numel() for parameter in loaded.parameters())
    return {
        "unit": "words",
        "vocabulary": len(loaded.words),
        "parameters": parameters,
        **asdict(loaded.config),
    }


def _check_choices(unit: str, bits: int, entropy: float | None, size: str | None) -> None:
    from asr.lm.text import UNITS

    if unit not in UNITS:
        raise UserError(f"--unit {unit}: choose words or characters")
    if bits not in (8, 16):
        raise UserError(f"--bits {bits}: choose 8 or 16")
    if entropy is not None and size is not None:
        raise UserError("--entropy and --size: choose one of them")


def _vocabulary(given: str | None) -> list[str] | int | None:
    from asr.lm.corpus import read_vocabulary

    if given is None:
        return None
    if not given.isdecimal():
        return read_vocabulary(given)
    if int(given) == 0:
        raise UserError("--vocabulary 0: a model needs words")
    return int(given)


def _counts(given: str) -> list[int]:
    try:
        return [int(part) for part in given.replace(",", " ").split()]
    except ValueError as error:
        raise UserError(f"--prune {given!r}: counts such as '0 0 1' are expected") from error


def _bytes(given: str) -> int:
    match = _SIZE.fullmatch(given.strip())
    if match is None:
        raise UserError(f"--size {given!r}: a size such as 20MB or 800kB is expected")
    return int(min(float(match[1]) * _FACTORS[match[2].lower()], sys.maxsize))


def _plain(value: object) -> str:
    return " ".join(str(part) for part in value) if isinstance(value, list) else str(value)


def _tell(table: "NGramTable", output: Path) -> None:
    counts = " + ".join(f"{count:,}" for count in table.counts)
    sys.stderr.write(f"{output}: {table.unit}, order {table.order}, {counts} n-grams\n")
    tokens, unknown = (table.provenance.get(key, 0) for key in ("tokens", "unknown_tokens"))
    if unknown and isinstance(unknown, int) and isinstance(tokens, int):
        sys.stderr.write(
            f"note: {unknown:,} of the text's {tokens:,} {table.unit} are not in the vocabulary\n"
        )
    substituted = table.provenance.get("substituted_discounts")
    if substituted:
        sys.stderr.write(
            f"note: too little or too regular text for the discounts of order {_plain(substituted)}; "
            "0.5, 1 and 1.5 were taken\n"
        )


def _nothing(_step: float) -> None:
    """Before the first stage there is nothing to show."""


@contextmanager
def _stages() -> Iterator["Report"]:
    """A report for the library's stages: a progress bar for each."""
    from asr.cli.progress import show_progress

    current, done = "", 0
    advance: Callable[[float], None] = _nothing
    with ExitStack() as stack:

        def report(stage: str, fraction: float) -> None:
            nonlocal current, done, advance
            if stage != current:
                stack.close()
                advance = stack.enter_context(show_progress(stage, 100))
                current, done = stage, 0
            percent = round(100 * fraction)
            advance(percent - done)
            done = percent

        yield report
