"""Estimation: held to KenLM's lmplz, to the sums of probabilities, and to its rules."""

import gzip
import json
import lzma
import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.errors import UserError
from asr.lm.build import build_table
from asr.lm.corpus import read_corpus
from asr.lm.counts import count_ngrams
from asr.lm.kneser_ney import estimate
from asr.lm.ngram import NGram
from asr.lm.perplexity import measure_perplexity
from asr.lm.query import advance_each
from asr.lm.table import BEGIN_ID, NGramTable

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "lmplz.json.gz"
TEXT = "THE CAT SAT ON THE MAT\nTHE DOG SAT ON THE CAT\nA CAT AND A DOG\nTHE MAT\n"
CLOSE = 1e-4


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The script that made the golden file."""
    return runpy.run_path(str(ROOT / "benchmarks" / "lmplz_golden.py"))


def check_against_lmplz(name: str, sentences: Iterator[str], script: dict[str, Any], folder: Path) -> None:
    golden = json.loads(gzip.decompress(GOLDEN.read_bytes()))[name]
    training, held_out = script["split_text"](sentences, folder)
    corpus = read_corpus([training], folder)
    counted = count_ngrams(corpus, 4, folder)
    for model, expected in golden.items():
        made = estimate(counted[: len(expected["levels"])], expected["prune"])
        assert np.allclose(made.discounts, expected["discounts"], atol=2e-5)
        table = NGramTable(corpus.words, made.levels)
        for order, (level, known) in enumerate(zip(table.levels, expected["levels"], strict=True), start=1):
            where = f"{name}, {model}, order {order}"
            assert len(level) == known["count"], where
            log10 = np.stack([level.log_probability, level.backoff], axis=1).astype(np.float64) / np.log(10)
            means = np.delete(log10[:, 0], [BEGIN_ID] if order == 1 else []).mean(), log10[:, 1].mean()
            assert means == pytest.approx((known["mean_log_probability"], known["mean_backoff"]), abs=1e-6), (
                where
            )
            found = find(table, [row[0].split() for row in known["ngrams"]])
            values = np.array([row[1:] for row in known["ngrams"]])
            assert np.abs(log10[found] - values).max() < CLOSE, where
        if model == "3":
            found = measure_perplexity(NGram.from_table(table, bits=16), [held_out])
            assert (found.words, found.unknown) == (expected["tokens"], expected["unknown"])
            assert found.with_unknown == pytest.approx(expected["perplexity"], rel=CLOSE)
            assert found.without_unknown == pytest.approx(expected["perplexity_without_unknown"], rel=CLOSE)


def find(table: NGramTable, ngrams: list[list[str]]) -> np.ndarray:
    """The index of each n-gram, all of one order, in its level."""
    ids = {word: number for number, word in enumerate(table.words)}
    words = np.array([[ids[word] for word in ngram] for ngram in ngrams], dtype=np.uint64)
    places = words[:, 0]
    for level, word in zip(table.levels[1:], words.T[1:], strict=False):
        keys = level.context.astype(np.uint64) << np.uint64(32) | level.word
        places = np.searchsorted(keys, places.astype(np.uint64) << np.uint64(32) | word)
    return places


def probability_sums(table: NGramTable) -> np.ndarray:
    """The sum over all words of the probability after every context of the model."""
    lm = NGram.from_table(table, bits=16)
    predicted = [number for number in range(len(lm.words)) if number != BEGIN_ID]
    sums = []
    for state in range(len(lm.arrays.suffix)):
        states = np.full(len(predicted), state, dtype=np.uint32)
        scores, _ = advance_each(lm.arrays, states, np.array(predicted, dtype=np.uint32))
        sums.append(np.exp(scores.astype(np.float64)).sum())
    return np.array(sums)


def write(folder: Path, text: str = TEXT) -> Path:
    path = folder / "text.txt"
    path.write_text(text)
    return path


def test_a_million_random_words_give_the_model_of_lmplz(script: dict[str, Any], tmp_path: Path) -> None:
    check_against_lmplz("random", script["random_sentences"](), script, tmp_path)


@pytest.mark.skipif("ASR_TEXT" not in os.environ, reason="needs the book corpus, ASR_TEXT")
def test_a_million_words_of_books_give_the_model_of_lmplz(script: dict[str, Any], tmp_path: Path) -> None:
    with lzma.open(Path(os.environ["ASR_TEXT"]) / "books.txt.xz", "rt") as sentences:
        check_against_lmplz("books", sentences, script, tmp_path)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("prune", [[], [0, 1]])
def test_probabilities_after_every_context_sum_to_one(order: int, prune: list[int], tmp_path: Path) -> None:
    table = build_table([write(tmp_path)], order, prune=prune[:order])
    assert probability_sums(table) == pytest.approx(1.0, abs=1e-5)


def test_probabilities_sum_to_one_with_unknown_words_in_the_text(tmp_path: Path) -> None:
    table = build_table([write(tmp_path)], 3, vocabulary=3)
    assert table.words == ["<unk>", "<s>", "</s>", "THE", "CAT", "SAT"]
    assert table.provenance["unknown_tokens"] == 9
    assert probability_sums(table) == pytest.approx(1.0, abs=1e-5)


def test_characters_are_estimated_as_words_are(tmp_path: Path) -> None:
    table = build_table([write(tmp_path)], 4, unit="characters")
    assert "|" in table.words and "C" in table.words
    assert probability_sums(table) == pytest.approx(1.0, abs=1e-5)


def test_vocabulary_words_absent_from_the_text_share_what_unknown_words_get(tmp_path: Path) -> None:
    table = build_table([write(tmp_path)], 2, vocabulary=["CAT", "ZEBRA"])
    assert table.words == ["<unk>", "<s>", "</s>", "CAT", "ZEBRA"]
    unigrams = table.levels[0].log_probability
    assert np.isfinite(unigrams).all()
    assert unigrams[table.words.index("ZEBRA")] < unigrams[table.words.index("CAT")]


def test_discounts_that_small_text_cannot_give_are_substituted_and_named(tmp_path: Path) -> None:
    table = build_table([write(tmp_path, "A B\n")], 2)
    assert table.provenance["substituted_discounts"] == [1, 2]
    assert table.provenance["discounts"] == [[0.5, 1.0, 1.5], [0.5, 1.0, 1.5]]


@pytest.mark.parametrize(
    ("prune", "reason"),
    [([1], "first threshold must be 0"), ([0, 2, 1], "must not fall"), ([0, 0, 0, 1], "model of order 3")],
)
def test_thresholds_that_would_break_the_model_are_refused(
    prune: list[int], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason):
        build_table([write(tmp_path)], 3, prune=prune)


def test_discounts_of_nothing_are_none_since_no_context_would_hand_anything_down(tmp_path: Path) -> None:
    """Words said once, twice, thrice and four times in numbers of which the third discount is 0."""
    times = {1: 4, 2: 2, 3: 2, 4: 3}
    words = [(f"W{many}{number}", many) for many, count in times.items() for number in range(count)]
    (tmp_path / "text.txt").write_text("".join(f"{word}\n" * many for word, many in words))
    table = build_table([tmp_path / "text.txt"], order=2, temporary=tmp_path)
    assert all(np.isfinite(level.backoff).all() for level in table.levels)
    assert measure_perplexity(NGram.from_table(table), [tmp_path / "text.txt"]).with_unknown < 100
