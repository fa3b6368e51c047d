"""Named, versioned ways to make texts comparable before they are scored; none by default.

A rate with one of them is another measure than the raw rate, so that name and version go into every
output. A change of what one does takes a new version.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata

from asr.errors import UserError

Normalize = Callable[[str], str]

_APOSTROPHES = str.maketrans("\u2019\u2018\u02bc\uff07", "''''")
_LONE_APOSTROPHE = re.compile(r"(?<!\w)'(?!\w)")
_ZERO_WIDTH_SPACE = "\u200b"
_NOT_LIBRISPEECH = re.compile(r"[^A-Z0-9' ]")


@dataclass(frozen=True)
class Normalizer:
    """A normaliser as it is recorded: its name, its version, and what it does to a text."""

    name: str
    version: str
    normalize: Normalize

    def __call__(self, texts: Mapping[str, str]) -> dict[str, str]:
        """The texts normalised, by the same ids."""
        return {name: self.normalize(text) for name, text in texts.items()}

    def to_json(self) -> dict[str, str]:
        """Name and version."""
        return {"name": self.name, "version": self.version}


def normalizer(name: str) -> Normalizer:
    """Find a normaliser by name.

    - ``none``: the texts as they are.
    - ``librispeech``: upper-case letters without accents, digits, apostrophes at words; every
      other character parts words.
    - ``basic``: for any language: Unicode NFKC, case folded; punctuation and symbols part words,
      except apostrophes at them; what is invisible (soft hyphens, joiners) goes.
    - ``whisper-en``: the English normaliser of Whisper (Radford et al. 2022, appendix C) from the
      package ``whisper-normalizer``: contractions, numbers, British spelling, fillers.

    Raises:
        UserError: no normaliser has this name, or its package is not installed.
    """
    if name not in NAMES:
        raise UserError(f"--normalize {name}: no such normaliser; there are {', '.join(NAMES)}")
    version, make = _NORMALIZERS[name]
    return Normalizer(name, version(), make())


def _none(text: str) -> str:
    return text


def _librispeech(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    letters = "".join(c for c in decomposed if not unicodedata.combining(c)).upper()
    return _LONE_APOSTROPHE.sub(" ", _NOT_LIBRISPEECH.sub(" ", letters))


def _basic(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    visible = (c for c in folded.translate(_APOSTROPHES) if c == _ZERO_WIDTH_SPACE or _kind(c) != "Cf")
    spaced = "".join(c if c == "'" or _kind(c)[0] not in "PSC" else " " for c in visible)
    return _LONE_APOSTROPHE.sub(" ", spaced)


_kind = unicodedata.category


def _whisper_english() -> Normalize:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalize: Normalize = EnglishTextNormalizer()
    return normalize


def _whisper_version() -> str:
    try:
        return f"whisper-normalizer {metadata.version('whisper-normalizer')}"
    except metadata.PackageNotFoundError as error:
        raise UserError(
            "--normalize whisper-en needs the package whisper-normalizer: pip install 'asr-ctc[normalize]'"
        ) from error


_NORMALIZERS: dict[str, tuple[Callable[[], str], Callable[[], Normalize]]] = {
    "none": (lambda: "1", lambda: _none),
    "librispeech": (lambda: "1", lambda: _librispeech),
    "basic": (lambda: "2", lambda: _basic),
    "whisper-en": (_whisper_version, _whisper_english),
}

NAMES = tuple(_NORMALIZERS)
