"""A lexicon for a list of words: from a dictionary, by rules, and by a grapheme-to-phoneme model."""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import UserError
from asr.files import BROKEN_DATA, decompressed, find_compressed, is_folder
from asr.lexicon.files import Dictionary, Pronunciation
from asr.lexicon.rules import WordRules

#: Pronunciations of words, best first, with log-probabilities: what ``asr.g2p.nbest`` gives.
Guess = Callable[[list[str]], dict[str, list[tuple[Pronunciation, float]]]]

#: A further guess is kept if its log-probability is at most this much below the best (a third as likely).
_PLAUSIBLE = 1.1


@dataclass
class BuiltLexicon:
    """A lexicon and where its words came from.

    Attributes:
        entries: Words with their pronunciations, in the order of the word list.
        sources: Number of words from the ``dictionary``, by ``rules`` and by ``g2p``.
        missing: Words without pronunciation.
    """

    entries: list[tuple[str, Pronunciation]] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=lambda: {"dictionary": 0, "rules": 0, "g2p": 0})
    missing: list[str] = field(default_factory=list)


def build_lexicon(
    words: Iterable[str], dictionary: Dictionary, guess: Guess | None = None, variants: int = 4
) -> BuiltLexicon:
    """Find the pronunciations of words.

    Args:
        words: In upper case.
        dictionary: Looked up first; the rules derive from it.
        guess: Answers for the words that neither knows; None leaves those out.
        variants: Pronunciations a word at most.
    """
    rules = WordRules(dictionary)
    found = {word: rules(word) for word in words}
    guessed = _guess([word for word, pronunciations in found.items() if not pronunciations], guess)
    built = BuiltLexicon()
    for word, pronunciations in found.items():
        chosen = pronunciations or guessed.get(word, ())
        source = "dictionary" if word in dictionary else "rules" if pronunciations else "g2p"
        if chosen:
            built.sources[source] += 1
            built.entries += [(word, phones) for phones in chosen[:variants]]
        else:
            built.missing.append(word)
    return built


def words_file(path: str | os.PathLike[str]) -> Path:
    """The file with the words of a list, or of an LM directory."""
    return find_compressed(Path(path) / "words.txt") if is_folder(path) else Path(path)


def read_words(path: str | os.PathLike[str]) -> list[str]:
    """The words of a list (the first field of each line) or of an LM directory, upper case, each once.

    Raises:
        UserError: the file cannot be read or holds no words.
    """
    source = words_file(path)
    try:
        with source.open("rb") as raw, decompressed(raw, source) as stream:
            lines = stream.read().decode("utf-8-sig").upper().splitlines()
    except (*BROKEN_DATA, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{source}: cannot read a list of words, one a line ({reason})") from error
    first = next((line.split()[0] for line in lines if line.strip()), "")
    if first == "\\DATA\\" or first.startswith("{"):
        kind = "a manifest" if first.startswith("{") else "an ARPA file"
        raise UserError(
            f"{source}: is {kind}; give a list with one word a line, or a language model's directory"
        )
    # Sentence boundaries and the unknown word of a language model are no words.
    words = [line.split()[0] for line in lines if line.strip() and not line.startswith("<")]
    if not words:
        raise UserError(f"{source}: no words in it; a list has one word a line")
    return list(dict.fromkeys(words))


def _guess(words: list[str], guess: Guess | None) -> Dictionary:
    """Pronunciations by the model; a possessive's are those of its owner and the ending's."""
    if guess is None:
        return {}
    spelled = [word for word in words if re.fullmatch("[A-Z']*[A-Z][A-Z']*", word)]
    owners = [re.sub(r"(?<=[A-Z]{3})'S$|(?<=[A-Z]{2}S)'$", "", word) for word in spelled]
    answers = guess(list(dict.fromkeys(owners)))
    guessed = {
        word: tuple(phones for phones, score in best if score > best[0][1] - _PLAUSIBLE)
        for word, best in answers.items()
    }
    possessive = WordRules(guessed, depth=1)
    return {word: guessed.get(word) or possessive(word) for word in spelled}
