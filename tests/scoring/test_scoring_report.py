"""``asr score``: tables, error lists and what they look like, as text and JSON."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from asr.cli.score import register
from asr.errors import UserError
from asr.scoring import evaluate
from asr.scoring.analysis import analyse
from asr.scoring.groups import clusters, group

REFERENCES = [
    {"id": "1-a", "text": "THE CAT SAT", "speaker": "1", "duration": 1.5, "snr": 20, "corpus": "x"},
    {"id": "1-b", "text": "ON THE MAT", "speaker": "1", "duration": 6.0, "snr": 5, "corpus": "y"},
    {"id": "2-a", "text": "THE END", "speaker": "2", "duration": 31.0, "corpus": "x"},
]
HYPOTHESES = {"1-a": "THE HAT SAT", "1-b": "ON A THE", "2-a": "THE END"}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    reference, hypothesis = tmp_path / "ref.jsonl", tmp_path / "hyp.jsonl"
    lines = [entry | {"audio_filepath": f"{entry['id']}.wav"} for entry in REFERENCES]
    reference.write_text("".join(json.dumps(line) + "\n" for line in lines))
    hypothesis.write_text(
        "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in HYPOTHESES.items())
    )
    return reference, hypothesis


def run(*arguments: object) -> str:
    app = Typer()
    register(app)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def run_json(*arguments: object) -> dict:
    return json.loads(run(*arguments, "--json"))


def test_json_holds_the_counts_the_interval_and_how_they_came_about(files):
    result = run_json(*files)
    assert (result["words"], result["substitutions"], result["deletions"], result["insertions"]) == (
        8,
        1,
        1,
        1,
    )
    assert result["wer"] == pytest.approx(37.5)
    assert result["interval"][0] <= result["wer"] <= result["interval"][1]
    assert result["normalization"] == {"name": "none", "version": "1"}
    assert result["bootstrap"] == {"replicates": 10_000, "seed": 1, "drawn": "utterance", "size": 3}
    assert "interval" not in run_json(*files, "--bootstrap", 0)


def test_tables_by_speaker_duration_and_any_other_key(files):
    result = run_json(*files, "--by", "speaker", "--by", "duration", "--by", "corpus", "--by", "snr")
    assert [(row["value"], row["words"]) for row in result["by"]["speaker"]] == [("1", 6), ("2", 2)]
    assert [row["value"] for row in result["by"]["duration"]] == ["0–2 s", "5–10 s", "from 30 s"]
    assert [row["utterances"] for row in result["by"]["corpus"]] == [2, 1]
    assert [row["value"] for row in result["by"]["snr"]] == ["5", "20", "(unknown)"]
    assert "by speaker" in run(*files, "--by", "speaker")


def test_clusters_are_drawn_whole(files):
    result = run_json(*files, "--cluster", "speaker")
    assert result["bootstrap"]["drawn"] == "speaker"
    assert result["bootstrap"]["size"] == 2
    assert "2 groups of utterances by speaker" in run(*files, "--cluster", "speaker")


def test_of_a_single_cluster_its_utterances_are_drawn(files):
    reference, _ = files
    reference.write_text(reference.read_text().replace('"speaker": "2"', '"speaker": "1"'))
    alone = run_json(*files, "--cluster", "speaker")
    assert alone["interval"] == run_json(*files)["interval"]
    assert (alone["bootstrap"]["drawn"], alone["bootstrap"]["size"]) == ("utterance", 3)


def test_cer_counts_characters_in_tables_and_lists(files):
    result = run_json(*files, "--cer", "--by", "speaker", "--report")
    assert sum(row["characters"] for row in result["by"]["speaker"]) == result["characters"] == 28
    kinds = ("character_substitutions", "character_deletions", "character_insertions")
    assert sum(result[kind] for kind in kinds) == result["character_errors"]
    assert {"reference": "C", "hypothesis": "H", "count": 1, "occurrences": 1} in result["report"][
        "confusions"
    ]
    assert result["cer_interval"][0] <= result["cer"] <= result["cer_interval"][1]


def test_the_text_report_aligns_reference_and_hypothesis(files):
    text = run(*files, "--report")
    assert "REF  ON * THE MAT\nHYP  ON A THE ***\n        I     D" in text
    assert "WER = 100 · (S + D + I) / words of the references" in text
    assert text.count("WER = 100") == 1


def test_alignments_of_every_utterance_go_to_a_file(files, tmp_path):
    run(*files, "--alignments", tmp_path / "alignments.txt")
    text = (tmp_path / "alignments.txt").read_text()
    assert text.count("REF  ") == 3
    assert "2-a   2 words, 0 S, 0 D, 0 I\nREF  THE END\nHYP  THE END\n" in text


def test_missing_and_extra_ids_are_named_and_counted_or_refused(files, capfd):
    reference, hypothesis = files
    hypothesis.write_text('{"id": "1-a", "text": "THE CAT SAT"}\n{"id": "new", "text": "WORD"}\n')
    result = run_json(reference, hypothesis)
    assert (result["deletions"], result["insertions"]) == (5, 1)
    assert (result["missing"], result["extra"]) == (["1-b", "2-a"], ["new"])
    with pytest.raises(UserError, match="2 without a hypothesis: 1-b, 2-a; 1 without a reference: new"):
        run(reference, hypothesis, "--strict")


@pytest.mark.parametrize(
    "flags", [["--worst", 3], ["--top", 3], ["--embed-audio", 3], ["--cluster", "speaker"], ["--seed", 3]]
)
def test_flags_that_would_do_nothing_are_refused(files, flags):
    with pytest.raises(UserError, match=f"{flags[0]}.* --(report|html|bootstrap 0) "):
        run(*files, "--bootstrap", 0, *flags)


def test_texts_without_one_common_id_are_refused_with_an_example_of_each(files):
    reference, hypothesis = files
    hypothesis.write_text('{"id": "audio/1-a.wav", "text": "THE CAT SAT"}\n')
    with pytest.raises(UserError, match=r"no id of it is in .*'1-a', here like 'audio/1-a.wav'"):
        run(reference, hypothesis)


def test_two_systems_are_compared_on_the_same_utterances(files, tmp_path):
    reference, first = files
    second = tmp_path / "second.trn"
    second.write_text("THE CAT SAT (1-a)\nON THE MAT (1-b)\nTHE END (2-a)\nEXTRA (3-x)\n")
    result = run_json(reference, first, second, "--by", "speaker")
    assert [system["wer"] for system in result["systems"]] == [37.5, 12.5]
    assert result["comparison"]["difference"] == pytest.approx(-25.0)
    assert 0.5 < result["comparison"]["probability_of_improvement"] <= 1
    assert result["comparison"]["matched_pairs"]["segments"] == 3
    assert [row["value"] for row in result["comparison"]["by"]["speaker"]] == ["1", "2", "(unknown)"]
    assert "B is better than A" in run(reference, first, second)
    with pytest.raises(UserError, match="describe one system"):
        run(reference, first, second, "--report")


@pytest.mark.parametrize("name", ["librispeech", "basic", "whisper-en"])
def test_normalisation_is_applied_to_both_sides_and_recorded(files, tmp_path, name):
    if name == "whisper-en":
        pytest.importorskip("whisper_normalizer")
    reference, hypothesis = files
    hypothesis.write_text(
        '{"id": "1-a", "text": "The cat, sat."}\n{"id": "1-b", "text": "on the mat"}\n'
        '{"id": "2-a", "text": "The end!"}\n'
    )
    assert run_json(reference, hypothesis)["wer"] > 80
    result = run_json(reference, hypothesis, "--normalize", name)
    assert result["wer"] == 0
    assert result["normalization"]["name"] == name
    assert result["normalization"]["version"]
    assert f"normalised by {name} (version" in run(reference, hypothesis, "--normalize", name)


def test_error_lists_count_pairs_frequencies_and_places():
    references = {"a": "A B A D C", "b": "A B"}
    evaluation = evaluate(references, {"a": "X B X D", "b": "A B E"})
    found = analyse(evaluation.words)
    assert [(row.reference, row.hypothesis, row.count, row.occurrences) for row in found.confusions] == [
        ("A", "X", 2, 3)
    ]
    assert [(row.reference, row.count) for row in found.deleted] == [("C", 1)]
    assert [(row.hypothesis, row.count, row.occurrences) for row in found.inserted] == [("E", 1, 0)]
    assert {row.label: (row.tokens, row.rate) for row in found.by_frequency} == {
        "1": (2, 50.0),
        "2–4": (5, 40.0),
    }
    places = {row.label: row for row in found.by_position}
    assert (places["1"].tokens, places["1"].substitutions) == (2, 1)
    assert (places["last"].deletions, places["last"].insertions) == (1, 1)
    assert [evaluation.ids[index] for index in found.worst] == ["a", "b"]


def test_texts_without_any_word_can_be_reported(tmp_path):
    (tmp_path / "ref.trn").write_text("(a-1)\n(a-2)\n")
    (tmp_path / "hyp.trn").write_text("(a-1)\nOH (a-2)\n")
    text = run(tmp_path / "ref.trn", tmp_path / "hyp.trn", "--report", "--by", "speaker")
    assert "REF  **\nHYP  OH\n     I" in text


def test_many_numbers_are_cut_into_bins_of_equal_size():
    ids = [str(number) for number in range(100)]
    groups = group(ids, {name: float(name) for name in ids}, "snr")
    assert [len(indices) for indices in groups.values()] == [20] * 5
    assert next(iter(groups)) == "0–19.8"


def test_speakers_whose_names_are_numbers_are_one_group_each():
    ids = [str(number) for number in range(40)]
    numbers = {name: int(name) // 2 for name in ids}
    assert len(group(ids, numbers, "speaker")) == 20
    assert len(group(ids, numbers, "chapter")) == 5
    assert len(group(ids, numbers, "chapter", binned=False)) == 20


def test_clusters_of_numbers_are_drawn_as_they_are(files):
    reference, hypothesis = files
    lines = [{"id": f"{n}", "text": "A B", "session": 100 + n // 2} for n in range(40)]
    reference.write_text("".join(json.dumps(line) + "\n" for line in lines))
    hypothesis.write_text("".join(json.dumps({"id": f"{n}", "text": "A"}) + "\n" for n in range(40)))
    assert run_json(reference, hypothesis, "--cluster", "session")["bootstrap"]["size"] == 20


def test_bins_of_large_numbers_have_names_of_their_own():
    ids = [str(number) for number in range(40)]
    groups = group(ids, {name: 20240101 + 30 * int(name) for name in ids}, "session")
    assert [len(indices) for indices in groups.values()] == [8] * 5


def test_the_worst_utterances_in_json_are_as_many_as_asked_for(files):
    reference, hypothesis = files
    assert len(run_json(reference, hypothesis, "--report")["report"]["worst"]) == 2
    assert len(run_json(reference, hypothesis, "--report", "--worst", 1)["report"]["worst"]) == 1


def test_utterances_without_a_speaker_are_drawn_alone():
    groups = group(["a", "b", "c", "d"], {"a": "x", "b": "x"}, "speaker")
    numbers = clusters(groups, 4)
    assert numbers[0] == numbers[1]
    assert len(np.unique(numbers)) == 3
