"""The beam-search decoder: emissions in, n-best hypotheses out."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.decoding.confidence import calibrated
from asr.decoding.config import BeamConfig
from asr.decoding.contexts import UNKNOWN_END
from asr.decoding.lattice import (
    Alignment,
    Reading,
    agreement,
    no_alignment,
    readings,
    trace_posteriors,
)
from asr.decoding.resources import Pronounce, make_search_model
from asr.decoding.search import SearchResult, search
from asr.decoding.trie import LexiconTrie
from asr.decoding.words import timed_word, timed_words
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.tokenizer import Tokenizer
from asr.transcript import Hypothesis, Word

if TYPE_CHECKING:
    import torch

    Utterances = Sequence[ArrayLike] | NDArray[np.float32] | torch.Tensor
    Lengths = Sequence[int] | NDArray[np.integer] | torch.Tensor

# Readings that say the same in other ways come among the n-best; so many of them are put up with.
_READINGS_PER_HYPOTHESIS = 20


class BeamDecoder:
    """CTC prefix beam search with an optional lexicon, n-gram models and hotwords.

    Results depend on nothing but the utterance; one decoder may serve several threads.

    Attributes:
        config: The settings.
        words: The lexicon's words, hotwords included; empty without a lexicon.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: BeamConfig | None = None,
        *,
        lm: NGram | None = None,
        lexicon: LexiconTrie | None = None,
        token_lm: NGram | None = None,
        hotwords: Mapping[str, float] | None = None,
        pronounce: Pronounce | None = None,
        prior: ArrayLike | None = None,
        frame_shift: float = 1.0,
    ) -> None:
        """Make everything ready.

        Args:
            tokenizer: The model's tokens; its units say whether words are parted by a token.
            config: Settings.
            lm: Language model of words.
            lexicon: Words and their tokens. Without one, the words of ``lm`` as the tokenizer spells them;
                without either, any token may follow any other.
            token_lm: Language model of tokens, for decoding without a lexicon and for the words that
                ``config.open_vocabulary`` admits.
            hotwords: Words and phrases with what each adds to the score; words that the lexicon lacks are
                added to it.
            pronounce: Pronunciations of hotwords that a phone model's lexicon lacks.
            prior: Mean posterior of every token (vocabulary,), for ``config.prior_scale``.
            frame_shift: Seconds from one encoder frame to the next, for the times of words.

        Raises:
            UserError: settings that make no sense, or parts that do not fit together or to the units.
        """
        self.config = replace(config) if config else BeamConfig()
        self.config.check()
        self._tokenizer = tokenizer
        self._frame_shift = frame_shift
        self._model, self.words = make_search_model(
            tokenizer, self.config, lm, lexicon, token_lm, hotwords or {}, pronounce
        )
        options = self._model.options[0]
        self._has_lexicon, self._separator = bool(options["has_lexicon"]), int(options["separator"])
        self._subtracted = _subtracted(self.config, prior, len(tokenizer.tokens))

    def decode(self, emissions: "ArrayLike | torch.Tensor") -> list[Hypothesis]:
        """The best readings of one utterance, best first: at least one, at most ``config.nbest``.

        Args:
            emissions: Log-probabilities (frames, vocabulary).

        Raises:
            UserError: emissions of another vocabulary, or with NaN in them.
        """
        return list(self.search(emissions))

    def search(self, emissions: "ArrayLike | torch.Tensor") -> "NBest":
        """As :meth:`decode`, but the words of each reading are looked up when it is asked for."""
        result = SearchResult._make(search(self._model, self._prepared(emissions)))
        found: dict[str, Reading] = {}
        within = self.config.nbest_threshold
        for reading in islice(readings(result, within), self.config.nbest * _READINGS_PER_HYPOTHESIS):
            found.setdefault(self._text(reading, result), reading)
            if len(found) == self.config.nbest:
                break
        if not found:
            found[""] = Reading(-math.inf, no_alignment())
        sureness = trace_posteriors(result, self.config.posterior_scale)
        return NBest(found, lambda text, reading: self._hypothesis(text, reading, result, sureness))

    def decode_batch(
        self, emissions: "Utterances", lengths: "Lengths | None" = None, threads: int = 1
    ) -> list[list[Hypothesis]]:
        """The best readings of several utterances, as :meth:`decode` gives them for each alone.

        Args:
            emissions: Utterances (frames, vocabulary), or all in one array (batch, frames, vocabulary).
            lengths: Frames of each, where the array is padded.
            threads: Utterances decoded at a time.
        """
        utterances = _unpadded(emissions, lengths)
        if threads <= 1:
            return [self.decode(utterance) for utterance in utterances]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.decode, utterances))

    def search_batch(self, emissions: "Utterances", lengths: "Lengths | None" = None) -> "list[NBest]":
        """As :meth:`decode_batch`, with the words of a reading looked up when it is asked for."""
        return [self.search(utterance) for utterance in _unpadded(emissions, lengths)]

    def _prepared(self, emissions: "ArrayLike | torch.Tensor") -> NDArray[np.float32]:
        array = np.asarray(emissions, dtype=np.float32)
        vocabulary = len(self._tokenizer.tokens)
        if array.ndim != 2 or array.shape[1] != vocabulary:
            raise UserError(
                f"emissions of shape {array.shape} do not fit a decoder for {vocabulary} tokens; "
                "is it another model's?"
            )
        # Not-a-number wins every maximum, so that one pass finds it.
        if len(array) and not array.max() < np.inf:
            raise UserError("emissions hold NaN or infinity; the model is broken")
        if self._subtracted is not None:
            array = array - self._subtracted
        return np.ascontiguousarray(array)

    def _text(self, reading: Reading, result: SearchResult) -> str:
        alignment = reading.alignment
        if not self._has_lexicon:
            return self._tokenizer.decode(alignment.tokens[alignment.tokens >= 0].tolist())
        completed = alignment.contexts[alignment.contexts >= 0]
        symbols = result.contexts["symbol"][completed].tolist()
        if UNKNOWN_END in symbols:  # a word that the lexicon lacks: its tokens spell it
            unsure = [1.0] * len(alignment.tokens)
            return " ".join(word.text for word in self._lexicon_words(alignment, unsure, result))
        words, count = self.words, len(self.words)
        return " ".join([words[symbol] for symbol in symbols if symbol < count])

    def _hypothesis(
        self, text: str, reading: Reading, result: SearchResult, sureness: NDArray[np.float64]
    ) -> Hypothesis:
        alignment = reading.alignment
        confidences = calibrated(
            agreement(result, sureness, alignment),
            self.config.confidence_slope,
            self.config.confidence_offset,
        ).tolist()
        real = alignment.tokens >= 0
        tokens, frames = alignment.tokens[real].tolist(), alignment.frames[real].tolist()
        if self._has_lexicon:
            words = tuple(self._lexicon_words(alignment, confidences, result))
        else:
            words = timed_words(tokens, frames, confidences, self._tokenizer, self._frame_shift)
        return Hypothesis(text, reading.score, tuple(tokens), tuple(frames), words)

    def _lexicon_words(
        self, alignment: Alignment, confidences: list[float], result: SearchResult
    ) -> Iterator[Word]:
        """Words of the lexicon and spelled ones: a context says which, where its last token completes it."""
        tokens: list[int] = []
        frames: list[int] = []
        surest = 1.0
        for token, frame, context, confidence in zip(
            *(values.tolist() for values in alignment[:3]), confidences, strict=True
        ):
            if token not in (-1, self._separator):
                tokens.append(token)
                frames.append(frame)
            if context < 0:
                continue
            symbol = int(result.contexts[context]["symbol"])
            surest = min(surest, confidence)
            if symbol == UNKNOWN_END or symbol < len(self.words):
                text = self._tokenizer.decode(tokens) if symbol == UNKNOWN_END else self.words[symbol]
                yield timed_word(text, frames, surest, self._frame_shift)
                tokens, frames, surest = [], [], 1.0


class NBest(Sequence[Hypothesis]):
    """The best readings of an utterance, best first; words, times and confidences are made when asked for.

    Attributes:
        texts, scores: Of each reading.
    """

    def __init__(self, found: Mapping[str, Reading], complete: Callable[[str, Reading], Hypothesis]) -> None:
        """Take the readings by their texts, and what makes a hypothesis of one."""
        self.texts, self._readings = list(found), list(found.values())
        self.scores = [reading.score for reading in self._readings]
        self._complete = complete

    def tokens(self, number: int) -> NDArray[np.int32]:
        """Token ids (tokens,) of a reading, blanks and repeats removed."""
        tokens = self._readings[number].alignment.tokens
        return tokens[tokens >= 0]

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, number: int) -> Hypothesis: ...
    @overload
    def __getitem__(self, number: slice) -> list[Hypothesis]: ...
    def __getitem__(self, number: int | slice) -> Hypothesis | list[Hypothesis]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        return self._complete(self.texts[number], self._readings[number])


def _unpadded(emissions: "Utterances", lengths: "Lengths | None") -> list[NDArray[np.float32]]:
    utterances = [np.asarray(utterance, dtype=np.float32) for utterance in emissions]
    if lengths is None:
        return utterances
    return [utterance[: int(length)] for utterance, length in zip(utterances, lengths, strict=True)]


def _subtracted(config: BeamConfig, prior: ArrayLike | None, vocabulary: int) -> NDArray[np.float32] | None:
    """What is taken from every frame's emissions (vocabulary,), if anything."""
    subtracted = np.zeros(vocabulary, dtype=np.float32)
    if config.prior_scale:
        if prior is None:
            raise UserError("decoding.prior_scale needs the tokens' prior; set it to 0 or give the prior")
        values = np.asarray(prior, dtype=np.float32)
        if values.shape != (vocabulary,):
            raise UserError(f"a prior of {len(values)} tokens does not fit a model of {vocabulary}")
        if not np.isfinite(values).all():
            raise UserError("the tokens' prior holds NaN or infinity; tune the model anew")
        subtracted += config.prior_scale * np.log(np.maximum(values, 1e-8))
    subtracted[0] += config.blank_penalty
    return subtracted if subtracted.any() else None
