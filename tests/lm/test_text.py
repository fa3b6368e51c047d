"""Text in: every form that is read, and one clear line for what cannot be."""

import gzip
import io
import json
import lzma
import sys
from pathlib import Path

import pytest

from asr.errors import UserError
from asr.lm.corpus import read_corpus, read_vocabulary
from asr.lm.text import read_blocks, split_units

TEXT = "ONE TWO\n\n  TWO  \tTHREE\r\nTHREE"


def words_of(path: Path | str, folder: Path, unit: str = "words") -> list[str]:
    corpus = read_corpus([path], folder, unit)
    return [corpus.words[number] for number in corpus.tokens]


def test_plain_gzip_xz_manifest_and_standard_input_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(TEXT.encode()))
    lines = [json.dumps({"audio_filepath": "x", "text": line}) for line in TEXT.split("\n")]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "a.json").write_text("\n".join(lines))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    expected = ["<s>", "ONE", "TWO", "</s>", "<s>", "TWO", "THREE", "</s>", "<s>", "THREE", "</s>"]
    for name in ("a.txt", "a.txt.gz", "a.txt.xz", "a.jsonl", "a.json", "a.jsonl.gz"):
        assert words_of(tmp_path / name, tmp_path) == expected, name
    assert words_of("-", tmp_path) == expected
    (tmp_path / "marked.txt").write_text(TEXT, encoding="utf-8-sig")
    assert words_of(tmp_path / "marked.txt", tmp_path) == expected


def test_lines_longer_than_a_block_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.lm.text._BLOCK", 7)
    (tmp_path / "a.txt").write_text("ONE TWO THREE FOUR\nFIVE\nSIX SEVEN")
    assert b"".join(read_blocks(tmp_path / "a.txt")) == b"ONE TWO THREE FOUR\nFIVE\nSIX SEVEN\n"
    assert all(block.endswith(b"\n") for block in read_blocks(tmp_path / "a.txt"))


def test_characters_have_a_bar_between_words() -> None:
    assert split_units("AB  Ä\nB\n".encode(), "characters", "a.txt") == [
        *(b"<s>", b"A", b"B", b"|", "Ä".encode(), b"</s>"),
        *(b"<s>", b"B", b"</s>"),
    ]


def test_a_word_that_reads_as_unknown_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A <unk> A\n")
    assert words_of(tmp_path / "a.txt", tmp_path) == ["<s>", "A", "<unk>", "A", "</s>"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "no words"),
        ("a.txt", b"\n \n", "no words"),
        ("a.txt", b"A <s> B\n", "mark sentences"),
        ("a.txt", b"A \xff\n", "not UTF-8"),
        ("a.txt.gz", b"not gzip at all", "cannot be read"),
        ("a.txt.gz", gzip.compress(b"A B C\n" * 1000)[:-20], "cannot be read"),
        ("a.txt.xz", lzma.compress(b"A B C\n" * 1000)[:-20], "cannot be read"),
        ("a.jsonl", b'{"text": "A"}\n{"no_text": 1}\n', "line 2"),
        ("missing.txt", None, "No such file"),
    ],
)
def test_text_that_cannot_be_used_is_named_with_the_reason(
    name: str, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}.*{reason}"):
        read_corpus([tmp_path / name], tmp_path)


def test_a_vocabulary_is_a_word_list_or_a_lexicon_without_repeats(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("B\tB IY\nA AH\nA EY\n\n<unk>\n")
    assert read_vocabulary(tmp_path / "words") == ["B", "A"]
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UserError, match="no words"):
        read_vocabulary(tmp_path / "empty")
