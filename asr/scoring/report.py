"""Everything ``asr score`` says of one or two systems, as records that text, JSON and HTML are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from asr.errors import UserError
from asr.scoring import bootstrap
from asr.scoring.alignment import DELETION, INSERTION, SUBSTITUTION
from asr.scoring.bootstrap import Comparison, Interval
from asr.scoring.calibration import WordOutcomes, word_outcomes
from asr.scoring.groups import clusters, group
from asr.scoring.measures import Aligned, Evaluation, Score, evaluate, rate
from asr.scoring.normalizers import Normalizer, normalizer
from asr.scoring.significance import MatchedPairs, matched_pairs
from asr.scoring.texts import Texts
from asr.scoring.timed import cut_into_segments

# Intervals of many groups are looked at, not argued about: fewer draws are enough for them.
_REPLICATES_OF_A_GROUP = 1_000


@dataclass(frozen=True)
class Options:
    """What is asked for.

    Attributes:
        normalizer: Applied to references and hypotheses.
        unit: "word" or "character": what tables, intervals of groups and error lists count.
        by: Keys of the references whose values get a table each.
        cluster: Key whose values are drawn together by the bootstrap; None: single utterances.
        replicates: Draws of the bootstrap; 0 for no intervals.
        seed: Of the bootstrap.
        strict: Refuse missing and superfluous hypotheses instead of counting them as errors.
    """

    normalizer: Normalizer = field(default_factory=lambda: normalizer("none"))
    unit: str = "word"
    by: tuple[str, ...] = ()
    cluster: str | None = None
    replicates: int = bootstrap.REPLICATES
    seed: int = bootstrap.SEED
    strict: bool = False


@dataclass(frozen=True)
class Row:
    """One group of a table; ``rate`` in percent of ``tokens``, which are words or characters."""

    label: str
    utterances: int
    tokens: int
    substitutions: int
    deletions: int
    insertions: int
    rate: float
    sentence_error_rate: float
    interval: Interval | None


@dataclass(frozen=True)
class Report:
    """One system against the references.

    Attributes:
        reference, hypothesis: Where the texts came from.
        options: What was asked for.
        evaluation: Texts and alignments.
        score: Pooled over all utterances.
        wer_interval, cer_interval: 95 % intervals; None when none are asked for (that of the CER: with
            ``unit`` "character").
        drawn: How many utterances or clusters the bootstrap draws from.
        tables: Rows by key of ``options.by``.
    """

    reference: Texts
    hypothesis: Texts
    options: Options
    evaluation: Evaluation
    score: Score
    wer_interval: Interval | None
    cer_interval: Interval | None
    drawn: int
    tables: dict[str, list[Row]]

    @property
    def aligned(self) -> Aligned:
        """The unit that is reported, aligned."""
        return self.evaluation.letters if self.options.unit == "character" else self.evaluation.words

    @cached_property
    def outcomes(self) -> WordOutcomes:
        """The recognised words with their confidences, where the hypotheses hold any."""
        return word_outcomes(self.evaluation, self.hypothesis.confidences)

    def to_json(self) -> dict[str, Any]:
        """Scores under the project's keys, with how they came about."""
        options = self.options
        result = self.score.to_json()
        if self.wer_interval:
            result["interval"] = self.wer_interval.to_json()
            if self.cer_interval:
                result["cer_interval"] = self.cer_interval.to_json()
            result["bootstrap"] = {
                "replicates": options.replicates,
                "seed": options.seed,
                "drawn": options.cluster or "utterance",
                "size": self.drawn,
            }
        if (calibration_error := self.outcomes.calibration_error) is not None:
            result["expected_calibration_error"] = calibration_error
        result["normalization"] = options.normalizer.to_json()
        result["missing"] = list(self.score.missing)
        result["extra"] = list(self.score.extra)
        if options.unit == "character":
            _, substitutions, deletions, insertions = self.aligned.alignments.counts.sum(axis=0).tolist()
            result["character_substitutions"] = substitutions
            result["character_deletions"] = deletions
            result["character_insertions"] = insertions
        if self.tables:
            result["by"] = {key: [self._row(row) for row in rows] for key, rows in self.tables.items()}
        return result

    def _row(self, row: Row) -> dict[str, Any]:
        tokens, measure = ("characters", "cer") if self.options.unit == "character" else ("words", "wer")
        return {
            "value": row.label,
            measure: row.rate,
            "interval": row.interval.to_json() if row.interval else None,
            "sentence_error_rate": row.sentence_error_rate,
            tokens: row.tokens,
            "substitutions": row.substitutions,
            "deletions": row.deletions,
            "insertions": row.insertions,
            "utterances": row.utterances,
        }


@dataclass(frozen=True)
class PairReport:
    """Two systems against the same references.

    Attributes:
        first, second: Each by itself.
        comparison: The bootstrap of their difference; None when no intervals are asked for.
        matched_pairs: The MAPSSWE test.
        tables: Comparisons by key and value; empty then.
    """

    first: Report
    second: Report
    comparison: Comparison | None
    matched_pairs: MatchedPairs
    tables: dict[str, dict[str, Comparison]]

    def to_json(self) -> dict[str, Any]:
        """Both systems and their difference, second minus first."""
        test: dict[str, Any] = {"matched_pairs": self.matched_pairs.to_json()}
        if self.comparison:
            test |= self.comparison.to_json()
            test["by"] = {
                key: [{"value": label} | comparison.to_json() for label, comparison in rows.items()]
                for key, rows in self.tables.items()
            }
        systems = [
            {"hypotheses": str(system.hypothesis.path)} | system.to_json()
            for system in (self.first, self.second)
        ]
        return {"systems": systems, "comparison": test}


def report(reference: Texts, hypothesis: Texts, options: Options) -> Report:
    """Score one system.

    Raises:
        UserError: no id is in both, ``--strict`` and the ids differ, or no utterance has a key asked for.
    """
    references, (hypotheses,) = _prepared(reference, [hypothesis], options)
    return _report(reference, hypothesis, evaluate(references, hypotheses), options)


def report_pair(reference: Texts, first: Texts, second: Texts, options: Options) -> PairReport:
    """Score two systems and compare them; raises as :func:`report`."""
    references, prepared = _prepared(reference, [first, second], options)
    one = _report(reference, first, evaluate(references, prepared[0], also=prepared[1]), options)
    two = _report(reference, second, evaluate(references, prepared[1], also=prepared[0]), options)
    tables: dict[str, dict[str, Comparison]] = {}
    comparison = None
    if options.replicates:
        groups = _Groups(reference, one.evaluation.ids)
        drawn = groups.clusters(options.cluster)
        comparison = _compared(one, two, drawn, slice(None), options.replicates)
        tables = {
            key: {
                label: _compared(one, two, drawn, indices, min(options.replicates, _REPLICATES_OF_A_GROUP))
                for label, indices in groups[key].items()
            }
            for key in options.by
        }
    return PairReport(one, two, comparison, matched_pairs(one.aligned, two.aligned), tables)


class _Groups:
    """The groups of the references by key, each found once."""

    def __init__(self, reference: Texts, ids: Sequence[str]) -> None:
        self.reference = reference
        self.ids = ids
        self.found: dict[str, dict[str, np.ndarray]] = {}

    def __getitem__(self, key: str) -> dict[str, np.ndarray]:
        if key not in self.found:
            self.found[key] = group(self.ids, self.reference.attribute(key), key)
        return self.found[key]

    def clusters(self, key: str | None) -> np.ndarray | None:
        if key is None:
            return None
        return clusters(group(self.ids, self.reference.attribute(key), key, binned=False), len(self.ids))


def _prepared(
    reference: Texts, hypotheses: Sequence[Texts], options: Options
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The texts to score: ctm words cut into the segments of an stm, ids checked, normalised."""
    prepared = []
    for system in hypotheses:
        texts = system.texts
        if reference.form == "stm" and system.form == "ctm":
            assert reference.timed and system.timed
            texts = cut_into_segments(reference.timed, system.timed)
        _check_ids(reference, replace(system, texts=texts), options.strict)
        prepared.append(options.normalizer(texts))
    return options.normalizer(reference.texts), prepared


def _check_ids(reference: Texts, hypothesis: Texts, strict: bool) -> None:
    missing = [name for name in reference.texts if name not in hypothesis.texts]
    extra = [name for name in hypothesis.texts if name not in reference.texts]
    if hypothesis.texts and len(extra) == len(hypothesis.texts):
        raise UserError(
            f"{hypothesis.path}: no id of it is in {reference.path}: there they are like "
            f"{next(iter(reference.texts))!r}, here like {extra[0]!r}"
        )
    if strict and (missing or extra):
        raise UserError(f"{hypothesis.path}: {mismatch(missing, extra)} (--strict)")


def mismatch(missing: Sequence[str], extra: Sequence[str]) -> str:
    """Name the ids that only one side has, a few of each."""
    parts = []
    for names, lack in ((missing, "hypothesis"), (extra, "reference")):
        if names:
            listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            parts.append(f"{len(names)} without a {lack}: {listed}")
    return "; ".join(parts)


def _report(reference: Texts, hypothesis: Texts, evaluation: Evaluation, options: Options) -> Report:
    groups = _Groups(reference, evaluation.ids)
    drawn = _renumbered(groups.clusters(options.cluster), slice(None))
    if drawn is None:
        options = replace(options, cluster=None)
    wer_interval = cer_interval = None
    if options.replicates:
        settings = (drawn, options.replicates, options.seed)
        words = evaluation.words
        wer_interval = bootstrap.interval(words.errors, words.totals, *settings)
        if options.unit == "character":
            cer_interval = bootstrap.interval(evaluation.character_errors, evaluation.characters, *settings)
    result = Report(
        reference,
        hypothesis,
        options,
        evaluation,
        evaluation.score(),
        wer_interval,
        cer_interval,
        len(evaluation.ids) if drawn is None else int(drawn.max(initial=-1)) + 1,
        {},
    )
    tables = {
        key: [_row(result.aligned, label, indices, drawn, options) for label, indices in groups[key].items()]
        for key in options.by
    }
    return replace(result, tables=tables)


def _row(
    aligned: Aligned, label: str, indices: np.ndarray, drawn: np.ndarray | None, options: Options
) -> Row:
    counts = aligned.alignments.counts[indices].sum(axis=0)
    errors, totals = aligned.errors[indices], aligned.totals[indices]
    estimate = None
    if options.replicates:
        replicates = min(options.replicates, _REPLICATES_OF_A_GROUP)
        estimate = bootstrap.interval(errors, totals, _renumbered(drawn, indices), replicates, options.seed)
    return Row(
        label,
        len(indices),
        int(totals.sum()),
        int(counts[SUBSTITUTION]),
        int(counts[DELETION]),
        int(counts[INSERTION]),
        rate(float(errors.sum()), float(totals.sum())),
        rate(float(np.count_nonzero(errors)), len(indices)),
        estimate,
    )


def _compared(
    first: Report, second: Report, drawn: np.ndarray | None, chosen: Any, replicates: int
) -> Comparison:
    one, two = first.aligned, second.aligned
    return bootstrap.compare(
        one.errors[chosen],
        two.errors[chosen],
        one.totals[chosen],
        _renumbered(drawn, chosen),
        replicates,
        first.options.seed,
    )


def _renumbered(drawn: np.ndarray | None, chosen: Any) -> np.ndarray | None:
    """Clusters of some of the utterances, numbered from 0; of a single one, its utterances are drawn."""
    if drawn is None:
        return None
    found, numbers = np.unique(drawn[chosen], return_inverse=True)
    return numbers if len(found) > 1 else None
