"""Pairing, alignment and pooled rates."""

import random
import subprocess
import sys

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.scoring import alignment, edit_distance, evaluate, score
from asr.scoring.alignment import align, number_characters, number_words
from asr.scoring.edit_distance import edit_distances

texts = st.lists(st.text("AB C", max_size=12), min_size=1, max_size=6)


def test_rates_are_pooled_not_averaged_over_utterances():
    result = score({"a": "ONE", "b": "A B C D E F G H I"}, {"a": "TWO", "b": "A B C D E F G H I"})
    assert result.wer == pytest.approx(10.0)
    assert result.sentence_error_rate == pytest.approx(50.0)


def test_a_missing_hypothesis_is_deletions_and_an_extra_one_insertions():
    result = score({"a": "ONE TWO", "b": "THREE"}, {"a": "ONE TWO", "c": "FOUR FIVE"})
    assert (result.substitutions, result.deletions, result.insertions) == (0, 1, 2)
    assert (result.missing, result.extra) == (("b",), ("c",))
    assert (result.utterances, result.incorrect) == (3, 2)


def test_words_where_nothing_was_said_count_as_in_jiwer():
    assert score({"a": ""}, {"a": ""}).wer == 0.0
    assert score({"a": ""}, {"a": "X Y"}).wer == 200.0
    assert score({}, {}).to_json()["wer"] == 0.0


def test_spaces_make_no_difference():
    assert score({"a": "  ONE\tTWO \u00a0"}, {"a": "ONE TWO"}).character_errors == 0


def test_json_has_the_keys_of_the_project():
    keys = [
        "wer",
        "cer",
        "sentence_error_rate",
        "words",
        "substitutions",
        "deletions",
        "insertions",
        "utterances",
    ]
    assert {*keys, "utterances"} <= score({"a": "A"}, {"a": "B"}).to_json().keys()


def test_equal_costs_are_broken_as_sclite_breaks_them():
    # Three substitutions cost as much as two deletions and two insertions: sclite says which.
    evaluation = evaluate({"u": "A B C D"}, {"u": "B C D A"})
    assert evaluation.words.alignments.counts[0].tolist() == [3, 0, 1, 1]
    evaluation = evaluate({"u": "I A I"}, {"u": "A I A"})
    assert evaluation.words.alignments.of(0).tolist() == [2, 0, 0, 3]


def test_other_scripts_and_characters_beyond_the_basic_plane_are_counted_as_one():
    result = score({"a": "日本語 \U0001f600"}, {"a": "日本 \U0001f601"})
    assert (result.characters, result.character_errors) == (5, 2)


@given(references=texts, hypotheses=texts)
@settings(max_examples=30, deadline=None)
def test_jiwer_agrees_on_any_texts(references, hypotheses):
    size = min(len(references), len(hypotheses))
    pairs = {str(i): " ".join(references[i].split()) for i in range(size)}
    others = {str(i): " ".join(hypotheses[i].split()) for i in range(size)}
    evaluation = evaluate(pairs, others)
    words = jiwer.process_words(list(pairs.values()), list(others.values()))
    total = words.substitutions + words.deletions + words.insertions
    both = evaluation.words
    assert align(both.references, both.hypotheses, alignment.UNIT_COSTS).counts[:, 1:].sum() == total
    characters = jiwer.process_characters(list(pairs.values()), list(others.values()))
    found = characters.substitutions + characters.deletions + characters.insertions
    assert evaluation.character_errors.sum() == evaluation.letters.errors.sum() == found


def test_compiled_and_plain_loops_agree_also_on_long_texts(monkeypatch):
    random_ = random.Random(3)
    references = [
        "".join(random_.choices("ABC ", k=random_.choice((0, 5, 63, 64, 65, 200)))) for _ in range(30)
    ]
    hypotheses = ["".join(random_.choices("ABC ", k=random_.choice((0, 5, 64, 130)))) for _ in range(30)]
    references[7] = hypotheses[7]
    (first, second), alphabet = number_characters(references, hypotheses)
    plain = align(first, second), edit_distances(first, second, len(alphabet))
    monkeypatch.setattr(alignment, "_CELLS_WORTH_COMPILING", 0)
    monkeypatch.setattr(alignment, "_WORK_WORTH_THREADS", 0)
    monkeypatch.setattr(edit_distance, "_TOKENS_WORTH_COMPILING", 0)
    compiled = align(first, second), edit_distances(first, second, len(alphabet))
    assert np.array_equal(plain[0].operations, compiled[0].operations)
    assert np.array_equal(plain[0].counts, compiled[0].counts)
    assert np.array_equal(plain[1], compiled[1])


def test_the_same_word_has_one_number_in_references_and_hypotheses():
    (first, second), vocabulary = number_words(["A B", ""], ["B", "C A"])
    assert [vocabulary[token] for token in [*first.tokens, *second.tokens]] == ["A", "B", "B", "C", "A"]
    assert (first.lengths.tolist(), second.lengths.tolist()) == ([2, 0], [1, 2])


def test_scoring_loads_no_torch_and_importing_it_no_numba():
    program = (
        "import sys, asr.scoring, asr.cli.score\n"
        "assert not {'numba', 'torch'} & sys.modules.keys()\n"
        "assert asr.scoring.score({'a': 'A B'}, {'a': 'A'}).deletions == 1\n"
        "import asr.scoring.report, asr.scoring.report_html, asr.scoring.report_text\n"
        "assert not {'numba', 'torch'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
