"""Error rates: what is counted, over which utterances, and the rates pooled over them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from asr.scoring.alignment import (
    DELETION,
    INSERTION,
    SUBSTITUTION,
    UNIT_COSTS,
    Alignments,
    Ragged,
    align,
    number_characters,
    number_words,
)
from asr.scoring.edit_distance import edit_distances


@dataclass(frozen=True)
class Score:
    """Pooled counts and the rates that follow from them.

    Attributes:
        utterances: How many pairs of a reference and a hypothesis.
        incorrect: How many of them have an error.
        words: Words of the references.
        substitutions, deletions, insertions: Errors in words, aligned as sclite does.
        characters: Characters of the references, one space between words counted.
        character_errors: Levenshtein distance in characters.
        missing: Ids without a hypothesis: every word of theirs is a deletion.
        extra: Ids without a reference: every word of theirs is an insertion.
    """

    utterances: int
    incorrect: int
    words: int
    substitutions: int
    deletions: int
    insertions: int
    characters: int
    character_errors: int
    missing: tuple[str, ...] = field(default=(), repr=False)
    extra: tuple[str, ...] = field(default=(), repr=False)

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Word error rate in percent (see :func:`rate` for no words at all)."""
        return rate(self.errors, self.words)

    @property
    def cer(self) -> float:
        """Character error rate in percent."""
        return rate(self.character_errors, self.characters)

    @property
    def sentence_error_rate(self) -> float:
        """Percent of the utterances that have at least one error."""
        return rate(self.incorrect, self.utterances)

    def to_json(self) -> dict[str, Any]:
        """The counts and rates under the keys that every ``--json`` of the project uses."""
        return {
            "wer": self.wer,
            "cer": self.cer,
            "sentence_error_rate": self.sentence_error_rate,
            "words": self.words,
            "substitutions": self.substitutions,
            "deletions": self.deletions,
            "insertions": self.insertions,
            "characters": self.characters,
            "character_errors": self.character_errors,
            "utterances": self.utterances,
        }


def rate(errors: float, total: float) -> float:
    """Percent; as in jiwer 4, ``n`` errors where nothing was said count as ``n`` errors in one word."""
    return 100.0 * errors / max(total, 1)


@dataclass(frozen=True)
class Aligned:
    """References and hypotheses as tokens (words or characters), aligned.

    Attributes:
        unit: "word" or "character".
        vocabulary: The tokens by id.
        references, hypotheses: Token ids of each utterance.
        alignments: How each hypothesis becomes its reference.
    """

    unit: str
    vocabulary: list[str]
    references: Ragged
    hypotheses: Ragged
    alignments: Alignments

    @property
    def totals(self) -> np.ndarray:
        """Tokens of each reference, int64 ``(utterances,)``."""
        return self.references.lengths

    @property
    def errors(self) -> np.ndarray:
        """Errors of each utterance, int64 ``(utterances,)``."""
        return self.alignments.counts[:, SUBSTITUTION:].sum(axis=1)


@dataclass(frozen=True)
class Evaluation:
    """References and hypotheses, paired by id and aligned.

    Attributes:
        ids: One a pair: those of the references in their order, then those without a reference.
        references, hypotheses: Texts, parallel to ``ids``, one space between words; empty where one is
            missing.
        words: The words aligned.
        characters: Characters of each reference, int64 ``(utterances,)``.
        character_errors: Levenshtein distances in characters, int64 ``(utterances,)``.
        missing, extra: Ids without a hypothesis; ids without a reference.
    """

    ids: list[str]
    references: list[str]
    hypotheses: list[str]
    words: Aligned
    characters: np.ndarray
    character_errors: np.ndarray
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @cached_property
    def letters(self) -> Aligned:
        """The characters aligned, every edit costing the same, so that the errors are Levenshtein's."""
        (references, hypotheses), vocabulary = number_characters(self.references, self.hypotheses)
        alignments = align(references, hypotheses, UNIT_COSTS)
        return Aligned("character", vocabulary, references, hypotheses, alignments)

    def score(self, selection: np.ndarray | None = None) -> Score:
        """Pool the counts of all utterances, or of those selected (indices or a mask)."""
        chosen = slice(None) if selection is None else selection
        counts = self.words.alignments.counts[chosen]
        totals = counts.sum(axis=0)
        return Score(
            utterances=len(counts),
            incorrect=int((counts[:, SUBSTITUTION:].sum(axis=1) > 0).sum()),
            words=int(self.words.totals[chosen].sum()),
            substitutions=int(totals[SUBSTITUTION]),
            deletions=int(totals[DELETION]),
            insertions=int(totals[INSERTION]),
            characters=int(self.characters[chosen].sum()),
            character_errors=int(self.character_errors[chosen].sum()),
            missing=self.missing if selection is None else (),
            extra=self.extra if selection is None else (),
        )


def evaluate(
    references: Mapping[str, str], hypotheses: Mapping[str, str], also: Iterable[str] = ()
) -> Evaluation:
    """Pair texts by utterance id and align them.

    A reference without a hypothesis counts as recognised with no words, a hypothesis without a
    reference as an utterance in which nothing was said.

    Args:
        references, hypotheses: Texts by utterance id.
        also: Further ids that another system has, so that both evaluations hold the same utterances.
    """
    missing = tuple(name for name in references if name not in hypotheses)
    extra = tuple(name for name in hypotheses if name not in references)
    ids = [*references, *sorted({*extra, *also}.difference(references))]
    # One space between words, whatever the file had: words and characters are of the same text.
    said = [" ".join(references.get(name, "").split()) for name in ids]
    recognised = [" ".join(hypotheses.get(name, "").split()) for name in ids]
    (words, recognised_words), vocabulary = number_words(said, recognised)
    aligned = Aligned("word", vocabulary, words, recognised_words, align(words, recognised_words))
    (characters, recognised_characters), alphabet = number_characters(said, recognised)
    distances = edit_distances(characters, recognised_characters, len(alphabet))
    return Evaluation(ids, said, recognised, aligned, characters.lengths, distances, missing, extra)


def score(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> Score:
    """Word, character and sentence error rates of hypotheses against references, both by utterance id.

    Missing hypotheses count as deletions and superfluous ones as insertions; both are listed in the
    result.
    """
    return evaluate(references, hypotheses).score()
