"""Grapheme to phoneme: pronunciations of words that no dictionary has."""
