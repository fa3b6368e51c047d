import pytest

from asr.decoding.words import timed_words
from asr.tokenizer import CharacterTokenizer, PhoneTokenizer


def test_characters_are_parted_by_separators():
    tokenizer = CharacterTokenizer()
    tokens = [tokenizer.tokens.index(symbol) for symbol in "|IT|IS|"]
    words = timed_words(tokens, range(1, 8), [0.0, 0.9, 0.8, 0.1, 1.0, 0.7, 0.2], tokenizer, 0.1)
    assert [(word.text, word.start, word.end, word.confidence) for word in words] == [
        ("IT", pytest.approx(0.2), pytest.approx(0.4), 0.8),
        ("IS", pytest.approx(0.5), pytest.approx(0.7), 0.7),
    ]


def test_every_phone_is_a_word():
    tokenizer = PhoneTokenizer()
    assert [word.text for word in timed_words([1, 2], [0, 3], [1.0, 1.0], tokenizer, 0.1)] == ["AA", "AE"]


def test_word_pieces_open_words():
    class Pieces:
        units = "wordpieces"
        tokens = ("<blank>", "▁IN", "▁THE", "RE")

        def encode(self, text):
            raise NotImplementedError

        def decode(self, ids):
            return "".join(self.tokens[number] for number in ids).replace("▁", " ").strip()

    words = timed_words([1, 2, 3], [0, 2, 4], [0.9, 0.8, 0.7], Pieces(), 0.1)
    assert [(word.text, word.end) for word in words] == [("IN", 0.1), ("THERE", 0.5)]


def test_no_tokens_are_no_words():
    assert timed_words([], [], [], CharacterTokenizer(), 0.1) == ()
