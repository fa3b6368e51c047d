"""Utterances searched phrase by phrase.

What is said between two pauses (an inter-pausal unit) mostly is a sentence or a clause, which is what
language models learn from. And an n-best list of a phrase holds more real alternatives than one as long of
a whole utterance, where every doubt multiplies with every other: rescoring has more to choose from.
"""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from asr.decoding.options import Decoder
from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from torch import Tensor


#: Least seconds of a pause that is cut, where a model is tuned and nothing else is asked for.
PAUSE = 0.5
#: No phrase has fewer (some five words, of phones or letters): the language model needs words before it knows
#: what follows, and those who read a foreign language pause between any two.
FEWEST_TOKENS = 20


@dataclass(frozen=True)
class Phrases:
    """The phrases of several utterances.

    Attributes:
        emissions: Of each phrase ``(frames, vocabulary)``, utterance after utterance.
        begins: For each utterance the frames at which its phrases begin.
        frame_shift: Seconds from one frame to the next.
    """

    emissions: "list[Tensor]"
    begins: list[list[int]]
    frame_shift: float

    def join(self, nbests: Sequence[Sequence[Hypothesis]], nbest: int = 1) -> list[list[Hypothesis]]:
        """The n-best list of each utterance, from those of all phrases."""
        following = iter(nbests)
        return [
            _joined([(begin, next(following)) for begin in begins], self.frame_shift, nbest)
            for begins in self.begins
        ]


def cut_at_pauses(
    utterances: "Sequence[Tensor]", pause: float, frame_shift: float, tokens: Sequence[int]
) -> Phrases:
    """Cut utterances in the middle of long pauses.

    Args:
        utterances: Log-probabilities ``(frames, vocabulary)`` of each.
        pause: Least seconds of a pause that is cut; 0 leaves utterances whole.
        frame_shift: Seconds from one frame to the next.
        tokens: What is said in pauses (:func:`asr.pauses.pause_tokens`).
    """
    phrases = Phrases([], [], frame_shift)
    for emissions in utterances:
        begins = [0, *(_cuts(emissions, pause, frame_shift, tokens) if pause else ())]
        ends = [*begins[1:], len(emissions)]
        phrases.begins.append(begins)
        phrases.emissions.extend(emissions[begin:end] for begin, end in zip(begins, ends, strict=True))
    return phrases


def _cuts(emissions: "Tensor", pause: float, frame_shift: float, tokens: Sequence[int]) -> list[int]:
    """Frames in the middle of long pauses; the longest first, since they end sentences."""
    from asr.pauses import long_pauses, tokens_before

    said = tokens_before(emissions, tokens).tolist()
    edges = [0, len(emissions)]
    found = long_pauses(emissions, tokens, pause / frame_shift)
    for middle, _ in sorted(found, key=lambda pause: -pause[1]):
        place = bisect(edges, middle)
        before, after = edges[place - 1 : place + 1]
        if min(said[middle] - said[before], said[after] - said[middle]) >= FEWEST_TOKENS:
            edges.insert(place, middle)
    return edges[1:-1]


def _joined(
    phrases: Sequence[tuple[int, Sequence[Hypothesis]]], frame_shift: float, nbest: int
) -> list[Hypothesis]:
    """The likeliest ways to put hypotheses of phrases that begin at such frames one after the other."""
    found = [Hypothesis("")]
    for begin, hypotheses in phrases:
        pairs = [
            (before.score + after.score, before, after) for before in found for after in hypotheses[:nbest]
        ]
        pairs.sort(key=lambda pair: -pair[0])
        different: dict[str, Hypothesis] = {}
        for _, before, after in pairs:
            text = " ".join(part.text for part in (before, after) if part.text)
            if text not in different:
                different[text] = _continued(before, after, text, begin, frame_shift)
            if len(different) == nbest:
                break
        found = list(different.values())
    return found


def _continued(
    before: Hypothesis, after: Hypothesis, text: str, begin: int, frame_shift: float
) -> Hypothesis:
    seconds = begin * frame_shift
    words = tuple(
        replace(word, start=round(word.start + seconds, 6), end=round(word.end + seconds, 6))
        for word in after.words
    )
    frames = tuple(frame + begin for frame in after.frames)
    return Hypothesis(
        text,
        before.score + after.score,
        before.tokens + after.tokens,
        before.frames + frames,
        before.words + words,
    )


class PhraseDecoder:
    """A decoder that is given phrases instead of utterances."""

    def __init__(
        self, decoder: Decoder, pause: float, frame_shift: float, tokens: Sequence[int], nbest: int
    ) -> None:
        """Arguments as in :func:`cut_at_pauses`; ``nbest`` hypotheses of each utterance are returned."""
        self._decoder, self._nbest = decoder, nbest
        self._pause, self._frame_shift, self._tokens = pause, frame_shift, tokens

    def decode(self, emissions: "Tensor", lengths: "Tensor") -> list[list[Hypothesis]]:
        """The n-best list of each utterance of ``(batch, frames, vocabulary)`` log-probabilities."""
        from asr.padding import padded, unpadded

        utterances = unpadded(emissions, lengths)
        phrases = cut_at_pauses(utterances, self._pause, self._frame_shift, self._tokens)
        found = self._decoder.decode(*padded(phrases.emissions))
        return phrases.join(found, self._nbest)
