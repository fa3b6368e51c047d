"""What a user can get wrong about the beam search: one clear line that names it, and nothing decoded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]


def refusal(run_asr: Run, model: Path, clips: Path, *flags: object) -> str:
    """The one line that a command ends with."""
    done = run_asr("decode", model, clips, *flags)
    assert (done.status, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return str(line)


def test_a_lexicon_with_tokens_that_the_model_lacks(
    run_asr: Run, beam_model: Path, clips: Path, phone_lexicon: Path
) -> None:
    line = refusal(run_asr, beam_model, clips, "--lexicon", phone_lexicon)
    assert "'A' has 'AH'" in line
    assert "other units" in line


def test_a_language_model_of_characters_for_words(
    run_asr: Run, beam_model: Path, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("A SEA AT A TEA\n" * 50)
    command = ("lm", "build", tmp_path / "text.txt", "-o", tmp_path / "lm", "--unit", "characters")
    assert run_asr(*command, "--order", 2).status == 0
    (tmp_path / "lexicon.txt").write_text("SEA\tS E A\n")
    line = refusal(run_asr, beam_model, clips, "--lm", tmp_path / "lm", "--lexicon", tmp_path / "lexicon.txt")
    assert "one of characters" in line


def test_a_language_model_in_another_script(
    run_asr: Run, beam_model: Path, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("ЭТО МОРЕ\n" * 50)
    assert run_asr("lm", "build", tmp_path / "text.txt", "-o", tmp_path / "lm", "--order", 2).status == 0
    assert "can be spelled" in refusal(run_asr, beam_model, clips, "--lm", tmp_path / "lm")


def test_a_phone_head_without_lexicon(run_asr: Run, beam_model: Path, clips: Path) -> None:
    assert "--lexicon FILE" in refusal(run_asr, beam_model, clips, "--head", "phones")


@pytest.mark.parametrize("flag", ["--lm", "--lexicon", "--rescore"])
def test_a_file_that_is_missing(run_asr: Run, beam_model: Path, clips: Path, flag: str) -> None:
    assert "nowhere: no such file or folder" in refusal(run_asr, beam_model, clips, flag, "nowhere")


@pytest.mark.parametrize("flag", ["--lm", "--rescore"])
def test_a_folder_without_a_language_model(
    run_asr: Run, beam_model: Path, clips: Path, tmp_path: Path, flag: str
) -> None:
    assert str(tmp_path) in refusal(run_asr, beam_model, clips, flag, tmp_path)


def test_a_setting_of_the_model_that_there_is_not(run_asr: Run, copied_model: Path, clips: Path) -> None:
    path = copied_model / "config.yaml"
    path.write_text(path.read_text().replace("decoding:\n", "decoding:\n  beam_sise: 3\n"))
    assert "decoding.beam_sise: no such setting" in refusal(run_asr, copied_model, clips)


def test_an_empty_manifest(run_asr: Run, beam_model: Path, tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").write_text("\n")
    line = refusal(run_asr, beam_model, tmp_path / "none.jsonl")
    assert line == f"asr: {tmp_path}/none.jsonl: no utterances in this manifest"


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_lexicon(run_asr: Run, beam_model: Path, clips: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "lexicon.txt").write_text(content)
    assert "lexicon" in refusal(run_asr, beam_model, clips, "--lexicon", tmp_path / "lexicon.txt")


@pytest.mark.parametrize("array", ["children.npy", "word_low.npy", "words.txt.gz"])
def test_a_language_model_that_was_cut_short(
    run_asr: Run, copied_model: Path, clips: Path, array: str
) -> None:
    path = copied_model / "lm" / array
    path.write_bytes(path.read_bytes()[:-7])
    assert str(copied_model / "lm") in refusal(run_asr, copied_model, clips)


@pytest.mark.parametrize("text", ["", "\n \n\t\n"])
def test_an_empty_text_makes_no_language_model(run_asr: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "text.txt").write_text(text)
    done = run_asr("lm", "build", tmp_path / "text.txt", "-o", tmp_path / "lm")
    assert done.status == 1
    (line,) = done.stderr.splitlines()
    assert "text.txt" in line
    assert not (tmp_path / "lm").exists()


def test_a_model_that_emits_nan(run_asr: Run, beam_model: Path, clips: Path, tmp_path: Path) -> None:
    import torch

    from asr.model import load_network, save_network

    model = load_network(beam_model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    save_network(tmp_path / "broken", model)
    for decoder in ("greedy", "beam"):
        flags = () if decoder == "greedy" else ("--lm", beam_model / "lm")
        line = refusal(run_asr, tmp_path / "broken", clips, "--decoder", decoder, *flags)
        assert "NaN" in line


def test_a_score_of_words_where_there_are_none(run_asr: Run, model_directory: Path, clips: Path) -> None:
    flags = ("--decoder", "beam", "--word-score", 1)
    assert refusal(run_asr, model_directory, clips, *flags).startswith("asr: --word-score: needs words")


@pytest.mark.parametrize("flag", ["--lm", "--lexicon"])
def test_tuning_without_a_part_that_the_directory_has(
    run_asr: Run, beam_model: Path, clips: Path, flag: str
) -> None:
    done = run_asr("tune", beam_model, clips, flag, "none")
    assert done.status == 1
    assert done.stderr.startswith(f"asr: {flag} none: ")
    assert len(done.stderr.splitlines()) == 1
