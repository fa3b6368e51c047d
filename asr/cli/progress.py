"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def show_progress(description: str, total: float, unit: str = "") -> Iterator[Callable[[float], None]]:
    """Show how much of ``total`` is done; the value is called with each step's size.

    Args:
        description: What is being done, and to what.
        total: The sum of all steps; 0 where it is not known.
        unit: ``"bytes"`` for sizes and rates in MB; otherwise steps are counted.
    """
    show = _bar if sys.stderr.isatty() else _lines
    with show(description, total, unit) as advance:
        yield advance


@contextmanager
def _bar(description: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    from rich import progress
    from rich.console import Console

    amount: tuple[progress.ProgressColumn, ...] = (progress.MofNCompleteColumn(),)
    if unit == "bytes":
        amount = (progress.DownloadColumn(), progress.TransferSpeedColumn())
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), *amount)
    with progress.Progress(
        *columns, progress.TimeRemainingColumn(), console=Console(stderr=True), transient=True
    ) as display:
        task = display.add_task(description, total=total or None)
        yield lambda step: display.advance(task, step)


@contextmanager
def _lines(description: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    done, last = 0.0, time.monotonic()

    def advance(step: float) -> None:
        nonlocal done, last
        done += step
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            scale, name = (1e6, " MB") if unit == "bytes" else (1.0, "")
            of_total = f" of {total / scale:.0f}" if total else ""
            sys.stderr.write(f"{description}: {done / scale:.0f}{of_total}{name}\n")

    yield advance
