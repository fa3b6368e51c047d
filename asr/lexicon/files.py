"""Lexicons and dictionaries: which phones a word is spoken with.

A lexicon line is ``WORD phone phone …``: upper-case word (A–Z and apostrophe), ARPAbet phones without
stress digits; a word with several pronunciations has several lines, the most frequent first. A dictionary
is CMUdict's own form: ``word(2)`` for the second pronunciation, stress digits, ``# comments``. Files whose
names end in ``.gz`` are compressed.
"""

import os
import re
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path

from asr import tokenizer
from asr.errors import UserError
from asr.files import BROKEN_DATA, atomic_write_compressed, decompressed, find_compressed

Pronunciation = tuple[str, ...]
Dictionary = dict[str, tuple[Pronunciation, ...]]

#: The 39 phones of CMUdict (ARPAbet), stress left out.
PHONES = frozenset(tokenizer.PHONES) - {tokenizer.BLANK}

#: Name of a model directory's lexicon; ``.gz`` may stand behind it.
LEXICON = "lexicon.txt"

_STRESS = re.compile(r"(?<=[A-Z])[0-2]$")
_VARIANT = re.compile(r"(?<=.)\(\d+\)$")


def read_lexicon(path: str | os.PathLike[str]) -> list[tuple[str, Pronunciation]]:
    """Read the lines of a lexicon, in their order.

    Raises:
        UserError: the file cannot be read or is empty, or a line (named by number) has no phones, a word
            that is not upper case, or phones with stress digits.
    """
    entries = []
    for number, line in _lines(path):
        word, *phones = line.split()
        if not phones:
            raise UserError(f"{path}: line {number}: {word!r} has no phones; write 'WORD phone phone …'")
        if word != word.upper():
            raise UserError(
                f"{path}: line {number}: {word!r} is not upper case, as the words of a lexicon are"
            )
        if any(_STRESS.search(phone) for phone in phones):
            raise UserError(
                f"{path}: line {number}: the phones carry stress digits; "
                "make a lexicon of a dictionary with 'asr lexicon build WORDS --dictionary FILE'"
            )
        entries.append((word, tuple(phones)))
    if not entries:
        raise UserError(f"{path}: this lexicon is empty; lines are 'WORD phone phone …'")
    return entries


def write_lexicon(path: str | os.PathLike[str], entries: Iterable[tuple[str, Pronunciation]]) -> None:
    """Write a lexicon atomically, in the order of ``entries``."""
    with atomic_write_compressed(path) as stream:
        stream.writelines(line.encode() for line in format_lexicon(entries))


def find_lexicon(folder: Path) -> Path:
    """Where a model directory has its lexicon, plain or compressed, or would have it."""
    return find_compressed(folder / LEXICON)


def format_lexicon(entries: Iterable[tuple[str, Pronunciation]]) -> Iterator[str]:
    """The lines of a lexicon."""
    return (f"{word} {' '.join(phones)}\n" for word, phones in entries)


def read_dictionary(path: str | os.PathLike[str]) -> Dictionary:
    """Read a pronouncing dictionary in CMUdict's form (a lexicon has that form too).

    Words come out in upper case, stress digits and comments are left out, pronunciations that differ in
    stress alone become one. Words may hold any character; a lexicon takes those that it is asked for.

    Raises:
        UserError: the file cannot be read or is empty, or a line (named by number) has no phones or a phone
            that is not one of ARPAbet's 39.
    """
    dictionary: dict[str, dict[Pronunciation, None]] = {}
    for number, line in _lines(path):
        word, *phones = line.partition(" #")[0].upper().split()
        pronunciation = tuple(_STRESS.sub("", phone) for phone in phones)
        if not pronunciation:
            raise UserError(f"{path}: line {number}: {word!r} has no phones")
        unknown = next((phone for phone in pronunciation if phone not in PHONES), None)
        if unknown is not None:
            raise UserError(f"{path}: line {number}: {unknown!r} is not one of the 39 phones of ARPAbet")
        dictionary.setdefault(_VARIANT.sub("", word), {})[pronunciation] = None
    if not dictionary:
        raise UserError(f"{path}: this dictionary is empty; lines are 'word phone phone …', as in CMUdict")
    return {word: tuple(pronunciations) for word, pronunciations in dictionary.items()}


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are neither blank nor comments (``;;;`` or ``#``)."""
    try:
        with (
            Path(path).open("rb") as raw,
            TextIOWrapper(decompressed(raw, path), encoding="utf-8-sig") as stream,
        ):
            for number, line in enumerate(stream, start=1):
                text = line.strip()
                if text and not text.startswith((";;;", "#")):
                    yield number, text
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 text; a dictionary is a text file with one word a line"
        ) from error
    except BROKEN_DATA as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read ({reason.lower()})") from error
