"""Formats of transcripts."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import jsonschema
import pytest

from asr.errors import UserError
from asr.segments import split_at_pauses, subtitle_cues, wrapped
from asr.transcript import Hypothesis, Segment, Transcript, Word
from asr.writers import SCHEMA, WRITERS, VttWriter, find_writers

PROVENANCE = {"asr": "0.1.0", "model": {"name": "en"}, "decoding": {"decoder": "beam"}}


def transcript(words: Sequence[Word], duration: float = 10.0, channel: int | None = None) -> Transcript:
    segments = split_at_pauses(words, channel)
    text = " ".join(word.text for word in words)
    return Transcript(text, segments, tuple(words), duration, -3.25, (Hypothesis("OTHER", -4.0),))


SPOKEN = transcript([Word("HELLO", 0.52, 1.0, 0.9), Word("WORLD", 1.04, 1.4, 0.5), Word("AGAIN", 3.0, 3.5)])
SILENT = transcript([])
LONG = transcript([Word(f"WORD{n}", n * 0.3, n * 0.3 + 0.25) for n in range(100)], 30.0)


def write(name: str, content: Transcript = SPOKEN, recording: str = "talks/a b.flac") -> str:
    return WRITERS[name](PROVENANCE).document(recording, content)


def test_text() -> None:
    assert write("txt") == "HELLO WORLD AGAIN\n"
    assert write("txt", SILENT) == "\n"


@pytest.mark.parametrize(
    "content",
    [SPOKEN, replace(SPOKEN, speaker="Anna"), SILENT, LONG, transcript([Word("A", 0, 1)], channel=2)],
)
@pytest.mark.parametrize("recording", ["a.flac", "\udcff\n.wav", "日本.wav"])
def test_json_is_what_its_schema_says(content: Transcript, recording: str) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    line = write("jsonl", content, recording)
    assert line.count("\n") == 1
    line.encode()
    found = json.loads(line)
    jsonschema.validate(found, schema)
    assert found == json.loads(write("json", content, recording))
    assert found["text"] == content.text
    assert [word["text"] for part in found["segments"] for word in part["words"]] == content.text.split()
    assert found["provenance"] == PROVENANCE


def test_json_has_no_infinity() -> None:
    nothing = Transcript("", score=float("-inf"))
    assert json.loads(write("json", nothing))["score"] is None


def test_srt() -> None:
    assert write("srt") == (
        "1\n00:00:00,520 --> 00:00:01,520\nHELLO WORLD\n\n2\n00:00:03,000 --> 00:00:04,000\nAGAIN\n"
    )
    assert write("srt", SILENT) == ""
    assert "01:00:00,000 --> 01:00:01,000" in write("srt", transcript([Word("LATE", 3600, 3601)], 3602))


def test_vtt_with_and_without_times_of_words() -> None:
    assert write("vtt", SILENT) == "WEBVTT\n"
    assert "\n\n00:00:00.520 --> 00:00:01.520\nHELLO WORLD\n" in write("vtt")
    marked = VttWriter(highlight_words=True).document("a", SPOKEN)
    assert "\n<c>HELLO</c> <00:00:01.040><c>WORLD</c>\n" in marked


def test_a_segment_without_words_is_a_cue_without_times_of_words() -> None:
    bare = Transcript("A B", (Segment("A B", 1.0, 2.0),), (), 3.0)
    assert (
        VttWriter(highlight_words=True).document("a", bare)
        == "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nA B\n"
    )


def test_words_that_begin_together_keep_their_order_in_ctm() -> None:
    both = Transcript("B A", (Segment("B A", 1.0, 2.0, (Word("B", 1.0, 1.0), Word("A", 1.0, 2.0))),))
    assert [line.split()[4] for line in write("ctm", both).splitlines()] == ["B", "A"]


def test_vtt_escapes_markup() -> None:
    odd = transcript([Word("<B>&", 0, 1)])
    assert "&lt;B&gt;&amp;" in write("vtt", odd)
    assert "<c>&lt;B&gt;&amp;</c>" in VttWriter(highlight_words=True).document("a", odd)


@pytest.mark.parametrize("letters", [1, 7, 20, 60])
def test_subtitles_keep_to_their_limits(letters: int) -> None:
    words = [Word("W" * letters, n * 0.3, n * 0.3 + 0.25) for n in range(200)]
    cues = subtitle_cues(split_at_pauses(words))
    assert " ".join(cue.text for cue in cues).split() == [word.text for word in words]
    for cue, following in pairwise(cues):
        assert cue.end <= following.start
    for cue in cues:
        assert cue.end - cue.start <= 7.0
        lines = wrapped(cue.text.split())
        assert len(lines) <= 2
        # Nothing can be done about a word longer than a line.
        assert letters > 42 or all(len(line) * (letters + 1) - 1 <= 42 for line in lines)


def test_cues_of_channels_that_talk_at_once_stand_by_their_start_and_keep_their_length() -> None:
    talk = split_at_pauses([Word("TALK", n * 0.5, n * 0.5 + 0.4) for n in range(40)], channel=1)
    reply = split_at_pauses([Word("YES", 3.0, 3.3)], channel=2)
    cues = subtitle_cues([*talk, *reply])
    assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
    assert sum(cue.text.count("TALK") for cue in cues) == 40
    for cue in cues:
        assert cue.end >= max(cue.words[-1].end, cue.start + 0.4)


def test_the_last_cue_ends_with_the_recording() -> None:
    segments = split_at_pauses([Word("YES", 3.0, 3.2)])
    assert [cue.end for cue in subtitle_cues(segments)] == [4.0]
    assert [cue.end for cue in subtitle_cues(segments, 3.5)] == [3.5]
    assert [cue.end for cue in subtitle_cues(segments, 3.1)] == [3.2]
    recording = Transcript("YES", segments, duration=3.5)
    assert "00:00:03,000 --> 00:00:03,500" in write("srt", recording)
    assert "00:00:03.000 --> 00:00:03.500" in write("vtt", recording)


def test_two_lines_are_of_like_length() -> None:
    words = ["AAAA"] * 10
    assert [len(line) for line in wrapped(words)] == [5, 5]


def test_segments_are_cut_at_pauses_and_where_they_get_too_long() -> None:
    words = [Word(str(n), n * 1.0, n + 0.5) for n in range(100)]
    words[50:] = [Word(word.text, word.start + 5, word.end + 5) for word in words[50:]]
    segments = split_at_pauses(words)
    assert " ".join(segment.text for segment in segments).split() == [str(n) for n in range(100)]
    assert all(segment.end - segment.start <= 30 for segment in segments)
    assert any(segment.words[-1].text == "49" for segment in segments)
    assert split_at_pauses([]) == ()


def test_tsv_in_milliseconds() -> None:
    assert write("tsv") == "start\tend\ttext\n520\t1400\tHELLO WORLD\n3000\t3500\tAGAIN\n"


def test_ctm() -> None:
    assert write("ctm").splitlines()[0] == "a_b 1 0.520 0.480 HELLO 0.900"
    assert write("ctm", SILENT) == ""
    assert write("ctm", transcript([Word("A", 0, 1)], channel=2)).split()[1] == "2"


def parsed_textgrid(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """Tiers with their intervals."""
    tiers: dict[str, list[tuple[float, float, str]]] = {}
    name, begin, end = "", 0.0, 0.0
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "name":
            name = value.strip('"')
            tiers[name] = []
        elif key == "xmin":
            begin = float(value)
        elif key == "xmax":
            end = float(value)
        elif key == "text":
            tiers[name].append((begin, end, value[1:-1].replace('""', '"')))
    return tiers


@pytest.mark.parametrize(
    "content",
    [
        SPOKEN,
        SILENT,
        transcript([], 0.0),
        LONG,
        transcript([Word('SAY "A"', 0, 1), Word("OVERLAP", 0.9, 2), Word("EMPTY", 2, 2), Word("END", 9, 11)]),
    ],
)
def test_textgrid_tiers_have_neither_holes_nor_overlaps(content: Transcript) -> None:
    tiers = parsed_textgrid(write("textgrid", content))
    assert set(tiers) == {"segments", "words"}
    for intervals in tiers.values():
        assert intervals[0][0] == 0
        assert all(begin < end for begin, end, _ in intervals)
        assert all(before[1] == after[0] for before, after in pairwise(intervals))
    spoken = [text for _, _, text in tiers["words"] if text]
    assert spoken == [word.text for word in content.words if word.text != "EMPTY"]


def test_textgrid_of_channels() -> None:
    segments = (Segment("A", 0, 1, (Word("A", 0, 1),), 1), Segment("B", 0.5, 2, (Word("B", 0.5, 2),), 2))
    tiers = parsed_textgrid(write("textgrid", Transcript("A B", segments, duration=3.0)))
    assert list(tiers) == ["segments 1", "words 1", "segments 2", "words 2"]


def test_formats_are_found_by_name() -> None:
    assert len(find_writers("all")) == len(WRITERS)
    assert [writer.extension for writer in find_writers("srt, json,srt")] == ["srt", "json"]
    with pytest.raises(UserError, match="--format: 'mp3'"):
        find_writers("txt,mp3")
