"""Settings of the beam search, as a recipe or a model directory keeps them."""

import math
from dataclasses import dataclass, fields

from asr.errors import UserError


@dataclass
class BeamConfig:
    """Settings of the prefix beam search; every score is a natural logarithm.

    Attributes:
        beam_size: Prefixes kept after every frame.
        beam_threshold: A prefix this far below the best is dropped.
        token_threshold: In each frame, tokens this far below the likeliest are not tried.
        max_tokens: At most so many tokens are tried in a frame; 0 for no limit.
        expected_gain: Added to prefixes inside a word: what the words before are expected to bring over the
            unigram, with which they are scored until the word is complete.
        most_gain: So much more than its unigram, at most, is a word taken to score when it is asked whether
            it may reach the beam; only then the language model is. Infinite: as the model's n-grams allow.
        lm_weight: Factor of the language model's log-probability.
        word_score: Added for every word.
        unknown_score: Added for every word that the language model does not know.
        open_vocabulary: Words outside the lexicon may be spelled (character models only).
        spelling_score: Added for every token of such a word, and for every token without a lexicon.
        prior_scale: So much of the tokens' log prior is subtracted from the emissions.
        blank_penalty: Subtracted from the blank's log-probability.
        hotword_score: What a hotword without a score of its own adds.
        sum_alignments: Sum the alignments of a prefix (CTC's own probability); else take the best one.
        recombine: Of prefixes with equal futures (node, language model state) keep the best; the others
            stay alternatives for n-best and confidence.
        nbest: Number of hypotheses returned.
        nbest_threshold: Hypotheses this far below the best are left out.
        posterior_scale: Factor of the scores when posteriors are made of them for word confidences.
        confidence_slope: Calibration of word confidences: factor of the log-odds.
        confidence_offset: Added to the log-odds.
    """

    beam_size: int = 100
    beam_threshold: float = 15.0
    token_threshold: float = 12.0
    max_tokens: int = 0
    expected_gain: float = 0.0
    most_gain: float = math.inf
    lm_weight: float = 1.0
    word_score: float = 0.0
    unknown_score: float = 0.0
    open_vocabulary: bool = False
    spelling_score: float = 0.0
    prior_scale: float = 0.0
    blank_penalty: float = 0.0
    hotword_score: float = 5.0
    sum_alignments: bool = True
    recombine: bool = True
    nbest: int = 1
    nbest_threshold: float = math.inf
    posterior_scale: float = 0.5
    confidence_slope: float = 1.0
    confidence_offset: float = 0.0

    def check(self) -> None:
        """Raise :class:`UserError` naming the first setting that makes no sense."""
        thresholds = ("beam_threshold", "token_threshold", "nbest_threshold", "most_gain")
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = not isinstance(value, float) or math.isfinite(value)
            if not is_number and not (value == math.inf and field.name in thresholds):
                raise UserError(f"decoding.{field.name} must be a number, not {value}")
        for name in ("beam_size", "nbest"):
            if getattr(self, name) < 1:
                raise UserError(f"decoding.{name} must be at least 1, not {getattr(self, name)}")
        for name in (*thresholds, "max_tokens", "lm_weight", "posterior_scale"):
            if getattr(self, name) < 0:
                raise UserError(f"decoding.{name} must not be negative, and is {getattr(self, name)}")
