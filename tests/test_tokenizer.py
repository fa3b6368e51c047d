"""Text to tokens and back."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UserError
from asr.tokenizer import (
    BLANK,
    CHARACTERS,
    PHONES,
    WORD_END_PHONES,
    CharacterTokenizer,
    PhoneTokenizer,
    UnknownSymbol,
    WordPieceTokenizer,
    read_tokens,
    write_tokens,
)

WORDS = st.lists(st.text("ABCXYZ'", min_size=1, max_size=6), max_size=5).map(" ".join)


@given(WORDS)
def test_characters_give_the_text_back(text: str) -> None:
    tokenizer = CharacterTokenizer()
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert 0 not in ids
    assert tokenizer.decode(ids) == text


def test_token_zero_is_the_blank_and_is_never_heard() -> None:
    assert CHARACTERS[0] == PHONES[0] == BLANK
    assert len(set(CHARACTERS)) == 29
    assert len(set(PHONES)) == 40
    assert CharacterTokenizer().decode([0, 3, 0, 4, 0]) == "AB"
    assert PhoneTokenizer().decode([0, 1, 0, 2]) == "AA AE"


def test_spaces_are_single_and_never_at_the_ends() -> None:
    tokenizer = CharacterTokenizer()
    assert tokenizer.encode("  A \t B\n") == tokenizer.encode("A B")
    assert tokenizer.decode([1, 3, 1, 1, 4, 1]) == "A B"


@pytest.mark.parametrize("text", ["hello", "CAFÉ", "A-B", "ROOM 5", BLANK])
def test_what_the_characters_lack_is_named(text: str) -> None:
    with pytest.raises(UnknownSymbol, match="not among the model's characters"):
        CharacterTokenizer().encode(text)


def test_what_stands_between_words_is_no_letter() -> None:
    with pytest.raises(UnknownSymbol, match="stands between words"):
        CharacterTokenizer().encode("A|B")


def test_phones_come_from_the_lexicon() -> None:
    tokenizer = PhoneTokenizer(pronunciations={"THE": ("DH", "AH"), "ODD": ("AA", "D9")})
    assert tokenizer.decode(tokenizer.encode("THE THE")) == "DH AH DH AH"
    with pytest.raises(UnknownSymbol, match="'CAT' has no pronunciation"):
        tokenizer.encode("THE CAT")
    with pytest.raises(UnknownSymbol, match="'D9', a phone of 'ODD'"):
        tokenizer.encode("ODD")


def test_phones_that_end_words_are_tokens_of_their_own_where_there_are_such_and_are_heard_as_phones() -> None:
    tokenizer = PhoneTokenizer(WORD_END_PHONES, {"AT": ("AE", "T"), "A": ("AH",)})
    ids = tokenizer.encode("AT A")
    assert [tokenizer.tokens[number] for number in ids] == ["AE", "T#", "AH#"]
    assert tokenizer.decode(ids) == "AE T AH"
    with pytest.raises(UnknownSymbol, match="'T#', a phone of 'AT'"):
        PhoneTokenizer([*PHONES, "AH#"], {"AT": ("AE", "T")}).encode("AT")


def test_tokens_survive_their_file(tmp_path: Path) -> None:
    for tokens in (CHARACTERS, PHONES, WORD_END_PHONES, [BLANK, "▁THE", "▁", "É", "#"]):
        write_tokens(tmp_path / "tokens.txt", tokens)
        assert read_tokens(tmp_path / "tokens.txt") == list(tokens)


def test_a_tokens_file_without_blank_or_missing_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    with pytest.raises(UserError, match=r"tokens\.txt: cannot read"):
        read_tokens(path)
    for content in (b"", b"A\nB\n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"tokens\.txt"):
            read_tokens(path)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    sentencepiece = pytest.importorskip("sentencepiece")
    model = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["THE CAT SAT ON THE MAT", "THE DOG SAT ON THE LOG"] * 20),
        model_writer=model,
        vocab_size=26,
        model_type="bpe",
        character_coverage=1.0,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("pieces") / "pieces.model"
    path.write_bytes(model.getvalue())
    yield path


def test_word_pieces_give_the_text_back(pieces: Path) -> None:
    tokenizer = WordPieceTokenizer(pieces)
    ids = tokenizer.encode("THE LOG SAT ON THE CAT")
    assert tokenizer.tokens[0] == BLANK
    assert 0 not in ids
    assert max(ids) < len(tokenizer.tokens)
    assert tokenizer.decode([0, *ids, 0]) == "THE LOG SAT ON THE CAT"
    with pytest.raises(UnknownSymbol, match="a letter that the word pieces lack"):
        tokenizer.encode("ÜBER")


def test_a_missing_or_broken_word_piece_model_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    with pytest.raises(UserError, match="no such word-piece model"):
        WordPieceTokenizer(tmp_path / "no.model")
    (tmp_path / "bad.model").write_text("not a model")
    with pytest.raises(UserError, match=r"bad\.model: not a word-piece model"):
        WordPieceTokenizer(tmp_path / "bad.model")
