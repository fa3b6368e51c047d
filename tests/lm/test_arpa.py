"""ARPA files: what is written reads back, and broken files are told apart."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from asr.errors import UserError
from asr.lm.arpa import read_arpa, read_arpa_table, write_arpa
from asr.lm.build import build_table

# Hand-made in the manner of SRILM: no <unk>, back-offs left out where there are none, <s> at -99.
ARPA = r"""A comment.

\data\
ngram 1=4
ngram 2=3
ngram 3=1

\1-grams:
-99	<s>	-0.5
-1.0	</s>
-0.6	A	-0.3
-0.7	B

\2-grams:
-0.2	<s> A	-0.1
-0.4	A B	-0.05
-0.9	B </s>

\3-grams:
-0.1	<s> A B

\end\
"""
LN10 = np.log(10)


def write(folder: Path, content: str) -> Path:
    path = folder / "lm.arpa"
    path.write_text(content)
    return path


def test_scores_follow_the_file(tmp_path: Path) -> None:
    lm = read_arpa(write(tmp_path, ARPA))
    assert lm.words == ["<unk>", "<s>", "</s>", "A", "B"]
    assert lm.word_scores(["A", "B"]) / LN10 == pytest.approx([-0.2, -0.1, -0.05 - 0.9])
    assert lm.word_scores(["B", "A"]) / LN10 == pytest.approx([-0.5 - 0.7, -0.6, -0.3 - 1.0])
    assert lm.word_scores(["C"])[0] / LN10 == pytest.approx(-0.5 - 99)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_a_model_written_reads_back_the_same(name: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("A B C\nA C B A\nÄ B\n")
    table = build_table([tmp_path / "text"], 3)
    write_arpa(tmp_path / name, table)
    again = read_arpa_table(tmp_path / name)
    assert again.words == table.words
    for level, expected in zip(again.levels, table.levels, strict=True):
        assert np.array_equal(level.context, expected.context)
        assert np.array_equal(level.word, expected.word)
        assert np.allclose(level.log_probability, expected.log_probability, atol=1e-5)
        assert np.allclose(level.backoff, expected.backoff, atol=1e-5)


def test_a_compressed_file_is_the_same_every_time(tmp_path: Path) -> None:
    table = read_arpa_table(write(tmp_path, ARPA))
    write_arpa(tmp_path / "a.arpa.gz", table)
    write_arpa(tmp_path / "b.arpa.gz", table)
    assert (tmp_path / "a.arpa.gz").read_bytes() == (tmp_path / "b.arpa.gz").read_bytes()
    assert b"-99\t<s>" in gzip.decompress((tmp_path / "a.arpa.gz").read_bytes())


def test_single_characters_make_a_model_of_characters(tmp_path: Path) -> None:
    assert read_arpa(write(tmp_path, ARPA)).unit == "characters"
    assert read_arpa(write(tmp_path, ARPA.replace("A", "AN").replace("\\dATa", "\\data"))).unit == "words"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\\data\\", "data", "not an ARPA file"),
        ("ngram 2=3", "ngram 3=3", "no line of an ARPA file's"),
        ("ngram 2=3", "ngram 2=4", "is not one of 4 2-grams"),
        ("ngram 2=3", "ngram 2=2", "2-grams'? .* should be|where .*3-grams.* should be"),
        ("ngram 3=1", "ngram 3=2", r"is not one of 2 3-grams"),
        ("\\end\\\n", "", "cut short"),
        ("-0.9\tB </s>", "-0.9\tB C", "'C' in a 2-gram is not a 1-gram"),
        ("-0.1\t<s> A B", "-0.1\tB A B", "'B A B' has no context"),
        ("-0.4\tA B\t-0.05", "-0.2\t<s> A\t-0.1", "a 2-gram occurs twice"),
        ("-0.7\tB", "-0.7\tA", "a word occurs twice"),
        ("-1.0\t</s>", "-1.0\tC", "</s> missing"),
        ("-0.4\tA B", "zero\tA B", "number cannot be read"),
        ("-0.4\tA B", "nan\tA B", "no probability"),
        ("-0.4\tA B", "0.4\tA B", "no probability"),
        ("-0.4\tA B\t-0.05", "-0.4\tA B\tinf", "no probability or back-off"),
    ],
)
def test_a_broken_file_is_named_with_what_is_wrong(old: str, new: str, reason: str, tmp_path: Path) -> None:
    assert old in ARPA
    with pytest.raises(UserError, match=f"lm.arpa: .*({reason})"):
        read_arpa(write(tmp_path, ARPA.replace(old, new, 1)))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.85, 0.95])
def test_a_file_cut_anywhere_is_refused(share: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lm\.arpa: "):
        read_arpa(write(tmp_path, ARPA[: int(share * len(ARPA))]))
