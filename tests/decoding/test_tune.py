"""``asr tune``: what it puts into a model directory."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from asr.errors import UserError

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def recurrent_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent model of the n-gram's words, with random weights."""
    import torch

    from asr.lm.rnn import RNNLM, RNNLMConfig, save_rnn_lm

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("rnn")
    words = ["<unk>", "<s>", "</s>", "A", "SEA", "AT", "TEA", "TO", "EAT"]
    config = RNNLMConfig(hidden_size=8, embedding_size=8, cutoffs=[4], dropout=0.0)
    save_rnn_lm(folder, RNNLM(config, words).eval())
    return folder


@pytest.fixture
def manifest(clips: Path, tmp_path: Path, beam_model: Path, run_asr: Run) -> Path:
    """Clips whose texts a random model has half right."""
    run_asr("decode", beam_model, clips, "-o", tmp_path / "heard.jsonl")
    heard = {line["id"]: line["text"].split() for line in lines(tmp_path / "heard.jsonl")}
    path = tmp_path / "dev.jsonl"
    with path.open("w") as stream:
        for line in lines(clips):
            words = [word if place % 2 else "SEA" for place, word in enumerate(heard[line["id"]])]
            stream.write(json.dumps(line | {"text": " ".join(words) or "SEA"}) + "\n")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def decoding(model: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((model / "config.yaml").read_text())["decoding"]
    return found


def test_a_recurrent_model_goes_into_the_directory_and_is_used(
    run_asr: Run, copied_model: Path, manifest: Path, recurrent_lm: Path
) -> None:
    done = run_asr("tune", copied_model, manifest, "--rescore", recurrent_lm, "--beam-size", 20)
    assert done.status == 0, done.stderr
    assert "rescored" in done.stdout
    kept = decoding(copied_model)["rescoring"]
    assert 0 <= kept["mix"] <= 1 and kept["lm_scale"] >= 0
    assert {path.name for path in (copied_model / "rescoring_lm").iterdir()} == {
        path.name for path in recurrent_lm.iterdir()
    }
    # What is printed is what evaluate measures with the directory as it is now.
    measured = json.loads(run_asr("evaluate", copied_model, manifest, "--json").stdout)
    rescored = next(line for line in done.stdout.splitlines() if "rescored" in line)
    assert rescored.startswith(f"WER {measured['wer']:.2f} %")
    off = run_asr("tune", copied_model, manifest, "--rescore", "none", "--beam-size", 20)
    assert "rescored" not in off.stdout
    assert "rescoring" not in decoding(copied_model)


def test_confidences_are_calibrated_in_the_directory(
    run_asr: Run, copied_model: Path, manifest: Path
) -> None:
    done = run_asr("tune", copied_model, manifest, "--beam-size", 20)
    assert done.status == 0, done.stderr
    assert "expected calibration error" in done.stdout
    kept = decoding(copied_model)
    assert (kept["confidence_slope"], kept["confidence_offset"]) != (1.0, 0.0)
    measured = json.loads(run_asr("evaluate", copied_model, manifest, "--json").stdout)
    assert 0 < measured["expected_calibration_error"] < 1


def test_a_calibration_stays_where_none_can_be_made(
    run_asr: Run, copied_model: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load((copied_model / "config.yaml").read_text())
    config["decoding"] |= {"confidence_slope": 0.7, "confidence_offset": 1.2}
    (copied_model / "config.yaml").write_text(yaml.safe_dump(config))

    def refuse(*_: object) -> None:
        raise UserError("confidences cannot be calibrated")

    monkeypatch.setattr("asr.tuner.calibrate", refuse)
    done = run_asr("tune", copied_model, manifest, "--beam-size", 20)
    assert done.status == 0
    assert "confidences cannot be calibrated; they stay as they were" in done.stderr
    kept = decoding(copied_model)
    assert (kept["confidence_slope"], kept["confidence_offset"]) == (0.7, 1.2)


def test_a_missing_recurrent_model_leaves_the_directory_as_it_was(
    run_asr: Run, copied_model: Path, manifest: Path, other_lm: Path
) -> None:
    before = {path: path.read_bytes() for path in copied_model.rglob("*") if path.is_file()}
    done = run_asr("tune", copied_model, manifest, "--lm", other_lm, "--rescore", copied_model / "nothing")
    assert done.status != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in copied_model.rglob("*") if path.is_file()} == before


def test_another_head_is_tuned_with_a_lexicon_of_its_own(
    run_asr: Run, copied_model: Path, manifest: Path, phone_lexicon: Path
) -> None:
    done = run_asr(
        *("tune", copied_model, manifest, "--head", "phones", "--lexicon", phone_lexicon, "--beam-size", 20)
    )
    assert done.status == 0, done.stderr
    assert decoding(copied_model)["head"] == "phones"
    assert run_asr("decode", copied_model, manifest).status == 0
    before = {path: path.read_bytes() for path in copied_model.rglob("*") if path.is_file()}
    refused = run_asr("tune", copied_model, manifest, "--head", "characters")
    assert refused.status == 1
    assert "lexicon.txt: is written in the tokens of head phones" in refused.stderr
    assert {path: path.read_bytes() for path in copied_model.rglob("*") if path.is_file()} == before


def test_a_directory_has_one_lexicon_plain_or_compressed(
    run_asr: Run, copied_model: Path, manifest: Path, phone_lexicon: Path, tmp_path: Path
) -> None:
    compressed = tmp_path / "phones.gz"
    compressed.write_bytes(gzip.compress(phone_lexicon.read_bytes()))
    for lexicon, name in ((phone_lexicon, "lexicon.txt"), (compressed, "lexicon.txt.gz")) * 2:
        done = run_asr(
            *("tune", copied_model, manifest, "--head", "phones", "--lexicon", lexicon, "--beam-size", 20)
        )
        assert done.status == 0, done.stderr
        assert [path.name for path in copied_model.glob("lexicon*")] == [name]
        decoded = run_asr("decode", copied_model, manifest)
        assert decoded.status == 0, decoded.stderr


def test_without_ngram_a_directory_is_not_rescored_either(
    run_asr: Run, copied_model: Path, manifest: Path, recurrent_lm: Path
) -> None:
    run_asr("tune", copied_model, manifest, "--rescore", recurrent_lm, "--beam-size", 20)
    assert "rescoring" in decoding(copied_model)
    without = run_asr("decode", copied_model, manifest, "--lm", "none")
    assert without.status == 0, without.stderr
    both = run_asr("decode", copied_model, manifest, "--lm", "none", "--rescore", recurrent_lm)
    assert "--rescore: needs the n-gram" in both.stderr
