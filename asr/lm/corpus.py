"""A text as numbers on disk: what n-grams are counted from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.lm.table import BEGIN_ID, END_ID, SPECIAL_WORDS, UNKNOWN_ID
from asr.lm.text import PathLike, Report, no_report, read_blocks, read_lines, split_units

_CHUNK = 1 << 22


@dataclass
class Corpus:
    """A text.

    Attributes:
        words: The vocabulary: ``<unk>``, ``<s>``, ``</s>``, then the rest by falling frequency.
        tokens: uint32 (tokens,), on disk: word ids, each sentence between ``<s>`` and ``</s>``.
        counts: int64 (words,): occurrences of each word.
    """

    words: list[str]
    tokens: NDArray[np.uint32]
    counts: NDArray[np.int64]

    @property
    def sentences(self) -> int:
        """Number of sentences."""
        return int(self.counts[BEGIN_ID])


class _Numbering(dict[bytes, int]):
    """Numbers words in the order in which they are first asked for."""

    def __missing__(self, word: bytes) -> int:
        number = self[word] = len(self)
        return number


def read_corpus(
    paths: Sequence[PathLike],
    directory: Path,
    unit: str = "words",
    vocabulary: Sequence[str] | int | None = None,
    report: Report = no_report,
) -> Corpus:
    """Read texts (as :func:`asr.lm.text.read_blocks` does) and number their words.

    Args:
        paths: The texts, a sentence a line; blank lines are skipped.
        directory: Where the numbers are put.
        unit: "words" or "characters".
        vocabulary: The words to know, or how many of the most frequent ones (ties: the first seen);
            others become ``<unk>``. Without it, all are known.
        report: Is told the progress.

    Raises:
        UserError: as :func:`read_blocks` and :func:`split_units`, or there is no word in the texts.
    """
    numbering = _Numbering((word.encode(), number) for number, word in enumerate(SPECIAL_WORDS))
    file = directory / "tokens"
    with file.open("wb") as stream:
        for path in paths:
            for block in read_blocks(path, report, "reading text"):
                stream.write(_number(block, unit, numbering, path).tobytes())
    if file.stat().st_size == 0:
        raise UserError(f"{', '.join(str(path) for path in paths)}: no words in the text")
    tokens = np.memmap(file, dtype=np.uint32, mode="r+")
    counts = np.zeros(len(numbering), dtype=np.int64)
    for start in range(0, len(tokens), _CHUNK):
        counts += np.bincount(tokens[start : start + _CHUNK], minlength=len(counts))
    words, numbers = _choose(numbering, counts, vocabulary)
    for start in range(0, len(tokens), _CHUNK):
        tokens[start : start + _CHUNK] = numbers[tokens[start : start + _CHUNK]]
    chosen = np.bincount(numbers[: len(counts)], weights=counts, minlength=len(words)).astype(np.int64)
    return Corpus(words, tokens, chosen)


def read_vocabulary(path: PathLike) -> list[str]:
    """Read a word list, or a lexicon: the first word of each line, repeats dropped.

    Raises:
        UserError: the file cannot be read, is not UTF-8 or has no words.
    """
    try:
        words = [line.split(maxsplit=1)[0].decode() for line in read_lines(path) if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the word list is not UTF-8 ({error})") from error
    known = [word for word in dict.fromkeys(words) if word not in SPECIAL_WORDS]
    if not known:
        raise UserError(f"{path}: no words in this list")
    return known


def _number(block: bytes, unit: str, numbering: _Numbering, path: PathLike) -> NDArray[np.uint32]:
    words = split_units(block, unit, path)
    ids = np.fromiter(map(numbering.__getitem__, words), dtype=np.uint32, count=len(words))
    empty = np.flatnonzero((ids[:-1] == BEGIN_ID) & (ids[1:] == END_ID))
    return np.delete(ids, np.concatenate([empty, empty + 1]))


def _choose(
    numbering: _Numbering, counts: NDArray[np.int64], vocabulary: Sequence[str] | int | None
) -> tuple[list[str], NDArray[np.uint32]]:
    """The words to know and the new id of every word that was numbered."""
    for word in vocabulary if isinstance(vocabulary, Sequence) else ():
        if word.encode() not in numbering:
            counts = np.append(counts, 0)
            numbering[word.encode()] = len(numbering)
    names = [word.decode() for word in numbering]
    frequent = np.argsort(-counts, kind="stable")
    frequent = frequent[frequent >= len(SPECIAL_WORDS)]
    if isinstance(vocabulary, int):
        frequent = frequent[:vocabulary]
    elif vocabulary is not None:
        wanted = np.zeros(len(names), dtype=bool)
        wanted[[numbering[word.encode()] for word in vocabulary]] = True
        frequent = frequent[wanted[frequent]]
    numbers = np.full(len(names), UNKNOWN_ID, dtype=np.uint32)
    numbers[[BEGIN_ID, END_ID]] = BEGIN_ID, END_ID
    numbers[frequent] = np.arange(len(SPECIAL_WORDS), len(SPECIAL_WORDS) + len(frequent), dtype=np.uint32)
    return [*SPECIAL_WORDS, *(names[number] for number in frequent)], numbers
