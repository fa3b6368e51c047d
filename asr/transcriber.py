"""Recordings to transcripts: what ``asr transcribe`` and ``asr.load_model`` use."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch

from asr.audio import read_audio, resample
from asr.decoding.options import Decoder, DecodingOptions, choose_head, load_decoder
from asr.errors import UserError
from asr.model import Model, find_model, load_network
from asr.transcript import Hypothesis, Segment, Transcript

if TYPE_CHECKING:
    from torch import Tensor

Source = str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | torch.Tensor
"""A path, the bytes of a file or a stream holding one, or samples in [-1, 1]."""


def load_model(
    name: str | os.PathLike[str] = "en", options: DecodingOptions | None = None, **settings: Any
) -> "Transcriber":
    """Load a model directory, or a model that ships, ready to transcribe.

    Args:
        name: A model directory or the name of a model that ships (``en``).
        options: How to decode; the model directory's own way without it.
        settings: Fields of :class:`DecodingOptions`, in place of ``options``: ``decoder="greedy"``.

    Raises:
        UserError: there is no such model, or its files do not fit together.
    """
    folder = find_model(name)
    model = load_network(folder)
    options = options or DecodingOptions(**settings)
    return Transcriber(folder, model, load_decoder(folder, model, options), choose_head(model, options))


def transcribe(source: Source, model: str | os.PathLike[str] = "en", **settings: Any) -> Transcript:
    """Transcribe one recording with a model that is loaded for it; see :func:`load_model`."""
    return load_model(model, **settings).transcribe(source)


class Transcriber:
    """A model with its decoder; one may serve many threads.

    Attributes:
        folder: The model directory.
        model: The acoustic model.
        decoder: Emissions to hypotheses.
        head: CTC head that is decoded.
    """

    def __init__(self, folder: Path, model: Model, decoder: Decoder, head: str) -> None:
        self.folder = folder
        self.model = model
        self.decoder = decoder
        self.head = head

    @property
    def sample_rate(self) -> int:
        """Rate at which the model hears, in Hz."""
        return self.model.config.frontend.sample_rate

    def transcribe(self, source: Source, sample_rate: int | None = None) -> Transcript:
        """Transcribe one recording.

        Args:
            source: A path, the bytes of a file, a binary stream, or samples: ``(samples,)``, or
                ``(samples, channels)`` which are averaged.
            sample_rate: Of samples given as an array, in Hz (default: the model's own).

        Raises:
            UserError: the recording cannot be read.
        """
        (result,) = self.transcribe_all([self._waveform(source, sample_rate)])
        if isinstance(result, UserError):
            raise result
        return result

    def transcribe_all(self, sources: Iterable[Source]) -> Iterator[Transcript | UserError]:
        """Transcribe many recordings, in order; one that cannot be read gives its error instead."""
        for source in sources:
            try:
                yield self._transcribe(self._waveform(source))
            except UserError as error:
                yield error

    def _waveform(self, source: Source, sample_rate: int | None = None) -> "Tensor":
        if isinstance(source, np.ndarray | torch.Tensor):
            samples = np.asarray(source, dtype=np.float32)
            mono = samples if samples.ndim == 1 else samples.mean(axis=1)
            return resample(mono, sample_rate or self.sample_rate, self.sample_rate)
        return read_audio(source, self.sample_rate)

    @torch.inference_mode()
    def _transcribe(self, waveform: "Tensor") -> Transcript:
        duration = len(waveform) / self.sample_rate
        emissions, frames = self.model.emissions(waveform[None], torch.tensor([len(waveform)]), self.head)
        (hypotheses,) = self.decoder.decode(emissions, frames)
        return _transcript(hypotheses, duration)


def _transcript(hypotheses: list[Hypothesis], duration: float) -> Transcript:
    best = hypotheses[0]
    segments = (Segment(best.text, 0.0, duration, best.words),) if best.text else ()
    return Transcript(best.text, segments, best.words, duration, best.score, tuple(hypotheses[1:]))
