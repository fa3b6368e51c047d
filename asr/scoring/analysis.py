"""Where the errors are: confused pairs, deleted and inserted words, rare words, places in the utterance."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asr.scoring.alignment import CORRECT, DELETION, INSERTION, SUBSTITUTION
from asr.scoring.measures import Aligned, rate

_FREQUENCIES = ((1, 1), (2, 4), (5, 9), (10, 49), (50, 199), (200, None))
_POSITIONS = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, None))


@dataclass(frozen=True)
class Edits:
    """The operations of all utterances in a row; every array int64 ``(operations,)``.

    Attributes:
        operation: CORRECT, SUBSTITUTION, DELETION or INSERTION.
        utterance: Index of the utterance.
        position: Index in the reference of the token, or of the one before which one is inserted.
        reference, hypothesis: Token ids; -1 where there is none.
    """

    operation: np.ndarray
    utterance: np.ndarray
    position: np.ndarray
    reference: np.ndarray
    hypothesis: np.ndarray


@dataclass(frozen=True)
class Confusion:
    """A reference token and what was recognised in its place; "" for an insertion or a deletion.

    ``occurrences`` counts the reference token in all references (an inserted token in them, too).
    """

    reference: str
    hypothesis: str
    count: int
    occurrences: int


@dataclass(frozen=True)
class Bin:
    """Errors of the tokens that fall in one bin; ``rate`` in percent of ``tokens``."""

    label: str
    types: int
    tokens: int
    substitutions: int
    deletions: int
    insertions: int
    rate: float


@dataclass(frozen=True)
class ErrorReport:
    """What :func:`analyse` finds; each list starts with the most frequent.

    Attributes:
        confusions, deleted, inserted: Token pairs and tokens.
        by_frequency: By how often the reference token occurs in all references. Insertions have no
            reference token and are left out.
        by_position: By place in the reference; an insertion is counted with the token that follows it,
            after the last token with that one. "last" repeats tokens of the bins before it.
        worst: Indices of the utterances with errors, most errors first, then the highest rate.
    """

    confusions: list[Confusion]
    deleted: list[Confusion]
    inserted: list[Confusion]
    by_frequency: list[Bin]
    by_position: list[Bin]
    worst: list[int]

    def to_json(self, ids: Sequence[str], worst: int | None = None) -> dict[str, Any]:
        """Everything but the alignments; the ids of the ``worst`` utterances with most errors, or of all."""
        return {
            "confusions": [asdict(entry) for entry in self.confusions],
            "deleted": [asdict(entry) for entry in self.deleted],
            "inserted": [asdict(entry) for entry in self.inserted],
            "by_frequency": [asdict(entry) for entry in self.by_frequency],
            "by_position": [asdict(entry) for entry in self.by_position],
            "worst": [ids[index] for index in self.worst[:worst]],
        }


def edits(aligned: Aligned) -> Edits:
    """Lay out the alignments of all utterances as arrays."""
    operations = aligned.alignments.operations
    in_reference = operations != INSERTION
    in_hypothesis = operations != DELETION
    utterance = np.repeat(np.arange(len(aligned.references)), np.diff(aligned.alignments.offsets))
    # The operations consume all tokens of both sides in order, so running counts index them.
    reference_index = np.cumsum(in_reference) - in_reference
    hypothesis_index = np.cumsum(in_hypothesis) - in_hypothesis
    return Edits(
        operations.astype(np.int64),
        utterance,
        reference_index - aligned.references.offsets[utterance],
        _take(aligned.references.tokens, reference_index, in_reference),
        _take(aligned.hypotheses.tokens, hypothesis_index, in_hypothesis),
    )


def analyse(aligned: Aligned, most: int = 50) -> ErrorReport:
    """Find the commonest errors and where they fall.

    Args:
        aligned: Words or characters of all utterances.
        most: Longest list of confusions, deletions and insertions.
    """
    found = edits(aligned)
    occurrences = np.bincount(aligned.references.tokens, minlength=len(aligned.vocabulary))
    confusions, deleted, inserted = (
        _commonest(aligned, found, kind, occurrences, most) for kind in (SUBSTITUTION, DELETION, INSERTION)
    )
    errors = aligned.errors
    order = np.lexsort((-errors / np.maximum(aligned.totals, 1), -errors))
    return ErrorReport(
        confusions,
        deleted,
        inserted,
        _by_frequency(found, occurrences),
        _by_position(found, aligned),
        order[: np.count_nonzero(errors)].tolist(),
    )


def _take(tokens: np.ndarray, indices: np.ndarray, present: np.ndarray) -> np.ndarray:
    taken = np.full(len(indices), -1, np.int64)
    taken[present] = tokens[indices[present]]
    return taken


def _commonest(
    aligned: Aligned, found: Edits, kind: int, occurrences: np.ndarray, most: int
) -> list[Confusion]:
    chosen = found.operation == kind
    pairs = np.stack([found.reference[chosen], found.hypothesis[chosen]], axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)

    def name(token: int) -> str:
        return aligned.vocabulary[token] if token >= 0 else ""

    order = np.argsort(-counts, kind="stable")[:most]
    return [
        Confusion(name(reference), name(hypothesis), int(counts[index]),
                  int(occurrences[reference if reference >= 0 else hypothesis]))
        for index in order
        for reference, hypothesis in [unique[index].tolist()]
    ]  # fmt: skip


def _by_frequency(found: Edits, occurrences: np.ndarray) -> list[Bin]:
    with_reference = found.reference >= 0
    frequency = np.where(with_reference, occurrences[found.reference], 0)
    bins = []
    for low, high in _FREQUENCIES:
        types = int(_between(occurrences, low, high).sum())
        if types:
            bins.append(_bin(_range(low, high), types, found, _between(frequency, low, high)))
    return bins


def _by_position(found: Edits, aligned: Aligned) -> list[Bin]:
    totals = aligned.totals[found.utterance]
    position = np.minimum(found.position, totals - 1) + 1
    masks = {_range(low, high): _between(position, low, high) for low, high in _POSITIONS}
    masks["last"] = (position == totals) & (totals > 0)
    bins = []
    for label, mask in masks.items():
        if mask.any():
            types = len(np.unique(found.reference[mask & (found.reference >= 0)]))
            bins.append(_bin(label, types, found, mask))
    return bins


def _bin(label: str, types: int, found: Edits, mask: np.ndarray) -> Bin:
    counts = np.bincount(found.operation[mask], minlength=4)
    tokens = int(counts[CORRECT] + counts[SUBSTITUTION] + counts[DELETION])
    errors = int(counts[SUBSTITUTION:].sum())
    substitutions, deletions, insertions = counts[SUBSTITUTION:].tolist()
    return Bin(label, types, tokens, substitutions, deletions, insertions, rate(errors, tokens))


def _between(values: np.ndarray, low: int, high: int | None) -> np.ndarray:
    return (values >= low) & (values <= (high if high is not None else values.max(initial=low)))


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f"{low} or more"
    return str(low) if low == high else f"{low}–{high}"
