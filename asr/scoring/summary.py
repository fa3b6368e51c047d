"""Hypotheses measured in a few lines: error rates, their interval, how true the confidences are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asr.scoring.bootstrap import Interval, interval
from asr.scoring.calibration import word_outcomes
from asr.scoring.measures import Score, evaluate
from asr.transcript import Hypothesis


@dataclass(frozen=True)
class Summary:
    """Error rates, the interval of the word error rate, and the expected calibration error of confidences."""

    score: Score
    interval: Interval
    calibration_error: float | None

    def to_json(self) -> dict[str, Any]:
        """All figures, and the utterances that have no hypothesis."""
        figures = self.score.to_json() | {"interval": self.interval.to_json()}
        figures["missing"] = list(self.score.missing)
        if self.calibration_error is not None:
            figures["expected_calibration_error"] = self.calibration_error
        return figures

    def lines(self) -> Iterator[str]:
        """The same for people."""
        score = self.score
        yield (
            f"WER {score.wer:.2f} % (95 % interval {self.interval.low:.2f} to {self.interval.high:.2f}), "
            f"CER {score.cer:.2f} %, sentence errors {score.sentence_error_rate:.1f} %"
        )
        yield (
            f"{score.words} words: {score.substitutions} substitutions, {score.deletions} deletions, "
            f"{score.insertions} insertions in {score.utterances} utterances"
        )
        if self.calibration_error is not None:
            yield f"expected calibration error of the words' confidences {100 * self.calibration_error:.1f} %"


def summarise(references: Mapping[str, str], hypotheses: Mapping[str, Hypothesis]) -> Summary:
    """Score hypotheses by the ids of their utterances, and their words' confidences if they have any."""
    evaluation = evaluate(references, {name: found.text for name, found in hypotheses.items()})
    confidences = {name: [word.confidence for word in found.words] for name, found in hypotheses.items()}
    return Summary(
        evaluation.score(),
        interval(evaluation.words.errors, evaluation.words.totals),
        word_outcomes(evaluation, confidences).calibration_error,
    )
