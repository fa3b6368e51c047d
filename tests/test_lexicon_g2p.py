"""The grapheme-to-phoneme model: batches, search, training, its directory and the one that ships."""

import itertools
import math
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from asr.cli.lexicon import register
from asr.errors import UserError
from asr.g2p import G2p, G2pConfig, load_g2p, nbest, plain, pronounce, read_g2p_config, save_g2p
from asr.g2p.model import CONFIG, WEIGHTS, encode
from asr.g2p.search import _prefix_search
from asr.g2p.training import measure_g2p, split_dictionary, train_g2p
from asr.lexicon import PHONES as ARPABET
from asr.lexicon import read_lexicon
from asr.model import PRETRAINED
from asr.tokenizer import PHONES

SMALL = {"embedding": 8, "layers": 1, "hidden_size": 16, "dropout": 0.0}


def toy_dictionary() -> dict[str, tuple[tuple[str, ...], ...]]:
    """Regular words: consonant, vowel, consonant, each letter one phone."""
    letters = {"B": "B", "D": "D", "K": "K", "M": "M", "N": "N", "T": "T", "A": "AE", "E": "EH", "O": "AA"}
    words = itertools.product("BDKMNT", "AEO", "BDKMNT")
    return {"".join(word): (tuple(letters[letter] for letter in word),) for word in words}


def test_a_word_has_the_same_emissions_whatever_else_is_in_the_batch():
    torch.manual_seed(0)
    model = G2p(G2pConfig(**SMALL)).eval()
    with torch.inference_mode():
        together, lengths = model(*encode(["CAT", "ENCYCLOPEDIA", "A"]))
        for row, word in enumerate(["CAT", "ENCYCLOPEDIA", "A"]):
            alone, _ = model(*encode([word]))
            torch.testing.assert_close(together[row, : lengths[row]], alone[0], atol=1e-5, rtol=1e-5)


def test_search_equals_the_sum_over_all_paths():
    torch.manual_seed(1)
    tokens, frames = 4, 4
    probabilities = torch.randn(frames, tokens).softmax(-1)
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(tokens), repeat=frames):
        labels = tuple(token for token, _ in itertools.groupby(path) if token)
        weight = math.prod(probabilities[frame, token].item() for frame, token in enumerate(path))
        sums[labels] = sums.get(labels, 0.0) + weight
    expected = sorted(((p, labels) for labels, p in sums.items() if labels), reverse=True)
    found = _prefix_search(probabilities.tolist(), beam_size=1000)
    assert [phones for phones, _ in found] == [tuple(PHONES[i] for i in labels) for _, labels in expected]
    for (_, score), (p, _) in zip(found, expected, strict=True):
        assert score == pytest.approx(math.log(p), abs=1e-5)


def test_split_keeps_inflections_together_and_leaves_other_alphabets_out():
    dictionary = toy_dictionary()
    dictionary |= {f"{word}'S": dictionary[word] for word in list(dictionary)}
    dictionary |= {"A.M.": (("EY", "EH", "M"),)}
    train, held = split_dictionary(dictionary, 0.1, seed=1)
    assert len(train) + len(held) == len(dictionary) - 1
    assert 0.05 < len(held) / len(dictionary) < 0.2
    assert {word.removesuffix("'S") for word in train}.isdisjoint(word.removesuffix("'S") for word in held)
    assert split_dictionary(dictionary, 0.1, seed=1) == (train, held)
    assert split_dictionary(dictionary, 0.1, seed=3)[1] != held


def test_too_small_a_dictionary_is_refused():
    with pytest.raises(UserError, match="too few"):
        split_dictionary({"A": (("AH",),)}, 0.1, seed=1)


def test_training_learns_a_regular_spelling_and_the_command_writes_the_model(tmp_path):
    dictionary = tmp_path / "dict"
    lines = [f"{word} {' '.join(phones)}" for word, (phones,) in toy_dictionary().items()]
    dictionary.write_text("\n".join(lines) + "\nW D AH1 B AH0 L Y UW0\n")
    config = tmp_path / "toy.yaml"
    config.write_text(
        "embedding: 8\nlayers: 1\nhidden_size: 16\ndropout: 0.0\n"
        "training: {epochs: 30, batch_size: 16, learning_rate: 0.03, average: 0.8}\n"
    )
    app = typer.Typer()
    register(app)
    run = ["lexicon", "train-g2p", str(dictionary), "--config", str(config), "-o", str(tmp_path / "model")]
    result = CliRunner().invoke(app, run)
    assert result.exit_code == 0, result.output
    assert "word error rate 0.00 %" in result.stdout
    assert "epoch 30 of 30" in result.stderr
    model = load_g2p(tmp_path / "model")
    assert model.config.results["words"] + model.config.results["trained_on"] == 109
    again = CliRunner().invoke(
        app, ["lexicon", "test-g2p", str(dictionary), "--g2p", str(tmp_path / "model")]
    )
    assert again.stdout == result.stdout, "fp16 weights and a second reading give the same rates"


def test_training_is_repeatable():
    config = G2pConfig(**SMALL)
    config.training.epochs = 2
    train, held = split_dictionary(toy_dictionary(), 0.1, seed=1)
    first, second = train_g2p(train, config), train_g2p(train, config)
    assert measure_g2p(first, held) == measure_g2p(second, held)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_broken_model_directory_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no grapheme-to-phoneme model here"):
        load_g2p(tmp_path)
    save_g2p(tmp_path, G2p(G2pConfig(**SMALL)))
    (tmp_path / WEIGHTS).write_bytes(b"broken")
    with pytest.raises(UserError, match="does not fit"):
        load_g2p(tmp_path)
    (tmp_path / CONFIG).write_text("hidden: 3\n")
    with pytest.raises(UserError, match="hidden"):
        read_g2p_config(tmp_path / CONFIG)
    (tmp_path / CONFIG).write_text("training: {epochs: 0}\n")
    with pytest.raises(UserError, match=r"g2p\.yaml: training\.epochs: must be more than 0"):
        read_g2p_config(tmp_path / CONFIG)


def test_words_are_made_plain():
    assert plain("Zoë’s") == "ZOE'S"
    for word in ("R2D2", "Москва", "", "'", "NEW YORK"):
        with pytest.raises(UserError, match="cannot be pronounced"):
            nbest(G2p(G2pConfig(**SMALL)), [plain(word)])


def test_the_shipped_model_is_small_and_pronounces_names():
    folder = PRETRAINED / "g2p_en"
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 3_000_000
    assert pronounce("Blackford") == [("B", "L", "AE", "K", "F", "ER", "D")]
    best = pronounce("Kowalczuk", n=3)
    assert len(set(best)) == 3
    assert all(set(phones) <= ARPABET for phones in best)


def test_a_word_list_larger_than_a_batch_is_answered_whole(tmp_path: Path):
    words = ["".join(letters) for letters in itertools.product("BDK", "AEIOU", "LMN", "AEIOU", "RST")]
    (tmp_path / "words").write_text("\n".join(words))
    (tmp_path / "dict").write_text("the DH AH0\n")
    app = typer.Typer()
    register(app)
    arguments = ["lexicon", "build", str(tmp_path / "words"), "--dictionary", str(tmp_path / "dict")]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "lexicon.txt"), "--variants", "1"])
    assert result.exit_code == 0, result.output
    assert [word for word, _ in read_lexicon(tmp_path / "lexicon.txt")] == words


def test_a_lexicon_does_not_replace_the_words_it_is_of(tmp_path: Path):
    (tmp_path / "lm").mkdir()
    (tmp_path / "lm" / "words.txt").write_text("THE\n")
    (tmp_path / "dict").write_text("the DH AH0\n")
    app = typer.Typer()
    register(app)
    for output in ("lm/words.txt", "dict"):
        arguments = ["lexicon", "build", str(tmp_path / "lm"), "--dictionary", str(tmp_path / "dict")]
        result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / output)])
        assert isinstance(result.exception, UserError)
    assert (tmp_path / "lm" / "words.txt").read_text() == "THE\n"


def test_a_trained_model_is_not_replaced(tmp_path: Path):
    (tmp_path / CONFIG).write_text("kept")
    (tmp_path / "g2p.yml").write_text("{}")
    (tmp_path / "dict").write_text("the DH AH0\n")
    app = typer.Typer()
    register(app)
    arguments = ["lexicon", "train-g2p", str(tmp_path / "dict"), "--config", str(tmp_path / "g2p.yml")]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path)])
    assert "holds a model already" in str(result.exception)
    assert (tmp_path / CONFIG).read_text() == "kept"


def test_nothing_that_could_be_learned_is_one_line():
    words = {word: (("B",) * 40,) for word in toy_dictionary()}
    with pytest.raises(UserError, match="frames_per_letter"):
        train_g2p(words, G2pConfig(**SMALL))


def test_holding_out_nothing_is_refused_before_the_training():
    with pytest.raises(UserError, match="held_out: 0 of"):
        split_dictionary(toy_dictionary(), 0.0, 1)


def test_a_run_of_ten_steps_trains():
    words = dict(list(toy_dictionary().items())[:100])
    config = G2pConfig(**SMALL)
    config.training.epochs, config.training.batch_size = 10, 100
    assert all(value.isfinite().all() for value in train_g2p(words, config).state_dict().values())
