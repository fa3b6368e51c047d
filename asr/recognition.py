"""Hypotheses for the utterances of a manifest.

Utterances of like length share a batch. Each worker thread reads, encodes and decodes whole batches:
torch and the beam search take no interpreter lock, and a kernel on one core wastes less than one spread
over several. Results come in the manifest's order and do not depend on how they were batched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from asr.audio import read_audio
from asr.batching import share_out
from asr.errors import UserError
from asr.manifest import Utterance
from asr.model import AcousticModel
from asr.pipeline import workers

Result = TypeVar("Result")
Decode = Callable[[Tensor, Tensor], list[Result]]
"""Emissions ``(batch, frames, vocabulary)`` and lengths to one result an utterance."""


@dataclass
class UtteranceResults(Generic[Result]):
    """What became of a manifest.

    Attributes:
        results: Of each utterance, in the manifest's order; None where it failed.
        failures: One line for each utterance that could not be read.
        warnings: One line for each whose recording ends before its end.
    """

    results: list[Result | None]
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def decode_utterances(
    model: AcousticModel,
    decode: Decode[Result],
    utterances: Sequence[Utterance],
    head: str,
    batch_seconds: float = 120.0,
    threads: int = 1,
    advance: Callable[[float], None] = lambda seconds: None,
) -> UtteranceResults[Result]:
    """Encode and decode utterances.

    Args:
        model: The network.
        decode: What is made of the emissions of a batch, such as :meth:`Decoder.decode`.
        utterances: Each with its audio file; see :func:`asr.batching.with_durations`.
        head: CTC head whose emissions are decoded.
        batch_seconds: Padded audio in a batch, in seconds.
        threads: Batches worked on at once.
        advance: Told how many seconds of audio are done.
    """
    result: UtteranceResults[Result] = UtteranceResults([None] * len(utterances))
    batches = share_out([utterance.duration for utterance in utterances], batch_seconds, threads)
    with workers(threads) as pool:
        work = [pool.submit(_decode_batch, model, decode, utterances, head, batch) for batch in batches]
        for batch, done in zip(batches, work, strict=True):
            found = done.result()
            for index, value in zip(batch, found.results, strict=True):
                result.results[index] = value
            result.failures += found.failures
            result.warnings += found.warnings
            advance(sum(utterances[index].duration for index in batch))
    return result


def _decode_batch(
    model: AcousticModel,
    decode: Decode[Result],
    utterances: Sequence[Utterance],
    head: str,
    batch: Sequence[int],
) -> UtteranceResults[Result]:
    rate = model.config.frontend.sample_rate
    result: UtteranceResults[Result] = UtteranceResults([None] * len(batch))
    waveforms, read = [], []
    for place, index in enumerate(batch):
        utterance = utterances[index]
        path, duration = utterance.audio_filepath, utterance.duration or None
        try:
            waveforms.append(read_audio(path, rate, utterance.offset, duration, result.warnings.append))
            read.append(place)
        except UserError as error:
            result.failures.append(str(error))
    if not read:
        return result
    with torch.inference_mode():
        emissions, frames = model.hear(waveforms, head)
    for place, value in zip(read, decode(emissions, frames), strict=True):
        result.results[place] = value
    return result
