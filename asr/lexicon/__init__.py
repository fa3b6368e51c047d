"""Words and their pronunciations: dictionary, rules of word formation, grapheme-to-phoneme model."""

from asr.lexicon.build import BuiltLexicon, Guess, build_lexicon, read_words, words_file
from asr.lexicon.files import (
    LEXICON,
    PHONES,
    Dictionary,
    Pronunciation,
    find_lexicon,
    format_lexicon,
    read_dictionary,
    read_lexicon,
    write_lexicon,
)
from asr.lexicon.rules import WordRules

__all__ = [
    "LEXICON",
    "PHONES",
    "BuiltLexicon",
    "Dictionary",
    "Guess",
    "Pronunciation",
    "WordRules",
    "build_lexicon",
    "find_lexicon",
    "format_lexicon",
    "read_dictionary",
    "read_lexicon",
    "read_words",
    "words_file",
    "write_lexicon",
]
