"""Recipes: what is checked, and how a mistake is told."""

from pathlib import Path

import pytest

from asr.errors import UserError
from asr.training.config import load_recipe
from asr.training.recipe_file import write_recipe


def complaint(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


def test_overrides_replace_values_and_files_keep_the_rest(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["optimizer.lr=1e-3", "encoder.cell=gru", "augment.speed=[1.0]"])
    assert recipe.optimizer.lr == 1e-3
    assert recipe.encoder.cell == "gru"
    assert recipe.augment.speed == [1.0]
    assert recipe.encoder.hidden_size == 16


def test_a_recipe_survives_its_file(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["heads={a: {}, b: {layer: 1, weight: 0.5}}", "decoding={head: b}"])
    write_recipe(tmp_path / "written.yaml", recipe)
    assert load_recipe(tmp_path / "written.yaml") == recipe


def test_environment_variables_are_filled_in_and_a_missing_one_is_named(
    recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    override = "data.dev=${oc.env:SOME_CORPORA}/dev.jsonl"
    monkeypatch.setenv("SOME_CORPORA", "/x")
    assert load_recipe(recipe_file, [override]).data.dev == "/x/dev.jsonl"
    monkeypatch.delenv("SOME_CORPORA")
    assert "SOME_CORPORA" in complaint(recipe_file, override)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("optimizer.learning_rate=1", "unknown key 'optimizer.learning_rate'"),
        ("optimiser.lr=1", "unknown key 'optimiser'"),
        ("lr=1", "unknown key 'lr'"),
        ("optimizer", "'optimizer' is not section.key=value"),
        ("augment=null", "augment: must hold keys and values, not None"),
        (
            "augment.noise.snr=[30,5]",
            "augment.noise.snr, its first value: 30 is more than the second",
        ),
        ("augment.reverberation.rt60=[0.6,0.1]", "augment.reverberation.rt60, its first value: 0.6"),
        ("augment.gain=-5", "augment.gain: -5"),
        ("frontend.low_frequency=7700", "frontend.low_frequency: 7700 is more than frontend.high_frequency"),
        ("batching.min_duration=30", "batching.min_duration: 30 is more than batching.max_duration"),
        ("heads={keys: {}}", "heads.keys: torch has a name like this"),
        ("heads={training: {}}", "heads.training: torch has a name like this"),
        ("optimizer.lr=fast", "optimizer.lr: "),
        ("schedule.steps=1.5", "schedule.steps: "),
        ("encoder.bidirectional=perhaps", "encoder.bidirectional: "),
        ("augment.speed=1.0", "augment.speed"),
        ("encoder.cell=transformer", "encoder.cell: 'transformer' is not one of rnn, lstm, gru"),
        ("encoder.subsampling_factor=8", "encoder.subsampling_factor: 8"),
        ("encoder.layers=0", "encoder.layers: 0"),
        ("training.precision=fp8", "training.precision: 'fp8' is not one of auto, fp32, bf16"),
        ("schedule.kind=step", "schedule.kind: 'step'"),
        ("schedule.epochs=3", "it has epochs=3 and steps=12; set what is not meant to 0"),
        ("schedule.steps=0", "schedule: needs exactly one of epochs, steps, minutes; it has none"),
        ("schedule.steps=-5", "schedule.steps: -5"),
        ("schedule={kind: plateau, steps: 9}", "data.dev, which is not given"),
        ("schedule.stop_after=-1", "schedule.stop_after: -1"),
        ("optimizer.clip=-5", "optimizer.clip: -5"),
        ("optimizer.betas=[0.9,1.0]", "optimizer.betas: 1.0"),
        ("loss.ahead=0", "loss.ahead: 0"),
        ("training.seed=-1", "training.seed: -1"),
        ("training.keep=0", "training.keep: 0"),
        ("frontend.hop=0", "frontend.hop: 0"),
        ("augment.spec_augment.time_masks=-1", "augment.spec_augment.time_masks: -1"),
        ("training.evaluate_every=0", "training.evaluate_every: 0"),
        ("optimizer.accumulate=0", "optimizer.accumulate: 0"),
        ("augment.noise.probability=2", "augment.noise.probability: 2"),
        ("augment.noise.alone=-1", "augment.noise.alone: -1"),
        ("augment.noise={babble: 0.6, music: 0.5}", "augment.noise: babble and music are shares"),
        ("loss.consistency=-1", "loss.consistency: -1"),
        ("augment.noise.manifest=a", "augment.noise.manifest: has no effect while augment.noise.probability"),
        ("loss.word_errors.model=en", "no effect while loss.word_errors.weight is 0"),
        ("loss.word_errors.posterior_scale=0", "loss.word_errors.posterior_scale: 0"),
        ("data.train=[]", "data.train must list at least one manifest"),
        ("data.train=[{share: 1}]", "data.train must list at least one manifest"),
        ("data.train=[{manifest: a, share: 0.5}, {manifest: b}]", "add up to 1"),
        ("data.train=[{manifest: a, share: 0.5}, {manifest: b, share: 0.6}]", "add up to 1"),
        ("data.train=[{manifest: a, share: 1.5}, {manifest: b, share: -0.5}]", "add up to 1"),
        ("frontend.cmvn=speaker", "frontend.cmvn: 'speaker' is not one of utterance, fixed"),
        ("heads={a: {units: runes}}", "heads.a.units: 'runes'"),
        ("heads={a: {layer: 7}}", "heads.a.layer: 7"),
        ("heads={a: {denominator: 4}}", "heads.a.denominator: 4"),
        ("loss.ctc_share=-0.1", "loss.ctc_share: -0.1"),
        ("heads={a/b: {}}", "heads.a/b"),
        ("tokenizer.units=phones", "phones need a lexicon"),
        ("tokenizer.units=wordpieces", "word pieces need"),
        ("decoding={head: phones}", "decoding.head: 'phones'"),
        ("decoding.beem_size=3", "decoding.beem_size: no such setting"),
        ("decoding.decoder=greedyy", "decoding.decoder: 'greedyy' is not one of greedy, beam"),
        ("decoding.beam_size=wide", "decoding.beam_size: "),
        ("decoding.beam_size=0", "decoding.beam_size must be at least 1"),
        ("decoding.lm_weight=null", "decoding.lm_weight: "),
        ("decoding.pause=long", "decoding.pause: 'long'"),
        ("decoding.speech_gate={characters: x}", "decoding.speech_gate.characters: 'x'"),
        ("decoding.rescoring=true", "decoding.rescoring: must hold keys"),
        ("decoding.rescoring.mix=2", "decoding.rescoring.mix: 2.0 must be from 0 to 1"),
        ("decoding.rescoring.nbest=0", "decoding.rescoring.nbest: 0 must be at least 1"),
        ("decoding.rescoring.wide=1", "decoding.rescoring.wide: no such setting"),
        ("frontend.cmvn=global", "frontend.cmvn: 'global'"),
        ("frontend.sample_rate=8000", "frontend.high_frequency"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(recipe_file: Path, override: str, named: str) -> None:
    without_dev = ["data.dev=''"] if "data.dev" in named else []
    assert named in complaint(recipe_file, override, *without_dev)


def test_a_single_head_beside_several_would_be_ignored(recipe_file: Path) -> None:
    line = complaint(recipe_file, "heads={a: {}}", "tokenizer.units=wordpieces")
    assert "tokenizer: describes a single head" in line


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"data: [unclosed", "not YAML"),
        (b"a: b: c", "not YAML"),
        (b"\xff\xfe\x00", ""),
        (b"- just\n- a list\n", "sections"),
        (b"just words", "sections"),
        (b"data:\nencoder:\n", "data.train must list at least one manifest"),
        (b"", "data.train must list at least one manifest"),
        (b"encoder: lstm\n", "encoder"),
        (b"heads: [a, b]\n", "heads"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path: Path, content: bytes, named: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    assert named in complaint(path)


def test_a_missing_recipe_or_a_folder_is_one_line(tmp_path: Path) -> None:
    assert "cannot read this recipe" in complaint(tmp_path / "none.yaml")
    assert "cannot read this recipe" in complaint(tmp_path)
