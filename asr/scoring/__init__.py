"""Scoring: word and character error rates by utterance id, with everything one can ask of them."""

from asr.scoring.measures import Evaluation, Score, evaluate, score
from asr.scoring.texts import Texts, read, read_texts

__all__ = ["Evaluation", "Score", "Texts", "evaluate", "read", "read_texts", "score"]
