"""Recordings to transcripts: what ``asr transcribe`` and ``asr.load_model`` use."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.audio import Source
from asr.decoding.options import Decoder, DecodingOptions, choose_head, load_decoder
from asr.decoding.words import timed_words
from asr.errors import UserError
from asr.model import Model, find_model, load_network
from asr.pipeline import Listener, Recognised, recognise
from asr.recording import ALL_CHANNELS, Recording, Samples, open_recording
from asr.segments import split_at_pauses
from asr.transcript import Hypothesis, Transcript, Word


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


def transcribe(source: Source | Samples, model: str | os.PathLike[str] = "en", **settings: Any) -> Transcript:
    """Transcribe one recording with a model that is loaded for it; see :func:`load_model`."""
    return load_model(model, **settings).transcribe(source)


class Transcriber:
    """A model with its decoder; one may serve many threads.

    Attributes:
        folder: The model directory.
        model: The acoustic model.
        decoder: Emissions to hypotheses.
        head: CTC head that is decoded.
        sample_rate: Rate at which the model hears, in Hz.
        frame_shift: Seconds from one encoder frame to the next.
    """

    def __init__(self, folder: Path, model: Model, decoder: Decoder, head: str) -> None:
        self.folder = folder
        self.model = model
        self.decoder = decoder
        self.head = head
        self.sample_rate = model.config.frontend.sample_rate
        self.frame_shift = model.frame_shift

    def transcribe(
        self,
        source: Source | Samples,
        sample_rate: int | None = None,
        channel: int | str | None = None,
    ) -> Transcript:
        """Transcribe one recording of any length.

        Args:
            source: A path, the bytes of a file, a binary stream holding one, or samples: ``(samples,)``
                or ``(samples, channels)``, floats in [-1, 1] or integers.
            sample_rate: Of samples given as an array, in Hz (default: the model's own).
            channel: Counted from 1, or ``"all"`` for each by itself; their mean without it.

        Raises:
            UserError: the recording cannot be read.
        """
        if channel == ALL_CHANNELS and hasattr(source, "read"):
            source = source.read()  # each channel reads it anew
        (result,) = self.transcribe_all([Recording(source, channel=channel, sample_rate=sample_rate)])
        if isinstance(result, UserError):
            raise result
        return result

    def transcribe_all(
        self,
        recordings: Iterable[Recording | Source | Samples],
        threads: int = 0,
        batch_seconds: float = 120.0,
        listener: Listener | None = None,
    ) -> Iterator[Transcript | UserError]:
        """Transcribe many recordings, in order; one that cannot be read gives its error instead.

        Args:
            recordings: Sources as :meth:`transcribe` takes them, or recordings. Taken as needed.
            threads: Batches worked on at once; 0 works in the caller's thread.
            batch_seconds: Padded audio in a batch, in seconds.
            listener: Is told how the work goes.
        """
        counts: deque[int] = deque()
        singles = self._single_channels(recordings, counts)
        results = recognise(self, singles, threads, batch_seconds, listener)
        for first in results:
            together = [first, *islice(results, counts.popleft() - 1)]
            errors = [result.error for result in together if result.error is not None]
            yield errors[0] if errors else _transcript(together)

    def _single_channels(
        self, recordings: Iterable[Recording | Source | Samples], counts: deque[int]
    ) -> Iterator[Recording]:
        """Recordings with one of several channels each; of how many channels each is goes to ``counts``."""
        for given in recordings:
            recording = given if isinstance(given, Recording) else Recording(given)
            channels = self._channels(recording) if recording.channel == ALL_CHANNELS else None
            counts.append(channels or 1)
            if channels is None:
                yield recording
            else:
                yield from (replace(recording, channel=number) for number in range(1, channels + 1))

    def _channels(self, recording: Recording) -> int:
        try:
            with open_recording(recording, self.sample_rate) as reader:
                return reader.info.channels
        except UserError:
            return 1  # which will fail again, where it is told

    @torch.inference_mode()
    def emissions(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Log-probabilities ``(frames, vocabulary)`` of waveforms ``(samples,)`` of any length."""
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        padded = pad_sequence(list(waveforms), batch_first=True)
        emissions, frames = self.model.emissions(padded, lengths, self.head)
        return [utterance[:length] for utterance, length in zip(emissions, frames.tolist(), strict=True)]

    @torch.inference_mode()
    def hypotheses(self, pieces: Sequence[Tensor]) -> list[list[Hypothesis]]:
        """The n-best list of each of several emissions ``(frames, vocabulary)``."""
        lengths = torch.tensor([len(piece) for piece in pieces])
        found = self.decoder.decode(pad_sequence(list(pieces), batch_first=True), lengths)
        return [
            [self._with_words(hypothesis, piece) for hypothesis in hypotheses]
            for piece, hypotheses in zip(pieces, found, strict=True)
        ]

    def _with_words(self, hypothesis: Hypothesis, emissions: Tensor) -> Hypothesis:
        """Words with times where the decoder gave none: a token's confidence is its probability."""
        if hypothesis.words or not hypothesis.tokens:
            return hypothesis
        confidences = emissions[list(hypothesis.frames), list(hypothesis.tokens)].exp().tolist()
        tokenizer = self.model.tokenizers[self.head]
        words = timed_words(hypothesis.tokens, hypothesis.frames, confidences, tokenizer, self.frame_shift)
        return replace(hypothesis, words=words)


def _transcript(channels: list[Recognised]) -> Transcript:
    """The transcript of a recording, of its channels where these were apart."""
    apart = len(channels) > 1
    segments = [
        segment
        for number, channel in enumerate(channels, start=1)
        for segment in split_at_pauses(_words(channel), number if apart else None)
    ]
    segments.sort(key=lambda segment: (segment.start, segment.channel or 0))
    only = channels[0].pieces if len(channels) == len(channels[0].pieces) == 1 else []
    return Transcript(
        " ".join(segment.text for segment in segments),
        tuple(segments),
        tuple(word for segment in segments for word in segment.words),
        max(channel.duration for channel in channels),
        sum(hypotheses[0].score for channel in channels for _, hypotheses in channel.pieces),
        tuple(alternative for _, hypotheses in only for alternative in hypotheses[1:]),
    )


def _words(result: Recognised) -> list[Word]:
    """The words of the best hypotheses, with times from the start of the recording."""
    return [
        replace(word, start=round(word.start + start, 3), end=round(word.end + start, 3))
        for start, hypotheses in result.pieces
        for word in hypotheses[0].words
    ]
