"""Words to segments between pauses, and to subtitle cues."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from asr.transcript import Segment, Word

PAUSE = 0.8
LONGEST_SEGMENT = 30.0
# What subtitles keep to: two lines of 42 characters for at most 7 s (Netflix and BBC style guides).
LINE_CHARACTERS, CUE_LINES, CUE_SECONDS = 42, 2, 7.0
SHORTEST_CUE = 1.0


def split_at_pauses(words: Sequence[Word], channel: int | None = None) -> tuple[Segment, ...]:
    """Segments of words with at least :data:`PAUSE` seconds between them.

    A segment of more than :data:`LONGEST_SEGMENT` seconds is cut again, where its words are furthest apart.
    """
    segments = []
    for run in _runs(words):
        segments += [_segment(part, channel) for part in _shortened(run)]
    return tuple(segments)


def _runs(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    begin = 0
    for position in range(1, len(words)):
        if words[position].start - words[position - 1].end >= PAUSE:
            yield words[begin:position]
            begin = position
    if begin < len(words):
        yield words[begin:]


def _shortened(words: Sequence[Word]) -> list[Sequence[Word]]:
    """Parts of at most :data:`LONGEST_SEGMENT` seconds (a single word may last longer)."""
    parts, rest = [], [words]
    while rest:
        part = rest.pop()
        if part[-1].end - part[0].start <= LONGEST_SEGMENT or len(part) == 1:
            parts.append(part)
            continue
        gaps = [part[position].start - part[position - 1].end for position in range(1, len(part))]
        # Of equal gaps the one nearest the middle.
        widest = max(range(len(gaps)), key=lambda position: (gaps[position], -abs(2 * position - len(gaps))))
        rest += [part[widest + 1 :], part[: widest + 1]]
    return parts


def _segment(words: Sequence[Word], channel: int | None) -> Segment:
    text = " ".join(word.text for word in words)
    return Segment(text, words[0].start, words[-1].end, tuple(words), channel)


def subtitle_cues(segments: Iterable[Segment], duration: float = math.inf) -> list[Segment]:
    """Segments cut into cues of at most two lines of 42 characters and 7 seconds.

    A short cue stays until :data:`SHORTEST_CUE` seconds are over, its channel's next one begins or the
    recording of ``duration`` seconds ends.

    Returns:
        The cues by their start; those of several channels overlap where people talk at once.
    """
    cues = [
        _segment(words, segment.channel) for segment in segments for words in _cue_words(_as_written(segment))
    ]
    lengthened = []
    following: dict[int | None, float] = {}  # where each channel's next cue begins
    for cue in reversed(cues):
        end = min(cue.start + CUE_SECONDS, max(cue.end, min(cue.start + SHORTEST_CUE, duration)))
        end = max(min(end, following.get(cue.channel, end)), cue.start)
        following[cue.channel] = cue.start
        lengthened.append(Segment(cue.text, cue.start, end, cue.words, cue.channel))
    return sorted(reversed(lengthened), key=lambda cue: cue.start)


def wrapped(words: Sequence[str]) -> list[list[int]]:
    """Positions of the words of each line: as few lines as 42 characters allow, two of like length."""
    lines = _filled(words, LINE_CHARACTERS)
    if len(lines) != CUE_LINES:
        return lines
    total = len(" ".join(words))
    for width in range(total // 2, LINE_CHARACTERS + 1):
        narrow = _filled(words, width)
        if len(narrow) == CUE_LINES:
            return narrow
    return lines


def _filled(words: Sequence[str], width: int) -> list[list[int]]:
    lines: list[list[int]] = []
    used = 0
    for position, word in enumerate(words):
        if lines and used + 1 + len(word) <= width:
            lines[-1].append(position)
            used += 1 + len(word)
        else:
            lines.append([position])
            used = len(word)
    return lines


def _as_written(segment: Segment) -> Sequence[Word]:
    """Words with what the text has between them and nobody says, such as a dash."""
    if not segment.words:
        return (Word(segment.text, segment.start, segment.end),)
    written: list[list[str]] = [[]]
    spoken = 0
    for token in segment.text.split():
        if spoken < len(segment.words) and token == segment.words[spoken].text:
            spoken += 1
            if spoken > 1:
                written.append([])
        written[-1].append(token)
    if spoken < len(segment.words):  # words with spaces in them
        return segment.words
    return [replace(word, text=" ".join(tokens)) for word, tokens in zip(segment.words, written, strict=True)]


def _cue_words(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    begin = 0
    for position in range(1, len(words) + 1):
        if position == len(words) or not _fits(words[begin : position + 1]):
            yield words[begin:position]
            begin = position


def _fits(words: Sequence[Word]) -> bool:
    return (
        words[-1].end - words[0].start <= CUE_SECONDS
        and len(_filled([word.text for word in words], LINE_CHARACTERS)) <= CUE_LINES
    )
