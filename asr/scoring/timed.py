"""sclite's timed forms: stm (reference segments) and ctm (hypothesised words).

Against an stm, the words of a ctm are cut into its segments by time.
"""

import itertools
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.manifest import default_id

_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")
_LEFT_OUT = "ignore_time_segment_in_scoring"
_NO_WORD = "@"
_OVERLAP = 0.05  # seconds; what rounding and generous ends make


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording, in seconds.

    Attributes:
        begin, end: Where it lies.
        name: Utterance id of an stm's segment; None where the segment is not scored.
        text: The word of a ctm.
    """

    begin: float
    end: float
    name: str | None = None
    text: str = ""


@dataclass(frozen=True)
class TimedText:
    """Segments (stm) or words (ctm) of each recording, which is a file and its channel, by time."""

    recordings: Mapping[tuple[str, str], list[Segment]]


def looks_like_stm(lines: list[tuple[int, str]]) -> bool:
    """Whether each line is ``file channel speaker begin end [<labels>] words``."""
    return _are_timed(lines, 3, 5, labels="<")


def looks_like_ctm(lines: list[tuple[int, str]]) -> bool:
    """Whether each line is ``file channel begin duration word [confidence]``."""
    return _are_timed(lines, 2, 5)


def _are_timed(lines: list[tuple[int, str]], first: int, fields: int, labels: str = "") -> bool:
    """Whether there are times after ``first`` fields, and one of them is more than a whole number.

    Numbers may be the words of a Kaldi text; labels after the times, whatever opens them, may not.
    """
    point = False
    for _, line in lines:
        words = line.split(None, fields)
        times = words[first : first + 2]
        if len(words) < fields or not all(map(_NUMBER.fullmatch, times)):
            return False
        point |= any("." in time for time in times)
        point |= bool(labels) and len(words) > fields and words[fields].startswith(labels)
    return point


def read_stm(
    lines: list[tuple[int, str]],
) -> tuple[list[tuple[int, str, str]], dict[str, dict[str, Any]], TimedText]:
    """Line number, id and words of each segment; speakers and durations by id; the segments by time.

    A segment's id is its file and, unless it starts at 0, the time: ``file@12.5`` (``file-channel`` for
    a file of several channels), as the default id of a manifest line.
    """
    rows = [(number, line.split(None, 5)) for number, line in lines]
    channels = _channels(words[:2] for _, words in rows)
    entries: list[tuple[int, str, str]] = []
    attributes: dict[str, dict[str, Any]] = {}
    recordings: dict[tuple[str, str], list[Segment]] = defaultdict(list)
    for number, words in rows:
        file, channel, speaker = words[:3]
        begin, end = float(words[3]), float(words[4])
        text = re.sub(r"^<[^>]*>\s*", "", words[5] if len(words) > 5 else "")
        if text.strip().lower() == _LEFT_OUT:
            recordings[file, channel].append(Segment(begin, end))
            continue
        name = default_id(_recording_id(file, channel, channels), begin)
        entries.append((number, name, text))
        attributes[name] = {"speaker": speaker, "duration": end - begin}
        recordings[file, channel].append(Segment(begin, end, name))
    for segments in recordings.values():
        segments.sort(key=lambda segment: segment.begin)
    return entries, attributes, TimedText(recordings)


def read_ctm(path: Path, lines: list[tuple[int, str]]) -> tuple[dict[str, str], TimedText]:
    """The words of each recording in the order of their times, as texts and with the times.

    Raises:
        UserError: the file has alternative words.
    """
    recordings: dict[tuple[str, str], list[Segment]] = defaultdict(list)
    for number, line in lines:
        file, channel, begin, duration, word, *_ = line.split()
        if word.startswith("<ALT"):
            raise UserError(f"{path}: line {number}: alternative words are not scored; keep one of them")
        words = recordings[file, channel]
        if word != _NO_WORD:
            words.append(Segment(float(begin), float(begin) + float(duration), text=word))
    channels = _channels(recordings)
    texts = {}
    for (file, channel), words in recordings.items():
        words.sort(key=lambda word: word.begin)
        texts[_recording_id(file, channel, channels)] = " ".join(word.text for word in words)
    return texts, TimedText(recordings)


def cut_into_segments(references: TimedText, hypotheses: TimedText) -> dict[str, str]:
    """The words of a ctm by the ids of an stm's segments.

    A word belongs to the segment in which its middle lies, else to the nearest one; words in a stretch
    that the stm leaves out are left out too. A recording without segments keeps its words under its
    own id.

    Raises:
        UserError: a file has no channel in common with the segments of the same file, or segments of a
            channel overlap.
    """
    _check_apart(references)
    hypotheses = _with_channels_of(references, hypotheses)
    words: dict[str, list[str]] = {
        segment.name: []
        for recording, segments in references.recordings.items()
        if recording in hypotheses.recordings
        for segment in segments
        if segment.name is not None
    }
    channels = _channels(hypotheses.recordings)
    for recording, spoken in hypotheses.recordings.items():
        segments = references.recordings.get(recording, [])
        begins = [segment.begin for segment in segments]
        for word in spoken:
            middle = (word.begin + word.end) / 2
            # Segments of one channel do not overlap: the nearest begins last before or first after.
            place = bisect_right(begins, middle)
            near = segments[max(place - 1, 0) : place + 1]
            if not near:
                words.setdefault(_recording_id(*recording, channels), []).append(word.text)
                continue
            name = min(near, key=lambda segment: max(segment.begin - middle, middle - segment.end, 0)).name
            if name is not None:
                words[name].append(word.text)
    return {name: " ".join(spoken) for name, spoken in words.items()}


def _check_apart(references: TimedText) -> None:
    for (file, channel), segments in references.recordings.items():
        for before, after in itertools.pairwise(segments):
            if after.begin < before.end - _OVERLAP:
                raise UserError(
                    f"{file}: the stm's segments of channel {channel} that begin at {before.begin:g} and "
                    f"{after.begin:g} s overlap, so no word of a ctm is one's alone; give each a channel"
                )


def _with_channels_of(references: TimedText, hypotheses: TimedText) -> TimedText:
    """The words of files with a single channel on both sides, whatever the ctm calls it."""
    theirs, ours = _channels(references.recordings), _channels(hypotheses.recordings)
    renamed: dict[tuple[str, str], tuple[str, str]] = {}
    for file in ours.keys() & theirs.keys():
        if not ours[file] & theirs[file]:
            if len(ours[file]) > 1 or len(theirs[file]) > 1:
                names = (", ".join(sorted(each)) for each in (ours[file], theirs[file]))
                raise UserError("{}: the ctm calls its channels {}, the stm {}".format(file, *names))
            (channel,), (wanted,) = ours[file], theirs[file]
            renamed[file, channel] = file, wanted
    return TimedText({renamed.get(each, each): words for each, words in hypotheses.recordings.items()})


def _channels(recordings: Any) -> dict[str, set[str]]:
    channels: dict[str, set[str]] = defaultdict(set)
    for file, channel in recordings:
        channels[file].add(channel)
    return channels


def _recording_id(file: str, channel: str, channels: dict[str, set[str]]) -> str:
    return file if len(channels[file]) == 1 else f"{file}-{channel}"
