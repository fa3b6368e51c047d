"""What a user may say about decoding, and what decodes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from torch import Tensor

NONE = "none"


@dataclass(frozen=True)
class DecodingOptions:
    """What the command line may say about decoding; None leaves the model directory's default.

    Attributes:
        decoder: ``greedy`` or ``beam``.
        head: CTC head that is decoded.
        lm: Folder of a word n-gram, or ``none``.
        lexicon: Lexicon file, or ``none``.
        hotwords: File of words to favour.
        rescore: Folder of a recurrent LM that scores the n-best list anew, or ``none``.
        nbest: Hypotheses returned for each utterance.
        pause: Seconds of the pauses between which an utterance is searched by itself; 0 searches it whole.
        speech_gate: False to look for words also where nobody seems to speak.
        settings: Fields of :class:`BeamConfig` that replace the tuned ones.
    """

    decoder: str | None = None
    head: str | None = None
    lm: str | None = None
    lexicon: str | None = None
    hotwords: Path | None = None
    rescore: str | None = None
    nbest: int | None = None
    pause: float | None = None
    speech_gate: bool | None = None
    settings: dict[str, Any] = field(default_factory=dict)


class Decoder(Protocol):
    """Emissions to hypotheses."""

    def decode(self, emissions: "Tensor", lengths: "Tensor") -> list[list[Hypothesis]]:
        """The n-best list of each utterance of ``(batch, frames, vocabulary)`` log-probabilities."""
