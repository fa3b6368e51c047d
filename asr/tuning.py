"""Decoding weights for a model: pattern search on a development set (Hooke & Jeeves 1961).

Emissions are computed once; each trial only decodes them again.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from asr.decoding.beam import BeamDecoder
from asr.decoding.confidence import calibrated, fit_calibration
from asr.decoding.config import BeamConfig
from asr.decoding.phrases import Phrases
from asr.decoding.rescoring import reorder, rescore, score_words
from asr.errors import UserError
from asr.files import exists, is_folder
from asr.lm.ngram import NGram
from asr.lm.rnn import RNNLM
from asr.manifest import Utterance
from asr.model import AcousticModel
from asr.padding import unpadded
from asr.recognition import decode_utterances
from asr.scoring.calibration import WordOutcomes, expected_calibration_error, word_outcomes
from asr.scoring.measures import Evaluation, evaluate
from asr.transcript import Hypothesis

FIRST_STEPS = {"lm_weight": 0.5, "prior_scale": 0.2, "word_score": 0.8}
RESCORING_STEPS = {"mix": 0.2, "lm_scale": 0.2}
LOWEST = {"lm_weight": 0.0, "prior_scale": 0.0, "mix": 0.0, "lm_scale": 0.0}
HIGHEST = {"mix": 1.0}
HALVINGS = 2


@dataclass(frozen=True)
class Trial:
    """Weights and the word error rate (percent) they give."""

    weights: dict[str, float]
    wer: float


def pattern_search(
    measure: Callable[[dict[str, float]], float],
    start: dict[str, float],
    tried: Callable[[Trial], None] = lambda trial: None,
    first_steps: Mapping[str, float] = FIRST_STEPS,
) -> Trial:
    """Lower the error by steps along each weight, halving the steps when none helps any more.

    Args:
        measure: Weights to word error rate in percent.
        start: First weights; only those in ``first_steps`` are searched.
        tried: Told of each trial.
        first_steps: How far each weight is moved at first.
    """
    known: dict[tuple[float, ...], float] = {}

    def attempt(weights: dict[str, float]) -> Trial:
        key = tuple(round(value, 6) for value in weights.values())
        if key not in known:
            known[key] = measure(weights)
            tried(Trial(weights, known[key]))
        return Trial(weights, known[key])

    best = attempt(start)
    steps = {name: step for name, step in first_steps.items() if name in start}
    for _ in range(HALVINGS + 1):
        improved = True
        while improved:
            improved = False
            for name, step in steps.items():
                tries = (attempt(weights) for weights in _neighbours(best.weights, name, step))
                if better := next((trial for trial in tries if trial.wer < best.wer), None):
                    best, improved = better, True
        steps = {name: step / 2 for name, step in steps.items()}
    return best


def _neighbours(weights: dict[str, float], name: str, step: float) -> Iterator[dict[str, float]]:
    """The weights with one of them a step greater, and a step less, within its limits."""
    lowest, highest = LOWEST.get(name, -np.inf), HIGHEST.get(name, np.inf)
    for value in (weights[name] + step, weights[name] - step):
        yield weights | {name: min(max(value, lowest), highest)}


def measure_with(
    build: Callable[[BeamConfig], BeamDecoder],
    config: BeamConfig,
    phrases: Phrases,
    references: Sequence[str],
    threads: int,
) -> Callable[[dict[str, float]], float]:
    """The word error rate of weights on utterances whose texts are known.

    Args:
        build: Settings to a beam decoder.
        config: Settings that stay.
        phrases, references: Of the utterances.
        threads: Utterances decoded at once.
    """

    def measure(weights: dict[str, float]) -> float:
        settings: dict[str, Any] = dict(weights)
        found = build(replace(config, **settings)).decode_batch(phrases.emissions, threads=threads)
        return _evaluation(references, phrases.join(found)).score().wer

    return measure


def compute_emissions(
    model: AcousticModel,
    utterances: Sequence[Utterance],
    head: str,
    threads: int,
    advance: Callable[[float], None] = lambda seconds: None,
    warn: Callable[[str], None] = lambda line: None,
) -> tuple[list[Tensor], list[str]]:
    """Emissions ``(frames, vocabulary)`` and texts of the utterances that can be read.

    Args:
        model: The network.
        utterances: Each with its audio file and text.
        head: CTC head.
        threads: Batches worked on at once.
        advance: Told how many seconds of audio are done.
        warn: Told, a line each, what cannot be read or is damaged.

    Raises:
        UserError: none can be read.
    """

    def apart(emissions: Tensor, frames: Tensor) -> list[Tensor]:
        return [each.clone() for each in unpadded(emissions, frames)]

    found = decode_utterances(model, apart, utterances, head, threads=threads, advance=advance)
    pairs = [
        (each, utterance.text or "")
        for each, utterance in zip(found.results, utterances, strict=True)
        if each is not None
    ]
    if not pairs:
        raise UserError(f"none of the audio can be read; e.g. {found.failures[0]}")
    for line in (*found.failures, *found.warnings):
        warn(str(line))
    return [each for each, _ in pairs], [text for _, text in pairs]


class ScoredLists:
    """N-best lists whose words a recurrent and an n-gram model have scored, each of them once."""

    def __init__(
        self,
        nbests: Sequence[Sequence[Hypothesis]],
        rnn: RNNLM,
        ngram: NGram,
        searched_weight: float,
        context: int = 0,
    ) -> None:
        """Ask both models.

        Args:
            nbests: Of each utterance.
            rnn, ngram: The models that are mixed.
            searched_weight: LM weight with which the lists were made.
            context: As :class:`asr.decoding.rescoring.RescoringConfig` has it.
        """
        self._nbests, self._searched_weight = nbests, searched_weight
        texts = [[each.text for each in nbest] for nbest in nbests]
        self._scores = score_words(texts, rnn, ngram, context)

    def reordered(self, weights: dict[str, float]) -> list[list[Hypothesis]]:
        """The lists in the order that ``mix`` and ``lm_scale`` give them."""
        given = self._searched_weight, weights["mix"], weights["lm_scale"]
        return [
            reorder(hypotheses, rescore([each.score for each in hypotheses], words, *given))
            for hypotheses, words in zip(self._nbests, self._scores, strict=True)
        ]

    def measure(self, phrases: Phrases, references: Sequence[str]) -> Callable[[dict[str, float]], float]:
        """The word error rate of ``mix`` and ``lm_scale``, where the lists are of phrases."""
        return lambda weights: _evaluation(references, phrases.join(self.reordered(weights))).score().wer


@dataclass(frozen=True)
class Calibration:
    """Settings of word confidences, fitted on one half of the utterances and measured on the other.

    Attributes:
        slope, offset: As :func:`asr.decoding.confidence.calibrated` takes them.
        before, after: Expected calibration error of the other half (0 to 1).
    """

    slope: float
    offset: float
    before: float
    after: float


def calibrate(nbests: Sequence[Sequence[Hypothesis]], references: Sequence[str]) -> Calibration:
    """Fit word confidences on every other utterance.

    Args:
        nbests: Of each utterance, with raw confidences.
        references: What was said.

    Raises:
        UserError: all words of a half are right, or none.
    """
    fitted = _outcomes(references[::2], nbests[::2])
    slope, offset = fit_calibration(*fitted)
    raw, correct = _outcomes(references[1::2], nbests[1::2])
    return Calibration(
        slope,
        offset,
        expected_calibration_error(raw, correct),
        expected_calibration_error(calibrated(raw, slope, offset), correct),
    )


def _evaluation(references: Sequence[str], nbests: Sequence[Sequence[Hypothesis]]) -> Evaluation:
    truth = {str(number): text for number, text in enumerate(references)}
    return evaluate(truth, {str(number): best[0].text for number, best in enumerate(nbests)})


def _outcomes(references: Sequence[str], nbests: Sequence[Sequence[Hypothesis]]) -> WordOutcomes:
    confidences = {
        str(number): [word.confidence for word in best[0].words] for number, best in enumerate(nbests)
    }
    return word_outcomes(_evaluation(references, nbests), confidences)


def install(source: Path, target: Path) -> None:
    """Copy a file or folder into a model directory, unless it is there already.

    Raises:
        UserError: it does not exist, or cannot be copied.
    """
    if source.resolve() == target.resolve():
        return
    if not exists(source):
        raise UserError(f"{source}: no such file or folder")
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        if is_folder(source):
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(source, temporary)
            if target.is_symlink():
                target.unlink()
            shutil.rmtree(target, ignore_errors=True)
        else:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError as error:
        raise UserError(f"{target}: {source} cannot be copied there ({error.strerror or error})") from error
