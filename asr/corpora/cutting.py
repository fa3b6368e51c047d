"""Long recordings whose words have times to utterances that can be trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from asr.corpora.text import to_letters
from asr.manifest import Utterance, with_text
from asr.transcript import Word, mean_confidence

MARGIN = 0.3
"""Seconds of a pause that stay with the words beside it; a CTC model hears words begin late and end early."""
LONG_PAUSE = 2.0
"""Seconds between words in which something else may be said (who reads what): no piece has that in it."""


@dataclass(frozen=True)
class CutOptions:
    """Where recordings may be cut, in seconds.

    Attributes:
        pause: Least silence between two words in which to cut.
        shortest: Less speech than this is not cut off, but by a pause of ``LONG_PAUSE``.
        longest: A longer piece is left out.
    """

    pause: float = 0.4
    shortest: float = 2.0
    longest: float = 20.0


def cut_for_training(
    utterance: Utterance,
    words: Sequence[Word],
    options: CutOptions,
    phones: Sequence[Sequence[str]] | None = None,
) -> Iterator[Utterance | None]:
    """Pieces of an utterance between pauses.

    Args:
        utterance: What was aligned; the pieces' offsets are in its file.
        words: Of the utterance, timed from its start.
        options: Where to cut.
        phones: Of each word as it was said; the pieces have those of theirs as ``phones``.

    Yields:
        Pieces numbered from 0, in order, their texts in letters, each with the mean of its words'
        confidences; None for one that is too long, or has a word without letters (a digit in it).
    """
    for number, part in enumerate(_parts(words, options)):
        said = words[part.start : part.stop]
        text = to_letters(" ".join(word.text for word in said))
        begin, end = _edges(words, part, utterance.duration)
        if not text or end - begin > options.longest:
            yield None
            continue
        heard = None if phones is None else phones[part.start : part.stop]
        yield replace(
            with_text(utterance, text, mean_confidence(said), heard),
            id=f"{utterance.id}-{number:04d}",
            offset=round(utterance.offset + begin, 3),
            duration=round(end - begin, 3),
        )


def _parts(words: Sequence[Word], options: CutOptions) -> Iterator[range]:
    """Positions of each piece's words."""
    begin = 0
    for position in range(1, len(words)):
        before, after = words[position - 1], words[position]
        pause = after.start - before.end
        speech = min(before.end - words[begin].start, words[-1].end - after.start)
        if pause >= max(LONG_PAUSE, options.pause) or (pause >= options.pause and speech >= options.shortest):
            yield range(begin, position)
            begin = position
    if begin < len(words):
        yield range(begin, len(words))


def _edges(words: Sequence[Word], part: range, duration: float) -> tuple[float, float]:
    """When a piece begins and ends: up to ``MARGIN`` around its words, but at most half of a pause."""
    first, last = words[part.start], words[part.stop - 1]
    earliest = (words[part.start - 1].end + first.start) / 2 if part.start else 0.0
    latest = (last.end + words[part.stop].start) / 2 if part.stop < len(words) else duration
    return max(earliest, first.start - MARGIN), min(latest, last.end + MARGIN)
