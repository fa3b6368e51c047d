"""Counting more keys than fit into memory: sorted runs on disk, merged range by range."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

_PARTITION = 1 << 23


class Column:
    """An array written to a file piece by piece and mapped when it is complete."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._stream: BinaryIO = path.open("wb")

    def append(self, values: NDArray) -> None:
        """Add values to the end."""
        self._stream.write(values.astype(self._dtype, copy=False).tobytes())

    def finish(self) -> NDArray:
        """Close the file and map it, writable."""
        self._stream.close()
        if self._path.stat().st_size == 0:
            return np.zeros(0, dtype=self._dtype)
        return np.memmap(self._path, dtype=self._dtype, mode="r+")


@dataclass
class _Run:
    keys: NDArray[np.uint64]
    counts: NDArray[np.uint32]
    values: NDArray[np.uint32]


class SortedRuns:
    """Distinct 64-bit keys with their counts and a 32-bit value each (equal keys have equal values).

    Memory stays bounded by the pieces added and by the merge's partitions, whatever the total.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._runs: list[_Run] = []

    def add(self, keys: NDArray[np.uint64], values: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Spill a run of keys; returns the place within the run of each key given."""
        order = np.argsort(keys)
        ordered = keys[order]
        first = np.flatnonzero(_changes(ordered))
        places = np.empty(len(keys), dtype=np.uint32)
        places[order] = np.repeat(np.arange(len(first), dtype=np.uint32), np.diff(first, append=len(keys)))
        counts = np.diff(first, append=len(keys))
        self._runs.append(
            _Run(
                self._spill("keys", ordered[first], np.uint64),
                self._spill("counts", counts, np.uint32),
                self._spill("values", values[order[first]], np.uint32),
            )
        )
        return places

    def merge(self) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.uint32], NDArray[np.uint32]]]:
        """Yield (keys, counts, values), ascending by key over all pieces together.

        Each run's keys are replaced on disk by their numbers in the merged order (:meth:`places`).
        """
        total = 0
        splits = self._splits()
        bounds = [
            np.concatenate([[0], np.searchsorted(run.keys, splits), [len(run.keys)]]) for run in self._runs
        ]
        for part in range(len(splits) + 1):
            pieces = [slice(bound[part], bound[part + 1]) for bound in bounds]
            keys = np.concatenate([run.keys[piece] for run, piece in zip(self._runs, pieces, strict=True)])
            counts = np.concatenate(
                [run.counts[piece] for run, piece in zip(self._runs, pieces, strict=True)]
            )
            values = np.concatenate(
                [run.values[piece] for run, piece in zip(self._runs, pieces, strict=True)]
            )
            order = np.argsort(keys)
            ordered = keys[order]
            first = np.flatnonzero(_changes(ordered))
            distinct = ordered[first]
            for run, piece in zip(self._runs, pieces, strict=True):
                run.keys[piece] = np.searchsorted(distinct, run.keys[piece]) + total
            total += len(distinct)
            if len(distinct):
                yield distinct, np.add.reduceat(counts[order], first), values[order[first]]

    def places(self, run: int) -> NDArray[np.uint64]:
        """After :meth:`merge`: the number in the merged order of each distinct key of a run."""
        return self._runs[run].keys

    def _spill(self, name: str, values: NDArray, dtype: DTypeLike) -> NDArray:
        column = Column(self._directory / f"{self._name}.{len(self._runs)}.{name}", dtype)
        column.append(values)
        return column.finish()

    def _splits(self) -> NDArray[np.uint64]:
        total = sum(len(run.keys) for run in self._runs)
        parts = max(1, -(-total // _PARTITION))
        # Every run gives keys in proportion to its length, so their quantiles are near the whole's.
        step = max(1, _PARTITION // 1024)
        sample = np.sort(np.concatenate([run.keys[::step] for run in self._runs]))
        return np.unique(sample[np.arange(1, parts) * len(sample) // parts])


def _changes(ordered: NDArray[np.uint64]) -> NDArray[np.bool_]:
    changes = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=changes[1:])
    return changes
