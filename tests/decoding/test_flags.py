"""Every decoding flag changes what comes out, in every command that has it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
COMMANDS = ("decode", "evaluate", "transcribe")
FLAGS: dict[str, Sequence[object]] = {
    "decoder": ("--decoder", "greedy"),
    "no lm": ("--lm", "none"),
    "lm": ("--lm", "OTHER_LM"),
    "lexicon": ("--lexicon", "LEXICON"),
    "head": ("--head", "phones", "--lexicon", "PHONE_LEXICON"),
    "beam size": ("--beam-size", 1),
    "lm weight": ("--lm-weight", 9),
    "word score": ("--word-score", -9),
    "hotwords": ("--hotwords", "HOTWORDS"),
    "rescore": ("--rescore", "RNN_LM"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, other_lm: Path, phone_lexicon: Path) -> dict[str, Path]:
    """What flags name: by the word that stands for it in ``FLAGS``."""
    import torch

    from asr.lm.rnn import RNNLM, RNNLMConfig, save_rnn_lm

    folder = tmp_path_factory.mktemp("files")
    (folder / "lexicon.txt").write_text("SEA\tS E A\nTO\tT O\n")
    (folder / "hotwords.txt").write_text("ZOO\n")
    torch.manual_seed(3)
    words = ["<unk>", "<s>", "</s>", "A", "SEA", "AT", "TEA", "TO", "EAT"]
    config = RNNLMConfig(hidden_size=8, embedding_size=8, cutoffs=[4], dropout=0.0)
    save_rnn_lm(folder / "rnn", RNNLM(config, words).eval())
    return {
        "OTHER_LM": other_lm,
        "LEXICON": folder / "lexicon.txt",
        "PHONE_LEXICON": phone_lexicon,
        "HOTWORDS": folder / "hotwords.txt",
        "RNN_LM": folder / "rnn",
    }


@pytest.fixture(scope="module")
def outputs(
    beam_model: Path, clips: Path, examples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., str]:
    """What a command makes of the clips: hypotheses with their scores, or transcripts."""
    folder, audio = tmp_path_factory.mktemp("outputs"), examples.parent / "boat.flac"
    plain: dict[str, str] = {}

    def run(run_asr: Run, command: str, *flags: object) -> str:
        if not flags and command in plain:
            return plain[command]
        if command == "transcribe":
            done = run_asr("transcribe", "--model", beam_model, audio, "--format", "json", *flags)
            assert done.status == 0, done.stderr
            heard = json.loads(done.stdout)
            del heard["provenance"]  # which repeats the flags
            text = json.dumps(heard)
        else:
            done = run_asr(command, beam_model, clips, "-o", folder / "hyps.jsonl", *flags)
            text = (folder / "hyps.jsonl").read_text()
        assert done.status == 0, done.stderr
        if not flags:
            plain[command] = text
        return text

    return run


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_changes_the_result(
    run_asr: Run, outputs: Callable[..., str], files: dict[str, Path], command: str, name: str
) -> None:
    flags = [files.get(str(flag), flag) for flag in FLAGS[name]]
    assert outputs(run_asr, command, *flags) != outputs(run_asr, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_threads_and_batches_change_nothing(run_asr: Run, outputs: Callable[..., str], command: str) -> None:
    plain = outputs(run_asr, command)
    assert outputs(run_asr, command, "--threads", 3, "--batch-seconds", 2) == plain


def test_a_hotword_that_the_lexicon_lacks_is_heard(
    run_asr: Run, outputs: Callable[..., str], files: dict[str, Path]
) -> None:
    assert "ZOO" not in outputs(run_asr, "decode")
    files["HOTWORDS"].with_name("strong.txt").write_text("ZOO\t30\n")
    assert "ZOO" in outputs(run_asr, "decode", "--hotwords", files["HOTWORDS"].with_name("strong.txt"))


def test_nbest_lists_different_texts_best_first(run_asr: Run, outputs: Callable[..., str]) -> None:
    lines = [json.loads(line) for line in outputs(run_asr, "decode", "--nbest", 3).splitlines()]
    for line in lines:
        texts = [each["text"] for each in line["nbest"]]
        assert texts[0] == line["text"]
        assert len(set(texts)) == len(texts) == 3
        assert [each["score"] for each in line["nbest"]] == sorted(
            (each["score"] for each in line["nbest"]), reverse=True
        )


def test_the_n_best_list_can_be_had_from_transcribe(run_asr: Run, outputs: Callable[..., str]) -> None:
    assert outputs(run_asr, "transcribe", "--nbest", 3) != outputs(run_asr, "transcribe")


def test_a_weight_without_language_model_is_refused(run_asr: Run, beam_model: Path, clips: Path) -> None:
    done = run_asr("decode", beam_model, clips, "--lm", "none", "--lm-weight", 3)
    assert (done.status, done.stdout) == (1, "")
    assert "--lm-weight: needs a language model" in done.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--lm-weight", 1),
        ("--beam-size", 5),
        ("--word-score", 1),
        ("--nbest", 2),
        ("--lm", "OTHER_LM"),
        ("--lexicon", "LEXICON"),
        ("--hotwords", "HOTWORDS"),
        ("--rescore", "RNN_LM"),
    ],
)
def test_a_flag_of_the_beam_search_is_refused_with_greedy(
    run_asr: Run, beam_model: Path, clips: Path, files: dict[str, Path], flags: Sequence[object]
) -> None:
    given = [files.get(str(flag), flag) for flag in flags]
    done = run_asr("decode", beam_model, clips, "--decoder", "greedy", *given)
    assert done.status == 1
    assert f"{flags[0]}: only with --decoder beam" in done.stderr
