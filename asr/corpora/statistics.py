"""What is in a manifest: hours, speakers, durations, letters, and what looks wrong."""

import os
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from asr.manifest import Utterance, iterate_manifest

LONG_SECONDS = 40.0
"""Longer utterances are named as a problem: in LibriSpeech the longest is 35 s."""

_SPELLED = frozenset(string.ascii_uppercase + "' ")
_BIN_MILLISECONDS = (
    *(100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000),
    *(120_000, 300_000, 600_000, 1_800_000, 3_600_000),
)
_BINS = 12


@dataclass(frozen=True)
class Bin:
    """Utterances whose duration in seconds is at least ``start`` and below ``end``."""

    start: float
    end: float
    utterances: int


@dataclass(frozen=True)
class Statistics:
    """A manifest in figures.

    Attributes:
        hours, utterances, speakers: Totals; speakers that are not given count none.
        minimum, median, mean, maximum: Durations in seconds.
        histogram: Bins of equal width, without gaps.
        words, distinct_words: Running and different words.
        characters: How often each occurs, the commonest first.
        repeated_texts: Utterances whose text occurred before.
        problems: For each kind, the ids of the utterances concerned.
    """

    hours: float
    utterances: int
    speakers: int
    minimum: float
    median: float
    mean: float
    maximum: float
    histogram: tuple[Bin, ...]
    words: int
    distinct_words: int
    characters: dict[str, int]
    repeated_texts: int
    problems: dict[str, list[str]]


def describe_manifest(path: str | os.PathLike[str]) -> Statistics:
    """Count what is in a manifest.

    Raises:
        UserError: the manifest is missing or a line is broken.
    """
    return describe(list(iterate_manifest(path)))


def describe(utterances: Sequence[Utterance]) -> Statistics:
    """Count what is in a list of utterances; the audio is looked for but not read."""
    durations = [utterance.duration for utterance in utterances]
    texts = [utterance.text for utterance in utterances if utterance.text]
    words = Counter(word for text in texts for word in text.split())
    return Statistics(
        hours=sum(durations) / 3600,
        utterances=len(utterances),
        speakers=len({utterance.speaker for utterance in utterances} - {None}),
        minimum=min(durations, default=0.0),
        median=median(durations) if durations else 0.0,
        mean=sum(durations) / len(durations) if durations else 0.0,
        maximum=max(durations, default=0.0),
        histogram=tuple(_histogram(durations)),
        words=words.total(),
        distinct_words=len(words),
        characters=dict(Counter(symbol for text in texts for symbol in text).most_common()),
        repeated_texts=len(texts) - len(set(texts)),
        problems=_problems(utterances),
    )


def _histogram(durations: Sequence[float]) -> list[Bin]:
    milliseconds = [round(1000 * duration) for duration in durations]
    longest = max(milliseconds, default=0)
    width = next((width for width in _BIN_MILLISECONDS if longest < width * _BINS), longest // _BINS + 1)
    counts = Counter(duration // width for duration in milliseconds)
    return [
        Bin(number * width / 1000, (number + 1) * width / 1000, counts[number])
        for number in range(max(counts, default=-1) + 1)
    ]


def _problems(utterances: Iterable[Utterance]) -> dict[str, list[str]]:
    """Ids by kind of problem; only the kinds that occur."""
    problems: dict[str, list[str]] = {}
    seen: set[str] = set()
    missing: dict[str, bool] = {}
    for utterance in utterances:
        path = utterance.audio_filepath
        if path not in missing:
            missing[path] = not Path(path).is_file()
        kinds = {
            "missing audio": missing[path],
            "empty text": not (utterance.text or "").strip(),
            "no duration": utterance.duration <= 0,
            f"longer than {LONG_SECONDS:g} s": utterance.duration > LONG_SECONDS,
            "characters outside A-Z, apostrophe and space": not _SPELLED.issuperset(utterance.text or ""),
            "duplicate id": utterance.id in seen,
        }
        seen.add(utterance.id)
        for kind, occurs in kinds.items():
            if occurs:
                problems.setdefault(kind, []).append(utterance.id)
    return problems
