"""What the values of recipes may be, beyond their types."""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

from asr.errors import UserError, check_range

Choices = dict[str, Sequence[str]]
Ranges = dict[str, tuple[float, float]]

#: Of the sections that acoustic and language models have both.
SHARED_CHOICES: Choices = {"schedule.kind": ("cosine", "linear", "plateau")}
SHARED_RANGES: Ranges = {
    "optimizer.lr": (0, math.inf),
    "optimizer.betas": (0, 0.999999),
    "optimizer.weight_decay": (0, math.inf),
    "optimizer.clip": (0, math.inf),
    "optimizer.accumulate": (1, math.inf),
    "optimizer.average": (0, 1),
    "schedule.epochs": (0, math.inf),
    "schedule.steps": (0, math.inf),
    "schedule.minutes": (0, math.inf),
    "schedule.warmup": (0, math.inf),
    "schedule.hold": (0, 1),
    "schedule.final": (0, 1),
    "schedule.factor": (0, 1),
    "schedule.patience": (1, math.inf),
    "schedule.stop_after": (0, math.inf),
}
PRECISIONS = ("auto", "fp32", "bf16")
LENGTHS = ("epochs", "steps", "minutes")


def check_values(recipe: Any, choices: Choices, ranges: Ranges) -> None:
    """Check the values of a recipe, and that its schedule says how long the run is.

    Args:
        recipe: Dataclasses within dataclasses.
        choices: What the value of each key may be.
        ranges: The least and the greatest that each number, or each of several, may be.

    Raises:
        UserError: naming the first key whose value makes no sense.
    """
    for key, allowed in (SHARED_CHOICES | choices).items():
        value = _value(recipe, key)
        if value not in allowed:
            raise UserError(f"{key}: {value!r} is not one of {', '.join(allowed)}")
    for key, (lowest, highest) in (SHARED_RANGES | ranges).items():
        value = _value(recipe, key)
        for number in value if isinstance(value, tuple | list) else (value,):
            check_range(key, number, lowest, highest)
    schedule = recipe.schedule
    given = [f"{unit}={length:g}" for unit in LENGTHS if (length := getattr(schedule, unit))]
    if len(given) != 1:
        found = f"it has {' and '.join(given)}; set what is not meant to 0" if given else "it has none"
        raise UserError(f"schedule: needs exactly one of {', '.join(LENGTHS)}; {found}")


def check_order(recipe: Any, pairs: Sequence[tuple[str, str]], spans: Sequence[str]) -> None:
    """Raise :class:`UserError` for ends that are the wrong way round.

    Args:
        recipe: Dataclasses within dataclasses.
        pairs: The keys of a lower and of an upper end.
        spans: Keys whose values are both ends.
    """
    ends = [(lower, upper, _value(recipe, lower), _value(recipe, upper)) for lower, upper in pairs]
    ends += [(f"{key}, its first value", "the second", *_value(recipe, key)) for key in spans]
    for lower, upper, lowest, highest in ends:
        if lowest > highest:
            raise UserError(f"{lower}: {lowest:g} is more than {upper}, which is {highest:g}")


def _value(recipe: Any, key: str) -> Any:
    return reduce(getattr, key.split("."), recipe)
