"""Batches: everything once, never too large, and a function of seed and epoch alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.batching import BatchingConfig, Item, pack, plan_epoch, share_of, share_out

DURATIONS = np.random.default_rng(0).uniform(0.5, 18.0, 300)
ALL = [(np.arange(300), 0.0)]
CONFIG = BatchingConfig(max_seconds=60.0, short_first=False)


def plan(
    epoch: int = 1,
    seed: int = 1,
    config: BatchingConfig = CONFIG,
    speeds: tuple[float, ...] = (1.0,),
    sources: list[tuple[np.ndarray, float]] = ALL,
) -> list[list[Item]]:
    return plan_epoch(DURATIONS, sources, config, speeds, seed, epoch)


def items(batches: list[list[Item]]) -> list[Item]:
    return [item for batch in batches for item in batch]


def padded_seconds(batch: list[Item]) -> float:
    return len(batch) * max(item.duration for item in batch)


@pytest.mark.parametrize("epoch", [0, 1, 7])
@pytest.mark.parametrize("short_first", [True, False])
def test_an_epoch_has_every_utterance_once(epoch: int, short_first: bool) -> None:
    batches = plan(epoch, config=BatchingConfig(max_seconds=60, short_first=short_first))
    assert sorted(item.index for item in items(batches)) == list(range(300))
    assert {item.copy for item in items(batches)} == {0}


@given(st.lists(st.floats(0.1, 30), min_size=1, max_size=40), st.floats(1, 100))
def test_no_batch_is_larger_than_allowed_when_padded(durations: list[float], most: float) -> None:
    batches = plan_epoch(
        np.asarray(durations),
        [(np.arange(len(durations)), 0.0)],
        BatchingConfig(max_seconds=most),
        (0.9, 1.0, 1.1),
        seed=3,
        epoch=1,
    )
    assert all(padded_seconds(batch) <= most or len(batch) == 1 for batch in batches)
    assert sum(map(len, batches)) == len(durations)


def test_batches_hold_utterances_of_like_length() -> None:
    batches = plan()
    padding = 1 - sum(item.duration for item in items(batches)) / sum(map(padded_seconds, batches))
    assert padding < 0.12
    assert len(batches) < 1.3 * DURATIONS.sum() / 60


def test_seed_and_epoch_decide_the_order() -> None:
    assert plan(epoch=3, seed=5) == plan(epoch=3, seed=5)
    assert plan(epoch=3, seed=5) != plan(epoch=4, seed=5)
    assert plan(epoch=3, seed=5) != plan(epoch=3, seed=6)


def order(batches: list[list[Item]]) -> float:
    """Correlation of a batch's place with the length of its utterances."""
    lengths = [np.mean([item.duration for item in batch]) for batch in batches]
    return float(np.corrcoef(np.argsort(np.argsort(lengths)), np.arange(len(lengths)))[0, 1])


def test_the_first_epoch_goes_from_short_to_long() -> None:
    first = plan(0, config=BatchingConfig(max_seconds=60, short_first=True))
    assert order(first) > 0.95
    for later in (plan(1, config=BatchingConfig(max_seconds=60, short_first=True)), plan(0)):
        assert abs(order(later)) < 0.5


def test_speed_changes_the_length_that_is_batched() -> None:
    batches = plan(speeds=(0.8, 1.0, 1.25))
    for item in items(batches):
        assert item.duration == pytest.approx(DURATIONS[item.index] / item.speed)
    drawn = Counter(item.speed for item in items(batches))
    assert set(drawn) == {0.8, 1.0, 1.25}
    assert min(drawn.values()) > 70


def test_shares_are_honoured_in_seconds_and_a_small_source_comes_again() -> None:
    sources = [(np.arange(250), 0.4), (np.arange(250, 290), 0.5), (np.arange(290, 300), 0.1)]
    batches = plan(sources=sources)
    total = sum(float(DURATIONS[members].sum()) for members, _ in sources)
    for members, share in sources:
        heard = sum(DURATIONS[item.index] for item in items(batches) if item.index in members)
        assert heard == pytest.approx(share * total, abs=18.0)
    copies = Counter(item.index for item in items(batches))
    small = [copies[index] for index in range(250, 290)]
    assert max(small) - min(small) <= 1
    for index, count in copies.items():
        found = sorted(item.copy for item in items(batches) if item.index == index)
        assert found == list(range(count))


def test_another_epoch_hears_other_parts_of_a_source_that_is_too_large() -> None:
    sources = [(np.arange(200), 0.2), (np.arange(200, 300), 0.8)]
    heard = [
        {item.index for item in items(plan(epoch, sources=sources)) if item.index < 200} for epoch in (1, 2)
    ]
    assert heard[0] != heard[1]


@pytest.mark.parametrize("processes", [1, 2, 3, 7, 100])
def test_the_shares_of_all_processes_are_the_batch(processes: int) -> None:
    for batch in plan():
        shares = [share_of(batch, rank, processes) for rank in range(processes)]
        assert Counter(item for share in shares for item in share) == Counter(batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("processes", [2, 3])
def test_no_share_takes_longer_than_another_by_more_than_an_utterance(processes: int) -> None:
    for batch in plan():
        seconds = [
            sum(item.duration for item in share_of(batch, rank, processes)) for rank in range(processes)
        ]
        assert max(seconds) - min(seconds) <= max(item.duration for item in batch)


def test_an_utterance_longer_than_a_batch_has_one_of_its_own() -> None:
    long = Item(0, 0, 1.0, 90.0)
    short = Item(1, 0, 1.0, 5.0)
    assert pack([short, long, short], 60.0) == [[short], [long], [short]]
    assert pack([], 60.0) == []


def test_little_is_shared_out_evenly_among_workers() -> None:
    durations = [5.0] * 60 + [12.0] * 20
    batches = share_out(durations, 120.0, workers=2)
    assert sorted(number for batch in batches for number in batch) == list(range(80))
    assert len(batches) >= 8
    assert durations[batches[0][0]] == 12.0
    assert durations[batches[-1][-1]] == 5.0


def test_what_ends_last_is_halved_for_each_worker() -> None:
    durations = [10.0] * 600
    sizes = [len(batch) for batch in share_out(durations, 120.0, workers=2)]
    assert sizes == [12] * 48 + [6] * 4
    assert sorted(map(len, share_out(durations[:7], 120.0, workers=3))) == [1, 1, 1, 2, 2]
    assert sorted(number for batch in share_out(durations, 120.0, 2) for number in batch) == list(range(600))


def test_batches_are_neither_larger_than_asked_nor_smaller_than_pays() -> None:
    durations = [10.0] * 600
    assert {len(batch) for batch in share_out(durations, 120.0, workers=1)} == {12}
    assert max(len(batch) for batch in share_out(durations, 120.0, workers=2)) == 12
    assert max(len(batch) for batch in share_out(durations[:24], 120.0, workers=4)) == 3
    assert {len(batch) for batch in share_out(durations[:12], 20.0, workers=0)} == {2}
    assert share_out([], 120.0, workers=2) == []
