"""Error rates: what is counted, over which utterances, and the rates pooled over them.

WER = 100 · (substitutions + deletions + insertions) / words of the reference, summed over the
utterances before the division: long utterances weigh more, and no mean of percentages is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asr.scoring.alignment import DELETION, INSERTION, SUBSTITUTION, Alignments, Ragged, align, word_ids
from asr.scoring.edit_distance import character_distances

FORMULA = "WER = 100 · (S + D + I) / words of the reference, counts pooled over all utterances"


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
class Evaluation:
    """References and hypotheses, paired by id and aligned.

    Attributes:
        ids: One a pair: those of the references in their order, then those without a reference.
        references, hypotheses: Texts, parallel to ``ids``; empty where one is missing.
        words: The same as word ids, references and hypotheses.
        alignments: The words aligned.
        character_errors: int64 ``(utterances,)``, Levenshtein distances.
        missing, extra: Ids without a hypothesis; ids without a reference.
    """

    ids: list[str]
    references: list[str]
    hypotheses: list[str]
    words: tuple[Ragged, Ragged]
    alignments: Alignments
    character_errors: np.ndarray
    characters: np.ndarray
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def errors(self) -> np.ndarray:
        """Word errors of each utterance, int64 ``(utterances,)``."""
        return self.alignments.counts[:, 1:].sum(axis=1)

    def score(self, selection: np.ndarray | None = None) -> Score:
        """Pool the counts of all utterances, or of those selected (indices or a mask)."""
        chosen = slice(None) if selection is None else selection
        counts = self.alignments.counts[chosen]
        totals = counts.sum(axis=0)
        return Score(
            utterances=len(counts),
            incorrect=int((counts[:, 1:].sum(axis=1) > 0).sum()),
            words=int(self.words[0].lengths[chosen].sum()),
            substitutions=int(totals[SUBSTITUTION]),
            deletions=int(totals[DELETION]),
            insertions=int(totals[INSERTION]),
            characters=int(self.characters[chosen].sum()),
            character_errors=int(self.character_errors[chosen].sum()),
            missing=self.missing if selection is None else (),
            extra=self.extra if selection is None else (),
        )


def evaluate(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> Evaluation:
    """Pair texts by utterance id and align them.

    A reference without a hypothesis counts as recognised with no words, a hypothesis without a
    reference as an utterance in which nothing was said.
    """
    missing = tuple(name for name in references if name not in hypotheses)
    extra = tuple(name for name in hypotheses if name not in references)
    ids = [*references, *extra]
    # One space between words, whatever the file had: characters are counted as words are.
    spoken = [" ".join(references.get(name, "").split()) for name in ids]
    recognised = [" ".join(hypotheses.get(name, "").split()) for name in ids]
    words, hypothesis_words = word_ids(spoken, recognised)
    characters, distances = character_distances(spoken, recognised)
    return Evaluation(
        ids, spoken, recognised, (words, hypothesis_words), align(words, hypothesis_words),
        distances, characters, missing, extra,
    )  # fmt: skip


def score(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> Score:
    """Word, character and sentence error rates of hypotheses against references, both by utterance id.

    Missing hypotheses count as deletions and superfluous ones as insertions; both are listed in the
    result.
    """
    return evaluate(references, hypotheses).score()
