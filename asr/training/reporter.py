"""What a run says: a progress bar or plain lines on stderr, ``train.jsonl``, TensorBoard."""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from asr.errors import UserError

PLAIN_SECONDS = 30.0


class Reporter:
    """Written to by the main process only."""

    def __init__(self, folder: Path, tensorboard: bool) -> None:
        self._path = folder / "train.jsonl"
        try:
            self._log = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0)
        self._bar.start()
        self._spoken = 0.0
        self._board = _tensorboard(folder) if tensorboard else None

    def message(self, text: str) -> None:
        """One line on stderr."""
        if self._console.is_terminal:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()

    def step(self, progress: float, metrics: dict[str, Any]) -> None:
        """Report a step: ``metrics`` hold step, epoch, loss, learning rate, speed and so on."""
        self._write(metrics)
        line = (
            f"epoch {metrics['epoch']} step {metrics['step']} loss {metrics['loss']:.3f} "
            f"lr {metrics['lr']:.1e} {metrics['hours_per_second'] * 3600:.0f} s audio/s"
        )
        if "expected_wer" in metrics:
            line += f" expected WER {metrics['expected_wer']:.1f} %"
        self._bar.update(self._task, completed=progress, description=line)
        if not self._console.is_terminal and time.monotonic() - self._spoken > PLAIN_SECONDS:
            self._spoken = time.monotonic()
            self.message(f"{progress:4.0%} {line}")

    def evaluation(self, metrics: dict[str, Any], lines: list[str]) -> None:
        """Report error rates on the development set."""
        self._write(metrics)
        for line in lines:
            self.message(line)

    def close(self) -> None:
        """End the bar and the files."""
        self._bar.stop()
        with suppress(OSError):  # what could not be written was reported then
            self._log.close()
        if self._board is not None:
            self._board.close()

    def _write(self, metrics: dict[str, Any]) -> None:
        try:
            self._log.write(json.dumps(metrics) + "\n")
            self._log.flush()
        except OSError as error:
            raise UserError(
                f"{self._path}: cannot be written ({error.strerror}); make room, then --resume"
            ) from error
        if self._board is not None:
            for name, value in metrics.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(name, value, metrics["step"])
                elif isinstance(value, str):
                    self._board.add_text(name, value, metrics["step"])


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "training.tensorboard needs tensorboard: pip install 'asr-ctc[tensorboard]'"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"))
