"""Rescoring of n-best lists with a recurrent language model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.errors import check_range
from asr.lm.table import END
from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from asr.decoding.beam import NBest
    from asr.lm.ngram import NGram
    from asr.lm.rnn import RNNLM


@dataclass
class RescoringConfig:
    """How the n-best list is scored anew.

    Attributes:
        mix: Share of the recurrent model in each word's probability; the n-gram has the rest.
        lm_scale: Weight of the mixed model, as a multiple of the n-gram's in the search.
        nbest: Hypotheses of the search that are scored anew, at most.
        threshold: Those this far below the best of the search are not: no language model would make up
            for it. Where an n-best list is asked for, all of it is scored.
        context: Equal words behind which the recurrent model scores a word once for all hypotheses of a
            list (:meth:`asr.lm.rnn.RNNLM.nbest_scores`); 0: it hears each from its beginning.
    """

    mix: float = 0.5
    lm_scale: float = 1.0
    nbest: int = 50
    threshold: float = 7.0
    context: int = 0

    def check(self) -> None:
        """Raise :class:`UserError` naming the first setting that makes no sense."""
        check_range("decoding.rescoring.mix", self.mix, 0, 1)
        check_range("decoding.rescoring.lm_scale", self.lm_scale, 0, 100)
        check_range("decoding.rescoring.nbest", self.nbest, 1)
        check_range("decoding.rescoring.threshold", self.threshold, 0)
        check_range("decoding.rescoring.context", self.context, 0)


@dataclass(frozen=True)
class WordScores:
    """What both models say of the words of an n-best list, sentence after sentence, each with its end.

    Attributes:
        recurrent, ngram: Natural log-probabilities, float64 ``(words,)``.
        known: Whether the recurrent model has the word, ``(words,)``.
        begins: Where each sentence begins, int64 ``(sentences,)``.
    """

    recurrent: NDArray[np.float64]
    ngram: NDArray[np.float64]
    known: NDArray[np.bool_]
    begins: NDArray[np.int64]

    def mixed(self, mix: float) -> NDArray[np.float64]:
        """Log-probability of each sentence ``(sentences,)`` with such a share of the recurrent model."""
        shares = np.log(max(mix, 1e-30)), np.log(max(1 - mix, 1e-30))
        both = np.logaddexp(shares[0] + self.recurrent, shares[1] + self.ngram)
        return self._sums(np.where(self.known, both, self.ngram))

    def searched(self) -> NDArray[np.float64]:
        """Log-probability of each sentence ``(sentences,)`` by the n-gram alone."""
        return self._sums(self.ngram)

    def _sums(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(scores, self.begins) if len(self.begins) else np.zeros(0)


def score_words(
    nbests: Sequence[Sequence[str]], rnn: "RNNLM", ngram: "NGram", context: int = 0
) -> list[WordScores]:
    """Ask both models about each text of several n-best lists, the recurrent one about all at once."""
    lists = [[text.split() for text in nbest] for nbest in nbests]
    return [
        WordScores(
            np.concatenate([*scores, np.zeros(0)], dtype=np.float64),
            ngram.scores_of(sentences).astype(np.float64),
            np.array([word in rnn.word_ids for words in sentences for word in (*words, END)], bool),
            np.cumsum([0, *(len(words) + 1 for words in sentences)], dtype=np.int64)[:-1],
        )
        for sentences, scores in zip(lists, rnn.nbest_scores(lists, context), strict=True)
    ]


def rescore(
    scores: Sequence[float], words: WordScores, searched_weight: float, mix: float, lm_scale: float = 1.0
) -> list[float]:
    """Put the interpolation of both models in the place of the n-gram.

    Words that the recurrent model does not know keep the n-gram's probability.

    Args:
        scores: Of the hypotheses of one utterance, in which the n-gram's weighted scores are.
        words: What :func:`score_words` gives of these hypotheses.
        searched_weight: Weight with which the n-gram was used.
        mix: Share of the recurrent model in the probability of a word.
        lm_scale: Weight of the interpolation, as a multiple of ``searched_weight``.
    """
    change = searched_weight * (lm_scale * words.mixed(mix) - words.searched())
    return (np.asarray(scores, np.float64) + change).tolist()


class Rescorer:
    """Scores the n-best lists of searches anew.

    Args:
        rnn, ngram: The models that are mixed; the n-gram is the search's.
        searched_weight: Weight with which the n-gram was used in the search.
        config: How they are mixed.
    """

    def __init__(self, rnn: "RNNLM", ngram: "NGram", searched_weight: float, config: RescoringConfig) -> None:
        self._rnn, self._ngram = rnn, ngram
        self._searched_weight, self._config = searched_weight, config

    def scores(self, found: Sequence["NBest"]) -> list[list[float]]:
        """The new score of each hypothesis of each list."""
        config = self._config
        scored = score_words([each.texts for each in found], self._rnn, self._ngram, config.context)
        return [
            rescore(each.scores, words, self._searched_weight, config.mix, config.lm_scale)
            for each, words in zip(found, scored, strict=True)
        ]


def reorder(
    hypotheses: Sequence[Hypothesis], scores: Sequence[float], nbest: int | None = None
) -> list[Hypothesis]:
    """The best hypotheses by their new scores, best first: so many, or all."""
    order = sorted(range(len(scores)), key=lambda number: -scores[number])
    return [replace(hypotheses[number], score=scores[number]) for number in order[:nbest]]
