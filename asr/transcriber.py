"""Recordings to transcripts: what ``asr transcribe`` and ``asr.load_model`` use."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from asr import __version__
from asr.decoding.head import choose_head
from asr.decoding.loading import load_decoder
from asr.decoding.options import Decoder, DecodingOptions
from asr.decoding.words import timed_words
from asr.errors import UserError
from asr.files import utf8_name
from asr.model import AcousticModel, find_model, load_network
from asr.padding import padded, unpadded
from asr.pauses import pause_tokens
from asr.pipeline import Listener, Recognised, recognise
from asr.precision import AUTO, INT8, PRECISIONS, fast_bfloat16
from asr.recording import ALL_CHANNELS, Recording, Samples, open_recording
from asr.segments import split_at_pauses
from asr.sources import Source, copied, is_read_once
from asr.streaming import Stream
from asr.transcript import Hypothesis, Transcript, Word


def load_model(
    name: str | os.PathLike[str] = "en",
    options: DecodingOptions | None = None,
    device: str = "cpu",
    precision: str = AUTO,
    **settings: Any,
) -> "Transcriber":
    """Load a model directory, or a model that ships, ready to transcribe.

    Args:
        name: A model directory or the name of a model that ships (``en``).
        options: How to decode; the model directory's own way without it.
        device: Where the network computes: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``fp32``, ``bf16``, ``int8`` (through onnxruntime, on the CPU), or ``auto``: ``bf16`` where
            the CPU multiplies that itself, else ``fp32``.
        settings: Fields of :class:`DecodingOptions` that replace those of ``options``: ``decoder="greedy"``.

    Raises:
        UserError: there is no such model or device, or the model's files do not fit together.
    """
    folder = find_model(name)
    options = replace(options or DecodingOptions(), **settings)
    model = load_acoustic_model(folder, options, device, precision)
    return Transcriber(folder, model, load_decoder(folder, model, options), options)


def load_acoustic_model(
    folder: Path, options: DecodingOptions | None = None, device: str = "cpu", precision: str = AUTO
) -> AcousticModel:
    """What computes emissions: torch's network, or for ``int8`` a graph of one head in onnxruntime.

    Raises:
        UserError: there is no such device or precision, or the model's files do not fit together.
    """
    if precision == INT8:
        if device.partition(":")[0] != "cpu":
            raise UserError("--precision int8: computes on the CPU; use fp32 or bf16 on other devices")
        from asr.onnx_model import load_int8

        return load_int8(folder, options or DecodingOptions())
    chosen = choose_precision(precision, device.partition(":")[0])
    model = load_network(folder).to(_device(device))
    model.precision = chosen
    return model


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device: {name!r} is not one of cpu, cuda, cuda:N, mps") from None
    usable = {
        "cpu": True,
        "cuda": (device.index or 0) < (torch.cuda.device_count() if torch.cuda.is_available() else 0),
        "mps": torch.backends.mps.is_available(),
    }
    if not usable.get(device.type):
        raise UserError(f"--device: there is no {name} here that torch can use; cpu always works")
    return device


def choose_precision(name: str, device: str = "cpu") -> torch.dtype:
    """The type in which the network computes.

    Raises:
        UserError: there is no such precision, or the device lacks it.
    """
    if name == AUTO:
        return torch.bfloat16 if device == "cpu" and fast_bfloat16() else torch.float32
    if name not in PRECISIONS:
        raise UserError(f"--precision: {name!r} is not one of {', '.join((AUTO, *PRECISIONS, INT8))}")
    if name == "bf16" and device == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise UserError("--precision bf16: this CPU has no bf16 kernels; use fp32")
    return PRECISIONS[name]


def transcribe(
    source: Source | Samples,
    model: str | os.PathLike[str] = "en",
    sample_rate: int | None = None,
    channel: int | str | None = None,
    **settings: Any,
) -> Transcript:
    """:meth:`Transcriber.transcribe` by a model that is loaded for it; see :func:`load_model`."""
    return load_model(model, **settings).transcribe(source, sample_rate, channel)


class Transcriber:
    """A model with its decoder; one may serve many threads.

    Attributes:
        folder: The model directory.
        model: The acoustic model.
        decoder: Emissions to hypotheses.
        options: How it was asked to decode.
        head: CTC head that is decoded.
        sample_rate: Rate at which the model hears, in Hz.
        frame_shift: Seconds from one encoder frame to the next.
        pause_tokens: What is said between words: the blank, and a token that parts them.
    """

    def __init__(
        self, folder: Path, model: AcousticModel, decoder: Decoder, options: DecodingOptions
    ) -> None:
        self.folder = folder
        self.model = model
        self.decoder = decoder
        self.options = options
        self.head = choose_head(model.config, options)
        self.sample_rate = model.config.frontend.sample_rate
        self.frame_shift = model.frame_shift
        self.pause_tokens: Sequence[int] = pause_tokens(model.tokenizers[self.head])

    @property
    def provenance(self) -> dict[str, Any]:
        """What makes the transcripts: version, model with its training, decoder with its settings."""
        training = {
            key: value
            for key, value in self.model.config.training.items()
            if isinstance(value, str | int | float)
        }
        given = {
            key: utf8_name(str(value)) if isinstance(value, Path) else value
            for key, value in vars(self.options).items()
            if value is not None and key != "settings"
        }
        decoding = {"decoder": "greedy"} | self.model.config.decoding | self.options.settings | given
        return {
            "asr": __version__,
            "model": {
                "name": utf8_name(self.folder.resolve().name),
                "head": self.head,
                "precision": self.model.arithmetic,
                "training": training,
            },
            "decoding": decoding,
        }

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
            recordings: Sources as :meth:`transcribe` takes them, or recordings. So many are taken at a
                time as fill several batches (some 16 minutes), which is what ``batch_seconds`` changes.
            threads: Batches worked on at once; 0 works in the caller's thread.
            batch_seconds: Padded audio in a batch, in seconds.
            listener: Is told how the work goes.

        Raises:
            UserError: one path or one array is given in place of several.
        """
        if isinstance(recordings, str | bytes | os.PathLike | np.ndarray | Tensor):
            raise UserError("transcribe_all takes a list of recordings; transcribe takes one")
        planned: deque[list[int | None] | UserError] = deque()
        singles = self._single_channels(recordings, planned)
        results = recognise(self, singles, threads, batch_seconds, listener)
        for first in results:
            yield from _leading_errors(planned)
            labels = cast(list[int | None], planned.popleft())
            together = [first, *islice(results, len(labels) - 1)]
            errors = [result.error for result in together if result.error is not None]
            yield errors[0] if errors else _transcript(together, labels)
        yield from _leading_errors(planned)

    def stream(self, look_ahead: float | None = None, sample_rate: int | None = None) -> Stream:
        """Begin to transcribe what comes piece by piece; see :class:`asr.streaming.Stream`.

        Args:
            look_ahead: Seconds that a bidirectional model hears beyond what it decides on.
            sample_rate: Of the samples, in Hz (default: the model's own).
        """
        return Stream(self, look_ahead, sample_rate)

    def _single_channels(
        self,
        recordings: Iterable[Recording | Source | Samples],
        planned: deque[list[int | None] | UserError],
    ) -> Iterator[Recording]:
        """Recordings with one of several channels each.

        The channels of each go to ``planned`` (None: the mean of all), or why it cannot be read.
        """
        for given in recordings:
            recording = given if isinstance(given, Recording) else Recording(given)
            if recording.channel != ALL_CHANNELS:
                given_channel = recording.channel
                planned.append([int(given_channel) if isinstance(given_channel, int | np.integer) else None])
                yield recording
                continue
            if is_read_once(recording.source):
                # Each channel reads it anew.
                try:
                    recording = replace(recording, source=copied(recording.source))
                except UserError as error:
                    planned.append(error)
                    continue
            channels = range(1, self._channels(recording) + 1)
            planned.append([*channels] if len(channels) > 1 else [None])
            yield from (replace(recording, channel=number) for number in channels)

    def _channels(self, recording: Recording) -> int:
        try:
            with open_recording(recording, self.sample_rate) as reader:
                return reader.info.channels
        except UserError:
            return 1  # which will fail again, where it is told

    @torch.inference_mode()
    def emissions(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Log-probabilities ``(frames, vocabulary)`` of waveforms ``(samples,)`` of any length."""
        emissions, frames = self.model.hear(waveforms, self.head)
        return unpadded(emissions.cpu(), frames)

    @torch.inference_mode()
    def hypotheses(self, pieces: Sequence[Tensor]) -> list[list[Hypothesis]]:
        """The n-best list of each of several emissions ``(frames, vocabulary)``."""
        found = self.decoder.decode(*padded(pieces))
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


def _leading_errors(planned: deque[list[int | None] | UserError]) -> Iterator[UserError]:
    while planned and isinstance(planned[0], UserError):
        yield cast(UserError, planned.popleft())


def _transcript(channels: list[Recognised], labels: list[int | None]) -> Transcript:
    """The transcript of a recording from those of its channels; ``labels`` are their numbers."""
    segments = [
        segment
        for channel, label in zip(channels, labels, strict=True)
        for segment in split_at_pauses(_words(channel), label)
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
        replace(word, start=_within(word.start + start, result), end=_within(word.end + start, result))
        for start, hypotheses in result.pieces
        for word in hypotheses[0].words
    ]


def _within(seconds: float, result: Recognised) -> float:
    """A time, which a last frame that reaches beyond the recording may exceed."""
    return round(min(seconds, result.duration), 3)
