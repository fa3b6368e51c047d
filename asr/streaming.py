"""Transcribing while it is being said: text that is partial first and then settles.

The network hears a stream in chunks of :data:`CHUNK` seconds. A one-directional model carries its hidden
state from chunk to chunk and gives the emissions of the whole recording (exactly so with ``cmvn: fixed``).
A bidirectional one is given so many seconds of look-ahead with each chunk: its forward direction carries
its state, its backward direction starts at the end of the look-ahead (latency-controlled BLSTM: Zhang et
al. 2016, "Highway long short-term memory RNNs for distant speech recognition", section 4). What its
features are normalised by is estimated as the stream goes on; see
:mod:`asr.frontend_stream`.

Text settles at pauses. What came after the last one is decoded anew whenever it is asked for; since it
settles after :data:`LONGEST` seconds even without a pause, neither work nor memory grow with the stream.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from asr.audio_reader import clean
from asr.encoder import State
from asr.errors import UserError
from asr.frontend_stream import FrontendStream
from asr.model import AcousticModel, Model
from asr.pauses import long_pauses, longest_pause
from asr.recording import Samples, check_rate, float_samples
from asr.resampling import Resampler
from asr.transcript import Hypothesis, Segment

CHUNK = 0.4
LOOK_AHEAD = 1.0
PAUSE = 0.6
LONGEST = 15.0


class Recogniser(Protocol):
    """What a stream needs of a :class:`asr.transcriber.Transcriber`."""

    model: AcousticModel
    head: str

    @property
    def sample_rate(self) -> int:
        """Hz."""

    @property
    def pause_tokens(self) -> Sequence[int]:
        """Tokens that are likely in pauses."""

    def hypotheses(self, pieces: Sequence[Tensor]) -> list[list[Hypothesis]]:
        """The n-best list of each utterance's ``(frames, vocabulary)``."""


class EmissionStream:
    """Samples to emissions, chunk by chunk; how they are dealt out to calls changes nothing.

    Attributes:
        ahead: Emissions ``(frames, vocabulary)`` of the look-ahead, which the next chunk replaces.
        look_ahead: Encoder frames heard beyond a chunk.
        chunk: Encoder frames in a chunk.
    """

    def __init__(self, model: Model, head: str, look_ahead: float) -> None:
        """``look_ahead`` in seconds."""
        self._model, self._head = model, head
        self.chunk = max(round(CHUNK / model.frame_shift), 1)
        self.look_ahead = round(look_ahead / model.frame_shift)
        frame_samples = model.frontend.hop * model.config.encoder.subsampling_factor
        self._step = self.chunk * frame_samples
        first = (self.chunk + self.look_ahead) * frame_samples
        self._needed = first + model.frontend.window - model.frontend.hop
        self._frontend = FrontendStream(model.frontend)
        self._samples = torch.zeros(0)
        self._state: State | None = None
        self.ahead = torch.zeros(0, len(model.tokenizers[head].tokens))

    def feed(self, samples: Tensor, final: bool = False) -> Iterator[Tensor]:
        """Emissions ``(frames, vocabulary)`` of each chunk that the next samples ``(samples,)`` complete."""
        self._samples = torch.cat([self._samples, samples])
        while len(self._samples) >= self._needed:
            chunk, self._samples = self._samples[: self._needed], self._samples[self._needed :]
            self._needed = self._step
            yield self._encode(chunk, False)
        if final:
            yield self._encode(self._samples, True)

    @torch.inference_mode()
    def _encode(self, samples: Tensor, final: bool) -> Tensor:
        features = self._frontend.process(samples)
        found, self._state = self._model.stream(features, self._state, final, self._head, self.look_ahead)
        emissions = found[0].cpu()
        settled = len(emissions) if final else max(len(emissions) - self.look_ahead, 0)
        self.ahead = emissions[settled:]
        return emissions[:settled]


class Stream:
    """One recording, transcribed as it comes::

        stream = asr.load_model("en").stream()
        for samples in microphone:
            for segment in stream.feed(samples):
                print(segment.text)
            print(stream.partial(), end="\\r")
        for segment in stream.finish():
            print(segment.text)

    What :meth:`feed` and :meth:`finish` return is settled and never changes; it does not depend on how the
    samples are dealt out to the calls. Many streams may share a :class:`Transcriber`; one stream belongs
    to one thread.

    Attributes:
        seconds: Audio heard so far.
        partial_latency: Seconds after which a sound can be in :meth:`partial`, computing time apart.
        latency: Seconds after which what the network heard there is final: a chunk and the look-ahead.
        pause: Seconds of silence at which text settles.
    """

    def __init__(
        self,
        transcriber: Recogniser,
        look_ahead: float | None = None,
        sample_rate: int | None = None,
        pause: float = PAUSE,
        longest: float = LONGEST,
    ) -> None:
        """Begin a stream.

        Args:
            transcriber: The model and its decoder.
            look_ahead: Seconds that a bidirectional model hears beyond what it decides on (default:
                :data:`LOOK_AHEAD`). A one-directional one has none.
            sample_rate: Of the samples, in Hz (default: the model's own).
            pause: Seconds of silence at which text settles.
            longest: Seconds after which it settles even so, at the longest pause there is.

        Raises:
            UserError: a look-ahead is negative, or given for a one-directional model; no recording has such
                a sample rate.
        """
        model = transcriber.model
        if not isinstance(model, Model):
            raise UserError("--precision int8: computes whole recordings only; stream with fp32 or bf16")
        bidirectional = model.config.encoder.bidirectional
        if look_ahead is not None and not bidirectional:
            raise UserError("--look-ahead: this model is one-directional and needs none")
        if look_ahead is not None and not 0 <= look_ahead <= LONGEST:
            raise UserError(f"--look-ahead: {look_ahead:g} must be 0 to {LONGEST:g} seconds")
        if look_ahead is None:
            look_ahead = LOOK_AHEAD if bidirectional else 0.0
        self._transcriber = transcriber
        self._shift = model.frame_shift
        self._emissions = EmissionStream(model, transcriber.head, look_ahead)
        self._rate = transcriber.sample_rate if sample_rate is None else sample_rate
        check_rate(self._rate)
        self._resampler = Resampler(self._rate, transcriber.sample_rate)
        # Each of the blocks waits for the frame that follows.
        self.partial_latency = (self._emissions.chunk + model.config.encoder.blocks) * self._shift
        self.latency = self.partial_latency + self._emissions.look_ahead * self._shift
        self.pause = pause
        self._pause_frames = max(round(pause / self._shift), 2)
        self._longest_frames = max(round(longest / self._shift), 2)
        self._pause_tokens = list(transcriber.pause_tokens)
        self._held = self._emissions.ahead
        self._start = 0  # encoder frame at which ``_held`` begins
        self._samples = 0
        self._partial: str | None = ""
        self._ended = False

    @property
    def seconds(self) -> float:
        return self._samples / self._rate

    def feed(self, samples: Samples) -> list[Segment]:
        """What settles with the next samples.

        Args:
            samples: ``(samples,)`` or ``(samples, channels)``, which are averaged: floats in [-1, 1] or
                integers of their type's full range.

        Raises:
            UserError: these are no samples.
        """
        # One NaN would stay in the hidden state for good.
        waveform = torch.from_numpy(clean(float_samples(samples).copy()).mean(axis=1))
        self._samples += len(waveform)
        return self._hear(self._resampler.process(waveform), False)

    def finish(self) -> list[Segment]:
        """What settles because the recording ends; nothing may be fed after it."""
        return self._hear(self._resampler.process(torch.zeros(0), final=True), True)

    def partial(self) -> str:
        """Text that may still change: all that has not settled yet."""
        if self._partial is None:
            unsettled = torch.cat([self._held, self._emissions.ahead])
            segment = self._segment(unsettled)
            self._partial = segment.text if segment else ""
        return self._partial

    def _hear(self, waveform: Tensor, final: bool) -> list[Segment]:
        if self._ended:
            raise ValueError("the stream has ended")
        self._ended = final
        segments = []
        for emissions in self._emissions.feed(waveform, final):
            self._held = torch.cat([self._held, emissions])
            self._partial = None
            while settled := self._settled_frames():
                segments += self._settle(settled)
        if final:
            segments += self._settle(len(self._held))
        return segments

    def _settled_frames(self) -> int:
        """Frames up to the middle of the first pause, or, where none comes, of the longest short one."""
        first = next(long_pauses(self._held, self._pause_tokens, self._pause_frames), None)
        if first is not None:
            return first[0]
        if len(self._held) < self._longest_frames:
            return 0
        half = self._longest_frames // 2
        return half + longest_pause(self._held[half:], self._pause_tokens)

    def _settle(self, frames: int) -> list[Segment]:
        piece, self._held = self._held[:frames], self._held[frames:]
        segment = self._segment(piece)
        self._start += frames
        return [segment] if segment else []

    def _segment(self, emissions: Tensor) -> Segment | None:
        """What is said in emissions ``(frames, vocabulary)`` that begin where the unsettled ones do."""
        silent = torch.isin(emissions.argmax(1), torch.tensor(self._pause_tokens))
        if silent.all():
            return None
        best = self._transcriber.hypotheses([emissions])[0][0]
        start, end = self._start * self._shift, self.seconds
        words = tuple(
            replace(word, start=round(start + word.start, 3), end=round(min(start + word.end, end), 3))
            for word in best.words
        )
        if not words:
            return None
        return Segment(" ".join(word.text for word in words), words[0].start, words[-1].end, words)
