"""A new user's mistakes: one line on stderr that names the file, exit status 1, nothing half-written."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def refused(run_asr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command in an empty folder that must fail with one line; returns the line."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)

    def run(*arguments: object) -> str:
        done = run_asr(*arguments)
        assert done.status == 1, done
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("asr: ")
        assert not any(place.iterdir())
        return str(line)

    return run


@pytest.fixture
def bad_audio(tmp_path: Path) -> dict[str, Path]:
    """Files that hold no audio."""
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("This is a text.\n" * 100)
    (tmp_path / "folder.wav").mkdir()
    return {
        "empty": tmp_path / "empty.wav",
        "text": tmp_path / "text.wav",
        "missing": tmp_path / "missing.wav",
        "folder": tmp_path / "folder.wav",
    }


def manifest(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def train(recipe: Path, *overrides: str) -> tuple[object, ...]:
    return ("train", recipe, *overrides, "--output", "run")


@pytest.mark.parametrize("command", ["decode", "evaluate"])
@pytest.mark.parametrize("kind", ["empty", "text", "missing", "folder"])
def test_audio_that_is_none_is_named_and_the_rest_is_decoded(
    run_asr: Any,
    model_directory: Path,
    clips: Path,
    tmp_path: Path,
    bad_audio: dict[str, Path],
    command: str,
    kind: str,
) -> None:
    good = json.loads(clips.read_text().splitlines()[0])
    bad = {"id": "bad", "audio_filepath": str(bad_audio[kind]), "duration": 1.0, "text": "A"}
    path = manifest(tmp_path / "m.jsonl", bad, good)
    done = run_asr(command, model_directory, path, "-o", tmp_path / "hyps.jsonl")
    assert done.status == 1
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if str(bad_audio[kind]) in line]) == 1
    assert [json.loads(line)["id"] for line in (tmp_path / "hyps.jsonl").read_text().splitlines()] == [
        good["id"]
    ]


@pytest.mark.parametrize("command", ["decode", "evaluate"])
@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"audio_filepath": "a.flac", "dura', "line 2 is not JSON"),
        ({"duration": 1.0}, "line 2 has no 'audio_filepath'"),
        ({"audio_filepath": "a.flac", "duration": "long"}, "line 2: 'duration'"),
    ],
)
def test_a_broken_line_of_a_manifest_is_named_by_number(
    refused: Any, model_directory: Path, clips: Path, tmp_path: Path, command: str, line: object, named: str
) -> None:
    path = manifest(tmp_path / "m.jsonl", clips.read_text().splitlines()[0], line)
    told = refused(command, model_directory, path, "-o", "hyps.jsonl")
    assert f"{path}: {named}" in told


def test_a_missing_manifest_or_one_that_is_a_folder_is_named(
    refused: Any, model_directory: Path, tmp_path: Path
) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        assert str(path) in refused("decode", model_directory, path, "-o", "hyps.jsonl")


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "tokens.txt"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut"])
def test_a_model_directory_that_is_not_whole_is_named(
    refused: Any, model_directory: Path, clips: Path, tmp_path: Path, name: str, how: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(model_directory, model)
    if how == "missing":
        (model / name).unlink()
    else:
        content = (model / name).read_bytes()
        (model / name).write_bytes(b"" if how == "empty" else content[: len(content) // 2])
    assert str(model) in refused("decode", model, clips, "-o", "hyps.jsonl")


def test_a_missing_model_is_named_with_those_that_ship(refused: Any, clips: Path, tmp_path: Path) -> None:
    for model in ("klingon", tmp_path / "no" / "model"):
        line = refused("decode", model, clips)
        assert str(model) in line
        assert re.search(r"models that ship: .*\ben\b", line)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("optimizer.learning_rate=1", "optimizer.learning_rate"),
        ("optimizer.lr=fast", "optimizer.lr"),
        ("encoder.cell=transformer", "encoder.cell"),
        ("schedule.steps=0", "schedule"),
        ("data.train=[{manifest: nowhere.jsonl}]", "nowhere.jsonl"),
        ("data.dev=nowhere.jsonl", "nowhere.jsonl"),
        ("training.init_from=nowhere", "nowhere"),
        ("training.freeze=[nothing.*]", "nothing.*"),
        ("augment.noise={probability: 1, manifest: noises.jsonl}", "noises.jsonl"),
        ("tokenizer={units: phones, lexicon: lexicon.txt}", "lexicon.txt"),
        ("tokenizer={units: wordpieces, wordpieces: pieces.model}", "pieces.model"),
    ],
)
def test_a_recipe_with_a_mistake_trains_nothing(
    refused: Any, recipe_file: Path, override: str, named: str
) -> None:
    assert named in refused(*train(recipe_file, override))
    assert named in refused(*train(recipe_file, override), "--dry-run")


def test_a_recipe_that_is_missing_or_no_yaml_is_named(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("data: [unclosed")
    for path in (tmp_path / "bad.yaml", tmp_path / "none.yaml", tmp_path):
        assert str(path) in refused(*train(path))


def test_a_manifest_whose_audio_is_gone_is_told_before_training(
    refused: Any, recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in clips.read_text().splitlines()]
    lines[2]["audio_filepath"] = lines[5]["audio_filepath"] = "gone.flac"
    path = manifest(tmp_path / "m.jsonl", *lines)
    for override in (f"data.train=[{{manifest: {path}}}]", f"data={{dev: {path}, dev_utterances: 0}}"):
        line = refused(*train(recipe_file, override))
        assert f"{path}: the audio of 2 of 8 utterances is gone" in line
        assert "gone.flac" in line


@pytest.mark.parametrize("kind", ["empty", "text", "folder"])
def test_audio_that_is_none_ends_training_with_its_name(
    run_asr: Any, recipe_file: Path, clips: Path, tmp_path: Path, bad_audio: dict[str, Path], kind: str
) -> None:
    line = json.loads(clips.read_text().splitlines()[0])
    bad = line | {"id": "bad", "offset": 0.0, "audio_filepath": str(bad_audio[kind])}
    path = manifest(tmp_path / "m.jsonl", bad, line)
    done = run_asr("train", recipe_file, f"data.train=[{{manifest: {path}}}]", "--output", tmp_path / "run")
    assert done.status == 1
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("asr: ")]
    assert str(bad_audio[kind]) in told
    assert not (tmp_path / "run" / "model").exists()


def test_an_output_that_cannot_be_written_is_named(
    run_asr: Any, recipe_file: Path, model_directory: Path, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    for command in (
        ("train", recipe_file, "--output", tmp_path / "file" / "run"),
        ("decode", model_directory, clips, "-o", tmp_path / "file" / "hyps.jsonl"),
        ("evaluate", model_directory, clips, "-o", tmp_path),
    ):
        done = run_asr(*command)
        assert done.status == 1
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("asr: ")]
        assert str(command[-1]) in line
        assert "cannot be written" in line


@pytest.mark.parametrize(
    "command",
    [
        ("decode", "{model}", "{manifest}", "-o", "{manifest}"),
        ("decode", "{model}", "{manifest}", "--manifest-out", "{manifest}"),
        ("decode", "{model}", "{manifest}", "-o", "new.jsonl", "--manifest-out", "./new.jsonl"),
        ("evaluate", "{model}", "{manifest}", "-o", "{manifest}"),
        ("align", "{model}", "{manifest}", "-o", "{manifest}"),
        ("align", "{model}", "{audio}", "--text", "A", "-o", "{audio}"),
        ("align", "{model}", "{audio}", "--text-file", "{words}", "--manifest-out", "{words}"),
        ("score", "{manifest}", "{manifest}", "--html", "{manifest}"),
        ("score", "{manifest}", "{manifest}", "--alignments", "{manifest}"),
        ("score", "{manifest}", "{manifest}", "--alignments", "new", "--html", "new"),
        ("lexicon", "build", "{words}", "--dictionary", "{dictionary}", "-o", "{words}"),
        ("lexicon", "build", "{words}", "--dictionary", "{dictionary}", "-o", "{dictionary}"),
    ],
    ids=lambda command: "-".join(word for word in command if word[0] not in "{.n"),
)
def test_what_is_read_is_never_written_over(
    refused: Any, model_directory: Path, clips: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    places = {"model": model_directory, "manifest": tmp_path / "m.jsonl", "audio": tmp_path / "a.flac"}
    places |= {"words": tmp_path / "words.txt", "dictionary": tmp_path / "dictionary.txt"}
    first = json.loads(clips.read_text().splitlines()[0])
    shutil.copy(clips.parent / first["audio_filepath"], places["audio"])
    manifest(places["manifest"], first | {"audio_filepath": "a.flac"})
    places["words"].write_text("A\n")
    places["dictionary"].write_text("A  AH\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert "is read or written already" in refused(*(word.format(**places) for word in command))
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_the_model_that_ships_is_not_tuned_in_its_place(refused: Any, clips: Path) -> None:
    assert "en: is part of the program; copy " in refused("tune", "en", clips)


def test_a_head_or_decoder_that_the_model_lacks_is_named(
    refused: Any, model_directory: Path, clips: Path
) -> None:
    assert "'phones' is not one of characters" in refused(
        "decode", model_directory, clips, "--head", "phones"
    )
    assert "'viterbi' is not one of" in refused("decode", model_directory, clips, "--decoder", "viterbi")
    assert "bf17" in refused("decode", model_directory, clips, "--precision", "bf17")


def test_a_manifest_without_texts_cannot_be_evaluated(
    run_asr: Any, model_directory: Path, clips: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) | {"text": None} for line in clips.read_text().splitlines()[:2]]
    done = run_asr("evaluate", model_directory, manifest(tmp_path / "m.jsonl", *lines))
    assert done.status == 1
    assert "no utterance has a text to compare with" in done.stderr


def test_utterances_without_a_text_are_told_of_where_they_do_not_count(
    run_asr: Any, model_directory: Path, clips: Path, tmp_path: Path
) -> None:
    first, second = (json.loads(line) for line in clips.read_text().splitlines()[:2])
    path = manifest(tmp_path / "m.jsonl", first, second | {"text": None})
    done = run_asr("evaluate", model_directory, path, "--json")
    assert f"asr: {path}: 1 of 2 utterances have no text and do not count" in done.stderr.splitlines()
    figures = json.loads(done.stdout)
    assert (figures["utterances"], figures["without_text"]) == (1, 1)
