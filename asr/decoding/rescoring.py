"""Rescoring of n-best lists with a recurrent language model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from asr.lm.ngram import NGram
    from asr.lm.rnn import RNNLM


@dataclass
class RescoringConfig:
    """How the n-best list is scored anew.

    Attributes:
        mix: Share of the recurrent model in each word's probability; the n-gram has the rest.
        lm_scale: Weight of the mixed model, as a multiple of the n-gram's in the search.
        nbest: Hypotheses of the search that are scored anew.
    """

    mix: float = 0.5
    lm_scale: float = 1.0
    nbest: int = 30


@dataclass(frozen=True)
class WordScores:
    """What both models say of the words of a sentence and its end, float64 ``(words + 1,)`` each.

    Attributes:
        recurrent, ngram: Natural log-probabilities.
        known: Whether the recurrent model has the word.
    """

    recurrent: NDArray[np.float64]
    ngram: NDArray[np.float64]
    known: NDArray[np.bool_]

    def mixed(self, mix: float) -> float:
        """Log-probability of the sentence with such a share of the recurrent model."""
        shares = np.log(max(mix, 1e-30)), np.log(max(1 - mix, 1e-30))
        both = np.logaddexp(shares[0] + self.recurrent, shares[1] + self.ngram)
        return float(np.where(self.known, both, self.ngram).sum())


def score_words(
    nbests: Sequence[Sequence[Hypothesis]], rnn: "RNNLM", ngram: "NGram"
) -> list[list[WordScores]]:
    """Ask both models about each hypothesis of several n-best lists, the recurrent one about all at once."""
    sentences = [hypothesis.text.split() for nbest in nbests for hypothesis in nbest]
    scores = (
        WordScores(
            recurrent.astype(np.float64),
            ngram.word_scores(words).astype(np.float64),
            np.array([word in rnn.word_ids for word in words] + [True]),
        )
        for words, recurrent in zip(sentences, rnn.word_scores(sentences), strict=True)
    )
    return [list(islice(scores, len(nbest))) for nbest in nbests]


def reorder(
    hypotheses: Sequence[Hypothesis],
    scores: Sequence[WordScores],
    searched_weight: float,
    mix: float,
    lm_scale: float = 1.0,
) -> list[Hypothesis]:
    """Put the interpolation of both models in the place of the n-gram, and sort again.

    Words that the recurrent model does not know keep the n-gram's probability.

    Args:
        hypotheses: N-best list of one utterance; the n-gram's weighted scores are in theirs.
        scores: What :func:`score_words` gives of that list.
        searched_weight: Weight with which the n-gram was used.
        mix: Share of the recurrent model in the probability of a word.
        lm_scale: Weight of the interpolation, as a multiple of ``searched_weight``.
    """
    rescored = [
        replace(
            hypothesis,
            score=hypothesis.score
            + searched_weight * (lm_scale * words.mixed(mix) - float(words.ngram.sum())),
        )
        for hypothesis, words in zip(hypotheses, scores, strict=True)
    ]
    return sorted(rescored, key=lambda hypothesis: -hypothesis.score)


def rescore(
    nbests: Sequence[Sequence[Hypothesis]],
    rnn: "RNNLM",
    ngram: "NGram",
    searched_weight: float,
    config: RescoringConfig,
) -> list[list[Hypothesis]]:
    """Score n-best lists anew: :func:`score_words`, then :func:`reorder`."""
    scores = score_words(nbests, rnn, ngram)
    return [
        reorder(hypotheses, words, searched_weight, config.mix, config.lm_scale)
        for hypotheses, words in zip(nbests, scores, strict=True)
    ]
