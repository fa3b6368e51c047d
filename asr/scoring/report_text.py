"""Reports as plain text: for a terminal, a file, or a mail to somebody who doubts the figures."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from asr.files import utf8_name
from asr.scoring.alignment import CORRECT, DELETION, INSERTION, SUBSTITUTION
from asr.scoring.analysis import Bin, Confusion, ErrorReport
from asr.scoring.bootstrap import Interval
from asr.scoring.measures import Aligned
from asr.scoring.report import Options, PairReport, Report, Row

_LETTERS = {CORRECT: "", SUBSTITUTION: "S", DELETION: "D", INSERTION: "I"}
_COLOURS = {SUBSTITUTION: "33", DELETION: "31", INSERTION: "36"}
_SPACE = "\u2423"
_FEW_CLUSTERS = 10


def summary(report: Report) -> str:
    """Rates with their intervals, how they are computed, and the tables asked for."""
    score = report.score
    blocks = [
        f"{report.hypothesis.path} against {report.reference.path}\n"
        f"{score.utterances:,} utterances, {score.words:,} words",
        _headline(report),
        method(report),
        *(_groups(key, rows, report.options.unit) for key, rows in report.tables.items()),
    ]
    return "\n\n".join(blocks)


def pair_summary(pair: PairReport) -> str:
    """Two systems, their difference and what chance would make of it."""
    first, second = pair.first, pair.second
    score = first.score
    systems = table(
        ["", "system", "WER %", *(["95 % interval"] if pair.comparison else []), "S", "D", "I", "CER %",
         "sentence errors %"],
        [
            [letter, str(system.hypothesis.path), f"{system.score.wer:.2f}",
             *([_interval(system.wer_interval)] if pair.comparison else []),
             f"{system.score.substitutions:,}", f"{system.score.deletions:,}",
             f"{system.score.insertions:,}", f"{system.score.cer:.2f}",
             f"{system.score.sentence_error_rate:.1f}"]
            for letter, system in (("A", first), ("B", second))
        ],
        left=2,
    )  # fmt: skip
    return "\n\n".join(
        [
            f"Two systems against {first.reference.path}\n"
            f"{score.utterances:,} utterances, {score.words:,} words",
            systems,
            _difference(pair),
            method(first),
            *_pair_tables(pair),
        ]
    )


def errors(report: Report, analysis: ErrorReport, worst: int, width: int, colour: bool) -> str:
    """The error report: commonest errors, where they fall, and the worst utterances aligned.

    Args:
        report: Whose errors.
        analysis: What was found.
        worst: How many utterances to show.
        width: Columns of the terminal, for the aligned lines.
        colour: Mark errors by ANSI colours.
    """
    unit = report.options.unit
    blocks = [
        _confusions(f"confused {unit}s", analysis.confusions, ["reference", "hypothesis"]),
        _confusions(f"deleted {unit}s", analysis.deleted, ["reference"]),
        _confusions(f"inserted {unit}s", analysis.inserted, ["hypothesis"]),
        _bins(f"by frequency of the {unit} in the references", analysis.by_frequency, unit, insertions=False),
        _bins(f"by place of the {unit} in the utterance", analysis.by_position, unit, insertions=True),
    ]
    shown = analysis.worst[:worst]
    if shown:
        blocks.append(f"the {len(shown)} worst utterances")
        blocks += [utterance(report, index, width, colour) for index in shown]
    return "\n\n".join(block for block in blocks if block)


def alignments(report: Report) -> Iterator[str]:
    """Every utterance aligned, in the order of the references, without line breaks within one."""
    for index in range(len(report.evaluation.ids)):
        yield utterance(report, index) + "\n"


def utterance(report: Report, index: int, width: int | None = None, colour: bool = False) -> str:
    """One utterance as REF and HYP lines with the errors marked below, as sclite prints it.

    Args:
        report: Which texts.
        index: Which utterance.
        width: Break lines at this many columns.
        colour: Mark errors by ANSI colours, too.
    """
    aligned = report.aligned
    _, substitutions, deletions, insertions = aligned.alignments.counts[index].tolist()
    total = int(aligned.totals[index])
    name = utf8_name(report.evaluation.ids[index])
    counts = f"{substitutions} S, {deletions} D, {insertions} I"
    lines = [f"{name}   {total} {aligned.unit}s, {counts}"]
    columns = list(_columns(aligned, index))
    for part in _wrapped(columns, None if width is None else width - 5):
        for name, place in (("REF", 0), ("HYP", 1), ("   ", 2)):
            cells = [_cell(column, place, colour) for column in part]
            lines.append(f"{name}  {' '.join(cells)}".rstrip())
    return "\n".join(line for line in lines if line)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns aligned, the first ``left`` to the left and the rest to the right."""
    widths = [max(cell_len(row[place]) for row in (headers, *rows)) for place in range(len(headers))]
    lines = []
    for row in (headers, *rows):
        cells = [
            _pad(cell, width, place >= left)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _headline(report: Report) -> str:
    score = report.score
    rows = []
    for name, value, estimate, text in (
        ("WER", score.wer, report.wer_interval,
         f"{score.errors:,} errors: {score.substitutions:,} substitutions, {score.deletions:,} deletions, "
         f"{score.insertions:,} insertions"),
        ("CER", score.cer, report.cer_interval,
         f"{score.character_errors:,} errors in {score.characters:,} characters"
         + (_edits(report.aligned) if report.options.unit == "character" else "")),
        ("sentences with an error", score.sentence_error_rate, None,
         f"{score.incorrect:,} of {score.utterances:,}"),
    ):  # fmt: skip
        rows.append([name, f"{value:.2f} %", _interval(estimate) if estimate else "", text])
    if (calibration_error := report.outcomes.calibration_error) is not None:
        words = len(report.outcomes.confidences)
        text = f"of the confidences of {words:,} words: how far they are from the share that is right"
        rows.append(["calibration error", f"{100 * calibration_error:.2f} %", "", text])
    width = max(len(row[2]) for row in rows)
    lines = [
        f"  {name:<23}  {value:>8}  " + (f"{estimate:<{width}}  " if width else "") + text
        for name, value, estimate, text in rows
    ]
    return "\n".join(lines)


def _edits(aligned: Aligned) -> str:
    _, substitutions, deletions, insertions = aligned.alignments.counts.sum(axis=0).tolist()
    return f": {substitutions:,} substitutions, {deletions:,} deletions, {insertions:,} insertions"


def method(report: Report) -> str:
    """How the figures came about: formula, bootstrap, normalisation; a line each."""
    options = report.options
    lines = ["WER = 100 · (S + D + I) / words of the references, counts pooled over all utterances"]
    if options.replicates:
        drawn = "utterances" if options.cluster is None else f"groups of utterances by {options.cluster}"
        lines.append(
            f"[95 % interval]: bootstrap over {report.drawn:,} {drawn}, {options.replicates:,} replicates, "
            f"seed {options.seed}" + _caution(report.drawn, options)
        )
    lines.append(
        "texts as they are, not normalised"
        if options.normalizer.name == "none"
        else f"texts normalised by {options.normalizer.name} (version {options.normalizer.version})"
    )
    return "\n".join(lines)


def _caution(drawn: int, options: Options) -> str:
    return "; too narrow with so few" if options.cluster and drawn < _FEW_CLUSTERS else ""


def _groups(key: str, rows: Sequence[Row], unit: str) -> str:
    measure = "CER %" if unit == "character" else "WER %"
    with_interval = any(row.interval for row in rows)
    headers = [key, "utterances", f"{unit}s", measure, *(["95 % interval"] if with_interval else []),
               "S", "D", "I", "sentence errors %"]  # fmt: skip
    return f"by {key}\n" + table(
        headers,
        [
            [row.label, f"{row.utterances:,}", f"{row.tokens:,}", f"{row.rate:.2f}",
             *([_interval(row.interval)] if with_interval else []), f"{row.substitutions:,}",
             f"{row.deletions:,}", f"{row.insertions:,}", f"{row.sentence_error_rate:.1f}"]
            for row in rows
        ],
    )  # fmt: skip


def _difference(pair: PairReport) -> str:
    measure = "CER" if pair.first.options.unit == "character" else "WER"
    lines = []
    if pair.comparison:
        comparison = pair.comparison
        lines += [
            f"  difference B − A            {comparison.difference:+.2f} % {measure}   "
            f"95 % interval {_interval(comparison.interval, sign='+')}",
            f"  B is better than A          in {100 * comparison.improvement:.1f} % of the bootstrap "
            "replicates",
        ]
    test = pair.matched_pairs
    lines.append(
        f"  matched pairs (MAPSSWE)     p = {_p(test.p)}   (z = {test.z:+.2f}, {test.segments:,} segments)"
    )
    return "\n".join(lines)


def _pair_tables(pair: PairReport) -> list[str]:
    measure = "CER %" if pair.first.options.unit == "character" else "WER %"
    return [
        f"by {key}\n"
        + table(
            [key, f"A {measure}", f"B {measure}", "B − A", "95 % interval", "B better"],
            [
                [label, f"{row.first:.2f}", f"{row.second:.2f}", f"{row.difference:+.2f}",
                 _interval(row.interval, sign="+"), f"{100 * row.improvement:.0f} %"]
                for label, row in rows.items()
            ],
        )
        for key, rows in pair.tables.items()
    ]  # fmt: skip


def _confusions(title: str, entries: Sequence[Confusion], columns: Sequence[str]) -> str:
    if not entries:
        return ""
    rows = []
    for entry in entries:
        tokens = [_visible(getattr(entry, column)) for column in columns]
        rows.append([*tokens, f"{entry.count:,}", f"{entry.occurrences:,}"])
    return f"{title}\n" + table([*columns, "times", "occurrences in references"], rows, left=len(columns))


def _bins(title: str, bins: Sequence[Bin], unit: str, insertions: bool) -> str:
    headers = ["", "different", f"{unit}s", "errors %", "S", "D", *(["I"] if insertions else [])]
    return f"{title}\n" + table(
        headers,
        [
            [entry.label, f"{entry.types:,}", f"{entry.tokens:,}", f"{entry.rate:.2f}",
             f"{entry.substitutions:,}", f"{entry.deletions:,}",
             *([f"{entry.insertions:,}"] if insertions else [])]
            for entry in bins
        ],
    )  # fmt: skip


_Column = tuple[str, str, str, int]


def _columns(aligned: Aligned, index: int) -> Iterator[_Column]:
    """Reference token, hypothesis token, letter of the error, operation."""
    reference = aligned.references.offsets[index]
    hypothesis = aligned.hypotheses.offsets[index]
    for operation in aligned.alignments.of(index).tolist():
        said = recognised = ""
        if operation != INSERTION:
            said = _visible(aligned.vocabulary[aligned.references.tokens[reference]])
            reference += 1
        if operation != DELETION:
            recognised = _visible(aligned.vocabulary[aligned.hypotheses.tokens[hypothesis]])
            hypothesis += 1
        said = said or "*" * cell_len(recognised)
        recognised = recognised or "*" * cell_len(said)
        yield said, recognised, _LETTERS[operation], operation


def _wrapped(columns: Sequence[_Column], width: int | None) -> Iterator[list[_Column]]:
    part: list[_Column] = []
    used = 0
    for column in columns:
        size = _width(column) + 1
        if width is not None and part and used + size > width + 1:
            yield part
            part, used = [], 0
        part.append(column)
        used += size
    yield part


def _width(column: _Column) -> int:
    return max(cell_len(cell) for cell in column[:3])


def _cell(column: _Column, place: int, colour: bool) -> str:
    text = str(column[place])
    padding = " " * (_width(column) - cell_len(text))
    if colour and text and column[3] != CORRECT:
        text = f"\x1b[{_COLOURS[column[3]]}m{text}\x1b[0m"
    return text + padding


def _pad(text: str, width: int, right: bool) -> str:
    padding = " " * (width - cell_len(text))
    return padding + text if right else text + padding


def _visible(token: str) -> str:
    return _SPACE if token == " " else token


def _interval(interval: Interval | None, sign: str = "") -> str:
    return f"[{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]" if interval else ""


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
