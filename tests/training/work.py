"""What the tests of processes let each of them do; imported by the processes themselves."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from asr.errors import UserError
from asr.training.distributed import Ranks


class Stumble:
    """Aborts where Python takes it apart with the modules, as a thread of torch's does now and then."""

    def __del__(self, abort: Callable[[], None] = os.abort) -> None:
        abort()


def work(ranks: Ranks, what: dict[str, Any]) -> int | None:
    """Meet for a sum, after what was asked for has happened to the last process."""
    last = ranks.rank == ranks.processes - 1
    if (what["kind"] == "mistake" and last) or (what["kind"] == "the first one's mistake" and ranks.is_main):
        raise UserError("clip.flac: no such file")
    if what["kind"] == "killed" and last:
        os.kill(os.getpid(), signal.SIGKILL)
    if what["kind"] == "bug" and last:
        print(1 / (ranks.rank - ranks.rank))
    if what["kind"] == "stumbles at its end":
        sys.modules["stumble"] = Stumble()  # type: ignore[assignment]
    vector = torch.full((3,), float(ranks.rank + 1))
    ranks.sum(vector)
    values = ranks.gather(ranks.rank)
    if ranks.is_main:
        (Path(what["folder"]) / "sum").write_text(f"{vector.tolist()} {values}")
    return what.get("status")
