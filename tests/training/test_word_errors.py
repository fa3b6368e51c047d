"""Minimum word error rate training."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest
import torch
from finished import Train
from torch import Tensor

from asr.decoding.rescoring import rescore, score_words
from asr.errors import UserError
from asr.lm.arpa import read_arpa
from asr.lm.ngram import NGram
from asr.lm.rnn import RNNLM, RNNLMConfig, load_rnn_lm, save_rnn_lm
from asr.manifest import read_manifest
from asr.model import HeadConfig, Model, save_network
from asr.tokenizer import BLANK, PhoneTokenizer
from asr.training.config import WordErrorsConfig, load_recipe
from asr.training.word_errors import WordErrors

PHONES = PhoneTokenizer([BLANK, "P", "T", "K"])
LEXICON = "A P\nAB P T\nB T\nC K\nCAB K P T\n"
# All readings of a few frames.
EXHAUSTIVE = {"beam_threshold": 1e9, "token_threshold": 1e9, "recombine": False}


ARPA = """\\data\\
ngram 1=7

\\1-grams:
-2.0 <unk>
-99 <s>
-0.6 </s>
-0.5 A
-1.1 AB
-0.8 B
-0.9 C

\\end\\
"""


@pytest.fixture
def model(make_model: Callable[..., Model]) -> Model:
    model = make_model()
    model.config.heads = {"phones": HeadConfig(units="phones")}
    model.config.decoding = {"head": "phones", "rescoring": {"mix": 0.7, "lm_scale": 1.5}, **EXHAUSTIVE}
    model.tokenizers = {"phones": PHONES}
    return model


@pytest.fixture
def searched(model: Model, tmp_path: Path) -> WordErrorsConfig:
    save_network(tmp_path / "model", model)
    (tmp_path / "model" / "lexicon.txt").write_text(LEXICON)
    return WordErrorsConfig(1.0, str(tmp_path / "model"), 100_000, 100_000)


@pytest.fixture
def word_errors(searched: WordErrorsConfig, model: Model) -> WordErrors:
    return WordErrors(searched, model)


@pytest.fixture
def rescored(searched: WordErrorsConfig, model: Model, tmp_path: Path) -> WordErrors:
    (tmp_path / "lm.arpa").write_text(ARPA)
    read_arpa(tmp_path / "lm.arpa").save(Path(searched.model) / "lm")
    torch.manual_seed(1)
    words = ["<unk>", "<s>", "</s>", "A", "B", "C", "AB"]
    shape = RNNLMConfig(hidden_size=8, embedding_size=8, cutoffs=[4], dropout=0.0)
    save_rnn_lm(Path(searched.model) / "rescoring_lm", RNNLM(shape, words).eval())
    return WordErrors(replace(searched, rescore=True, posterior_scale=0.6), model)


def logits_of(seed: int, frames: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, frames, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scored_by", ["word_errors", "rescored"])
@pytest.mark.parametrize(("seed", "reference"), [(1, "A B"), (2, "CAB"), (3, "C A"), (4, "")])
def test_the_slope_is_that_of_the_expected_errors(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    scored_by: str,
    seed: int,
    reference: str,
) -> None:
    word_errors: WordErrors = request.getfixturevalue(scored_by)
    monkeypatch.setattr("asr.training.word_errors._LEAST_SLOPE", 0.0)
    logits, lengths = logits_of(seed, 5), torch.tensor([5])
    varied = logits.clone().requires_grad_()
    word_errors(varied, lengths, [reference]).sum().backward()
    assert varied.grad is not None
    assert varied.grad.abs().max() > 0.01
    for frame in range(5):
        for token in range(4):
            step = torch.zeros_like(logits)
            step[0, frame, token] = 0.02
            rise, fall = (word_errors(logits + sign * step, lengths, [reference]) for sign in (1, -1))
            assert varied.grad[0, frame, token] == pytest.approx(float(rise - fall) / 0.04, abs=5e-4)


@pytest.mark.parametrize(("reference", "errors"), [("C C", 0), ("C", 1), ("", 2), ("A B C", 2)])
def test_of_a_sure_reading_they_are_its_own_errors_and_nothing_changes_them(
    word_errors: WordErrors, reference: str, errors: int
) -> None:
    logits = torch.full((1, 3, 4), -30.0)
    logits[0, range(3), [3, 0, 3]] = 0.0
    logits.requires_grad_()
    found = word_errors(logits, torch.tensor([3]), [reference])
    found.sum().backward()
    assert float(found.detach()) == pytest.approx(errors, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_the_recurrent_model_has_its_say_in_what_is_expected(
    rescored: WordErrors, searched: WordErrorsConfig, model: Model
) -> None:
    with_ngram = WordErrors(replace(searched, posterior_scale=0.6), model)
    logits, lengths = logits_of(1, 5), torch.tensor([5])
    plain, mixed = (float(each(logits, lengths, ["A B"])) for each in (with_ngram, rescored))
    assert abs(plain - mixed) > 0.01


def test_readings_are_as_likely_as_rescoring_finds_them(
    rescored: WordErrors, searched: WordErrorsConfig
) -> None:
    logits, lengths = logits_of(1, 5), torch.tensor([5])
    (found,) = rescored._decoder.search_batch(logits.log_softmax(-1), lengths)
    folder, weight = Path(searched.model), rescored._decoder.config.lm_weight
    recurrent, ngram = load_rnn_lm(folder / "rescoring_lm"), NGram.load(folder / "lm")
    (words,) = score_words([found.texts], recurrent, ngram)
    scores = 0.6 * np.asarray(rescore(found.scores, words, weight, mix=0.7, lm_scale=1.5))
    share = np.exp(scores - np.logaddexp.reduce(scores))
    wrong = [jiwer.process_words("A B", text) for text in found.texts]
    errors = [each.substitutions + each.deletions + each.insertions for each in wrong]
    assert float(rescored(logits, lengths, ["A B"])) == pytest.approx(float(share @ errors), rel=1e-3)


def test_a_smaller_scale_makes_what_is_not_the_best_count_for_more(
    searched: WordErrorsConfig, model: Model
) -> None:
    logits, lengths = torch.full((1, 3, 4), -2.0), torch.tensor([3])
    logits[0, range(3), [3, 0, 3]] = 2.0
    sharp, flat = (
        float(WordErrors(replace(searched, posterior_scale=scale), model)(logits, lengths, ["C C"]))
        for scale in (1.0, 0.3)
    )
    assert 0 < sharp < flat / 2


def test_without_a_recurrent_model_nothing_can_be_scored_anew(
    searched: WordErrorsConfig, model: Model
) -> None:
    with pytest.raises(UserError, match=r"word_errors\.rescore: .*model must have an lm and a rescoring_lm"):
        WordErrors(replace(searched, rescore=True), model)


def test_going_downhill_makes_the_right_reading_likelier(word_errors: WordErrors) -> None:
    logits, lengths = logits_of(5, 6).requires_grad_(), torch.tensor([6])
    optimizer = torch.optim.SGD([logits], lr=1.0)
    errors = []
    for _ in range(30):
        optimizer.zero_grad()
        found = word_errors(logits, lengths, ["C AB"]).sum()
        found.backward()
        optimizer.step()
        errors.append(float(found.detach()))
    assert errors[-1] < 0.7 * errors[0]


def test_neither_the_batch_nor_padding_counts(word_errors: WordErrors) -> None:
    logits, lengths, references = logits_of(7, 6, batch=3), torch.tensor([6, 4, 0]), ["A B", "CAB", "A"]
    together = logits.clone().requires_grad_()
    found = word_errors(together, lengths, references)
    found.sum().backward()
    assert together.grad is not None
    assert float(found[2].detach()) == 1.0
    for row, length in enumerate(lengths.tolist()):
        alone = logits[row : row + 1, :length].clone().requires_grad_()
        value = word_errors(alone, lengths[row : row + 1], references[row : row + 1])
        value.sum().backward()
        assert alone.grad is not None
        assert float(value.detach()) == pytest.approx(float(found[row].detach()), abs=1e-5)
        assert torch.allclose(alone.grad[0], together.grad[row, :length], atol=1e-5)
        assert not together.grad[row, length:].any()


def test_a_run_tells_how_many_errors_it_expects_and_changes_the_weights_by_them(
    recipe_file: Path, train: Train, make_model: Callable[..., Model], tmp_path: Path
) -> None:
    searched = make_model()
    searched.config.decoding = {"beam_size": 20}
    save_network(tmp_path / "searched", searched)
    words = {word for line in load_recipe(recipe_file).data.train for word in _words(line.manifest)}
    (tmp_path / "searched" / "lexicon.txt").write_text(
        "".join(f"{word} {' '.join(word)}\n" for word in sorted(words))
    )
    plain = ("schedule.steps=20", "data.dev=''")
    asked = ("loss.word_errors.weight=5", f"loss.word_errors.model={tmp_path / 'searched'}")
    without, with_them = train("without", *plain), train("with", *plain, *asked)
    assert "expected_wer" not in without.log()[-1]
    assert 0 < with_them.log()[-1]["expected_wer"] < 1000
    assert without.tensors.keys() == with_them.tensors.keys()
    assert any(not value.equal(with_them.tensors[name]) for name, value in without.tensors.items())


def _words(manifest: str) -> set[str]:
    return {word for each in read_manifest(manifest) for word in (each.text or "").split()}


def test_without_a_model_to_search_with_it_is_refused(recipe_file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss\.word_errors\.model: name a model directory"):
        load_recipe(recipe_file, ["loss.word_errors.weight=1"])
