"""Words and their pronunciations: dictionary, rules of word formation, grapheme-to-phoneme model."""

from asr.lexicon.files import (
    PHONES,
    Dictionary,
    Pronunciation,
    read_dictionary,
    read_lexicon,
    write_lexicon,
)
from asr.lexicon.rules import WordRules, base_form

__all__ = [
    "PHONES",
    "Dictionary",
    "Pronunciation",
    "WordRules",
    "base_form",
    "read_dictionary",
    "read_lexicon",
    "write_lexicon",
]
