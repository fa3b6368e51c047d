"""Confidences against what was right."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr.scoring import evaluate
from asr.scoring.calibration import word_outcomes


def test_each_recognised_word_is_right_or_wrong() -> None:
    evaluation = evaluate({"a": "ONE TWO THREE", "b": "FOUR"}, {"a": "ONE THREE TREE", "b": "FOR FOUR"})
    found = word_outcomes(evaluation, {"a": [0.9, 0.8, 0.1], "b": [0.2, 0.7]})
    assert found.confidences.tolist() == [0.9, 0.8, 0.1, 0.2, 0.7]
    assert found.correct.sum() == 3 and found.correct[0] and found.correct[4]


def test_utterances_without_confidences_are_left_out() -> None:
    evaluation = evaluate({"a": "ONE", "b": "TWO", "c": "THREE"}, {"a": "ONE", "b": "TWO", "c": "X Y"})
    found = word_outcomes(evaluation, {"b": [0.5], "c": [0.5]})
    assert found.confidences.tolist() == [0.5]
    assert word_outcomes(evaluation, {}).calibration_error is None
    assert np.isclose(found.calibration_error or 0.0, 0.5)


@pytest.mark.parametrize("confident", [True, False])
def test_score_tells_the_calibration_error_of_hypotheses_that_have_confidences(
    run_asr: Callable[..., Any], tmp_path: Path, confident: bool
) -> None:
    (tmp_path / "ref").write_text('{"id": "a", "text": "ONE TWO"}\n')
    words = [{"text": "ONE", "confidence": 0.9}, {"text": "TOO", "confidence": 0.3}]
    line = {"id": "a", "text": "ONE TOO"} | ({"words": words} if confident else {})
    (tmp_path / "hyp").write_text(json.dumps(line) + "\n")
    found = json.loads(run_asr("score", tmp_path / "ref", tmp_path / "hyp", "--json").stdout)
    assert found.get("expected_calibration_error") == (pytest.approx(0.2) if confident else None)
    assert ("calibration error" in run_asr("score", tmp_path / "ref", tmp_path / "hyp").stdout) == confident


@pytest.mark.parametrize("confidence", [-1, 7.5, float("nan"), True, "high"])
def test_scores_that_are_no_confidences_do_not_keep_a_text_from_being_scored(
    run_asr: Callable[..., Any], tmp_path: Path, confidence: object
) -> None:
    (tmp_path / "ref").write_text('{"id": "a", "text": "ONE"}\n')
    line = {"id": "a", "text": "ONE", "words": [{"text": "ONE", "confidence": confidence}]}
    (tmp_path / "hyp").write_text(json.dumps(line) + "\n")
    found = json.loads(run_asr("score", tmp_path / "ref", tmp_path / "hyp", "--json").stdout)
    assert found["wer"] == 0
    assert "expected_calibration_error" not in found
