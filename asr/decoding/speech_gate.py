"""No words where nobody speaks.

A beam search with a language model makes words of anything, of noise and even of silence: somewhere a word
is likelier than none. Speech differs in what the network says of it before any search: it is sure of many
tokens a second. Noise and music give tokens that are few or doubtful (noise that swells like syllables). So
the evidence of speech in a stretch between two long pauses is the sum of its tokens' squared probabilities,
a second; of the silences between tokens little counts, for who spells or dictates speaks slowly. Where the
evidence is below a threshold, and in long pauses, the emissions become blanks, and any decoder leaves them
empty.

Level does not matter, since features are normalised, and nothing is computed but the likeliest token of
each frame. The threshold belongs to a head of a model and stands in its ``config.yaml``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asr.decoding.options import Decoder, DecodingOptions
from asr.errors import UserError
from asr.tokenizer import BLANK_ID
from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from torch import Tensor

    from asr.model import AcousticModel

SETTING = "speech_gate"
# Stretches are parted by this many seconds of blanks; half of it is kept on both sides of speech.
PAUSE = 1.0
# From one token to the next at most so many seconds count.
LONGEST_GAP = 0.2
# Seconds added to a stretch, so that one or two tokens by themselves are not yet many a second.
PADDING = 0.3
# Log-probability of the other tokens where a blank is certain: beyond what any prior or LM outweighs.
_IMPOSSIBLE = -1e4


@dataclass(frozen=True)
class Stretch:
    """Frames ``begin`` to ``end`` (without it) between two long pauses, and how much speaks for speech."""

    begin: int
    end: int
    evidence: float


def stretches(emissions: "Tensor", frame_shift: float) -> Iterator[Stretch]:
    """The stretches of ``(frames, vocabulary)`` log-probabilities, in order.

    Args:
        emissions: Of one utterance.
        frame_shift: Seconds from one frame to the next.
    """
    import numpy as np

    if not len(emissions):
        return
    best, path = (found.cpu().numpy() for found in emissions.float().max(dim=1))
    # Broken emissions (NaN) count as tokens: it is for the decoder to tell of them.
    frames = np.flatnonzero((path != BLANK_ID) | np.isnan(best))
    if not len(frames):
        return
    for stretch in np.split(frames, np.flatnonzero(np.diff(frames) * frame_shift > PAUSE) + 1):
        tokens = path[stretch]
        new = np.concatenate([[True], (np.diff(stretch) > 1) | (tokens[1:] != tokens[:-1])])
        peaks = np.maximum.reduceat(best[stretch], np.flatnonzero(new))
        seconds = frame_shift + np.minimum(np.diff(stretch) * frame_shift, LONGEST_GAP).sum() + PADDING
        yield Stretch(int(stretch[0]), int(stretch[-1]) + 1, float(np.exp(2 * peaks).sum()) / seconds)


class SpeechGate:
    """Lets through the emissions of stretches with enough evidence of speech."""

    def __init__(self, threshold: float, frame_shift: float) -> None:
        """Make a gate.

        Args:
            threshold: Least evidence, in tokens a second.
            frame_shift: Seconds from one encoder frame to the next.
        """
        self.threshold = threshold
        self._frame_shift = frame_shift
        self._margin = round(PAUSE / 2 / frame_shift)

    def __call__(self, emissions: "Tensor", lengths: "Tensor") -> "Tensor":
        """``(batch, frames, vocabulary)`` log-probabilities with certain blanks where nobody speaks."""
        import torch

        speech = torch.zeros(emissions.shape[:2], dtype=torch.bool)
        for number, length in enumerate(lengths.tolist()):
            for stretch in stretches(emissions[number, :length], self._frame_shift):
                if not stretch.evidence < self.threshold:
                    begin = max(stretch.begin - self._margin, 0)
                    speech[number, begin : stretch.end + self._margin] = True
        blank = emissions.new_full((emissions.shape[2],), _IMPOSSIBLE)
        blank[BLANK_ID] = 0.0
        return torch.where(speech.to(emissions.device)[..., None], emissions, blank)


class GatedDecoder:
    """A decoder behind a speech gate."""

    def __init__(self, decoder: Decoder, gate: SpeechGate) -> None:
        self._decoder, self.gate = decoder, gate

    def decode(self, emissions: "Tensor", lengths: "Tensor") -> list[list[Hypothesis]]:
        """The n-best list of each utterance of ``(batch, frames, vocabulary)`` log-probabilities."""
        return self._decoder.decode(self.gate(emissions, lengths), lengths)


def gate_threshold(decoding: Mapping[str, Any], head: str) -> float | None:
    """The threshold that a model directory's section ``decoding`` has for a head, if any.

    Raises:
        UserError: it holds something else than a threshold for each head.
    """
    thresholds = decoding.get(SETTING) or {}
    threshold = thresholds.get(head) if isinstance(thresholds, dict) else thresholds
    if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, int | float)):
        raise UserError(f"decoding.{SETTING}.{head}: {threshold!r} is not a number")
    return None if threshold is None else float(threshold)


def load_gate(model: "AcousticModel", head: str, options: DecodingOptions) -> SpeechGate | None:
    """The gate that a model has for a head, unless the user does without.

    Raises:
        UserError: the configuration holds something else than a threshold for each head.
    """
    threshold = gate_threshold(model.config.decoding, head)
    if threshold is None or options.speech_gate is False:
        return None
    return SpeechGate(threshold, model.frame_shift)


def fit_threshold(speech: Iterable[Sequence[Stretch]], nothing: Iterable[Sequence[Stretch]]) -> float:
    """A threshold between speech and what is none.

    On a logarithmic scale it lies two fifths of the way from the evidence that 95 % of the clips without
    speech stay below to the one that 95 % of the seconds of speech exceed: the voices that a model knows
    make it surer than others will.

    Args:
        speech: Stretches of each of many utterances.
        nothing: Stretches of each of many clips without speech.
    """
    import numpy as np

    spoken = sorted((each.evidence, each.end - each.begin) for utterance in speech for each in utterance)
    frames = np.cumsum([length for _, length in spoken])
    low = spoken[int(np.searchsorted(frames, 0.05 * frames[-1]))][0]
    strongest = [max((each.evidence for each in clip), default=0.0) for clip in nothing]
    high = max(float(np.quantile(strongest, 0.95)), 0.1)
    return round(float(high**0.6 * low**0.4), 2)
