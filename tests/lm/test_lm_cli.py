"""``asr lm build``, ``info`` and ``perplexity`` as users run them."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.model import PRETRAINED

TEXT = "THE CAT SAT ON THE MAT\nTHE DOG SAT ON THE CAT\nA CAT AND A DOG\nTHE MAT\n" * 3

Run = Callable[..., Any]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    return path


def facts(run_asr: Run, lm: Path) -> dict[str, Any]:
    return json.loads(run_asr("lm", "info", lm, "--json").stdout)


def test_a_text_becomes_a_model_that_knows_where_it_comes_from(
    run_asr: Run, text: Path, tmp_path: Path
) -> None:
    built = run_asr("lm", "build", text, "-o", tmp_path / "lm", "--order", 3)
    assert built.status == 0 and built.stdout == ""
    assert "order 3" in built.stderr
    found = facts(run_asr, tmp_path / "lm")
    assert (found["order"], found["unit"], found["vocabulary"]) == (3, "words", 11)
    assert found["text"] == ["text.txt.gz"] and found["sentences"] == 12 and found["tokens"] == 57
    assert found["bytes"] == sum(file.stat().st_size for file in (tmp_path / "lm").iterdir())
    plain = run_asr("lm", "info", tmp_path / "lm").stdout
    assert "ngrams                 11 " in plain


def test_directories_and_arpa_files_turn_into_each_other(run_asr: Run, text: Path, tmp_path: Path) -> None:
    options = ("--order", 3, "--bits", 16)
    run_asr("lm", "build", text, "-o", tmp_path / "lm", *options)
    run_asr("lm", "build", tmp_path / "lm", "-o", tmp_path / "lm.arpa.gz")
    run_asr("lm", "build", tmp_path / "lm.arpa.gz", "-o", tmp_path / "again", "--bits", 16)
    figures = [
        json.loads(run_asr("lm", "perplexity", tmp_path / name, text, "--json").stdout)["perplexity"]
        for name in ("lm", "lm.arpa.gz", "again")
    ]
    assert figures == pytest.approx([figures[0]] * 3, rel=1e-5)


def test_perplexity_names_both_figures(run_asr: Run, text: Path, tmp_path: Path) -> None:
    run_asr("lm", "build", text, "-o", tmp_path / "lm", "--vocabulary", 4)
    shown = run_asr("lm", "perplexity", tmp_path / "lm", text)
    assert shown.status == 0
    assert "without unknown words" in shown.stdout and "of 69" in shown.stdout
    found = json.loads(run_asr("lm", "perplexity", tmp_path / "lm", text, "--json").stdout)
    assert found["unknown"] > 0
    assert found["perplexity"] != found["perplexity_without_unknown"]


def test_every_option_changes_the_model(run_asr: Run, text: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("CAT\nDOG\n")
    run_asr("lm", "build", text, "-o", tmp_path / "plain")
    plain = facts(run_asr, tmp_path / "plain")
    for number, (options, key, expected) in enumerate(
        [
            (("--order", 2), "order", 2),
            (("--unit", "characters"), "unit", "characters"),
            (("--vocabulary", 4), "vocabulary", 7),
            (("--vocabulary", words), "vocabulary", 5),
            (("--prune", "0 3"), "ngrams", None),
            (("--prune", "0,0,3"), "ngrams", None),
            (("--entropy", 0.05), "ngrams", None),
            (("--size", "10.25kB"), "ngrams", None),
            (("--bits", 16), "bytes", None),
        ]
    ):
        folder = tmp_path / f"lm{number}"
        assert run_asr("lm", "build", text, "-o", folder, *options).status == 0, options
        found = facts(run_asr, folder)
        if expected is None:
            assert found[key] != plain[key], options
        else:
            assert found[key] == expected, options


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--unit", "syllables"), "choose words or characters"),
        (("--bits", 12), "choose 8 or 16"),
        (("--size", "much"), "a size such as 20MB"),
        (("--size", "1kB"), "the words alone take"),
        (("--size", "1MB", "--entropy", 1e-6), "choose one of them"),
        (("--prune", "few"), "counts such as"),
        (("--prune", "1 1"), "first threshold must be 0"),
        (("--vocabulary", "no/such/file"), "no/such/file: cannot be read"),
        (("--vocabulary", "0"), "a model needs words"),
        (("--temporary", "no/such/folder"), "no/such/folder: temporary files cannot be written"),
    ],
)
def test_mistakes_are_one_line(
    options: tuple[object, ...], reason: str, run_asr: Run, text: Path, tmp_path: Path
) -> None:
    ran = run_asr("lm", "build", text, "-o", tmp_path / "lm", *options)
    assert ran.status == 1
    assert reason in ran.stderr and len(ran.stderr.splitlines()) == 1
    assert not (tmp_path / "lm").exists()


def test_names_that_cannot_be_written_are_refused_before_the_work(
    run_asr: Run, text: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refused = (
        ("file", "is a file"),
        ("lm.arpa.xz", "plain or as .arpa.gz"),
        ("", "holds other things (file)"),
    )
    for name, reason in refused:
        ran = run_asr("lm", "build", tmp_path / "missing.txt", "-o", tmp_path / name)
        assert ran.status == 1 and reason in ran.stderr
    assert run_asr("lm", "build", text, "-o", "-").stderr.startswith("asr: -: give the name of a file")
    for name in ("file/lm", "file/lm.arpa"):
        ran = run_asr("lm", "build", tmp_path / "missing.txt", "-o", tmp_path / name)
        assert ran.status == 1 and f"{name}: cannot be written" in ran.stderr


def test_half_a_model_and_an_arpa_file_in_its_place_are_named(
    run_asr: Run, text: Path, tmp_path: Path
) -> None:
    run_asr("lm", "build", text, "-o", tmp_path / "lm")
    run_asr("lm", "build", tmp_path / "lm", "-o", tmp_path / "lm.arpa")
    with pytest.raises(UserError, match=r"lm\.arpa -o lm` makes one"):
        NGram.load(tmp_path / "lm.arpa")
    (tmp_path / "lm" / "words.txt.gz").unlink()
    for command in (("perplexity", tmp_path / "lm", text), ("info", tmp_path / "lm")):
        ran = run_asr("lm", *command)
        assert (ran.status, len(ran.stderr.splitlines())) == (1, 1)
        assert "words.txt.gz of this language model is missing" in ran.stderr


def test_a_text_that_cannot_be_measured_is_named(run_asr: Run, text: Path, tmp_path: Path) -> None:
    run_asr("lm", "build", text, "-o", tmp_path / "lm")
    (tmp_path / "wide.txt").write_text("ONE\n", encoding="utf-16")
    ran = run_asr("lm", "perplexity", tmp_path / "lm", text, tmp_path / "wide.txt")
    assert ran.stderr.startswith(f"asr: {tmp_path}/wide.txt: the text is not UTF-8")
    assert f"asr: {text}: is a file, not a language model's directory" in run_asr("lm", "info", text).stderr


def test_words_outside_the_vocabulary_are_counted_and_must_not_be_all(
    run_asr: Run, text: Path, tmp_path: Path
) -> None:
    ran = run_asr("lm", "build", text, "-o", tmp_path / "lm", "--vocabulary", 2)
    assert re.search(r"^note: [\d,]+ of the text's [\d,]+ words are not in the vocabulary$", ran.stderr, re.M)
    said = gzip.decompress(text.read_bytes()).decode()
    (tmp_path / "words.txt").write_text(said.lower().replace(" ", "\n"))
    ran = run_asr("lm", "build", text, "-o", tmp_path / "none", "--vocabulary", tmp_path / "words.txt")
    assert (ran.status, "is its case the same?" in ran.stderr) == (1, True)
    assert not (tmp_path / "none").exists()


def test_a_model_among_texts_is_refused(run_asr: Run, text: Path, tmp_path: Path) -> None:
    run_asr("lm", "build", text, "-o", tmp_path / "lm")
    ran = run_asr("lm", "build", tmp_path / "lm", text, "-o", tmp_path / "other")
    assert ran.status == 1 and "converted alone" in ran.stderr


@pytest.mark.parametrize("option", [("--order", 2), ("--unit", "words")])
def test_what_a_finished_model_cannot_become_is_refused(
    run_asr: Run, text: Path, tmp_path: Path, option: tuple[object, ...]
) -> None:
    run_asr("lm", "build", text, "-o", tmp_path / "lm")
    ran = run_asr("lm", "build", tmp_path / "lm", "-o", tmp_path / "other", *option)
    assert ran.status == 1 and "converted alone" in ran.stderr


def test_bits_of_an_arpa_file_are_refused(run_asr: Run, text: Path, tmp_path: Path) -> None:
    ran = run_asr("lm", "build", text, "-o", tmp_path / "lm.arpa", "--bits", 16)
    assert ran.status == 1 and "--bits: are those of a directory" in ran.stderr


def test_a_recurrent_model_is_told_by_its_shape(run_asr: Run) -> None:
    found = facts(run_asr, PRETRAINED / "en" / "rescoring_lm")
    assert (found["cell"], found["vocabulary"]) == ("lstm", 20003)
    assert found["parameters"] > 8e6
    assert found["bytes"] > 6e6


def test_a_folder_without_a_model_is_named(run_asr: Run, tmp_path: Path) -> None:
    for command in (("info", tmp_path), ("perplexity", tmp_path, "-")):
        ran = run_asr("lm", *command)
        assert ran.status == 1 and "lm.yaml is missing" in ran.stderr
