"""Utterances to batches of at most so many seconds.

An epoch's batches follow from the seed and the epoch's number alone. They are the whole run's, whatever
the number of processes, each of which takes its share of every batch: so a position in a run is an epoch
and a step, and a run resumes on another number of processes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.audio import probe
from asr.errors import UserError
from asr.manifest import Utterance

# Where there is little to recognise, batches are made smaller until each worker has so many, but not of less
# than so many seconds, or the half of it at the end: a worker without a batch is a core without work.
_BATCHES_A_WORKER, _SMALLEST_BATCH = 4, 30.0


@dataclass
class BatchingConfig:
    """How utterances become batches.

    Attributes:
        max_seconds: Padded audio in a batch, over all processes together.
        min_duration, max_duration: Utterances outside are left out (seconds).
        jitter: How far lengths in one batch may differ, as a fraction; randomises the batches.
        short_first: First epoch from short to long utterances (SortaGrad, Amodei et al. 2016).
    """

    max_seconds: float = 320.0
    min_duration: float = 0.3
    max_duration: float = 25.0
    jitter: float = 0.1
    short_first: bool = True


def with_durations(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Utterances whose manifest says how long they are, or else their files; 0 where neither can tell."""
    return [utterance if utterance.duration else _with_duration(utterance) for utterance in utterances]


def _with_duration(utterance: Utterance) -> Utterance:
    try:
        duration = probe(utterance.audio_filepath).duration - utterance.offset
    except UserError:  # which whoever reads it tells
        return utterance
    return replace(utterance, duration=max(duration, 0.0))


@dataclass(frozen=True)
class Item:
    """An utterance as it stands in an epoch.

    Attributes:
        index: Which utterance.
        copy: How many times it has come before in this epoch.
        speed: Factor at which it is played.
        duration: Seconds at that speed.
    """

    index: int
    copy: int
    speed: float
    duration: float


def plan_epoch(
    durations: np.ndarray,
    sources: Sequence[tuple[np.ndarray, float]],
    config: BatchingConfig,
    speeds: Sequence[float],
    seed: int,
    epoch: int,
) -> list[list[Item]]:
    """The batches of an epoch, in order.

    Args:
        durations: Seconds of each utterance.
        sources: For each source the indices of its utterances and its share of the epoch's audio (0:
            every utterance once).
        config: Size and order.
        speeds: Speed factors, drawn with equal chance.
        seed: Of the run.
        epoch: Counted from 0.
    """
    draw = np.random.default_rng((seed, epoch))
    chosen = [_draw_source(indices, share, durations, sources, draw) for indices, share in sources]
    indices = np.concatenate(chosen)
    factors = draw.choice(np.asarray(speeds, dtype=np.float64), len(indices))
    lengths = durations[indices] / factors
    copies = _count_before(indices)
    items = [
        Item(int(index), int(copy), float(speed), float(length))
        for index, copy, speed, length in zip(indices, copies, factors, lengths, strict=True)
    ]
    order = np.argsort(lengths * (1 + config.jitter * draw.uniform(-1, 1, len(lengths))), kind="stable")
    batches = pack([items[position] for position in order], config.max_seconds)
    if not (epoch == 0 and config.short_first):
        draw.shuffle(batches)
    return batches


def pack(items: Sequence[Item], max_seconds: float) -> list[list[Item]]:
    """Cut a sequence into batches whose longest item times their size is at most ``max_seconds``."""
    batches: list[list[Item]] = []
    batch: list[Item] = []
    longest = 0.0
    for item in items:
        longest = max(longest, item.duration)
        if batch and longest * (len(batch) + 1) > max_seconds:
            batches.append(batch)
            batch, longest = [], item.duration
        batch.append(item)
    if batch:
        batches.append(batch)
    return batches


def share_out(durations: Sequence[float], max_seconds: float, workers: int) -> list[list[int]]:
    """Batches of like length for several workers; the longest first, so that what ends last is short.

    Args:
        durations: Seconds of each recording.
        max_seconds: Padded audio in a batch, in seconds.
        workers: Batches worked on at once (0: one, by whoever asks).

    Returns:
        Numbers of the recordings in each batch.
    """
    even = max(_SMALLEST_BATCH, sum(durations) / (_BATCHES_A_WORKER * max(1, workers)))
    items = [Item(number, 0, 1.0, duration) for number, duration in enumerate(durations)]
    batches = pack(sorted(items, key=lambda item: item.duration), min(max_seconds, even))
    # What is begun last is halved, so that no worker of several is left alone with much.
    last = batches[: workers if workers > 1 else 0]
    others = batches[len(last) :]
    halves = [half for batch in last for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]) if half]
    return [[item.index for item in batch] for batch in reversed(halves + others)]


def share_of(batch: Sequence[Item], rank: int, processes: int) -> list[Item]:
    """The part of a batch that falls to one process: every n-th in the order of length."""
    return sorted(batch, key=lambda item: (-item.duration, item.index, item.copy))[rank::processes]


def _draw_source(
    indices: np.ndarray,
    share: float,
    durations: np.ndarray,
    sources: Sequence[tuple[np.ndarray, float]],
    draw: np.random.Generator,
) -> np.ndarray:
    """Utterances of one source for one epoch: shuffled passes until its share of the audio is reached."""
    if not share:
        return indices
    wanted = share * sum(float(durations[members].sum()) for members, _ in sources)
    taken: list[np.ndarray] = []
    while wanted > 0:
        shuffled = draw.permutation(indices)
        before = np.cumsum(durations[shuffled]) - durations[shuffled]
        taken.append(shuffled[before < wanted])
        wanted -= float(durations[indices].sum())
    return np.concatenate(taken)


def _count_before(indices: np.ndarray) -> np.ndarray:
    """How often each element has occurred before its position."""
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    group = np.repeat(starts, np.diff(np.r_[starts, len(ordered)]))
    counts = np.empty(len(indices), dtype=np.int64)
    counts[order] = np.arange(len(indices)) - group
    return counts
