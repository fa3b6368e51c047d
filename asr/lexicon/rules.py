"""Pronunciations of words a dictionary lacks, by rules of English word formation.

Inflections, common suffixes and prefixes, and other spellings of a known word. Each rule names the base word
it needs and what its phones become, so ``WordRules`` can apply one rule to the result of another
(``UNBLUSHINGLY`` = ``UN`` + ``BLUSH`` + ``ING`` + ``LY``).

Only rules that are right more often than the grapheme-to-phoneme model that answers otherwise are here:
``recipes/g2p/RESULTS.md`` has the comparison. Compounds of two known words, ``RE-``, ``-ER``, ``-EST`` and
``-Y`` are not among them: too many names and short words look as if they were made so.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from asr.lexicon.files import Dictionary, Pronunciation

_VOICELESS = {"P", "T", "K", "F", "TH", "S", "SH", "CH"}
_SIBILANT = {"S", "Z", "SH", "ZH", "CH", "JH"}
_VOWELS = "AEIOUY"


def _plural(base: Pronunciation) -> Pronunciation:
    if base[-1] in _SIBILANT:
        return (*base, "IH", "Z")
    return (*base, "S" if base[-1] in _VOICELESS else "Z")


def _past(base: Pronunciation) -> Pronunciation:
    if base[-1] in ("T", "D"):
        return (*base, "IH", "D")
    return (*base, "T" if base[-1] in _VOICELESS else "D")


def _adverb(base: Pronunciation) -> Pronunciation:
    return (*base, "IY") if base[-1] == "L" else (*base, "L", "IY")


def _append(*phones: str) -> Callable[[Pronunciation], Pronunciation]:
    return lambda base: (*base, *phones)


def _replace_last(*phones: str) -> Callable[[Pronunciation], Pronunciation]:
    return lambda base: (*base[:-1], *phones)


@dataclass(frozen=True)
class Suffix:
    """A suffix: its letters, what stands in their place in the base word, and its effect on the phones.

    ``after`` is a pattern that what precedes the suffix has to match.
    ``joined`` suffixes start with a vowel and change the spelling of the base: a final E falls
    (HOPE, HOPING), a final consonant doubles (HOP, HOPPING).
    """

    letters: str
    attach: Callable[[Pronunciation], Pronunciation]
    base: str = ""
    joined: bool = False
    after: re.Pattern[str] = re.compile("")


#: Tried in this order; the first whose base word is known wins.
SUFFIXES = (
    Suffix("'S", _plural),
    Suffix("S'", _append(), "S"),
    Suffix("'D", _past),
    Suffix("'LL", _append("AH", "L")),
    Suffix("'VE", _append("AH", "V")),
    Suffix("'RE", _append("ER")),
    Suffix("IES", _append("Z"), "Y"),
    Suffix("S", _plural, after=re.compile("[^SX]$")),
    Suffix("ES", _plural, after=re.compile("([SXZO]|CH|SH)$")),
    Suffix("IED", _append("D"), "Y"),
    Suffix("ED", _past, joined=True),
    Suffix("IN'", _append("IH", "N"), joined=True),
    Suffix("ING", _append("IH", "NG"), joined=True),
    Suffix("INESS", _append("N", "AH", "S"), "Y"),
    Suffix("ILY", _replace_last("AH", "L", "IY"), "Y"),
    Suffix("NESS", _append("N", "AH", "S")),
    Suffix("LESS", _append("L", "AH", "S")),
    Suffix("FUL", _append("F", "AH", "L")),
    Suffix("LIKE", _append("L", "AY", "K")),
    Suffix("SHIP", _append("SH", "IH", "P")),
    Suffix("MENT", _append("M", "AH", "N", "T")),
    Suffix("LY", lambda base: (*base[:-2], "L", "IY"), "LE", after=re.compile("...[BPTDGKF]$")),
    Suffix("ALLY", _append("L", "IY"), after=re.compile("IC$")),
    Suffix("LY", _adverb),
    Suffix("ETH", _append("IH", "TH"), joined=True),
    Suffix("ISH", _append("IH", "SH"), joined=True),
    Suffix("ABLE", _append("AH", "B", "AH", "L"), joined=True),
    Suffix("IZE", _append("AY", "Z")),
    Suffix("ISM", _append("IH", "Z", "AH", "M")),
)

PREFIXES: tuple[tuple[str, Pronunciation], ...] = (
    ("UN", ("AH", "N")),
    ("NON", ("N", "AA", "N")),
    ("MIS", ("M", "IH", "S")),
    ("DIS", ("D", "IH", "S")),
    ("FORE", ("F", "AO", "R")),
    ("SUB", ("S", "AH", "B")),
    ("IN", ("IH", "N")),
    ("INTER", ("IH", "N", "T", "ER")),
    ("SUPER", ("S", "UW", "P", "ER")),
    ("O'", ("OW",)),
    ("D'", ("D",)),
    ("L'", ("L",)),
)

#: Older, British and careless spellings: (pattern, what a dictionary may have in its place).
SPELLINGS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^'|'$", ""),
        (r"NT$", "N'T"),
        (r"OUR(?!$)|(?<=..)OUR$", "OR"),
        (r"(?<=..)IS(?=E|ED|ES|ER|ERS|ING|ATION|ATIONS|ABLE)", "IZ"),
        (r"YS(?=E|ED|ES|ING)", "YZ"),
        (r"(?<=[BTGH])RE(?=S?$)", "ER"),
        (r"LL(?=ED|ING|ER|ERS|OR|ORS|OUS)", "L"),
        (r"(?<!L)L(?=MENT|FUL|MENTS|NESS)", "LL"),
        (r"L(?=NESS)", "LL"),
        (r"ENCE(?=S?$)", "ENSE"),
        (r"OGUE", "OG"),
        (r"(?<=.)AE|^AE(?=[A-Z]{3})", "E"),
        (r"XION", "CTION"),
        (r"^ENQ", "INQ"),
        (r"^IM(?=B)", "EM"),
        (r"DGMENT", "DGEMENT"),
        (r"CK$", "C"),
    )
)


class WordRules:
    """Derives the pronunciations of words from those in a dictionary.

    Args:
        dictionary: Known words in upper case.
        depth: How many rules may be applied to one word.
    """

    def __init__(self, dictionary: Dictionary, depth: int = 3) -> None:
        self._dictionary = dictionary
        self._depth = depth

    def __call__(self, word: str) -> tuple[Pronunciation, ...]:
        """The pronunciations of a word by as few rules as give any; empty where none does."""
        for depth in range(self._depth + 1):
            if found := self._derive(word, depth):
                return tuple(dict.fromkeys(found))
        return ()

    def _derive(self, word: str, depth: int) -> tuple[Pronunciation, ...]:
        known = self._dictionary.get(word)
        if known or depth == 0:
            return known or ()
        return (
            self._by_suffix(word, depth - 1)
            or self._by_spelling(word, depth - 1)
            or self._by_prefix(word, depth - 1)
        )

    def _by_suffix(self, word: str, depth: int) -> tuple[Pronunciation, ...]:
        for suffix in SUFFIXES:
            for base in _bases(word, suffix):
                if found := self._derive(base, depth):
                    return tuple(suffix.attach(phones) for phones in found)
        return ()

    def _by_spelling(self, word: str, depth: int) -> tuple[Pronunciation, ...]:
        for pattern, replacement in SPELLINGS:
            other = pattern.sub(replacement, word)
            if other and other != word and (found := self._derive(other, depth)):
                return found
        return ()

    def _by_prefix(self, word: str, depth: int) -> tuple[Pronunciation, ...]:
        for letters, phones in PREFIXES:
            long_enough = word.startswith(letters) and len(word) > len(letters) + 3
            if long_enough and (found := self._derive(word[len(letters) :], depth)):
                return tuple((*phones, *rest) for rest in found)
        return ()


def _bases(word: str, suffix: Suffix) -> Iterator[str]:
    """The words that this one may be made of with a suffix, the likeliest first; three letters at least."""
    stem = word[: -len(suffix.letters)]
    if not word.endswith(suffix.letters) or len(stem) < 2 or not suffix.after.search(stem):
        return
    bases = [stem + suffix.base]
    if suffix.joined:
        if len(stem) > 2 and stem[-1] == stem[-2] and stem[-1] not in _VOWELS:
            bases = [stem, stem[:-1]]
        elif re.search(r"[CGSUVZ]$|(^|[^AEIOU])[AEIOUY][^AEIOUWXY]$", stem):
            bases = [stem + "E", stem]
        else:
            bases = [stem, stem + "E"]
    yield from (base for base in bases if len(base) > 2)
