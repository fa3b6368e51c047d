"""Perplexity: what counts as a word, and what an unknown one does."""

import math
from pathlib import Path

import pytest

from asr.errors import UserError
from asr.lm.build import build_table
from asr.lm.ngram import NGram
from asr.lm.perplexity import measure_perplexity


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> NGram:
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text("THE CAT SAT\nTHE DOG SAT\nA CAT\n")
    return NGram.from_table(build_table([path], 3), bits=16)


def test_ends_of_sentences_count_and_blank_lines_do_not(lm: NGram, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\nTHE CAT\n\n\nA DOG SAT")
    found = measure_perplexity(lm, [tmp_path / "text"])
    total = lm.sentence_score(["THE", "CAT"]) + lm.sentence_score(["A", "DOG", "SAT"])
    assert (found.sentences, found.words, found.unknown) == (2, 7, 0)
    assert found.log_probability == pytest.approx(total, rel=1e-5)
    assert found.with_unknown == pytest.approx(math.exp(-total / 7), rel=1e-5)
    assert found.without_unknown == pytest.approx(found.with_unknown)


def test_unknown_words_are_left_out_of_the_second_figure_only(lm: NGram, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("THE EMU SAT\n")
    found = measure_perplexity(lm, [tmp_path / "text"])
    scores = lm.word_scores(["THE", "EMU", "SAT"]).tolist()
    assert found.unknown == 1
    assert found.log_probability == pytest.approx(sum(scores), rel=1e-5)
    assert found.log_probability_known == pytest.approx(sum(scores) - scores[1], rel=1e-5)


def test_text_without_a_known_word_has_only_ends_to_predict(lm: NGram, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("EMU\n")
    found = measure_perplexity(lm, [tmp_path / "text"])
    assert found.words - found.unknown == 1
    assert math.isfinite(found.without_unknown)


def test_several_texts_add_up(lm: NGram, tmp_path: Path) -> None:
    for name, text in (("a", "THE CAT\n"), ("b", "A DOG SAT\n"), ("both", "THE CAT\nA DOG SAT\n")):
        (tmp_path / name).write_text(text)
    apart = measure_perplexity(lm, [tmp_path / "a", tmp_path / "b"])
    together = measure_perplexity(lm, [tmp_path / "both"])
    assert apart.words == together.words
    assert apart.log_probability == pytest.approx(together.log_probability)


def test_empty_text_is_one_clear_line(lm: NGram, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\n \n")
    with pytest.raises(UserError, match="no words in the text"):
        measure_perplexity(lm, [tmp_path / "text"])
