"""Recurrent language models: probabilities, training, resuming, storing."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from asr.errors import UserError
from asr.lm.prefix_tree import PrefixTree
from asr.lm.rnn import (
    RNNLM,
    RNNLMConfig,
    load_rnn_lm,
    measure_rnn_perplexity,
    pad_sentences,
    save_rnn_lm,
)
from asr.precision import fast_eight_bits
from asr.training.checkpoint import load_checkpoint
from asr.training.distributed import Ranks
from asr.training.lm_data import Text, frequent_words
from asr.training.lm_trainer import LMTrainer, load_lm_recipe, perplexity, train_lm

WORDS = ["<unk>", "<s>", "</s>", *(f"W{number}" for number in range(30))]


def small(cell: str = "lstm") -> RNNLM:
    torch.manual_seed(0)
    config = RNNLMConfig(cell=cell, hidden_size=16, embedding_size=8, cutoffs=[5, 15], dropout=0.0)
    return RNNLM(config, WORDS).eval()


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_probabilities_of_the_next_word_add_up_to_one(cell: str) -> None:
    model = small(cell)
    rows = [[1, 7, number] for number in range(len(WORDS))]
    ids, lengths = pad_sentences(rows)
    with torch.inference_mode():
        scores = model(ids, lengths).view(-1, 2)[:, 1]
    assert scores.exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("eight_bits", [False, True])
def test_a_sentences_score_is_not_tied_to_its_neighbours(cell: str, eight_bits: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    if eight_bits and not fast_eight_bits():
        pytest.skip("a CPU without products of bytes")
    config = RNNLMConfig(cell, hidden_size=200, embedding_size=40, layers=2, cutoffs=[5, 15])
    save_rnn_lm(tmp_path, RNNLM(config, WORDS))
    model = load_rnn_lm(tmp_path, eight_bits)
    sentences = [[f"W{(first + step) % 30}" for step in range(first % 7)] for first in range(90)]
    tolerance = 0.0 if eight_bits else 1e-6
    for sentence, found in zip(sentences, model.word_scores(sentences), strict=True):
        np.testing.assert_allclose(model.word_scores([sentence])[0], found, atol=tolerance, rtol=0)
    exact = load_rnn_lm(tmp_path).word_scores(sentences)
    for found, expected in zip(model.word_scores(sentences), exact, strict=True):
        np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_shared_beginnings_change_no_score(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.lm.rnn._ASKED", 4)
    model = small(cell)
    texts = ["", "W1", "W1 W2", "W1 W2 W3", "W1 W9 W3", "W2 W2 W2 W2", "W1 W2 W3", "UNHEARD W2", "OTHER W2"]
    sentences = [text.split() for text in texts]
    ids, lengths = pad_sentences([model.encode(words) for words in sentences])
    with torch.inference_mode():
        expected = model(ids, lengths).split(lengths.tolist())
    found = model.word_scores(sentences)
    assert len(found) == len(sentences)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)
    assert model.word_scores([]) == []


def test_each_different_beginning_is_heard_once() -> None:
    tree = PrefixTree([[[1, 7, 8, 2], [1, 7, 9, 2]], [[1, 2], [1, 7, 8, 2]]])
    assert tree.words == [1, 7, 8, 2, 9, 2, 2]
    assert [nodes for nodes, _ in tree.levels] == [[0], [1], [2, 4]]
    assert [parents for _, parents in tree.levels] == [[0], [0], [0, 0]]
    assert tree.paths == [[1, 2, 3], [1, 4, 5], [6], [1, 2, 3]]


def test_beginnings_of_a_list_that_end_alike_are_heard_once() -> None:
    better, worse = [1, 7, 3, 4, 5, 2], [1, 8, 3, 4, 5, 2]
    tree = PrefixTree([[better, worse], [worse]], context=1)
    # Behind 3 the worse one goes on as the better one does; in a list of its own it does not.
    assert tree.paths == [[1, 2, 3, 4, 5], [6, 7, 3, 4, 5], [6, 7, 8, 9, 10]]
    assert [tree.parents[node] for node in tree.paths[0]] == [0, 1, 2, 3, 4]
    assert PrefixTree([[better, worse]], context=3).paths == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 5]]
    # What stands at different places may be heard in different ways.
    assert PrefixTree([[[1, 4, 4, 4, 2]]], context=1).paths == [[1, 2, 3, 4]]


def test_a_context_changes_a_lists_scores_little_and_those_of_no_other(tmp_path: Path) -> None:
    model = small()
    lists = [[["W1", "W2", *["W3"] * 6], ["W4", "W2", *["W3"] * 6]], [["W4", "W2", *["W3"] * 6]]]
    exact, near = model.nbest_scores(lists), model.nbest_scores(lists, context=3)
    np.testing.assert_array_equal(near[0][0], exact[0][0])
    np.testing.assert_array_equal(near[1][0], exact[1][0])
    np.testing.assert_array_equal(near[0][1][4:], exact[0][0][4:])
    assert not np.array_equal(near[0][1], exact[0][1])


def test_stored_and_loaded_it_gives_the_same_scores_within_eight_bits(tmp_path: Path) -> None:
    model = small()
    with torch.no_grad():
        model.embedding.weight[3] *= 1000  # one large row spoils no other
        model.embedding.weight[4] = 0.0
    save_rnn_lm(tmp_path / "lm", model)
    loaded = load_rnn_lm(tmp_path / "lm")
    assert not loaded.embedding.weight[4].any()
    np.testing.assert_allclose(
        loaded.word_scores([["W2", "W9"]])[0], model.word_scores([["W2", "W9"]])[0], atol=0.02
    )
    size = (tmp_path / "lm" / "model.safetensors").stat().st_size
    assert size < 1.7 * sum(value.numel() for value in model.parameters()) + 2000


def test_another_models_weights_are_the_start_where_shape_and_vocabulary_are_the_same(
    recipe: Path, tmp_path: Path
) -> None:
    steps = ["processes=1", "schedule.steps=1", "schedule.warmup=0", "optimizer.lr=0"]
    first = train_lm(load_lm_recipe(recipe, steps), tmp_path / "first", resume=False, say=print)
    again = [*steps, "seed=2", f"init_from={first}"]
    second = train_lm(load_lm_recipe(recipe, again), tmp_path / "second", resume=False, say=print)
    sentences = [["W1", "W2"], ["W9"]]
    found = [load_rnn_lm(each).word_scores(sentences) for each in (first, second)]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    for change, fault in (("model.hidden_size=16", "shape"), ("data.vocabulary_size=5", "vocabulary")):
        with pytest.raises(UserError, match=fault):
            LMTrainer(load_lm_recipe(recipe, [*again, change]), tmp_path / "third", print)


def test_models_in_half_precision_can_still_be_read(tmp_path: Path) -> None:
    model = small()
    save_rnn_lm(tmp_path / "lm", model)
    weights = {name: value.detach().half() for name, value in model.named_parameters()}
    save_file(weights, tmp_path / "lm" / "model.safetensors")
    np.testing.assert_allclose(
        load_rnn_lm(tmp_path / "lm").word_scores([["W1"]])[0], model.word_scores([["W1"]])[0], atol=5e-3
    )


def test_a_folder_without_model_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recurrent language model"):
        load_rnn_lm(tmp_path)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    draw = np.random.default_rng(1)
    # A language in which every word follows from the one before it.
    lines = []
    for _ in range(300):
        first, length = int(draw.integers(10)), int(draw.integers(3, 9))
        lines.append(" ".join(f"W{(first + number) % 10}" for number in range(length)))
    (tmp_path / "text.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "lm.yaml").write_text(
        f"data: {{train: [{tmp_path}/text.txt], dev: {tmp_path}/text.txt, vocabulary_size: 20}}\n"
        "model: {hidden_size: 24, embedding_size: 12, cutoffs: [6], dropout: 0.0}\n"
        "optimizer: {lr: 2.0e-2, average: 0.9}\nschedule: {steps: 60, warmup: 5}\n"
        "batch_words: 200\nevaluate_every: 30\nprecision: fp32\n"
    )
    return tmp_path / "lm.yaml"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("precision=fp16", "precision: 'fp16' is not one of auto, fp32, bf16"),
        ("schedule.kind=linaer", "schedule.kind: 'linaer' is not one of cosine, linear"),
        ("schedule.kind=plateau", "schedule.kind: 'plateau' is not one of cosine, linear"),
        ("optimizer.average=3", "optimizer.average: 3.0 must be from 0 to 1"),
        ("optimizer.lr=-1", "optimizer.lr: -1.0"),
        ("data.vocabulary_size=-1", "data.vocabulary_size: -1"),
        ("model.embedding_size=0", "model.embedding_size: 0"),
        ("model.cell=tree", "model.cell: 'tree' is not one of rnn, lstm, gru"),
        ("seed=-1", "seed: -1"),
        ("model.hiden_size=8", "unknown key 'model.hiden_size' (misspelt?)"),
        ("model=8", "model: "),
        ("model.cutoffs=[9,9]", "model.cutoffs: [9, 9] do not rise"),
    ],
)
def test_a_mistake_in_a_recipe_names_its_key(recipe: Path, change: str, named: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"{recipe}: {named}")):
        load_lm_recipe(recipe, [change])


def test_marks_in_the_text_are_no_words_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("A <unk> A\nB <unk>\n")
    assert frequent_words([str(tmp_path / "text")], 9) == ["<unk>", "<s>", "</s>", "A", "B"]
    (tmp_path / "text").write_text("<s> A </s>\n")
    with pytest.raises(UserError, match="<s> stands in the text"):
        frequent_words([str(tmp_path / "text")], 9)


def test_a_recipe_that_is_a_list_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "lm.yaml").write_text("- data\n")
    with pytest.raises(UserError, match=r"lm\.yaml: a recipe is made of sections"):
        load_lm_recipe(tmp_path / "lm.yaml", [])


def test_it_learns_a_language_that_can_be_foreseen(recipe: Path, tmp_path: Path) -> None:
    trainer = LMTrainer(load_lm_recipe(recipe, []), tmp_path / "run", lambda line: None)
    before = perplexity(trainer.model, trainer.dev, 200)
    trainer.run(resume=False)
    model = load_rnn_lm(tmp_path / "run" / "model")
    known = {word.encode(): number for word, number in model.word_ids.items()}
    after = perplexity(model, Text([str(tmp_path / "text.txt")], known), 200)
    assert before > 10
    assert after < 4


def test_two_processes_learn_together_and_one_goes_on(recipe: Path, tmp_path: Path) -> None:
    together = load_lm_recipe(recipe, ["processes=2"])
    model = load_rnn_lm(train_lm(together, tmp_path / "run", resume=False, say=print))
    known = {word.encode(): number for word, number in model.word_ids.items()}
    assert perplexity(model, Text([str(tmp_path / "text.txt")], known), 200) < 4
    alone = load_lm_recipe(recipe, ["processes=1", "schedule.steps=61"])
    train_lm(alone, tmp_path / "run", resume=True, say=print)
    found = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert found[1]["step"] == 61
    assert found[1]["seconds"] > 0


@pytest.mark.parametrize("sentences", [1, 3])
def test_a_batch_belongs_to_the_run_however_many_processes_share_it(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sentences: int
) -> None:
    class Summed(Exception):
        pass

    def keep(_: Ranks, vector: torch.Tensor) -> None:
        parts.append(vector.clone())
        raise Summed

    monkeypatch.setattr(Ranks, "sum", keep)
    sums = []
    for processes in (1, 2):
        parts: list[torch.Tensor] = []
        for rank in range(processes):
            trainer = LMTrainer(load_lm_recipe(recipe, []), tmp_path, print, Ranks(rank, processes))
            with pytest.raises(Summed):
                trainer._step(np.arange(sentences), False)
        size = len(trainer.optimisation.flat.gradient)
        sums.append(torch.stack(parts).sum(0)[: size + 1])  # the gradient and how many words it is of
    assert sums[0][-1] > sentences
    torch.testing.assert_close(sums[1], sums[0], atol=1e-4, rtol=1e-4)


def test_training_hears_of_each_word_what_its_softmax_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.lm.rnn._ROWS", 3)
    model = small()
    ids, lengths = pad_sentences([model.encode(f"W{n} W{29 - n} W3 UNHEARD".split()) for n in range(30)])
    model(ids, lengths).mean().backward()
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    outputs, _ = model.recurrent(model.embedding(ids[:, :-1]), lengths)
    hidden = model.norm(outputs[-1].flatten(0, 1))
    expected = model.softmax(hidden, ids[:, 1:].flatten())
    torch.testing.assert_close(model(ids, lengths), expected.output)
    expected.output.mean().backward()
    assert found.keys() == {name for name, _ in model.named_parameters()}
    for name, value in model.named_parameters():
        torch.testing.assert_close(found[name], value.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("length", [[], ["schedule.steps=0", "schedule.epochs=6"]])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    recipe: Path, tmp_path: Path, length: list[str]
) -> None:
    whole = LMTrainer(load_lm_recipe(recipe, length), tmp_path / "whole", lambda line: None)
    whole.run(resume=False)

    class Cut(Exception):
        pass

    def stop_at_half(line: str) -> None:
        if "step 30" in line:
            raise Cut

    with pytest.raises(Cut):
        LMTrainer(load_lm_recipe(recipe, length), tmp_path / "cut", stop_at_half).run(resume=False)
    again = LMTrainer(load_lm_recipe(recipe, length), tmp_path / "cut", lambda line: None)
    again.run(resume=True)
    assert again.position.step == whole.position.step > 30
    assert torch.equal(again.optimisation.flat.values, whole.optimisation.flat.values)


def test_a_run_whose_text_gave_other_words_since_is_not_continued(recipe: Path, tmp_path: Path) -> None:
    steps = ["schedule.steps=2", "processes=1"]
    train_lm(load_lm_recipe(recipe, steps), tmp_path / "run", False, print)
    (path,) = load_lm_recipe(recipe, steps).data.train
    # The same words; another one is the most frequent now.
    rarest = load_rnn_lm(tmp_path / "run" / "model").words[-1]
    Path(path).write_text(Path(path).read_text() + f"{rarest}\n" * 999)
    with pytest.raises(UserError, match=r"its vocabulary is no longer that of data\.train"):
        train_lm(load_lm_recipe(recipe, steps), tmp_path / "run", True, print)


def test_what_a_resumed_run_has_otherwise_is_told(recipe: Path, tmp_path: Path) -> None:
    told: list[str] = []
    first = load_lm_recipe(recipe, ["schedule.steps=2", "processes=1"])
    train_lm(first, tmp_path / "run", False, print)
    (path,) = first.data.train
    Path(path).write_text("".join(reversed(Path(path).read_text().splitlines(keepends=True))))
    second = load_lm_recipe(recipe, ["schedule.steps=4", "processes=1", "seed=9"])
    train_lm(second, tmp_path / "run", True, told.append)
    assert {"schedule.steps: 4 (was 2)", "seed: 9 (was 1)"} <= set(told)
    assert "data.train: another text than before, so the epoch begins anew" in told


def test_a_run_is_not_overwritten_without_resume(recipe: Path, tmp_path: Path) -> None:
    train_lm(load_lm_recipe(recipe, ["schedule.steps=2", "processes=1"]), tmp_path / "run", False, print)
    with pytest.raises(UserError, match="--resume"):
        train_lm(load_lm_recipe(recipe, []), tmp_path / "run", False, print)


def test_an_unknown_key_of_the_recipe_is_named(recipe: Path) -> None:
    with pytest.raises(UserError, match="hiden_size"):
        load_lm_recipe(recipe, ["model.hiden_size=3"])


def test_perplexity_of_texts_tells_known_from_unknown_words(tmp_path: Path) -> None:
    model = small()
    (tmp_path / "text.txt").write_text("W1 UNHEARD\n\nW3\n")
    found = measure_rnn_perplexity(model, [tmp_path / "text.txt"])
    assert (found.sentences, found.words, found.unknown) == (2, 5, 1)
    scores = np.concatenate(model.word_scores([["W1", "UNHEARD"], ["W3"]]))
    assert found.with_unknown == pytest.approx(math.exp(-scores.mean()), rel=1e-5)


def test_perplexity_counts_the_ends_of_sentences(tmp_path: Path) -> None:
    model = small()
    (tmp_path / "one.txt").write_text("W1 W2\n")
    known = {word.encode(): number for word, number in model.word_ids.items()}
    scores = model.word_scores([["W1", "W2"]])[0]
    expected = math.exp(-scores.sum() / 3)
    assert perplexity(model, Text([str(tmp_path / "one.txt")], known), 100) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize(
    "override", ["optimizer.accumulate=2", "schedule.stop_after=3", "evaluate_every=0", "batch_words=0"]
)
def test_a_setting_that_would_do_nothing_or_cannot_be_is_named(recipe: Path, override: str) -> None:
    with pytest.raises(UserError, match=override.partition("=")[0]):
        load_lm_recipe(recipe, [override])


def test_text_that_is_not_utf8_is_one_clear_line(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes("CAFÉ\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"text\.txt: the text is not UTF-8"):
        LMTrainer(load_lm_recipe(recipe, []), tmp_path / "run", lambda line: None)
    found = measure_rnn_perplexity(small(), [tmp_path / "text.txt"])
    assert (found.words, found.unknown) == (2, 1)


def test_a_broken_description_is_one_clear_line(tmp_path: Path) -> None:
    save_rnn_lm(tmp_path / "lm", small())
    (tmp_path / "lm" / "rnn.yaml").write_text("cell: [lstm\n")
    with pytest.raises(UserError, match="no recurrent language model can be read here"):
        load_rnn_lm(tmp_path / "lm")
