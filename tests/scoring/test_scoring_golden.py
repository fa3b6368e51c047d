"""Held to sclite and jiwer: per utterance, on the texts of ``tests/golden/sclite.json.gz``."""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from asr.scoring import Evaluation, evaluate
from asr.scoring.alignment import UNIT_COSTS, align
from asr.scoring.significance import matched_pairs

GOLDEN = Path(__file__).parent.parent / "golden" / "sclite.json.gz"


@cache
def golden() -> dict[str, Any]:
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    rows = golden()["utterances"]
    return evaluate({row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows})


def test_every_utterance_has_the_counts_of_sclite(evaluation):
    rows = golden()["utterances"]
    assert len(rows) == 2_000
    expected = np.array([row[3:] for row in rows])
    different = np.flatnonzero((evaluation.words.alignments.counts != expected).any(axis=1))
    assert [evaluation.ids[index] for index in different] == []


def test_the_matched_pairs_test_is_that_of_sc_stats(evaluation):
    def without_every_ninth_word(text: str) -> str:
        return " ".join(word for place, word in enumerate(text.split(), 1) if place % 9)

    references = {row[0]: row[1] for row in golden()["utterances"]}
    second = evaluate(references, {name: without_every_ninth_word(text) for name, text in references.items()})
    result = matched_pairs(evaluation.words, second.words)
    assert result.segments == golden()["matched_pairs"]["segments"]
    # NIST subtracts the second system from the first.
    assert -result.z == pytest.approx(golden()["matched_pairs"]["z"], abs=6e-4)


def test_unit_costs_give_the_total_of_jiwer_and_other_costs_never_less(evaluation):
    output = jiwer.process_words(evaluation.references, evaluation.hypotheses)
    total = output.substitutions + output.deletions + output.insertions
    words = evaluation.words
    assert align(words.references, words.hypotheses, UNIT_COSTS).counts[:, 1:].sum() == total
    assert words.errors.sum() >= total


def test_character_errors_are_those_of_jiwer_however_they_are_counted(evaluation):
    output = jiwer.process_characters(evaluation.references, evaluation.hypotheses)
    total = output.substitutions + output.deletions + output.insertions
    assert evaluation.character_errors.sum() == total
    assert evaluation.letters.errors.tolist() == evaluation.character_errors.tolist()
