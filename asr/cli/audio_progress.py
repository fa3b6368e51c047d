"""Progress of transcribing by audio time, on stderr."""

import math
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from asr.cli.output import tell, write_stdout
from asr.pipeline import Listener

if TYPE_CHECKING:
    from asr.audio_reader import AudioInfo

_SECONDS_BETWEEN_LINES = 30.0


class AudioProgress(Listener):
    """A bar on a terminal, a line now and then elsewhere: files, audio time and speed.

    The length of files that were not opened yet, or do not say theirs, is taken to be the mean of the others.
    """

    def __init__(self, files: int, sample_rate: int) -> None:
        """``files``: how many there are; ``sample_rate``: of the model, in Hz."""
        self._files, self._sample_rate = files, sample_rate
        self._opened = 0
        self._known = self._done = 0.0
        self._started = self._shown = time.monotonic()
        self._warned_of_rate = False
        self._said: set[str] = set()
        self._lock = threading.Lock()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "AudioProgress":
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bar = progress.Progress(
                progress.BarColumn(),
                progress.TextColumn("{task.description}"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def opened(self, name: str, info: "AudioInfo") -> None:
        """Count a file and what it adds to the work; say once that narrow-band audio is heard less well."""
        with self._lock:
            if not math.isnan(info.duration):
                self._opened += 1
                self._known += info.duration
            warn = info.sample_rate < self._sample_rate and not self._warned_of_rate
            self._warned_of_rate = self._warned_of_rate or warn
        if warn:
            self.warn(
                f"{name}: recorded at {info.sample_rate} Hz, but the model was trained at "
                f"{self._sample_rate} Hz: expect more errors (said once)"
            )

    def done(self, seconds: float) -> None:
        """Move on."""
        with self._lock:
            self._done += seconds
            self._show()

    def warn(self, message: str) -> None:
        """Say something, above the bar, and once: of each channel of a recording by itself it comes again."""
        with self._lock:
            said = message in self._said
            self._said.add(message)
        if not said:
            self.error(message)

    def failed(self, message: str) -> None:
        """Say why a file cannot be transcribed, and expect it no more."""
        with self._lock:
            self._files -= 1
        self.error(message)

    def error(self, message: str) -> None:
        """Say what went wrong, above the bar."""
        self._above(lambda: tell(message))

    def result(self, text: str) -> None:
        """Write to standard output, above the bar where both are on a terminal."""
        if not text:
            return
        if sys.stdout.isatty():
            self._above(lambda: write_stdout(text))
        else:
            write_stdout(text)

    def _above(self, write: Any) -> None:
        with self._lock:
            if self._bar is None:
                write()
                return
            self._bar.stop()
            write()
            self._bar.start()

    def _show(self) -> None:
        now = time.monotonic()
        elapsed = max(now - self._started, 1e-3)
        mean = self._known / self._opened if self._opened else 0.0
        # Of a recording whose channels are heard apart each is opened, and known in the end.
        total = max(mean * self._files, self._known, self._done) if self._opened else None
        whole = "" if total is None else f" of {_clock(total)}"
        text = f"{_clock(self._done)}{whole}, {self._done / elapsed:.0f} × real time"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, total=total or None, description=text)
        elif now - self._shown >= _SECONDS_BETWEEN_LINES:
            self._shown = now
            with suppress(OSError):
                sys.stderr.write(f"transcribing: {text}\n")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
