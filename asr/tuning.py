"""Decoding weights for a model: pattern search on a development set (Hooke & Jeeves 1961).

Emissions are computed once; each trial only decodes them again.
"""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.decoding.config import BeamConfig
from asr.errors import UserError
from asr.scoring import score

FIRST_STEPS = {"lm_weight": 0.5, "prior_scale": 0.2, "word_score": 0.8}
LOWEST = {"lm_weight": 0.0, "prior_scale": 0.0}
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
) -> Trial:
    """Lower the error by steps along each weight, halving the steps when none helps any more.

    Args:
        measure: Weights to word error rate in percent.
        start: First weights; only those in ``FIRST_STEPS`` are searched.
        tried: Told of each trial.
    """
    known: dict[tuple[float, ...], float] = {}

    def attempt(weights: dict[str, float]) -> Trial:
        key = tuple(round(value, 6) for value in weights.values())
        if key not in known:
            known[key] = measure(weights)
            tried(Trial(weights, known[key]))
        return Trial(weights, known[key])

    best = attempt(start)
    steps = {name: step for name, step in FIRST_STEPS.items() if name in start}
    for _ in range(HALVINGS + 1):
        improved = True
        while improved:
            improved = False
            for name, step in steps.items():
                for change in (step, -step):
                    value = max(best.weights[name] + change, LOWEST.get(name, -np.inf))
                    trial = attempt(best.weights | {name: value})
                    if trial.wer < best.wer:
                        best, improved = trial, True
                        break
        steps = {name: step / 2 for name, step in steps.items()}
    return best


def measure_with(
    build: Callable[[BeamConfig], Any],
    config: BeamConfig,
    emissions: Sequence[NDArray[np.float32]],
    references: Sequence[str],
    threads: int,
) -> Callable[[dict[str, float]], float]:
    """The word error rate of weights on emissions ``(frames, vocabulary)`` whose texts are known.

    Args:
        build: Settings to a beam decoder.
        config: Settings that stay.
        emissions, references: Of each utterance.
        threads: Utterances decoded at once.
    """
    truth = {str(number): text for number, text in enumerate(references)}

    def measure(weights: dict[str, float]) -> float:
        settings: dict[str, Any] = dict(weights)
        decoder = build(replace(config, **settings))
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(decoder.decode, emissions))
        return score(truth, {str(number): best[0].text for number, best in enumerate(found)}).wer

    return measure


def install(source: Path, target: Path) -> None:
    """Copy a file or folder into a model directory, unless it is there already."""
    if source.resolve() == target.resolve():
        return
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    temporary = target.with_name(f".{target.name}.tmp")
    if source.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(source, temporary)
        shutil.rmtree(target, ignore_errors=True)
    else:
        shutil.copyfile(source, temporary)
    temporary.replace(target)
