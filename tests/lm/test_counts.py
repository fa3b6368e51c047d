"""Reading and counting: the numbers a dictionary would give, however the work is cut up."""

import random
from collections import Counter
from pathlib import Path

import pytest

from asr.lm import corpus as corpus_module
from asr.lm import counts as counts_module
from asr.lm import runs as runs_module
from asr.lm.corpus import read_corpus
from asr.lm.counts import count_ngrams


def random_text(seed: int, sentences: int = 300) -> list[list[str]]:
    draw = random.Random(seed)
    return [[f"w{int(draw.expovariate(0.2))}" for _ in range(draw.randint(1, 12))] for _ in range(sentences)]


@pytest.mark.parametrize("cut", [False, True])
def test_counts_and_suffixes_are_right_in_one_piece_and_in_many(
    cut: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cut:
        monkeypatch.setattr(corpus_module, "_CHUNK", 100)
        monkeypatch.setattr(counts_module, "_CHUNK", 97)
        monkeypatch.setattr(runs_module, "_PARTITION", 64)
    text = random_text(1)
    path = tmp_path / "text"
    path.write_text("".join(f"{' '.join(words)}\n" for words in text))
    corpus = read_corpus([path], tmp_path)
    levels = count_ngrams(corpus, 4, tmp_path)

    names: list[list[tuple[str, ...]]] = [[(word,) for word in corpus.words]]
    for order, level in enumerate(levels[1:], start=2):
        below = names[-1]
        names.append(
            [
                (*below[context], corpus.words[word])
                for context, word in zip(level.context, level.word, strict=True)
            ]
        )
        expected = Counter(
            tuple(sentence[start : start + order])
            for words in text
            for sentence in [["<s>", *words, "</s>"]]
            for start in range(len(sentence) - order + 1)
        )
        assert dict(zip(names[-1], level.count.tolist(), strict=True)) == expected
        assert [below[suffix] for suffix in level.suffix] == [ngram[1:] for ngram in names[-1]]
        keys = list(zip(level.context.tolist(), level.word.tolist(), strict=True))
        assert keys == sorted(keys)


def test_words_are_numbered_by_falling_frequency_first_seen_first(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("C A B\nB D\nB A\n")
    corpus = read_corpus([path], tmp_path)
    assert corpus.words == ["<unk>", "<s>", "</s>", "B", "A", "C", "D"]
    assert corpus.counts.tolist() == [0, 3, 3, 3, 2, 1, 1]


def test_sentences_too_short_for_an_order_leave_it_empty(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("A\nB\n")
    levels = count_ngrams(read_corpus([path], tmp_path), 5, tmp_path)
    assert [len(level) for level in levels] == [5, 4, 2, 0, 0]
