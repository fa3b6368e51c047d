"""Utterances grouped by what is known of them: speaker, duration, or any other key of a manifest."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

UNKNOWN = "(unknown)"

_DURATIONS = (0, 2, 5, 10, 15, 20, 30)
_VALUES_LISTED = 12
_QUANTILES = 5


def group(
    ids: Sequence[str], values: Mapping[str, Any], key: str, binned: bool = True
) -> dict[str, np.ndarray]:
    """Split utterances by a value.

    Durations fall in fixed bins, other numbers of which there are many in five bins of about as many
    utterances each; everything else, and speakers whose names are numbers, is one group a value.

    Args:
        ids: Utterance ids.
        values: The value of each, by id; those that have none are the group "(unknown)".
        key: What the values are.
        binned: Whether there may be bins; else each value is a group.

    Returns:
        Indices of ``ids``, int64, by the group's name, in the order of the values.
    """
    known = [values.get(name) for name in ids]
    numbers = [value for value in known if isinstance(value, int | float) and not isinstance(value, bool)]
    numeric = binned and key != "speaker" and len(numbers) == sum(value is not None for value in known)
    if key == "duration" and numeric:
        labels = _binned(known, list(_DURATIONS), " s")
    elif numeric and len(set(numbers)) > _VALUES_LISTED:
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _QUANTILES + 1)))
        labels = _binned(known, edges[:-1].tolist(), "")
    else:
        labels = [UNKNOWN if value is None else str(value) for value in known]
    order = {label: None for _, label in sorted(zip(map(_sortable, known), labels, strict=True))}
    places = {label: place for place, label in enumerate(order)}
    membership = np.array([places[label] for label in labels], np.int64)
    return {label: np.flatnonzero(membership == place) for label, place in places.items()}


def clusters(groups: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """The group of each utterance by number, int64 ``(size,)``; the unknown are each on their own."""
    numbers = np.zeros(size, np.int64)
    following = 0
    for label, indices in groups.items():
        alone = label == UNKNOWN
        numbers[indices] = following + (np.arange(len(indices)) if alone else 0)
        following += len(indices) if alone else 1
    return numbers


def _binned(values: Sequence[float | None], edges: Sequence[float], unit: str) -> list[str]:
    """The name of each value's bin; bin ``i`` starts at ``edges[i]``, the last has no end."""
    # As few digits as tell the edges apart.
    digits = next(each for each in range(4, 18) if len({f"{edge:.{each}g}" for edge in edges}) == len(edges))
    written = [f"{edge:.{digits}g}" for edge in edges]
    names = [f"{low}–{high}{unit}" for low, high in itertools.pairwise(written)]
    names.append(f"from {written[-1]}{unit}")
    return [
        UNKNOWN if value is None else names[max(int(np.searchsorted(edges, value, "right")) - 1, 0)]
        for value in values
    ]


def _sortable(value: Any) -> tuple[int, float, str]:
    if value is None:
        return (2, 0.0, "")
    if isinstance(value, int | float):
        return (0, float(value), "")
    text = str(value)
    return (0, float(text), "") if text.isdecimal() else (1, 0.0, text)
