"""Transcripts as text, JSON, subtitles and tables: one class a format.

The JSON form is described by ``asr/transcript.schema.json``.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from asr.audio import SUFFIXES
from asr.errors import UserError
from asr.files import utf8_name
from asr.segments import subtitle_cues, wrapped
from asr.transcript import Segment, Transcript, Word

SCHEMA = Path(__file__).with_name("transcript.schema.json")
Provenance = Mapping[str, Any]
_PLACES = 4


class Writer:
    """Turns one transcript into the text of a file.

    Attributes:
        extension: Of the file, without a dot.
        many: Documents of several recordings may follow each other on standard output.
    """

    extension = "txt"
    many = False

    def __init__(
        self,
        provenance: Provenance | None = None,
        highlight_words: bool = False,
        ascii_only: bool = False,
    ) -> None:
        """Settings of all formats.

        Args:
            provenance: What made the transcripts.
            highlight_words: Mark each word as it is said, in WebVTT.
            ascii_only: Escape other letters in JSON, for what is not written as UTF-8.
        """
        self.provenance = provenance or {}
        self.highlight_words = highlight_words
        self.ascii_only = ascii_only

    def document(self, name: str, transcript: Transcript) -> str:
        """The file's text; ``name`` is that of the recording."""
        raise NotImplementedError


class TextWriter(Writer):
    """The words on one line."""

    def document(self, name: str, transcript: Transcript) -> str:
        return transcript.text + "\n"


class JsonWriter(Writer):
    """Everything there is, as one object."""

    extension = "json"

    def document(self, name: str, transcript: Transcript) -> str:
        return json.dumps(self.object(name, transcript), ensure_ascii=self.ascii_only, indent=2) + "\n"

    def object(self, name: str, transcript: Transcript) -> dict[str, Any]:
        """The transcript as a dictionary of JSON's types."""
        return {
            "file": utf8_name(name),
            **({} if transcript.speaker is None else {"speaker": transcript.speaker}),
            "duration": round(transcript.duration, _PLACES),
            "text": transcript.text,
            "score": _finite(transcript.score),
            "segments": [_segment(segment) for segment in transcript.segments],
            "alternatives": [
                {"text": alternative.text, "score": _finite(alternative.score)}
                for alternative in transcript.alternatives
            ],
            "provenance": dict(self.provenance),
        }


class JsonLinesWriter(JsonWriter):
    """The same object on one line."""

    extension = "jsonl"
    many = True

    def document(self, name: str, transcript: Transcript) -> str:
        return json.dumps(self.object(name, transcript), ensure_ascii=self.ascii_only) + "\n"


class SrtWriter(Writer):
    """SubRip subtitles."""

    extension = "srt"

    def document(self, name: str, transcript: Transcript) -> str:
        return "\n".join(
            f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_lines(cue)}\n"
            for number, cue in enumerate(_cues(transcript), start=1)
        )


class VttWriter(Writer):
    """WebVTT subtitles; highlighted words carry the time at which each is said."""

    extension = "vtt"

    def document(self, name: str, transcript: Transcript) -> str:
        return "WEBVTT\n" + "".join(
            f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{self._payload(cue)}\n"
            for cue in _cues(transcript)
        )

    def _payload(self, cue: Segment) -> str:
        if not self.highlight_words or len(cue.words) != len(cue.text.split()):
            return _escaped(_lines(cue))
        # A time within a cue must lie after its start.
        marked = [
            f"<c>{_escaped(word.text)}</c>"
            if word.start <= cue.start
            else f"<{_clock(word.start, '.')}><c>{_escaped(word.text)}</c>"
            for word in cue.words
        ]
        return _lines(cue, marked)


class TsvWriter(Writer):
    """A row a segment: start and end in milliseconds, text."""

    extension = "tsv"

    def document(self, name: str, transcript: Transcript) -> str:
        rows = (
            f"{round(segment.start * 1000)}\t{round(segment.end * 1000)}\t{segment.text}\n"
            for segment in transcript.segments
        )
        return "start\tend\ttext\n" + "".join(rows)


class CtmWriter(Writer):
    """NIST's time-marked words: recording, channel, start, duration, word, confidence."""

    extension = "ctm"
    many = True

    def document(self, name: str, transcript: Transcript) -> str:
        recording = ctm_recording(name)
        rows = sorted(
            (
                (segment.channel or 1, word.start, word)
                for segment in transcript.segments
                for word in segment.words
            ),
            key=lambda row: row[:2],
        )
        return "".join(
            f"{recording} {channel} {word.start:.3f} {word.end - word.start:.3f} {word.text} "
            f"{word.confidence:.3f}\n"
            for channel, _, word in rows
        )


def ctm_recording(name: str) -> str:
    """What CTM calls a recording: its file's name without suffix, or the id that a manifest gives it."""
    path = PurePath(name)
    stem = path.stem if path.suffix.lower() in SUFFIXES else name
    word = "_".join(stem.encode("utf-8", "replace").decode().split()) or "recording"
    # Two semicolons open a comment.
    return f"_{word}" if word.startswith(";;") else word


class TextGridWriter(Writer):
    """Praat: a tier of segments and one of words, for each channel where these are apart."""

    extension = "TextGrid"

    def document(self, name: str, transcript: Transcript) -> str:
        # Praat knows no interval without length.
        end = max([transcript.duration, *(segment.end for segment in transcript.segments), 0.001])
        tiers: list[tuple[str, Sequence[Segment | Word]]] = []
        for channel in sorted({segment.channel or 0 for segment in transcript.segments}) or [0]:
            segments = [segment for segment in transcript.segments if (segment.channel or 0) == channel]
            label = f" {channel}" if channel else ""
            words = [word for segment in segments for word in segment.words]
            tiers += [(f"segments{label}", segments), (f"words{label}", words)]
        return text_grid(tiers, end)


def text_grid(tiers: Sequence[tuple[str, Sequence[Segment | Word]]], end: float) -> str:
    """Praat's TextGrid of named tiers, from 0 to ``end`` seconds."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.3f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (label, parts) in enumerate(tiers, start=1):
        intervals = _intervals(parts, end)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{label}"']
        lines += ["        xmin = 0", f"        xmax = {end:.3f}"]
        lines += [f"        intervals: size = {len(intervals)}"]
        for position, (begin, finish, text) in enumerate(intervals, start=1):
            lines += [f"        intervals [{position}]:", f"            xmin = {begin:.3f}"]
            lines += [f"            xmax = {finish:.3f}", f'            text = "{text}"']
    return "\n".join(lines) + "\n"


WRITERS: dict[str, type[Writer]] = {
    "txt": TextWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    "srt": SrtWriter,
    "vtt": VttWriter,
    "tsv": TsvWriter,
    "ctm": CtmWriter,
    "textgrid": TextGridWriter,
}
ALL = "all"


def find_writers(formats: str) -> list[type[Writer]]:
    """The writers of a list of formats with commas between, or of ``all``.

    Raises:
        UserError: there is no such format.
    """
    names = [name.strip().lower() for name in formats.split(",")]
    if ALL in names:
        names = [name for name in names if name != ALL] + list(WRITERS)
    unknown = [name for name in names if name not in WRITERS]
    if unknown:
        raise UserError(f"--format: {unknown[0]!r} is not one of {', '.join(WRITERS)}, {ALL}")
    return [WRITERS[name] for name in dict.fromkeys(names)]


def _segment(segment: Segment) -> dict[str, Any]:
    entry: dict[str, Any] = {"start": segment.start, "end": segment.end, "text": segment.text}
    if segment.channel is not None:
        entry["channel"] = segment.channel
    entry["words"] = [
        {
            "text": word.text,
            "start": word.start,
            "end": word.end,
            "confidence": round(word.confidence, _PLACES),
        }
        for word in segment.words
    ]
    return entry


def _finite(score: float) -> float | None:
    return round(score, _PLACES) if math.isfinite(score) else None


def _cues(transcript: Transcript) -> list[Segment]:
    return subtitle_cues(transcript.segments, transcript.duration or math.inf)


def _clock(seconds: float, point: str) -> str:
    """``HH:MM:SS.mmm``."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return (
        f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
    )


def _lines(cue: Segment, shown: Sequence[str] | None = None) -> str:
    """A cue's words on lines; ``shown`` is what stands for each."""
    words = cue.text.split()
    shown = shown or words
    return "\n".join(" ".join(shown[position] for position in line) for line in wrapped(words))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _intervals(parts: Iterable[Segment | Word], end: float) -> list[tuple[float, float, str]]:
    """Parts and the gaps between them, without overlap from 0 to ``end``: Praat's tiers have no holes."""
    intervals: list[tuple[float, float, str]] = []
    reached = 0.0
    for part in parts:
        start, finish = max(round(part.start, 3), reached), min(round(part.end, 3), round(end, 3))
        if finish <= start:
            continue
        if start > reached:
            intervals.append((reached, start, ""))
        intervals.append((start, finish, part.text.replace('"', '""')))
        reached = finish
    if reached < round(end, 3) or not intervals:
        intervals.append((reached, round(end, 3), ""))
    return intervals
