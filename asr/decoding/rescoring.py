"""Rescoring of n-best lists with a recurrent language model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from asr.lm.ngram import NGram
    from asr.lm.rnn import RNNLM


@dataclass
class RescoringConfig:
    """How the n-best list is scored anew.

    Attributes:
        mix: Share of the recurrent model in each word's probability; the n-gram has the rest.
        nbest: Hypotheses of the search that are scored anew.
    """

    mix: float = 0.5
    nbest: int = 30


def rescore(
    hypotheses: Sequence[Hypothesis], rnn: "RNNLM", ngram: "NGram", lm_weight: float, mix: float
) -> list[Hypothesis]:
    """Put the interpolation of both models in the place of the n-gram, and sort again.

    Words that the recurrent model does not know keep the n-gram's probability.

    Args:
        hypotheses: N-best list of one utterance; the n-gram's weighted scores are in theirs.
        rnn, ngram: The models.
        lm_weight: Weight with which the n-gram was used.
        mix: Share of the recurrent model in the probability of a word.
    """
    sentences = [hypothesis.text.split() for hypothesis in hypotheses]
    rescored = []
    for hypothesis, words, recurrent in zip(hypotheses, sentences, rnn.word_scores(sentences), strict=True):
        before = ngram.word_scores(words).astype(np.float64)
        both = np.logaddexp(np.log(max(mix, 1e-30)) + recurrent, np.log(max(1 - mix, 1e-30)) + before)
        known = np.array([word in rnn.word_ids for word in words] + [True])
        gain = float(np.where(known, both - before, 0.0).sum())
        rescored.append(replace(hypothesis, score=hypothesis.score + lm_weight * gain))
    return sorted(rescored, key=lambda hypothesis: -hypothesis.score)
