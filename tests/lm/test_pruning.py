"""Entropy pruning, against the definition of relative entropy."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from asr.errors import UserError
from asr.lm.arpa import read_arpa_table, write_arpa
from asr.lm.build import build_table
from asr.lm.ngram import NGram
from asr.lm.pruning import prune_by_entropy, prune_to_size
from asr.lm.query import advance_each
from asr.lm.table import BEGIN_ID, NGramTable

TEXT = "THE CAT SAT ON THE MAT\nTHE DOG SAT ON THE CAT\nA CAT AND A DOG\nTHE MAT\nTHE CAT SAT\nON A MAT\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> NGramTable:
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text(TEXT)
    return build_table([path], 3)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> NGramTable:
    draw = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("text") / "text"
    lines = [" ".join(f"W{word}" for word in draw.zipf(1.4, 9) % 500) for _ in range(4000)]
    path.write_text("\n".join(lines))
    return build_table([path], 4)


def distributions(table: NGramTable) -> np.ndarray:
    """P(word | context) for every context of the packed model (rows) and every word but ``<s>``."""
    lm = NGram.from_table(table, bits=16)
    words = np.delete(np.arange(len(lm.words), dtype=np.uint32), BEGIN_ID)
    rows = [
        advance_each(lm.arrays, np.full(len(words), state, dtype=np.uint32), words)[0]
        for state in range(len(lm.arrays.suffix))
    ]
    return np.exp(np.array(rows, dtype=np.float64))


def names(table: NGramTable) -> list[set[tuple[str, ...]]]:
    found: list[set[tuple[str, ...]]] = []
    below: list[tuple[str, ...]] = [()]
    for level in table.levels:
        below = [
            (*below[context], table.words[word])
            for context, word in zip(level.context, level.word, strict=True)
        ]
        found.append(set(below))
    return found


def test_an_ngram_goes_where_the_threshold_passes_its_relative_entropy(table: NGramTable) -> None:
    bigrams, trigrams = table.levels[1], table.levels[2]
    assert trigrams.suffix is not None and bigrams.count is not None and table.levels[0].count is not None
    tokens = table.levels[0].count.sum() - table.levels[0].count[BEGIN_ID]
    p = np.exp(trigrams.log_probability.astype(np.float64))
    q = np.exp(bigrams.log_probability[trigrams.suffix].astype(np.float64))
    for removed in range(0, len(trigrams), 3):
        context = trigrams.context[removed]
        explicit = np.flatnonzero(trigrams.context == context)
        rest, rest_below = 1 - p[explicit].sum(), 1 - q[explicit].sum()
        before, after = rest / rest_below, (rest + p[removed]) / (rest_below + q[removed])
        # Words that were backed off to before, and the one that now is.
        entropy = rest * np.log(before / after) + p[removed] * np.log(p[removed] / (after * q[removed]))
        cost = entropy * bigrams.count[context] / tokens
        name = (context, trigrams.word[removed])
        for factor, stays in ((0.999, True), (1.001, False)):
            assert (name in _in_numbers_of(table, prune_by_entropy(table, cost * factor))) == stays


def _in_numbers_of(table: NGramTable, pruned: NGramTable) -> set[tuple[int, int]]:
    bigrams = {
        (int(context), int(word)): number
        for number, (context, word) in enumerate(
            zip(table.levels[1].context, table.levels[1].word, strict=True)
        )
    }
    below = [
        bigrams[int(context), int(word)]
        for context, word in zip(pruned.levels[1].context, pruned.levels[1].word, strict=True)
    ]
    level = pruned.levels[2]
    return {(below[context], int(word)) for context, word in zip(level.context, level.word, strict=True)}


@pytest.mark.parametrize("threshold", [1e-5, 1e-3, 1e-1])
def test_probabilities_still_sum_to_one(table: NGramTable, threshold: float) -> None:
    assert distributions(prune_by_entropy(table, threshold)).sum(axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_threshold_of_zero_changes_no_probability_and_a_huge_one_leaves_the_words(
    table: NGramTable,
) -> None:
    whole = prune_by_entropy(table, -1.0)
    assert whole.counts == table.counts
    for level, expected in zip(whole.levels, table.levels, strict=True):
        assert np.array_equal(level.backoff, expected.backoff)
    assert prune_by_entropy(table, 1.0).counts == [table.counts[0], 0, 0]


def test_every_ngram_left_begins_and_ends_with_ngrams_left(larger: NGramTable) -> None:
    pruned = names(prune_to_size(larger, 100_000))
    assert pruned[3]
    for below, level in pairwise(pruned):
        assert all(ngram[:-1] in below and ngram[1:] in below for ngram in level)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_packed_model_fills_the_size_and_keeps_to_it(
    larger: NGramTable, bits: int, tmp_path: Path
) -> None:
    target = 60_000 if bits == 8 else 2_200_000
    NGram.from_table(prune_to_size(larger, target, bits), bits).save(tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert 0.9 * target < size <= target


def test_a_model_that_fits_stays_as_it_is(table: NGramTable) -> None:
    assert prune_to_size(table, 10_000_000) is table


def test_a_size_that_the_words_alone_exceed_is_refused(larger: NGramTable) -> None:
    with pytest.raises(UserError, match="the words alone take"):
        prune_to_size(larger, 10_000)


def test_words_of_three_bytes_keep_their_unigram_only(
    monkeypatch: pytest.MonkeyPatch, larger: NGramTable
) -> None:
    monkeypatch.setattr("asr.lm.pruning._NARROW", 100)
    pruned = prune_to_size(larger, 100_000)
    assert pruned.counts[0] == larger.counts[0]
    assert all((level.word < 100).all() for level in pruned.levels[1:])


def test_a_file_without_counts_is_pruned_with_its_own_probabilities(
    table: NGramTable, tmp_path: Path
) -> None:
    write_arpa(tmp_path / "lm.arpa", table)
    pruned = prune_by_entropy(read_arpa_table(tmp_path / "lm.arpa"), 1e-2)
    assert 0 < pruned.counts[2] < table.counts[2]
    assert distributions(pruned).sum(axis=1) == pytest.approx(1.0, abs=1e-4)


def test_a_model_without_the_endings_of_its_ngrams_is_refused(table: NGramTable, tmp_path: Path) -> None:
    write_arpa(tmp_path / "lm.arpa", table)
    text = (tmp_path / "lm.arpa").read_text()
    lines = [line for line in text.splitlines(keepends=True) if "\tSAT ON\t" not in line]
    kept = [line for line in lines if "\tSAT ON THE" not in line and "\tSAT ON A" not in line]
    dropped = len(lines) - len(kept)
    changed = "".join(kept).replace(f"ngram 2={table.counts[1]}", f"ngram 2={table.counts[1] - 1}")
    changed = changed.replace(f"ngram 3={table.counts[2]}", f"ngram 3={table.counts[2] - dropped}")
    (tmp_path / "lm.arpa").write_text(changed)
    with pytest.raises(UserError, match="the ending of a 3-gram is missing"):
        prune_by_entropy(read_arpa_table(tmp_path / "lm.arpa"), 1e-3)
