"""Manifests to batches: what is dropped and why, and what every process gets."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from asr.batching import Item, plan_epoch, share_of
from asr.errors import UserError
from asr.manifest import Utterance, read_manifest
from asr.tokenizer import PHONES
from asr.training.config import DataConfig, Recipe, load_recipe
from asr.training.data import AudioStore, TrainingData, development_utterances
from asr.training.evaluation import _writable
from asr.training.network import build_model

PLAIN = ("augment.speed=[1.0]",)


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def load(recipe: Recipe) -> TrainingData:
    return TrainingData(recipe, build_model(recipe))


def test_utterances_that_cannot_be_trained_on_are_counted_and_named(
    recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    good = entries(clips)
    bad = [
        good[0] | {"id": "mute", "text": None},
        good[0] | {"id": "blank", "text": "  "},
        good[0] | {"id": "short", "duration": 0.1},
        good[0] | {"id": "long", "duration": 100.0},
        good[0] | {"id": "foreign", "text": "GRÜSSE"},
        good[0] | {"id": "crowded", "text": "A" * 30},
        good[0] | {"id": "doubtful", "confidence": 0.3},
    ]
    manifest = write(tmp_path / "m.jsonl", good + bad)
    data = load(load_recipe(recipe_file, [f"data.train=[{{manifest: {manifest}, min_confidence: 0.5}}]"]))
    assert [utterance.id for utterance in data.utterances] == [line["id"] for line in good]
    assert data.dropped.ids == {
        "no text": ["mute", "blank"],
        "duration outside batching.min_duration and max_duration": ["short", "long"],
        "cannot be written in characters": ["foreign"],
        "too short for its characters": ["crowded"],
        "confidence below data.train.min_confidence": ["doubtful"],
    }
    assert "left out 2: no text (mute, blank)" in data.dropped.lines()


def test_an_utterance_with_just_enough_frames_is_kept(recipe_file: Path, clips: Path, tmp_path: Path) -> None:
    """1 s at a speed of 1.1 are 89 frames, so 23 encoder frames."""
    for letters, kept in ((23, True), (24, False)):
        line = entries(clips)[0] | {"duration": 1.0, "text": ("AB" * 12)[:letters]}
        manifest = write(tmp_path / "m.jsonl", [line])
        recipe = load_recipe(recipe_file, [f"data.train=[{{manifest: {manifest}}}]"])
        if kept:
            data = load(recipe)
            (item,) = [Item(0, 0, 1.1, 1.0 / 1.1)]
            frames = build_model(recipe).frontend.frames(data.load([item], 0).lengths)
            assert -(-int(frames) // 4) >= letters
        else:
            with pytest.raises(UserError, match="too short for its characters"):
                load(recipe)


def test_a_head_that_cannot_write_an_utterance_leaves_it_to_the_others(
    recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    first = entries(clips)[0]
    (tmp_path / "lexicon.txt").write_text(f"{first['text'].split()[0]} AH\n{first['text'].split()[1]} B\n")
    heads = f"{{letters: {{}}, phones: {{units: phones, lexicon: {tmp_path}/lexicon.txt}}}}"
    data = load(load_recipe(recipe_file, [f"heads={heads}", *PLAIN]))
    assert len(data.utterances) == 8
    batch = data.load([Item(0, 0, 1.0, 1.0), Item(1, 0, 1.0, 1.0)], 0)
    assert batch.targets["phones"][1].tolist() == [2, -1]
    assert min(batch.targets["letters"][1]) > 0


def test_phones_of_a_manifest_are_what_a_phone_head_learns_instead_of_the_lexicons(
    recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "lexicon.txt").write_text("A AH\n")
    lines = [
        entries(clips)[0] | said
        for said in (
            {"id": "lexicon", "text": "A"},
            {"id": "said", "text": "A", "phones": "EY Z"},
            {"id": "unwritten", "text": "ABACUS", "phones": "B"},
            {"id": "no phone", "text": "A", "phones": "EY QX"},
            {"id": "empty", "text": "A", "phones": " "},
            {"id": "a list", "text": "A", "phones": ["EY"]},
        )
    ]
    manifest = write(tmp_path / "m.jsonl", lines)
    heads = f"{{phones: {{units: phones, lexicon: {tmp_path}/lexicon.txt}}}}"
    data = load(
        load_recipe(recipe_file, [f"heads={heads}", f"data.train=[{{manifest: {manifest}}}]", *PLAIN])
    )
    labels, lengths = data.load([Item(number, 0, 1.0, 1.0) for number in range(3)], 0).targets["phones"]
    said = [[PHONES[label] for label in row[:length]] for row, length in zip(labels, lengths, strict=True)]
    assert said == [["AH"], ["EY", "Z"], ["B"]]
    assert data.dropped.ids == {"cannot be written in phones": ["no phone", "empty", "a list"]}
    tokenizer = build_model(load_recipe(recipe_file, [f"heads={heads}"])).tokenizers["phones"]
    assert _writable(read_manifest(manifest), tokenizer) == {
        "lexicon": "AH",
        "said": "EY Z",
        "unwritten": "B",
    }


def test_phones_of_a_manifest_that_do_not_say_where_words_end_teach_a_head_that_tells_it_nothing(
    recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "lexicon.txt").write_text("AT AE T\n")
    lines = [
        entries(clips)[0] | said
        for said in (
            {"id": "lexicon", "text": "AT AT"},
            {"id": "broken", "text": "AT AT", "phones": "AE T | AH T"},
            {"id": "one word", "text": "AT", "phones": "AH T"},
            {"id": "flat", "text": "AT AT", "phones": "AE T AH T"},
        )
    ]
    manifest = write(tmp_path / "m.jsonl", lines)
    heads = f"{{phones: {{units: phones, word_ends: true, lexicon: {tmp_path}/lexicon.txt}}}}"
    recipe = load_recipe(recipe_file, [f"heads={heads}", f"data.train=[{{manifest: {manifest}}}]", *PLAIN])
    data = load(recipe)
    tokens = build_model(recipe).tokenizers["phones"].tokens
    labels, lengths = data.load([Item(number, 0, 1.0, 1.0) for number in range(3)], 0).targets["phones"]
    said = [[tokens[label] for label in row[:length]] for row, length in zip(labels, lengths, strict=True)]
    assert said == [["AE", "T#", "AE", "T#"], ["AE", "T#", "AH", "T#"], ["AH", "T#"]]
    assert data.dropped.ids == {"cannot be written in phones": ["flat"]}


def test_a_manifest_with_nothing_to_train_on_says_why(recipe_file: Path, clips: Path, tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.jsonl", [entries(clips)[0] | {"text": "ÄÖ"}])
    with pytest.raises(
        UserError, match=r"m\.jsonl: has no utterance that can be trained on: .*cannot be written"
    ):
        load(load_recipe(recipe_file, [f"data.train=[{{manifest: {manifest}}}]"]))


def test_the_reasons_are_those_of_the_manifest_that_is_named(
    recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    some = write(tmp_path / "some.jsonl", [*entries(clips), entries(clips)[0] | {"id": "mute", "text": ""}])
    none = write(tmp_path / "none.jsonl", [entries(clips)[0] | {"text": "ÄÖ"}])
    sources = f"data.train=[{{manifest: {some}}}, {{manifest: {none}}}]"
    with pytest.raises(UserError, match=r"none\.jsonl: .*: left out 1: cannot be written in characters"):
        load(load_recipe(recipe_file, [sources]))
    both = load_recipe(recipe_file, [sources.replace(str(none), str(some))])
    assert load(both).dropped.ids == {"no text": ["mute", "mute"]}


def test_what_is_as_long_as_its_file_has_the_duration_of_its_file(
    recipe_file: Path, examples: Path, tmp_path: Path
) -> None:
    (line, *_) = entries(examples)
    audio = str(examples.parent / line["audio_filepath"])
    manifest = write(tmp_path / "m.jsonl", [line | {"audio_filepath": audio, "duration": 0}])
    recipe = load_recipe(recipe_file, [f"data.train=[{{manifest: {manifest}}}]"])
    assert load(recipe).durations == pytest.approx([line["duration"]], abs=0.01)
    (found,) = development_utterances(DataConfig(dev=str(manifest)))
    assert found.duration == pytest.approx(line["duration"], abs=0.01)


def test_the_shares_of_processes_hold_the_waveforms_of_the_whole_batch(recipe_file: Path) -> None:
    """Augmentation included: what an utterance becomes does not depend on who loads it."""
    noise = "augment.noise={probability: 0.7, babble: 0.3, music: 0.3, alone: 0.2}"
    recipe = load_recipe(recipe_file, [noise, "augment.gain_probability=0.5"])
    data = load(recipe)
    plan = plan_epoch(data.durations, data.sources, recipe.batching, recipe.augment.speed, 1, 1)
    for items in plan:
        whole = data.load(items, 1)
        found = {}
        for rank in range(3):
            part = data.load(share_of(items, rank, 3), 1)
            for row, name in enumerate(part.ids):
                found[name] = part.waveforms[row, : part.lengths[row]]
        assert sorted(found) == sorted(whole.ids)
        for row, name in enumerate(whole.ids):
            assert torch.equal(found[name], whole.waveforms[row, : whole.lengths[row]])
    changed = data.load(plan[0], 2)
    assert not torch.equal(changed.waveforms[0], data.load(plan[0], 1).waveforms[0])


def test_where_noise_is_all_there_is_to_hear_nothing_is_to_be_written(recipe_file: Path) -> None:
    data = load(load_recipe(recipe_file, ["augment.speed=[1.25]", "augment.noise.alone=0.5"]))
    items = [Item(number % len(data.utterances), number, 1.25, 1.0) for number in range(40)]
    batch = data.load(items, 1)
    sizes = batch.targets["characters"][1]
    noises = [number for number, text in enumerate(batch.texts) if not text]
    assert 10 < len(noises) < 30
    for number, item in enumerate(items):
        waveform = batch.waveforms[number, : batch.lengths[number]]
        said = data.augmentation(data.audio[item.index], 1.25, np.random.default_rng())
        assert len(waveform) == len(said)
        assert float(waveform.norm()) == pytest.approx(float(said.norm()), rel=1e-3)
        assert torch.equal(waveform, said) is (number not in noises)
        assert (int(sizes[number]) == 0) is (number in noises)
    again = data.load(items, 1)
    assert again.waveforms.equal(batch.waveforms)
    assert again.texts == batch.texts


def test_nobody_speaks_where_noise_is_all_there_is(recipe_file: Path) -> None:
    data = load(load_recipe(recipe_file, [*PLAIN, "augment.noise={alone: 1, babble: 0.5, music: 0.2}"]))
    data.augmentation._voice = lambda draw: pytest.fail("somebody speaks")
    batch = data.load([Item(0, copy, 1.0, 1.0) for copy in range(20)], 1)
    assert not any(batch.texts)


def test_references_have_single_spaces_whatever_the_manifest_has(
    recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    first, second = entries(clips)[:2]
    manifest = write(tmp_path / "m.jsonl", [first | {"text": " A  B\t"}, second | {"text": "C"}])
    data = load(load_recipe(recipe_file, [f"data.train=[{{manifest: {manifest}}}]"]))
    assert data.load([Item(0, 0, 1.0, 1.0), Item(1, 0, 1.0, 1.0)], 1).texts == ["A B", "C"]


def test_babble_is_of_the_training_data(recipe_file: Path) -> None:
    overrides = [*PLAIN, "augment.noise={probability: 1, babble: 1, snr: [0, 0]}"]
    data = load(load_recipe(recipe_file, overrides))
    said, heard = [], data._voice

    def voice(draw: np.random.Generator) -> torch.Tensor:
        said.append(heard(draw))
        return said[-1]

    data.augmentation._voice = voice
    data.load([Item(0, 0, 1.0, 1.0)], 1)
    assert 2 <= len(said) <= 8
    stored = [data.audio[number] for number in range(len(data.utterances))]
    assert all(any(each.equal(other) for other in stored) for each in said)


def test_a_process_without_utterances_gets_an_empty_batch(recipe_file: Path) -> None:
    batch = load(load_recipe(recipe_file)).load([], 0)
    assert batch.ids == []
    assert len(batch.waveforms) == len(batch.lengths) == 0
    assert batch.targets["characters"][1].tolist() == []


def test_the_cache_holds_what_the_files_hold(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances = load(load_recipe(recipe_file)).utterances
    plain = AudioStore(utterances, 16_000)
    cached = AudioStore(utterances, 16_000, str(tmp_path / "cache"))
    for index in range(len(utterances)):
        torch.testing.assert_close(cached[index], plain[index], atol=1 / 32768, rtol=0)
    files = sorted((tmp_path / "cache").iterdir())
    assert [path.suffix for path in files] == [".int16", ".json"]

    monkeypatch.setattr("asr.training.data.read_audio", lambda *_: pytest.fail("decoded twice"))
    again = AudioStore(utterances, 16_000, str(tmp_path / "cache"))
    assert torch.equal(again[3], cached[3])
    AudioStore([], 16_000, str(tmp_path / "cache"))


def test_the_cache_does_not_hold_what_a_file_held_before(clips: Path, tmp_path: Path) -> None:
    (utterance, *_) = read_manifest(clips)
    path = tmp_path / "changing.wav"
    utterance = replace(utterance, audio_filepath=str(path), offset=0.0, duration=0.5)
    for value in (0.1, 0.5):
        soundfile.write(path, np.full(8000, value), 16_000)
        os.utime(path, (0, value))
        stored = AudioStore([utterance], 16_000, str(tmp_path / "cache"))[0]
        assert float(stored.mean()) == pytest.approx(value, abs=1e-3)


def test_what_is_louder_than_16_bits_can_say_keeps_its_shape_in_the_cache(
    clips: Path, tmp_path: Path
) -> None:
    sound = 8000 * np.sin(np.arange(8000) / 20)
    soundfile.write(tmp_path / "loud.wav", sound, 16_000, "FLOAT")
    utterance = Utterance("x", str(tmp_path / "loud.wav"), 0.5)
    stored = AudioStore([utterance], 16_000, str(tmp_path / "cache"))[0]
    np.testing.assert_allclose(stored.numpy() * np.abs(sound).max(), sound, atol=1.0)


def test_a_file_that_cannot_be_read_leaves_no_half_cache(
    recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    manifest = write(
        tmp_path / "m.jsonl", [*entries(clips), entries(clips)[0] | {"id": "x", "audio_filepath": "bad.wav"}]
    )
    recipe = load_recipe(
        recipe_file, [f"data.train=[{{manifest: {manifest}}}]", f"data.cache={tmp_path}/cache"]
    )
    with pytest.raises(UserError, match=r"bad\.wav"):
        load(recipe)
    assert not any((tmp_path / "cache").iterdir())


def test_the_development_set_is_evenly_spread_and_has_texts(clips: Path, tmp_path: Path) -> None:
    lines = entries(clips)
    lines[0] = lines[0] | {"text": None}
    manifest = write(tmp_path / "dev.jsonl", lines)
    found = development_utterances(DataConfig(dev=str(manifest), dev_utterances=2))
    assert [utterance.id for utterance in found] == [lines[1]["id"], lines[4]["id"]]
    assert development_utterances(DataConfig()) == []
    write(manifest, [lines[0]])
    with pytest.raises(UserError, match="no utterance has a text to compare with"):
        development_utterances(DataConfig(dev=str(manifest)))


def test_shares_mix_sources_by_their_audio(recipe_file: Path, clips: Path, tmp_path: Path) -> None:
    lines = entries(clips)
    one, two = write(tmp_path / "one.jsonl", lines[:6]), write(tmp_path / "two.jsonl", lines[6:])
    sources = f"data.train=[{{manifest: {one}, share: 0.25}}, {{manifest: {two}, share: 0.75}}]"
    recipe = load_recipe(recipe_file, [sources, *PLAIN])
    data = load(recipe)
    heard = np.zeros(2)
    for epoch in range(20):
        for batch in plan_epoch(data.durations, data.sources, recipe.batching, [1.0], 1, epoch):
            for item in batch:
                heard[int(item.index >= 6)] += item.duration
    assert heard[0] / heard.sum() == pytest.approx(0.25, abs=0.05)
