"""What a recogniser says about a recording."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Word:
    """A word with its times (seconds from the start of the recording) and confidence (0 to 1)."""

    text: str
    start: float
    end: float
    confidence: float = 1.0


def mean_confidence(words: Sequence[Word]) -> float:
    """What a manifest says of a text that a machine wrote or placed; 0 without words."""
    return round(sum(word.confidence for word in words) / len(words), 4) if words else 0.0


@dataclass(frozen=True)
class Segment:
    """Words between two pauses; times in seconds, channel from 1 where one or each by itself was heard."""

    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()
    channel: int | None = None


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance.

    Attributes:
        text: Words separated by single spaces.
        score: Log-probability; with a language model its weighted score is in it.
        tokens: Token ids of the best path, blanks and repeats removed.
        frames: Encoder frame at which each token was emitted.
        words: Words with times and confidences, where the decoder gives them.
    """

    text: str
    score: float = 0.0
    tokens: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """The text of a recording.

    Attributes:
        text: Words separated by single spaces; empty where nothing was said.
        segments: The text cut at pauses.
        words: All words with times in seconds and confidences.
        duration: Length of the recording in seconds.
        score: Log-probability of the best hypothesis.
        alternatives: Further hypotheses (n-best), best first.
        speaker: Who speaks, where that is known beforehand (a manifest says it).
    """

    text: str
    segments: tuple[Segment, ...] = ()
    words: tuple[Word, ...] = ()
    duration: float = 0.0
    score: float = 0.0
    alternatives: tuple[Hypothesis, ...] = ()
    speaker: str | None = None
