import json
from itertools import pairwise
from pathlib import Path

import pytest
from miniature import write_audio

from asr.corpora.statistics import describe
from asr.errors import UserError
from asr.manifest import Utterance


def utterance(id: str = "a", duration: float = 1.0, text: str | None = "HI", **keys: str) -> Utterance:
    return Utterance(id=id, audio_filepath=__file__, duration=duration, text=text, **keys)


@pytest.fixture
def manifest(tmp_path) -> Path:
    write_audio(tmp_path / "a.wav")
    lines = [
        {"id": "a", "audio_filepath": "a.wav", "duration": 3600, "text": "DON'T GO", "speaker": "x"},
        {"id": "b", "audio_filepath": "gone.wav", "duration": 0, "text": "DON'T GO", "speaker": "y"},
        {"id": "b", "audio_filepath": "a.wav", "duration": 1800, "text": "naïve 1", "speaker": "x"},
        {"id": "c", "audio_filepath": "a.wav", "duration": 2},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_figures_and_problems(manifest, run):
    result = run("stats", manifest, "--json")
    statistics = json.loads(result.stdout)
    assert statistics["hours"] == pytest.approx(5402 / 3600)
    assert (statistics["utterances"], statistics["speakers"]) == (4, 2)
    assert (statistics["minimum"], statistics["median"], statistics["maximum"]) == (0, 901, 3600)
    assert (statistics["words"], statistics["distinct_words"], statistics["repeated_texts"]) == (6, 4, 1)
    assert statistics["characters"]["O"] == 4 and statistics["characters"]["ï"] == 1
    assert statistics["problems"] == {
        "longer than 40 s": ["a", "b"],
        "missing audio": ["b"],
        "no duration": ["b"],
        "characters outside A-Z, apostrophe and space": ["b"],
        "duplicate id": ["b"],
        "empty text": ["c"],
    }


def test_the_tables_say_the_same(manifest, run):
    result = run("stats", manifest)
    assert result.exit_code == 0
    assert "utterances   4\n" in result.stdout and "  missing audio (1): b\n" in result.stdout
    assert "hours        1.50\n" in result.stdout and "'O' 4" in result.stdout


@pytest.mark.parametrize("longest", [0.0, 0.05, 1.2, 12.0, 35.2, 3600.0, 200_000.0])
def test_the_histogram_holds_every_utterance_in_a_few_bins(longest):
    durations = [0.0, longest / 3, longest]
    histogram = describe([utterance(duration=duration) for duration in durations]).histogram
    assert sum(bin.utterances for bin in histogram) == 3 and len(histogram) <= 12
    assert histogram[0].start == 0 and histogram[-1].start <= longest < histogram[-1].end
    assert all(left.end == right.start for left, right in pairwise(histogram))


def test_an_empty_manifest_has_no_figures_and_no_crash(tmp_path, run):
    (tmp_path / "empty.jsonl").write_text("")
    assert "utterances   0\n" in run("stats", tmp_path / "empty.jsonl").stdout


def test_a_broken_line_is_named_by_number(manifest, run):
    manifest.write_text(manifest.read_text() + "{broken\n")
    error = run("stats", manifest).exception
    assert isinstance(error, UserError) and "line 5" in str(error)
