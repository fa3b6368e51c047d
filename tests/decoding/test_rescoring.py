"""Rescoring of n-best lists with a recurrent language model."""

import math

import numpy as np
import pytest
import torch

from asr.decoding import rescoring
from asr.decoding.config import BeamConfig
from asr.decoding.loading import RescoredBeamSearch
from asr.decoding.rescoring import Rescorer, RescoringConfig
from asr.decoding.settings import config_for_rescoring
from asr.transcript import Hypothesis


class Fixed:
    """A language model with one log-probability for every word and end of sentence it is told."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.scores = scores
        self.word_ids = {word: number for number, word in enumerate([*scores, "</s>"])}
        self.contexts: list[int] = []

    def word_scores(self, words: list[str]) -> np.ndarray:
        return np.array([self.scores.get(word, -9.0) for word in words] + [-1.0], dtype=np.float32)

    def scores_of(self, sentences: list[list[str]]) -> np.ndarray:
        return np.concatenate([self.word_scores(words) for words in sentences] or [np.zeros(0, np.float32)])

    def nbest_scores(self, nbests: list[list[list[str]]], context: int) -> list[list[np.ndarray]]:
        self.contexts.append(context)
        return [[self.word_scores(words) for words in sentences] for sentences in nbests]


NBEST = [Hypothesis("A B", score=-10.0), Hypothesis("A C", score=-10.5)]


def rescore(nbest, rnn, ngram, weight, config):  # type: ignore[no-untyped-def]
    """One n-best list, between others of other lengths."""
    texts = [[each.text for each in some] for some in (NBEST[:1], nbest, [], NBEST)]
    words = rescoring.score_words(texts, rnn, ngram)[1]
    scores = [each.score for each in nbest]
    return rescoring.reorder(nbest, rescoring.rescore(scores, words, weight, config.mix, config.lm_scale))


def test_only_the_wanted_hypotheses_are_made() -> None:
    asked = []

    class Lazy(list[Hypothesis]):
        def __getitem__(self, number):  # type: ignore[no-untyped-def]
            asked.append(number)
            return super().__getitem__(number)

    (best,) = rescoring.reorder(Lazy(NBEST), [-3.0, -2.0], 1)
    assert best == Hypothesis("A C", score=-2.0)
    assert asked == [1]


def test_hopeless_hypotheses_are_scored_only_for_an_nbest_list() -> None:
    rescoring_config = RescoringConfig(nbest=40, threshold=5.0)
    alone = config_for_rescoring(BeamConfig(), rescoring_config)
    assert (alone.nbest, alone.nbest_threshold) == (40, 5.0)
    listed = config_for_rescoring(BeamConfig(nbest=60), rescoring_config)
    assert (listed.nbest, listed.nbest_threshold) == (60, math.inf)


def test_many_utterances_are_searched_and_scored_a_few_at_a_time_in_their_order() -> None:
    together = []

    class Found(list[Hypothesis]):
        texts = property(lambda self: [each.text for each in self])
        scores = property(lambda self: [each.score for each in self])

    class Search:
        config = BeamConfig()

        def search_batch(self, emissions, lengths):  # type: ignore[no-untyped-def]
            together.append(len(lengths))
            return [Found([Hypothesis(f"W{int(each[0, 0])}", float(length))])
                    for each, length in zip(emissions, lengths, strict=True)]  # fmt: skip

    lm = Fixed({})
    rescorer = Rescorer(lm, lm, 1.0, RescoringConfig(context=7))  # type: ignore[arg-type]
    decoder = RescoredBeamSearch(Search(), rescorer, 1)  # type: ignore[arg-type]
    emissions = torch.arange(40.0).view(40, 1, 1).expand(40, 2, 1)
    found = decoder.decode(emissions, torch.full((40,), 2))
    assert set(lm.contexts) == {7}
    assert [nbest[0].text for nbest in found] == [f"W{number}" for number in range(40)]
    assert sum(together) == 40
    assert max(together) == 16


def test_the_recurrent_model_can_turn_the_order() -> None:
    ngram, rnn = Fixed({"A": -1, "B": -1, "C": -1}), Fixed({"A": -1, "B": -6, "C": -0.1})
    assert [each.text for each in rescore(NBEST, rnn, ngram, 1.0, RescoringConfig(mix=0.9))] == ["A C", "A B"]


def test_a_mix_of_nothing_changes_no_score() -> None:
    ngram, rnn = Fixed({"A": -1, "B": -2, "C": -3}), Fixed({"A": -5, "B": -5, "C": -5})
    assert [
        each.score for each in rescore(NBEST, rnn, ngram, 2.0, RescoringConfig(mix=0.0))
    ] == pytest.approx([-10.0, -10.5])


def test_all_of_the_recurrent_model_replaces_the_ngrams_score() -> None:
    ngram, rnn = Fixed({"A": -1, "B": -2, "C": -3}), Fixed({"A": -5, "B": -1, "C": -1})
    (rescored,) = rescore(NBEST[:1], rnn, ngram, 2.0, RescoringConfig(mix=1.0))
    assert rescored.score == pytest.approx(-10.0 + 2 * ((-5 + 1) + (-1 + 2)), abs=1e-4)


def test_words_that_the_recurrent_model_lacks_keep_the_ngrams_probability() -> None:
    ngram, rnn = Fixed({"A": -1, "B": -2}), Fixed({"A": -1})
    (best,) = rescore(NBEST[:1], rnn, ngram, 1.0, RescoringConfig(mix=0.5))
    assert best.score == pytest.approx(-10.0, abs=1e-5)


def test_an_empty_hypothesis_has_only_its_end() -> None:
    (best,) = rescore(
        [Hypothesis("", score=-3.0)], Fixed({"A": -1}), Fixed({"A": -1}), 1.0, RescoringConfig(mix=0.5)
    )
    assert best.score == pytest.approx(-3.0)


def test_a_higher_weight_of_the_mixed_model_favours_what_it_likes() -> None:
    ngram, rnn = Fixed({"A": -1, "B": -2, "C": -1.8}), Fixed({"A": -1, "B": -2, "C": -1.8})
    equal = rescore(NBEST, rnn, ngram, 1.0, RescoringConfig(mix=0.5, lm_scale=1.0))
    assert [each.score for each in equal] == pytest.approx([-10.0, -10.5])
    heavy = rescore(NBEST, rnn, ngram, 1.0, RescoringConfig(mix=0.5, lm_scale=6.0))
    assert [each.text for each in heavy] == ["A C", "A B"]
    assert heavy[1].score == pytest.approx(-10.0 + 5.0 * (-1 - 2 - 1), abs=1e-4)
