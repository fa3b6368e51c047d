"""Ordinary spelling to the letters that models write: A to Z, apostrophe and space."""

import re
import unicodedata

_LETTERS = re.compile(r"[A-Z' ]*")
# What stands between typographic quotes, which may have apostrophes in it.
_QUOTED = re.compile(r"‘([^‘]*?)’(?!\w)")
_APOSTROPHES = str.maketrans(
    {"’": "'", "‘": "'", "‛": "'", "ʼ": "'", "`": "'", "´": "'", "&": " and ", "™": " ", "℠": " "}
)

_SPOKEN = frozenset("%‰+=")


def to_letters(text: str) -> str | None:
    """Text in LibriSpeech's form: upper case, accents off, punctuation to spaces.

    Apostrophes stay inside words and at either end (``DON'T``, ``'TIS``), but not around a word.

    Returns:
        The words, or None where something that is spoken has no letters (a digit, a percent sign, another
        script).
    """
    text = _QUOTED.sub(r" \1 ", text)
    decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    kept = []
    for symbol in decomposed.upper():
        category = unicodedata.category(symbol)
        if category.startswith("M") or category == "Cf":  # an accent, parted from its letter; a soft hyphen
            continue
        if category == "Sc" or symbol in _SPOKEN:
            return None
        kept.append(" " if category[0] in "PZSC" and symbol != "'" else symbol)
    words = [_without_quotes(word) for word in "".join(kept).split()]
    letters = " ".join(word for word in words if word)
    return letters if _LETTERS.fullmatch(letters) else None


def _without_quotes(word: str) -> str:
    if word.startswith("'") and word.endswith("'"):
        return word.strip("'")
    return word
