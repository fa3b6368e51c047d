"""Decoding as its definition says: every path, every reading of it, summed. For a handful of frames only."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, product

import numpy as np

Words = tuple[str, ...]


def collapsed(path: Sequence[int]) -> tuple[int, ...]:
    """A path's tokens: repeats merged, then blanks removed."""
    return tuple(token for token, _ in groupby(path) if token)


def token_sequences(
    emissions: np.ndarray, separator: int = -1, summing: bool = True
) -> dict[tuple[int, ...], float]:
    """Log-probability of token sequences; separators in a row count as one, those at the ends as none."""
    frames, vocabulary = emissions.shape
    found: dict[tuple[int, ...], float] = {}
    for path in product(range(vocabulary), repeat=frames):
        score = float(sum(emissions[frame, token] for frame, token in enumerate(path)))
        tokens = tuple(
            token
            for token, run in groupby(collapsed(path))
            for _ in (range(1) if token == separator else run)
        )
        if tokens and tokens[0] == separator:
            tokens = tokens[1:]
        if tokens and tokens[-1] == separator:
            tokens = tokens[:-1]
        found[tokens] = join(found.get(tokens, -math.inf), score, summing)
    return found


def join(first: float, second: float, summing: bool) -> float:
    return float(np.logaddexp(first, second)) if summing else max(first, second)


def segmentations(tokens: Sequence[int], lexicon: Iterable[tuple[str, tuple[int, ...]]]) -> Iterator[Words]:
    """Every way to read tokens as words of the lexicon, one after the other."""
    if not tokens:
        yield ()
    for word, pronunciation in lexicon:
        if tuple(tokens[: len(pronunciation)]) == pronunciation:
            for rest in segmentations(tokens[len(pronunciation) :], lexicon):
                yield (word, *rest)


def parted(
    tokens: Sequence[int],
    lexicon: Iterable[tuple[str, tuple[int, ...]]],
    separator: int,
    spell: Callable[[Sequence[int]], str] | None,
) -> Iterator[Words]:
    """Every way to read tokens as words between separators; ``spell`` admits words outside the lexicon."""
    parts = [tuple(run) for is_part, run in groupby(tokens, lambda token: token != separator) if is_part]
    choices = []
    for part in parts:
        words = [word for word, pronunciation in lexicon if pronunciation == part]
        if not words and spell:
            words = ["?" + spell(part)]
        choices.append(words)
    yield from product(*choices)


def readings(
    sequences: Mapping[tuple[int, ...], float],
    read: Callable[[tuple[int, ...]], Iterable[Words]],
    score: Callable[[Words], float],
    summing: bool = True,
) -> dict[Words, float]:
    """The score of every reading: its alignments and pronunciations, and what ``score`` says of it."""
    found: dict[Words, float] = {}
    for tokens, mass in sequences.items():
        for words in read(tokens):
            found[words] = join(found.get(words, -math.inf), mass, summing)
    return {words: mass + score(words) for words, mass in found.items()}


def occurrences(phrase: Sequence, symbols: Sequence) -> int:
    return sum(
        tuple(symbols[start : start + len(phrase)]) == tuple(phrase)
        for start in range(len(symbols) - len(phrase) + 1)
    )
