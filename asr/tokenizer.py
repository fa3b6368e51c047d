"""Text to token ids and back: characters, phones (through a lexicon) or word pieces.

Token 0 is always the CTC blank. A model directory keeps the tokens in ``tokens.txt``, one a line in the
order of their ids; that file is all a decoder needs.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from asr.errors import UserError
from asr.files import atomic_write

BLANK, BLANK_ID = "<blank>", 0
SPACE = "|"
#: Closes the name of a phone that ends a word, where such phones are tokens of their own.
WORD_END = "#"
CHARACTERS = (BLANK, SPACE, "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
PHONES = (
    *(BLANK, "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH"),
    *("IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW"),
    *("V", "W", "Y", "Z", "ZH"),
)
WORD_END_PHONES = (*PHONES, *(phone + WORD_END for phone in PHONES[1:]))
UNITS = ("characters", "phones", "wordpieces")


class UnknownSymbol(UserError):
    """Text that the tokens cannot spell (a foreign letter, a word without pronunciation)."""


class Tokenizer(Protocol):
    """What every kind of unit can do."""

    units: str
    tokens: list[str]

    def encode(self, text: str) -> list[int]:
        """Token ids of a text; raises :class:`UnknownSymbol` where a word cannot be written."""

    def decode(self, ids: Iterable[int]) -> str:
        """Words (or phones) separated by single spaces."""


class CharacterTokenizer:
    """Letters; ``|`` stands between words."""

    units = "characters"

    def __init__(self, tokens: Sequence[str] = CHARACTERS) -> None:
        self.tokens = list(tokens)
        self._ids = {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> list[int]:
        if SPACE in text:
            raise UnknownSymbol(f"{SPACE!r} in {text!r} stands between words in the model's characters")
        try:
            return [self._ids[symbol] for symbol in SPACE.join(text.split())]
        except KeyError as error:
            raise UnknownSymbol(
                f"{error.args[0]!r} in {text!r} is not among the model's characters"
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        text = "".join(self.tokens[number] for number in ids if number)
        return " ".join(text.replace(SPACE, " ").split())


class PhoneTokenizer:
    """Phones of a lexicon's first pronunciations; decoding to words needs a lexicon in the beam search.

    Where the tokens have them (``T#`` beside ``T``), phones that end a word are written with others than
    those within it (Zhou et al. 2021): so a network says where words end, which phones alone do not.

    Attributes:
        phones: Of each token the phone that it is.
        has_word_ends: There are tokens for phones that end a word.
    """

    units = "phones"

    def __init__(
        self, tokens: Sequence[str] = PHONES, pronunciations: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.tokens = list(tokens)
        self._ids = {token: number for number, token in enumerate(self.tokens)}
        self._pronunciations = pronunciations or {}
        self.phones = [token.removesuffix(WORD_END) for token in self.tokens]
        self.has_word_ends = self.phones != self.tokens

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in text.split():
            phones = self._pronunciations.get(word)
            if phones is None:
                raise UnknownSymbol(f"{word!r} has no pronunciation in the lexicon")
            ids += self.encode_phones(phones, word)
        return ids

    def encode_phones(self, phones: Iterable[str], word: str) -> list[int]:
        """Token ids of the phones of a word; raises :class:`UnknownSymbol` for one that is none."""
        try:
            return [self._ids[token] for token in self.spelled(phones)]
        except KeyError as error:
            raise UnknownSymbol(f"{error.args[0]!r}, a phone of {word!r}, is not among the tokens") from None

    def spelled(self, phones: Iterable[str]) -> list[str]:
        """The tokens of a word that is said with such phones."""
        tokens = list(phones)
        if tokens and self.has_word_ends:
            tokens[-1] += WORD_END
        return tokens

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self.phones[number] for number in ids if number)


class WordPieceTokenizer:
    """Byte-pair pieces; ``▁`` opens a word. Needs the package ``sentencepiece``."""

    units = "wordpieces"

    def __init__(self, model_file: str | os.PathLike[str]) -> None:
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError as error:
            raise UserError("word pieces need sentencepiece: pip install 'asr-ctc[wordpieces]'") from error
        self.model_file = Path(model_file)
        if not self.model_file.is_file():
            raise UserError(f"{model_file}: no such word-piece model; make it with sentencepiece's spm_train")
        try:
            self._processor = SentencePieceProcessor(model_file=str(model_file))
        except (RuntimeError, OSError) as error:
            raise UserError(f"{model_file}: not a word-piece model of sentencepiece") from error
        pieces = [self._processor.id_to_piece(number) for number in range(self._processor.get_piece_size())]
        self.tokens = [BLANK, *pieces]

    def encode(self, text: str) -> list[int]:
        ids = self._processor.encode(text)
        if self._processor.unk_id() in ids:
            raise UnknownSymbol(f"{text!r} has a letter that the word pieces lack")
        return [number + 1 for number in ids]

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self._processor.decode([number - 1 for number in ids if number]).split())


def read_tokens(path: str | os.PathLike[str]) -> list[str]:
    """Read ``tokens.txt``.

    Raises:
        UserError: missing, or its first line is not the blank.
    """
    try:
        tokens = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the model's tokens ({error})") from error
    if not tokens or tokens[0] != BLANK:
        raise UserError(f"{path}: the first token must be {BLANK}")
    return tokens


def write_tokens(path: str | os.PathLike[str], tokens: Sequence[str]) -> None:
    """Write ``tokens.txt``, one token a line in the order of their ids."""
    with atomic_write(path) as stream:
        stream.write("\n".join(tokens) + "\n")
