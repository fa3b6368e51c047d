"""What a run does with weights, schedule, heads and mistakes."""

import errno
import json
import math
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finished import Finished, Train
from safetensors.torch import load_file

from asr.denominator import UnitNgram
from asr.errors import UserError
from asr.loss import ctc_loss
from asr.manifest import Utterance
from asr.model import Model, load_network, save_network
from asr.scoring import score
from asr.training import checkpoint, objective, trainer
from asr.training.config import load_recipe
from asr.training.distributed import Ranks
from asr.training.evaluation import unwritable
from asr.training.kept_models import kept_models
from asr.training.network import build_model, initialise_from
from asr.training.run import train as train_recipe
from asr.transcript import Hypothesis

PLAIN = ("encoder.dropout=0", "augment.speed=[1.0]", "augment.spec_augment.probability=0")
TRACT = "augment.vocal_tract=0.3"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("bidirectional", ["true", "false"])
@pytest.mark.parametrize("cell", ["cell=rnn", "cell=rnn encoder.nonlinearity=relu", "cell=lstm", "cell=gru"])
def test_every_cell_learns_and_decodes(
    train: Train, run_asr: Callable[..., Any], clips: Path, cell: str, bidirectional: str
) -> None:
    shape = (*f"encoder.{cell}".split(), f"encoder.bidirectional={bidirectional}")
    steps = ("schedule.steps=40", "training.evaluate_every=20", "training.checkpoint_minutes=10")
    run = train("run", *PLAIN, *shape, *steps, "optimizer.lr=1e-2")
    first, last = (line["loss"] for line in run.log() if "loss" in line)
    assert last < first
    assert math.isfinite(run.evaluations()[-1]["wer_characters"])
    decoded = run_asr("decode", run.folder / "model", clips)
    assert decoded.status == 0, decoded.stderr
    assert len(decoded.stdout.splitlines()) == 8


def test_eight_clips_are_learned_by_heart(recipe_file: Path, tmp_path: Path, examples: Path) -> None:
    """The slowest test here: the whole road from audio to words must be able to reach no errors."""
    recipe = load_recipe(
        recipe_file,
        [
            *PLAIN,
            f"data.train=[{{manifest: {examples}}}]",
            f"data.dev={examples}",
            "data.dev_utterances=0",
            "encoder.hidden_size=96",
            "encoder.channels=64",
            "encoder.layers=2",
            "optimizer.lr=8e-3",
            "schedule.steps=150",
            "schedule.warmup=10",
            "batching.max_seconds=20",
            "training.evaluate_every=1000",
            "training.checkpoint_minutes=10",
        ],
    )
    model = train_recipe(recipe, tmp_path / "run")
    (last,) = Finished(tmp_path / "run").evaluations()
    assert last["wer_characters"] <= 5.0
    provenance = load_network(model).config.training
    assert provenance["steps"] == 150
    assert provenance["development"]["characters"]["wer"] == last["wer_characters"]


def test_the_same_seed_gives_the_same_weights_and_another_one_others(train: Train) -> None:
    first, second, third = train("a"), train("b"), train("c", "training.seed=2")
    assert torch.equal(first.tensors["values"], second.tensors["values"])
    assert not torch.equal(first.tensors["values"], third.tensors["values"])


def test_vocal_tracts_change_what_is_learnt_and_follow_from_the_seed(train: Train) -> None:
    first, second, none = train("a", TRACT), train("b", TRACT), train("c")
    assert torch.equal(first.tensors["values"], second.tensors["values"])
    assert not torch.equal(first.tensors["values"], none.tensors["values"])


def test_batches_accumulated_are_one_large_batch(train: Train) -> None:
    one = train("one", *PLAIN, "batching.max_seconds=100", "schedule.steps=1", "schedule.warmup=0")
    many = train(
        "many",
        *PLAIN,
        "batching.max_seconds=3",
        "optimizer.accumulate=99",
        "schedule.steps=1",
        "schedule.warmup=0",
    )
    assert one.position["batch"] == 1
    assert many.position["batch"] > 2
    torch.testing.assert_close(one.tensors["values"], many.tensors["values"], atol=1e-5, rtol=0)


def test_a_run_of_minutes_ends_by_the_clock_with_the_rate_fallen(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "STEPS_PER_REPORT", 1)
    run = train("run", "schedule.steps=0", "schedule.minutes=0.05", "data.dev=''", "schedule.warmup=0")
    assert 3.0 <= run.position["seconds"] < 30
    rates = [line["lr"] for line in run.log()]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 2.5e-3
    assert (run.folder / "model" / "config.yaml").exists()


def test_a_run_of_epochs_ends_with_the_epoch_and_is_evaluated_at_parts_of_one(train: Train) -> None:
    run = train("run", "schedule.steps=0", "schedule.epochs=2", "training.evaluate_every=0.5")
    size = run.position["batch"]
    assert run.position["step"] == 2 * size
    assert [line["step"] for line in run.evaluations()] == [
        epoch * size + round(size * part) for epoch in (0, 1) for part in (0.5, 1.0)
    ]


def test_evaluations_may_be_one_and_a_half_epochs_apart(train: Train) -> None:
    run = train("run", "schedule.steps=0", "schedule.epochs=3", "training.evaluate_every=1.5")
    size = run.position["batch"]
    assert [line["step"] for line in run.evaluations()] == [size + round(size / 2), 3 * size]


def test_parts_of_an_epoch_are_evaluated_at_the_next_whole_step(train: Train) -> None:
    run = train(
        "run",
        "batching.max_seconds=1.6",
        "optimizer.accumulate=3",
        "schedule.steps=0",
        "schedule.epochs=1",
        "training.evaluate_every=0.5",
    )
    assert len(run.evaluations()) == 2


@pytest.mark.parametrize("kind", ["cosine", "plateau"])
def test_a_run_that_no_longer_improves_ends_early(train: Train, kind: str) -> None:
    run = train(
        "run",
        "optimizer.lr=0",
        "schedule.steps=0",
        "schedule.epochs=50",
        f"schedule.kind={kind}",
        "schedule.patience=1",
        "schedule.stop_after=3",
        "training.evaluate_every=1",
    )
    assert len(run.evaluations()) == 4
    assert run.position["unimproved"] == 3
    assert run.position["plateau"] == (0.125 if kind == "plateau" else 1.0)


def test_the_best_models_and_the_newest_are_kept_and_the_best_of_them_is_the_model(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = iter([80.0, 60.0, 70.0, 90.0])

    def evaluate(self: Any, model: Model, *_: Any) -> Any:
        wrong = round(next(rates))
        words = score({"a": "A " * 100}, {"a": "A " * (100 - wrong)})
        return {"characters": words}, {"characters": "A"}

    monkeypatch.setattr("asr.training.evaluation.DevelopmentSet.evaluate", evaluate)
    run = train(
        "run", "schedule.steps=0", "schedule.epochs=4", "training.evaluate_every=1", "training.keep=2"
    )
    step = run.position["step"] // 4
    kept = sorted(path.name for path in (run.folder / "models").iterdir())
    assert kept == [f"{rate:03d}.0000-step-{turn * step:09d}" for rate, turn in ((60, 2), (70, 3), (90, 4))]
    best = weights(run.folder / "models" / kept[0])
    assert all(torch.equal(value, best[name]) for name, value in weights(run.folder / "model").items())
    assert load_network(run.folder / "model").config.training["development"]["characters"]["wer"] == 60.0


def test_the_model_holds_the_running_average(train: Train) -> None:
    run = train("run", "data.dev=''", "optimizer.average=0.5")
    plain = train("plain", "data.dev=''", "optimizer.average=0")
    stored = torch.cat([value.flatten() for value in weights(plain.folder / "model").values()])
    assert torch.equal(stored.sort().values, plain.tensors["values"].sort().values)
    stored = torch.cat([value.flatten() for value in weights(run.folder / "model").values()])
    assert torch.equal(stored.sort().values, run.tensors["average"].sort().values)
    assert torch.equal(run.tensors["values"], plain.tensors["values"])


def broken_loss(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Let the loss be no number at some calls."""
    calls = iter(range(10**6))

    def loss(*arguments: Any) -> torch.Tensor:
        return ctc_loss(*arguments) * (math.nan if next(calls) in steps else 1.0)

    monkeypatch.setattr(objective, "ctc_loss", loss)


def test_a_gradient_that_is_not_finite_is_skipped_and_counted(
    train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken_loss(monkeypatch, {1, 4, 5})  # the first call is the trial of the longest batch
    run = train("run", "data.dev=''", "loss.non_finite_limit=3")
    assert run.position["skipped"] == 3
    assert run.position["skipped_in_a_row"] == 0
    assert run.tensors["values"].isfinite().all()
    assert capfd.readouterr().err.count("gradient not finite, skipped") == 3


def test_too_many_of_them_in_a_row_stop_the_run_and_name_the_utterances(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_loss(monkeypatch, set(range(3, 1000)))
    with pytest.raises(
        UserError, match=r"3 steps in a row .* the last with .*(train|boat|river|mill)"
    ) as caught:
        train("run", "loss.non_finite_limit=3")
    assert "\n" not in str(caught.value)


def test_a_run_without_a_single_good_step_can_be_resumed(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        broken_loss(patch, {1, 2})
        train("run", "schedule.steps=2", "data.dev=''")
    run = train("run", "schedule.steps=4", "data.dev=''", resume=True)
    assert run.position["step"] == 4


def test_fitting_layers_are_taken_from_another_model_and_the_others_named(
    train: Train, make_model: Callable[..., Model], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = make_model(layers=1, hidden_size=16, channels=16, subsampling="conv1d", seed=5)
    save_network(tmp_path / "source", source)
    overrides = (
        f"training.init_from={tmp_path / 'source'}",
        "optimizer.lr=0",
        "schedule.steps=1",
        "data.dev=''",
    )
    run = train("run", *overrides, "encoder.layers=2")
    found = weights(run.folder / "model")
    for name, value in source.named_parameters():
        assert torch.equal(found[name], value)
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "init_from" in line]
    assert "encoder.recurrent.layers.1." in line
    assert "layers.0." not in line
    train("all", *overrides)
    assert "init_from" not in capfd.readouterr().err


def test_phones_that_end_words_share_the_probability_of_phones_that_did_not_tell_it(
    make_model: Callable[..., Model], recipe_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "lexicon.txt").write_text("A AH\n")
    head = f"units: phones, lexicon: {tmp_path / 'lexicon.txt'}"
    plain = build_model(load_recipe(recipe_file, [f"heads={{phones: {{{head}}}}}"]))
    save_network(tmp_path / "source", plain)
    model = build_model(
        load_recipe(recipe_file, [f"heads={{phones: {{{head}, word_ends: true}}}}", "training.seed=9"])
    )
    assert initialise_from(model, str(tmp_path / "source")) == []
    waveforms, lengths = torch.randn(1, 8000), torch.tensor([8000])
    with torch.no_grad():
        before, _ = plain.eval().emissions(waveforms, lengths, "phones")
        after, _ = model.eval().emissions(waveforms, lengths, "phones")
    phones = len(plain.tokenizers["phones"].tokens)
    within, ending = after[..., 1:phones], after[..., phones:]
    assert torch.allclose(after[..., 0], before[..., 0], atol=1e-5)
    assert torch.allclose(within.logaddexp(ending), before[..., 1:], atol=1e-5)


def test_frozen_parameters_stay(train: Train) -> None:
    start = train("start", "optimizer.lr=0", "schedule.steps=1", "data.dev=''")
    run = train("run", "training.freeze=['encoder.*', 'heads.*.norm.*']", "data.dev=''")
    before, after = weights(start.folder / "model"), weights(run.folder / "model")
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"heads.characters.output.weight", "heads.characters.output.bias"}
    again = train("run", "training.freeze=['encoder.*', 'heads.*.norm.*']", "schedule.steps=14", resume=True)
    assert again.position["step"] == 14


@pytest.mark.parametrize("pattern", ["encodr.*", "*"])
def test_a_pattern_that_freezes_nothing_or_all_is_refused(train: Train, pattern: str) -> None:
    with pytest.raises(UserError, match=r"training\.freeze"):
        train("run", f"training.freeze=['{pattern}']")


def test_several_heads_are_trained_and_measured_each_in_its_own_units(
    train: Train, clips: Path, tmp_path: Path, run_asr: Any
) -> None:
    words = sorted(
        {word for line in clips.read_text().splitlines() for word in json.loads(line)["text"].split()}
    )
    (tmp_path / "lexicon.txt").write_text(
        "".join(f"{word} AH B {'S T' * (i % 2)}\n" for i, word in enumerate(words))
    )
    heads = (
        f"{{phones: {{units: phones, layer: 1, lexicon: {tmp_path}/lexicon.txt}}, letters: {{weight: 0.3}}}}"
    )
    run = train("run", f"heads={heads}", "encoder.layers=2", "decoding.head=letters", "schedule.steps=4")
    evaluation = run.evaluations()[-1]
    assert {"wer_phones", "wer_letters"} <= evaluation.keys()
    model = load_network(run.folder / "model")
    assert model.default_head == "letters"
    assert [len(tokenizer.tokens) for tokenizer in model.tokenizers.values()] == [40, 29]
    for head in model.heads:
        done = run_asr("decode", run.folder / "model", clips, "--head", head, "--decoder", "greedy")
        assert done.status == 0
        assert len(done.stdout.splitlines()) == 8


def test_another_weight_of_a_head_gives_another_encoder(train: Train) -> None:
    runs = [
        train(str(weight), f"heads={{a: {{}}, b: {{weight: {weight}}}}}", "data.dev=''", "schedule.steps=3")
        for weight in (0.0, 1.0)
    ]
    assert not torch.equal(runs[0].tensors["values"], runs[1].tensors["values"])


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(
    train: Train, run_asr: Any, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint._write

    def full(path: Path, content: bytes) -> None:
        if "step-000000005" in str(path):
            path.write_bytes(content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write", full)
        done = run_asr("train", recipe_file, "--output", tmp_path / "run")
    assert done.status == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("asr: ")]
    assert "No space left on device" in line
    assert "--resume" in line
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000000004"]
    assert torch.equal(train("run", resume=True).tensors["values"], train("whole").tensors["values"])


def test_a_full_disk_under_the_log_is_one_line(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "STEPS_PER_REPORT", 1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"train\.jsonl: cannot be written \(No space left"):
        train("run")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [3, 6, 12])
def test_a_run_that_is_asked_to_stop_saves_and_says_how_to_go_on(
    train: Train,
    run_asr: Any,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    step: int,
) -> None:
    """At steps 6 and 12 an evaluation is due, and 12 is the last."""
    take_step = trainer.Trainer._step

    def step_and_signal(self: trainer.Trainer) -> bool:
        if self.position.step == step - 1:
            os.kill(os.getpid(), number)
        return take_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_step", step_and_signal)
        stopped = run_asr(
            "train", recipe_file, "optimizer.lr=1e-3", "data.cache=''", "--output", tmp_path / "a b"
        )
    assert stopped.status == 130
    (hint,) = [line for line in stopped.stderr.splitlines() if line.startswith("stopped; go on with: ")]
    assert Finished(tmp_path / "a b").position["step"] == step
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)

    command = shlex.split(hint.removeprefix("stopped; go on with: "))
    resumed = run_asr(*command[1:])
    assert resumed.status == 0
    assert resumed.stdout.strip() == str(tmp_path / "a b" / "model")
    whole, found = train("whole", "optimizer.lr=1e-3"), Finished(tmp_path / "a b")
    assert all(torch.equal(value, found.tensors[name]) for name, value in whole.tensors.items())
    assert [line["wer_characters"] for line in found.evaluations()] == [
        line["wer_characters"] for line in whole.evaluations()
    ]


def test_a_folder_that_holds_a_run_is_not_overwritten(train: Train) -> None:
    train("run", "schedule.steps=1", "data.dev=''")
    with pytest.raises(UserError, match="holds a run already; continue it with --resume"):
        train("run")


def test_models_of_a_run_that_left_no_checkpoint_do_not_mix_with_anothers(train: Train) -> None:
    folder = train("run", "schedule.steps=3").folder
    shutil.rmtree(folder / "checkpoints")
    kept = [path.name for path in kept_models(folder)]
    with pytest.raises(UserError, match="holds a run already; continue it with --resume"):
        train("run")
    with pytest.raises(UserError, match="holds models and no checkpoint"):
        train("run", resume=True)
    assert [path.name for path in kept_models(folder)] == kept


def test_a_damaged_checkpoint_is_not_taken_for_none(train: Train) -> None:
    folder = train("run", "schedule.steps=2", "data.dev=''").folder
    (checkpoint,) = (folder / "checkpoints").iterdir()
    (checkpoint / "tensors.safetensors").write_bytes(b"half")
    for resume in (True, False):
        with pytest.raises(UserError, match=rf"{checkpoint.name}: this checkpoint cannot be read"):
            train("run", "data.dev=''", resume=resume)


def test_what_changed_is_told_or_refused_when_a_run_is_continued(
    train: Train, recipe_file: Path, tmp_path: Path
) -> None:
    train("run", "schedule.steps=1", "data.dev=''", "training.freeze=['encoder.*']")

    def changed(*overrides: str, name: str = "run") -> list[str]:
        said: list[str] = []
        recipe = load_recipe(recipe_file, ["data.dev=''", "training.freeze=['encoder.*']", *overrides])
        train_recipe(recipe, tmp_path / name, resume=True, say=said.append)
        return said

    assert changed("schedule.steps=2", "optimizer.lr=0.5") == [
        "optimizer.lr: 0.5 (was 0.003)",
        "schedule.steps: 2 (was 1)",
    ]
    assert changed("schedule.steps=2", "optimizer.lr=0.5") == []
    for override in ("frontend.hop=0.012", "training.freeze=[]", "encoder.residual=false"):
        with pytest.raises(UserError, match=f"the run began with {override.partition('=')[0]} "):
            changed(override)
    assert changed("schedule.steps=1", name="new") == [
        f"{tmp_path}/new: there is no run to continue, so it begins here"
    ]


def test_a_checkpoint_of_another_network_is_refused(train: Train) -> None:
    folder = train("run", "schedule.steps=1", "data.dev=''").folder
    with pytest.raises(UserError, match=r"the run began with encoder\.hidden_size 16, not 17"):
        train("run", "encoder.hidden_size=17", resume=True)
    (folder / "recipe.yaml").unlink()
    with pytest.raises(UserError, match="its checkpoint is of another network"):
        train("run", "encoder.hidden_size=17", resume=True)


def test_a_finished_run_may_be_resumed_and_made_longer(train: Train) -> None:
    first = train("run", "schedule.steps=3", "data.dev=''")
    again = train("run", "schedule.steps=3", "data.dev=''", resume=True)
    assert torch.equal(first.tensors["values"], again.tensors["values"])
    assert train("run", "schedule.steps=5", "data.dev=''", resume=True).position["step"] == 5


def test_too_little_memory_shows_at_once_with_advice(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def logits(*_: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 1000 bytes")

    monkeypatch.setattr(Model, "logits", logits)
    with pytest.raises(
        UserError, match=r"a batch of 7 s does not fit in memory; lower batching\.max_seconds"
    ):
        train("run")


def test_the_longest_batch_is_tried_before_the_first_step(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    backward = trainer.Trainer.backward

    def watch(self: trainer.Trainer, batch: Any) -> None:
        seen.append(batch.waveforms.numel())
        backward(self, batch)

    monkeypatch.setattr(trainer.Trainer, "backward", watch)
    train("run", *PLAIN, "schedule.steps=3", "data.dev=''", "batching.max_seconds=3.1")
    assert seen[0] == max(seen)
    assert len(seen) == 4  # once before the three steps


def test_tensorboard_and_the_log_hold_the_figures_of_a_run(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(trainer, "STEPS_PER_REPORT", 2)
    run = train("run", "training.tensorboard=true")
    figures = {"loss", "lr", "gradient_norm", "hours_per_second", "padding", "blanks", "minutes", "epoch"}
    steps = [line for line in run.log() if "loss" in line]
    assert [line["step"] for line in steps] == [2, 4, 6, 8, 10, 12]
    assert all(figures <= line.keys() for line in steps)
    assert all(0 <= line["padding"] < 0.5 and 0 <= line["blanks"] <= 1 for line in steps)
    board = EventAccumulator(str(run.folder / "tensorboard"))
    board.Reload()
    assert figures - {"step"} <= set(board.Tags()["scalars"])
    assert "wer_characters" in board.Tags()["scalars"]
    assert "characters/text_summary" in board.Tags()["tensors"]


def test_a_development_set_that_no_head_can_write_is_refused(
    train: Train, clips: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small.jsonl"
    small.write_text(clips.read_text())
    lines = [json.loads(line) for line in clips.read_text().splitlines()]
    small.write_text("".join(json.dumps(line | {"text": line["text"].lower()}) + "\n" for line in lines))
    with pytest.raises(UserError, match=r"data\.dev: head characters can write none of its texts"):
        train("run", f"data.dev={small}")


def test_texts_that_a_head_cannot_write_are_counted(make_model: Callable[..., Model]) -> None:
    said = [Utterance(str(number), "a.wav", 1.0, text=text) for number, text in enumerate(["A", "5", "Ö"])]
    assert list(unwritable(said[:1], make_model())) == []
    (line,) = unwritable(said, make_model())
    assert line == "data.dev: 2 of 3 texts do not count: head characters cannot write them"


def test_a_models_directory_keeps_its_heads_denominator(train: Train) -> None:
    run = train("run", *PLAIN, "tokenizer.denominator=2", "schedule.steps=2", "data.dev=''")
    assert load_network(run.folder / "model").config.heads["characters"].denominator == 2


def test_a_head_with_a_denominator_is_measured_by_the_search_that_knows_it(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(emissions: Any, lengths: Any, tokenizer: Any, ngram: UnitNgram) -> list[Hypothesis]:
        assert ngram.order == 2
        return [Hypothesis("FOUND")] * len(emissions)

    monkeypatch.setattr("asr.training.evaluation.best_paths", search)
    run = train("run", *PLAIN, "tokenizer.denominator=2", "schedule.steps=2")
    assert run.evaluations()[-1]["characters"] == "FOUND"


def test_a_denominator_is_not_trained_on_alone(recipe_file: Path, tmp_path: Path) -> None:
    """Neither where there is no target nor where it does not fit into the frames."""
    recipe = load_recipe(recipe_file, [*PLAIN, "tokenizer.denominator=2", "loss.ctc_share=0"])
    run = trainer.Trainer(recipe, tmp_path, Ranks(processes=1))
    batch = run.data.load(run.plan(0)[0], 0)
    rows = len(batch.ids)
    lengths = torch.full((rows,), 5000)
    lengths[0] = -1
    assert rows > 1
    run.backward(replace(batch, targets={"characters": (torch.ones(rows, 5000).long(), lengths)}))
    assert run.flat.statistics[run.counted["infinite"]] == rows - 1
    assert run.flat.statistics[run.counted["loss_characters"]] == 0
    assert not run.flat.gradient.any()
    run.backward(batch)
    assert run.flat.gradient.any()
