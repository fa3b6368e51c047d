"""Recordings and their texts to times of words: what ``asr align`` uses."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.alignment import Alignment, align, word_times
from asr.cores import ComputingOn
from asr.corpora.text import to_letters
from asr.errors import UserError
from asr.manifest import Utterance
from asr.model import Model, find_model, load_network
from asr.recording import Recording, model_blocks, open_recording
from asr.tokenizer import SPACE, PhoneTokenizer, Tokenizer, UnknownSymbol
from asr.transcript import Segment, Transcript, Word
from asr.windows import EmissionJoiner, cut_windows

Pronunciations = Mapping[str, Sequence[Sequence[str]]]
Advance = Callable[[float], None]


@dataclass(frozen=True)
class AlignedText:
    """A text with times, in seconds from the start of the utterance.

    Attributes:
        id: Of the utterance.
        transcript: Its words; each line of the text is a segment.
        tokens: Of each word, its characters, phones or word pieces.
        alignment: Of all tokens, in encoder frames.
        units: What the tokens are.
    """

    id: str
    transcript: Transcript
    tokens: tuple[tuple[Word, ...], ...]
    alignment: Alignment
    units: str

    @property
    def frame_score(self) -> float:
        """Mean log-probability of a frame; far below that of other recordings where the text is wrong."""
        return self.alignment.score / max(1, len(self.alignment.path))

    @property
    def phones(self) -> list[list[str]] | None:
        """Of each word as it was said; None where the tokens are not phones."""
        return [[phone.text for phone in word] for word in self.tokens] if self.units == "phones" else None

    def to_json(self) -> dict[str, Any]:
        """One line of ``asr align --format json``."""
        words = zip(self.transcript.words, self.tokens, strict=True)
        return {
            "id": self.id,
            "text": self.transcript.text,
            "duration": round(self.transcript.duration, 3),
            "score": round(self.frame_score, 4),
            "words": [_timed(word) | {"tokens": [_timed(token) for token in parts]} for word, parts in words],
        }

    def tiers(self) -> list[tuple[str, Sequence[Segment | Word]]]:
        """Lines, words and tokens, as Praat shows them one above the other."""
        tokens = [token for parts in self.tokens for token in parts]
        return [
            ("segments", self.transcript.segments),
            ("words", self.transcript.words),
            (self.units, tokens),
        ]


@dataclass(frozen=True)
class Spelling:
    """A text as tokens; ``spans`` has the tokens of each word, first and one after the last."""

    tokens: list[int]
    spans: list[tuple[int, int]]


class Speller:
    """Words as people write them to the tokens of a CTC head.

    Args:
        tokenizer: Of the head.
        pronunciations: Phones of words, the usual one first; words without are pronounced by the
            grapheme-to-phoneme model (phones only).
    """

    def __init__(self, tokenizer: Tokenizer, pronunciations: Pronunciations | None = None) -> None:
        self.tokenizer = tokenizer
        self._pronunciations = pronunciations or {}
        self._ids = {token: number for number, token in enumerate(tokenizer.tokens)}

    def variants(self, word: str) -> list[list[int]]:
        """Every way to say a word, the usual one first; none for bare punctuation.

        Raises:
            UnknownSymbol: something in it is said but not spelled, such as a digit.
        """
        letters = to_letters(word)
        if letters == "":
            return []
        if self.tokenizer.units == "phones":
            return self._pronounced(word, letters)
        for form in (word, letters, word.upper().strip('.,;:!?"“”„»«()[]…–—-')):
            if form:
                with suppress(UnknownSymbol):
                    return [self.tokenizer.encode(form)]
        raise UnknownSymbol(f"{word!r} cannot be spelled in this model's {self.tokenizer.units}: {_ADVICE}")

    def join(self, words: Iterable[Sequence[int]]) -> Spelling:
        """The tokens of a text from those of its words."""
        separator = [self._ids[SPACE]] if self.tokenizer.units == "characters" else []
        tokens: list[int] = []
        spans = []
        for word in words:
            tokens += separator if tokens else []
            spans.append((len(tokens), len(tokens) + len(word)))
            tokens += word
        return Spelling(tokens, spans)

    def _pronounced(self, word: str, letters: str | None) -> list[list[int]]:
        for form in (word, letters or word.upper()):
            if form in self._pronunciations:
                return [self._phones(word, phones) for phones in self._pronunciations[form]]
        if letters is None:
            raise UnknownSymbol(f"{word!r} has no pronunciation: {_ADVICE}")
        parts = [self._pronunciations.get(part) or [_guess(part)] for part in letters.split()]
        if len(parts) == 1:
            return [self._phones(word, phones) for phones in parts[0]]
        return [[phone for variants in parts for phone in self._phones(word, variants[0])]]

    def _phones(self, word: str, phones: Sequence[str]) -> list[int]:
        assert isinstance(self.tokenizer, PhoneTokenizer)
        return self.tokenizer.encode_phones(phones, word)


_ADVICE = "write it out in words"


def _guess(word: str) -> Sequence[str]:
    from asr.g2p import pronounce

    try:
        return pronounce(word)[0]
    except UserError as error:
        raise UnknownSymbol(f"{word!r} has no pronunciation: add it to a lexicon ({error})") from error


def align_words(
    emissions: NDArray[np.float32], variants: Sequence[Sequence[Sequence[int]]], speller: Speller
) -> tuple[Alignment, Spelling]:
    """Align words, each said in the likeliest of its ways.

    First all are aligned as they are usually said; then each word with other ways is tried in each of
    them between its neighbours; where another one fits better, all are aligned once more.

    Args:
        emissions: Log-probabilities ``(frames, vocabulary)``.
        variants: For each word its token sequences.
        speller: Puts the words together.
    """
    chosen = [ways[0] for ways in variants]
    spelling = speller.join(chosen)
    alignment = align(emissions, spelling.tokens)
    begins = [int(alignment.starts[begin]) for begin, _ in spelling.spans] + [len(emissions)]
    ends = [0] + [int(alignment.ends[end - 1]) for _, end in spelling.spans]
    better = [
        _likeliest(emissions[ends[number] : begins[number + 1]], ways) if len(ways) > 1 else ways[0]
        for number, ways in enumerate(variants)
    ]
    if better == chosen:
        return alignment, spelling
    spelling = speller.join(better)
    return align(emissions, spelling.tokens), spelling


def _likeliest(emissions: NDArray[np.float32], ways: Sequence[Sequence[int]]) -> Sequence[int]:
    scores = []
    for way in ways:
        try:
            scores.append(align(emissions, way).score)
        except UserError:  # too long for these frames
            scores.append(-np.inf)
    return ways[int(np.argmax(scores))]


class Aligner:
    """A model with what it needs to spell a text.

    Args:
        model: The network.
        head: CTC head whose tokens are aligned; the model's default one without it.
        pronunciations: Of words (phone heads).
    """

    def __init__(
        self, model: Model, head: str | None = None, pronunciations: Pronunciations | None = None
    ) -> None:
        self.model = model
        self.head = model.config.find_head(head)
        self.tokenizer = model.tokenizers[self.head]
        self.speller = Speller(self.tokenizer, pronunciations)

    @classmethod
    def load(
        cls, name: str | os.PathLike[str], head: str | None = None, lexicon: Path | None = None
    ) -> "Aligner":
        """Load a model directory, and for a phone head its lexicon where none is given."""
        from asr.lexicon import find_lexicon, read_lexicon

        folder = find_model(name)
        aligner = cls(load_network(folder), head)
        units = aligner.tokenizer.units
        if lexicon is not None and units != "phones":
            raise UserError(f"--lexicon: is for heads of phones, and {aligner.head} is one of {units}")
        source = lexicon or find_lexicon(folder)
        if units == "phones" and (lexicon or source.is_file()):
            pronunciations: dict[str, list[Sequence[str]]] = {}
            for word, phones in read_lexicon(source):
                pronunciations.setdefault(word, []).append(phones)
            aligner.speller = Speller(aligner.tokenizer, pronunciations)
        return aligner

    @property
    def sample_rate(self) -> int:
        """Rate at which the model hears, in Hz."""
        return self.model.config.frontend.sample_rate

    def align(
        self,
        recording: Tensor | Iterable[Tensor],
        text: str,
        name: str = "",
        advance: Advance = lambda seconds: None,
    ) -> AlignedText:
        """Align a text with its recording.

        Args:
            recording: float32 ``(samples,)`` at the model's rate, of any length, whole or in blocks.
            text: What was said, in ordinary spelling; lines become segments.
            name: Id of the result.
            advance: Told how many more seconds of the recording have been heard.

        Raises:
            UserError: the text has nothing to say, something that cannot be spelled, or more than fits.
        """
        lines = [[(word, self.speller.variants(word)) for word in line.split()] for line in text.splitlines()]
        spoken = [[(word, ways) for word, ways in line if ways] for line in lines]
        words = [word for line in spoken for word, _ in line]
        if not words:
            raise UserError("the text has no words")
        emissions, duration = recording_emissions(self.model, recording, self.head, advance)
        alignment, spelling = align_words(
            emissions, [ways for line in spoken for _, ways in line], self.speller
        )
        timed = word_times(alignment, words, spelling.spans, self.model.frame_shift, duration=duration)
        segments, position = [], 0
        for written, line in zip(text.splitlines(), spoken, strict=True):
            inside = timed[position : position + len(line)]
            position += len(line)
            if inside:
                segments.append(Segment(" ".join(written.split()), inside[0].start, inside[-1].end, inside))
        transcript = Transcript(
            " ".join(segment.text for segment in segments),
            tuple(segments),
            timed,
            duration,
            alignment.score,
        )
        tokens = self._token_times(alignment, spelling, duration)
        return AlignedText(name, transcript, tokens, alignment, self.tokenizer.units)

    def align_all(
        self,
        utterances: Sequence[Utterance],
        threads: int = 1,
        advance: Advance = lambda seconds: None,
        warn: Callable[[str], None] = warnings.warn,
    ) -> Iterator[AlignedText | UserError]:
        """Align the texts of a manifest's utterances, in order; a failure gives its error, which names it.

        ``advance`` is told, by any of the threads, how many more seconds have been heard; ``warn`` what is
        odd about a recording.
        """
        cores = threads // max(1, min(threads, len(utterances)))
        with ComputingOn(cores), ThreadPoolExecutor(threads) as pool:
            yield from pool.map(lambda one: self._align_utterance(one, advance, warn), utterances)

    def _align_utterance(
        self, utterance: Utterance, advance: Advance, warn: Callable[[str], None]
    ) -> AlignedText | UserError:
        source = Recording(
            utterance.audio_filepath, offset=utterance.offset, duration=utterance.duration or None
        )
        try:
            if utterance.text is None:
                raise UserError("has no text to align")
            with open_recording(source, self.sample_rate) as reader:
                blocks = model_blocks(source, reader, self.sample_rate, warn)
                return self.align(blocks, utterance.text, utterance.id, advance)
        except UserError as error:
            return UserError(f"{utterance.id}: {error}")

    def _token_times(
        self, alignment: Alignment, spelling: Spelling, duration: float
    ) -> tuple[tuple[Word, ...], ...]:
        tokenizer = self.tokenizer
        readable = tokenizer.phones if isinstance(tokenizer, PhoneTokenizer) else tokenizer.tokens
        names = [readable[token] for token in spelling.tokens]
        single = [(number, number + 1) for number in range(len(names))]
        timed = word_times(alignment, names, single, self.model.frame_shift, duration=duration)
        separators = (SPACE,) if tokenizer.units == "characters" else ()
        return tuple(
            tuple(token for token in timed[begin:end] if token.text not in separators)
            for begin, end in spelling.spans
        )


@torch.inference_mode()
def recording_emissions(
    model: Model, recording: Tensor | Iterable[Tensor], head: str, advance: Advance = lambda seconds: None
) -> tuple[NDArray[np.float32], float]:
    """Emissions of a recording of any length, heard in windows.

    Args:
        model: The network.
        recording: float32 ``(samples,)`` at the model's rate, whole or in blocks.
        head: CTC head.
        advance: Told how many more seconds have been heard.

    Returns:
        Log-probabilities ``(frames, vocabulary)``, and the recording's length in seconds.
    """
    rate = model.config.frontend.sample_rate
    blocks = [recording] if isinstance(recording, Tensor) else recording
    joiner = EmissionJoiner(model.frame_shift)
    pieces = []
    heard = 0.0
    for window in cut_windows(blocks, round(model.frame_shift * rate), rate):
        emissions, frames = model.hear([window.waveform], head)
        pieces += joiner.add(window, emissions[0, : int(frames[0])])
        end = window.start * model.frame_shift + len(window.waveform) / rate
        advance(end - heard)
        heard = end
    return torch.cat([piece.emissions for piece in pieces]).numpy(), heard


def _timed(word: Word) -> dict[str, Any]:
    return {"text": word.text, "start": word.start, "end": word.end, "score": round(word.confidence, 4)}
