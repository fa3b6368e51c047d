"""The packed model and its query, against a dictionary and the definition of back-off."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UserError
from asr.lm.arpa import read_arpa, write_arpa
from asr.lm.build import build_table
from asr.lm.ngram import NGram
from asr.lm.query import EMPTY_STATE, NGramArrays, advance
from asr.lm.table import SPECIAL_WORDS, UNKNOWN_ID, Level, NGramTable

Ngram = tuple[int, ...]


def random_table(seed: int, order: int = 4, words: int = 6, share: float = 0.4) -> NGramTable:
    """A model with every prefix of its n-grams but not every suffix; probabilities are any numbers."""
    draw = np.random.default_rng(seed)
    levels = []
    size = 1
    for length in range(1, order + 1):
        context, word = np.divmod(np.arange(size * words), words)
        chosen = np.ones(len(word), dtype=bool) if length == 1 else draw.random(len(word)) < share
        count = int(chosen.sum())
        levels.append(
            Level(
                context=context[chosen].astype(np.uint32),
                word=word[chosen].astype(np.uint32),
                log_probability=-draw.exponential(3.0, count).astype(np.float32),
                backoff=np.where(draw.random(count) < 0.8, draw.normal(size=count), 0).astype(np.float32),
            )
        )
        size = count
    levels[-1].backoff[:] = 0
    return NGramTable([*SPECIAL_WORDS, *(f"W{number}" for number in range(words - 3))], levels)


def as_dictionary(table: NGramTable) -> dict[Ngram, tuple[float, float]]:
    known: dict[Ngram, tuple[float, float]] = {}
    names: list[Ngram] = [()]
    for level in table.levels:
        names = [
            (*names[context], int(word)) for context, word in zip(level.context, level.word, strict=True)
        ]
        known.update(zip(names, zip(level.log_probability, level.backoff, strict=True), strict=True))
    return known


def by_definition(known: dict[Ngram, tuple[float, float]], history: Ngram, word: int) -> float:
    found = known.get((*history, word))
    if found is not None:
        return found[0]
    return known.get(history, (0.0, 0.0))[1] + by_definition(known, history[1:], word)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    order=st.integers(1, 5),
    share=st.sampled_from([0.05, 0.4, 0.9]),
    words=st.lists(st.integers(0, 5), min_size=1, max_size=15),
)
def test_every_word_scores_as_the_definition_of_back_off_says(
    seed: int, order: int, share: float, words: list[int]
) -> None:
    table = random_table(seed, order, share=share)
    known = as_dictionary(table)
    arrays = NGram.from_table(table, bits=16).arrays
    state = EMPTY_STATE
    for position, word in enumerate(words):
        score, state = advance(arrays, state, word)
        history = tuple(words[max(0, position - order + 1) : position])
        assert score == pytest.approx(by_definition(known, history, word), abs=1e-4)


@pytest.mark.parametrize("bits", [8, 16])
def test_words_alone_score_as_after_the_empty_context(bits: int) -> None:
    lm = NGram.from_table(random_table(3), bits)
    ids = np.array([4, 0, 2, 4])
    assert lm.unigram_scores(ids).tolist() == [advance(lm.arrays, EMPTY_STATE, word)[0] for word in ids]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.integers(1, 4), bits=st.sampled_from([8, 16]))
def test_no_context_gives_a_word_more_than_its_highest_score(seed: int, order: int, bits: int) -> None:
    lm = NGram.from_table(random_table(seed, order), bits)
    contexts = range(int(lm.arrays.first_context[-1]))
    scores = [[advance(lm.arrays, state, word)[0] for word in range(lm.counts[0])] for state in contexts]
    assert (np.max(scores, axis=0) <= lm.highest_scores() + 1e-5).all()


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("bits", [8, 16])
def test_packing_saving_loading_and_unpacking_lose_nothing_but_precision(
    order: int, bits: int, tmp_path: Path
) -> None:
    table = random_table(3, order)
    packed = NGram.from_table(table, bits)
    packed.save(tmp_path / "lm")
    loaded = NGram.load(tmp_path / "lm")
    for name, array in packed.arrays._asdict().items():
        assert np.array_equal(getattr(loaded.arrays, name), array), name
    again = loaded.to_table()
    assert again.words == table.words
    for level, expected in zip(again.levels, table.levels, strict=True):
        assert np.array_equal(level.context, expected.context)
        assert np.array_equal(level.word, expected.word)
        tolerance = 0.05 if bits == 8 else 1e-6
        assert np.allclose(level.log_probability, expected.log_probability, atol=tolerance)
        assert np.allclose(level.backoff, expected.backoff, atol=tolerance)


def test_a_loaded_model_is_mapped_and_its_arrays_have_the_types_of_one_in_memory(tmp_path: Path) -> None:
    packed = NGram.from_table(random_table(1))
    packed.save(tmp_path)
    loaded = NGram.load(tmp_path)
    from numba import typeof

    assert typeof(loaded.arrays) == typeof(packed.arrays)
    assert isinstance(loaded.arrays.word_low.base.base, np.memmap)
    assert not loaded.arrays.word_low.flags.writeable


def test_words_beyond_two_bytes_are_found() -> None:
    words = 70_000
    table = NGramTable(
        [*SPECIAL_WORDS, *(f"W{number}" for number in range(words - 3))],
        [
            Level(
                context=np.zeros(words, dtype=np.uint32),
                word=np.arange(words, dtype=np.uint32),
                log_probability=np.full(words, -9, dtype=np.float32),
                backoff=np.full(words, -1, dtype=np.float32),
            ),
            Level(
                context=np.array([5, 5, 69_999], dtype=np.uint32),
                word=np.array([7, 65_536 + 7, 69_998], dtype=np.uint32),
                log_probability=np.array([-1, -2, -3], dtype=np.float32),
                backoff=np.zeros(3, dtype=np.float32),
            ),
        ],
    )
    lm = NGram.from_table(table)

    def score(first: int, second: int) -> float:
        return float(advance(lm.arrays, advance(lm.arrays, EMPTY_STATE, first)[1], second)[0])

    assert [score(5, 7), score(5, 65_543), score(69_999, 69_998), score(5, 8)] == [-1, -2, -3, -10]


def test_a_sentence_is_scored_with_its_begin_its_end_and_unknown_words() -> None:
    table = random_table(2, order=3)
    known, ids = as_dictionary(table), {word: number for number, word in enumerate(table.words)}
    lm = NGram.from_table(table, bits=16)
    sentence = ["W0", "NEVER-HEARD", "W2"]
    padded = (1, *(ids.get(word, UNKNOWN_ID) for word in sentence), 2)
    expected = sum(
        by_definition(known, padded[max(0, end - 2) : end], padded[end]) for end in range(1, len(padded))
    )
    assert lm.sentence_score(sentence) == pytest.approx(expected, abs=1e-4)
    assert len(lm.word_scores(sentence)) == 4


def test_folders_that_hold_no_whole_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lm.yaml is missing"):
        NGram.load(tmp_path)
    NGram.from_table(random_table(1)).save(tmp_path / "a")
    NGram.from_table(random_table(2)).save(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "children.npy", tmp_path / "a")
    with pytest.raises(UserError, match="do not belong together"):
        NGram.load(tmp_path / "a")
    (tmp_path / "b" / "suffix.npy").unlink()
    with pytest.raises(UserError, match="cannot be read"):
        NGram.load(tmp_path / "b")
    (tmp_path / "b" / "lm.yaml").write_text("order: [")
    with pytest.raises(UserError, match=r"lm.yaml: cannot be read"):
        NGram.load(tmp_path / "b")


def test_a_file_of_the_model_cut_short_is_named(tmp_path: Path) -> None:
    NGram.from_table(random_table(1)).save(tmp_path)
    file = tmp_path / "word_low.npy"
    os.truncate(file, file.stat().st_size - 4)
    with pytest.raises(UserError, match="cannot be read"):
        NGram.load(tmp_path)


def test_saved_arrays_are_all_that_a_model_needs(tmp_path: Path) -> None:
    NGram.from_table(random_table(1)).save(tmp_path)
    expected = {"lm.yaml", "words.txt.gz", *(f"{name}.npy" for name in NGramArrays._fields)}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_more_words_than_can_be_told_apart_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("A B C\n" * 20)
    table = build_table([tmp_path / "text.txt"], 2)
    write_arpa(tmp_path / "lm.arpa", table)
    monkeypatch.setattr("asr.lm.table.LARGEST_VOCABULARY", 5)
    with pytest.raises(UserError, match="6 words, more than 5: keep the most frequent"):
        NGram.from_table(table)
    with pytest.raises(UserError, match="6 words, more than 5"):
        read_arpa(tmp_path / "lm.arpa")
