"""Manifests: what is read, what is kept, and which line is to blame."""

import json
from pathlib import Path

import pytest

from asr.errors import UserError
from asr.manifest import Utterance, evenly_spread, read_manifest, write_manifest

LINE = {"id": "one", "audio_filepath": "a.flac", "duration": 1.5, "text": "HELLO"}


def manifest(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_every_key_survives_reading_and_writing(tmp_path: Path) -> None:
    full = LINE | {
        "offset": 2.5,
        "speaker": "s1",
        "sample_rate": 16000,
        "confidence": 0.75,
        "lang": "en",
        "custom": {"a": [1]},
    }
    utterances = read_manifest(manifest(tmp_path / "m.jsonl", full, LINE | {"id": "two", "text": "ÜÄ"}))
    assert utterances[0].extra == {"lang": "en", "custom": {"a": [1]}}
    assert utterances[1] == Utterance("two", str(tmp_path / "a.flac"), 1.5, text="ÜÄ")
    write_manifest(tmp_path / "n.jsonl", utterances)
    assert read_manifest(tmp_path / "n.jsonl") == utterances
    assert json.loads((tmp_path / "n.jsonl").read_text().splitlines()[0]) == full


def test_paths_are_relative_to_the_manifest_wherever_it_is_written(tmp_path: Path) -> None:
    utterances = read_manifest(manifest(tmp_path / "m.jsonl", LINE))
    write_manifest(tmp_path / "deep" / "er" / "m.jsonl", utterances)
    line = json.loads((tmp_path / "deep" / "er" / "m.jsonl").read_text())
    assert line["audio_filepath"] == "../../a.flac"
    (again,) = read_manifest(tmp_path / "deep" / "er" / "m.jsonl")
    assert Path(again.audio_filepath).resolve() == (tmp_path / "a.flac").resolve()


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    (found,) = read_manifest(manifest(tmp_path / "m.jsonl", LINE | {"audio_filepath": "/x/a.flac"}))
    assert found.audio_filepath == "/x/a.flac"


def test_an_utterance_without_id_is_named_by_its_path_and_offset(tmp_path: Path) -> None:
    bare = {"audio_filepath": "a/b.flac", "duration": 1}
    unknown = dict.fromkeys(("text", "speaker", "sample_rate", "confidence"))
    found = read_manifest(
        manifest(tmp_path / "m.jsonl", bare | unknown, bare | {"offset": 2.5}, bare | {"id": 0})
    )
    assert [utterance.id for utterance in found] == ["a/b.flac", "a/b.flac@2.5", "0"]
    assert found[0].text is None
    assert found[0].confidence == 1.0


def test_an_utterance_without_duration_goes_to_the_end_of_its_file(tmp_path: Path) -> None:
    found = read_manifest(manifest(tmp_path / "m.jsonl", {"audio_filepath": "a.flac", "text": "HELLO"}))
    assert found[0].duration == 0.0


def test_empty_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    found = read_manifest(manifest(tmp_path / "m.jsonl", "\ufeff" + json.dumps(LINE), "", "  "))
    assert [utterance.id for utterance in found] == ["one"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"audio_filepath": "a.fl', "line 2 is not JSON"),
        ("[1, 2]", "line 2 is not a JSON object"),
        ({"audio_filepath": "a", "duration": 1, "text": "\ud83d"}, "line 2: 'text' holds half a character"),
        ("[" * 100_000, "line 2 is not JSON"),
        ('{"id": ' + "9" * 5_000 + "}", "line 2 is not JSON"),
        ({"duration": 1}, "line 2 has no 'audio_filepath'"),
        ({"audio_filepath": 7, "duration": 1}, "line 2 has no 'audio_filepath'"),
        ({"audio_filepath": "a\0b", "duration": 1}, "line 2: the path 'a\\x00b' is no text"),
        ({"audio_filepath": "a", "duration": 10**400}, "line 2: 'duration' must be a number"),
        ({"audio_filepath": "a", "duration": "1"}, "line 2: 'duration' must be a number"),
        ({"audio_filepath": "a", "duration": True}, "line 2: 'duration' must be a number"),
        ({"audio_filepath": "a", "duration": -1}, "line 2: 'duration' must be a number"),
        ('{"audio_filepath": "a", "duration": NaN}', "line 2: 'duration' must be a number"),
        ('{"audio_filepath": "a", "duration": 1e999}', "line 2: 'duration' must be a number"),
        (LINE | {"offset": "x"}, "line 2: 'offset' must be a number"),
        (LINE | {"text": 5}, "line 2: 'text' is not a string"),
        (LINE | {"sample_rate": "16k"}, "line 2: 'sample_rate' must be a number"),
        (LINE | {"confidence": "high"}, "line 2: 'confidence' must be a number"),
    ],
)
def test_a_broken_line_is_named_by_number(tmp_path: Path, line: object, complaint: str) -> None:
    path = manifest(tmp_path / "m.jsonl", LINE, line)
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: {complaint}")
    assert "\n" not in str(caught.value)


def test_an_id_that_occurs_twice_is_named_with_both_places(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.jsonl", LINE, LINE | {"id": "two"}, LINE)
    with pytest.raises(UserError, match=r"'one' occurs twice \(entries 1 and 3\)"):
        read_manifest(path)


def test_what_is_no_manifest_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    for path in (tmp_path / "missing.jsonl", tmp_path, tmp_path / "binary"):
        with pytest.raises(UserError, match="cannot read this manifest") as caught:
            read_manifest(path)
        assert str(path) in str(caught.value)


def test_a_selection_is_evenly_spread_and_always_the_same() -> None:
    utterances = [Utterance(str(number), "a", 1.0) for number in range(10)]
    assert [utterance.id for utterance in evenly_spread(utterances, 4)] == ["0", "2", "5", "7"]
    assert evenly_spread(utterances, 0) == evenly_spread(utterances, 99) == utterances
