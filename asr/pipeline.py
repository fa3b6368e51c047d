"""Many recordings to hypotheses: read ahead in threads, in batches of windows of like length.

Windows of all recordings share batches. Each worker thread computes the emissions of a whole batch, or
decodes one: torch and the beam search take no interpreter lock, and a kernel on one core wastes less than
one spread over several. Results come in the order of the recordings and do not depend on how they were
batched. Memory holds what is read ahead, never a whole long recording.
"""

import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from queue import Full, Queue
from typing import Any, Protocol

from torch import Tensor

from asr.audio_reader import AudioInfo
from asr.batching import share_out
from asr.cores import ComputingOn
from asr.errors import UserError
from asr.recording import Recording, model_blocks, open_recording
from asr.transcript import Hypothesis
from asr.windows import OVERLAP, EmissionJoiner, Piece, Window, cut_windows

# Batches' worth of windows that are sorted by length together: at least so many, and so many a thread.
_SORTED_BATCHES, _SORTED_BATCHES_A_THREAD = 8, 2
_QUEUED_WINDOWS = 16
_POLL_SECONDS = 0.1
_PATIENCE = 1.0  # seconds


class Recogniser(Protocol):
    """What turns windows into emissions and emissions into hypotheses; called by several threads."""

    sample_rate: int
    frame_shift: float
    pause_tokens: Sequence[int]

    def emissions(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Log-probabilities ``(frames, vocabulary)`` of each waveform ``(samples,)``."""

    def hypotheses(self, pieces: Sequence[Tensor]) -> list[list[Hypothesis]]:
        """The n-best list of each piece ``(frames, vocabulary)``."""


class Listener:
    """Is told how the work goes, by several threads."""

    def opened(self, name: str, info: AudioInfo) -> None:
        """A recording and what its header says."""

    def done(self, seconds: float) -> None:
        """So many seconds of audio are through the network."""

    def warn(self, message: str) -> None:
        """Something odd about a recording, in a line."""
        warnings.warn(message, stacklevel=2)


@dataclass
class Recognised:
    """What became of a recording.

    Attributes:
        pieces: Start in seconds and n-best list of each of its pieces, in order.
        duration: Seconds of audio that were heard.
        channels: Of the recording.
        error: Why it could not be read.
    """

    pieces: list[tuple[float, list[Hypothesis]]] = field(default_factory=list)
    duration: float = 0.0
    channels: int = 1
    error: UserError | None = None


@dataclass(frozen=True)
class _Task:
    """The next window of a recording, or why there is none."""

    recording: int
    number: int = 0
    window: Window | None = None
    channels: int = 1
    error: UserError | None = None


class _State:
    """A recording on its way: its windows' emissions come in any order and are joined in theirs."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.result = Recognised()
        self._recogniser = recogniser
        self._joiner = EmissionJoiner(recogniser.frame_shift, recogniser.pause_tokens)
        self._early: dict[int, tuple[Window, Tensor]] = {}
        self._next = 0
        self._ended = False
        self._outstanding = 0  # windows and pieces that are being worked on

    @property
    def finished(self) -> bool:
        return self._ended and not self._outstanding

    def expect(self, task: _Task) -> None:
        """Take note of what was read."""
        self.result.error = task.error
        self.result.channels = task.channels
        self._ended = task.window is None or task.window.final
        if task.window is not None:
            self._outstanding += 1
            start = task.window.start * self._recogniser.frame_shift
            self.result.duration = start + len(task.window.waveform) / self._recogniser.sample_rate

    def add(self, number: int, window: Window, emissions: Tensor) -> list[Piece]:
        """Take a window's emissions; the pieces that are now ready to decode."""
        self._early[number] = (window, emissions)
        pieces = []
        while self._next in self._early:
            pieces += self._joiner.add(*self._early.pop(self._next))
            self._next += 1
        self._outstanding += len(pieces) - 1
        return pieces

    def decoded(self, piece: Piece, hypotheses: list[Hypothesis]) -> None:
        """Take what was decoded of a piece."""
        self.result.pieces.append((piece.start * self._recogniser.frame_shift, hypotheses))
        self._outstanding -= 1


def recognise(
    recogniser: Recogniser,
    recordings: Iterable[Recording],
    threads: int = 0,
    batch_seconds: float = 120.0,
    listener: Listener | None = None,
) -> Iterator[Recognised]:
    """What is said in recordings, in their order.

    Args:
        recogniser: Network and decoder.
        recordings: Taken as they are needed.
        threads: Batches worked on at once; 0 works in the caller's thread and starts none.
        batch_seconds: Padded audio in a batch, in seconds.
        listener: Is told how the work goes.
    """
    listener = listener or Listener()
    numbered = iter(enumerate(recordings))
    states: deque[_State] = deque()
    first = 0  # number of the recording that stands first in ``states``
    with workers(threads) as pool, closing(_tasks(recogniser, numbered, threads, listener)) as tasks:
        work: deque[Callable[[], None]] = deque()

        def state(recording: int) -> _State:
            while first + len(states) <= recording:
                states.append(_State(recogniser))
            return states[recording - first]

        def emit(batch: list[_Task]) -> None:
            waveforms = [task.window.waveform for task in batch if task.window]
            future = pool.submit(recogniser.emissions, waveforms)
            work.append(lambda: join(batch, future))

        def join(batch: list[_Task], future: "Future[list[Tensor]]") -> None:
            pieces = []
            for task, emissions in zip(batch, future.result(), strict=True):
                assert task.window is not None
                overlap = OVERLAP if task.window.start else 0.0
                listener.done(len(task.window.waveform) / recogniser.sample_rate - overlap)
                found = state(task.recording).add(task.number, task.window, emissions)
                pieces += [(task.recording, piece) for piece in found]
            if pieces:
                decoding = pool.submit(recogniser.hypotheses, [piece.emissions for _, piece in pieces])
                work.append(lambda: take(pieces, decoding))

        def take(pieces: list[tuple[int, Piece]], future: "Future[list[list[Hypothesis]]]") -> None:
            for (recording, piece), hypotheses in zip(pieces, future.result(), strict=True):
                state(recording).decoded(piece, hypotheses)

        sorted_seconds = batch_seconds * max(_SORTED_BATCHES, _SORTED_BATCHES_A_THREAD * threads)
        for some in _portions(tasks, sorted_seconds, recogniser.sample_rate):
            for task in some:
                state(task.recording).expect(task)
            heard = [task for task in some if task.window is not None]
            lengths = [len(task.window.waveform) / recogniser.sample_rate for task in heard if task.window]
            for batch in share_out(lengths, batch_seconds, threads):
                emit([heard[number] for number in batch])
                while len(work) > 2 * threads:
                    work.popleft()()
                while states and states[0].finished:
                    first += 1
                    yield states.popleft().result
        while work:
            work.popleft()()
        while states:
            yield states.popleft().result


@contextmanager
def workers(threads: int) -> Iterator[Executor]:
    """A pool of threads; each computes on one core, since several work at once."""
    if not threads:
        yield _Inline()
        return
    with ComputingOn(1), ThreadPoolExecutor(threads) as pool:
        try:
            yield pool
        except BaseException:
            # Ctrl-C too: what has not begun never will.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Inline(Executor):
    """Does what it is given at once, in the caller's thread."""

    def submit(self, call: Any, /, *arguments: Any, **named: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(call(*arguments, **named))
        return future


def _portions(tasks: Iterator[_Task], seconds: float, sample_rate: int) -> Iterator[list[_Task]]:
    """Tasks that are batched together: as many as hold so much audio."""
    portion: list[_Task] = []
    held = 0.0
    for task in tasks:
        portion.append(task)
        held += len(task.window.waveform) / sample_rate if task.window else 0.0
        if held >= seconds:
            yield portion
            portion, held = [], 0.0
    if portion:
        yield portion


def _read(
    recogniser: Recogniser, recordings: Iterator[tuple[int, Recording]], listener: Listener
) -> Iterator[_Task]:
    """Windows of one recording after another."""
    rate = recogniser.sample_rate
    for number, recording in recordings:
        try:
            with open_recording(recording, rate) as reader:
                listener.opened(reader.name, _heard(recording, reader.info))
                blocks = model_blocks(recording, reader, rate, listener.warn)
                windows = cut_windows(blocks, round(recogniser.frame_shift * rate), rate)
                for position, window in enumerate(windows):
                    yield _Task(number, position, window, reader.info.channels)
        except UserError as error:
            yield _Task(number, error=error)


def _heard(recording: Recording, info: AudioInfo) -> AudioInfo:
    """With the duration of the part that is transcribed."""
    rest = max(info.duration - recording.offset, 0.0)
    return replace(info, duration=rest if recording.duration is None else min(rest, recording.duration))


def _tasks(
    recogniser: Recogniser, recordings: Iterator[tuple[int, Recording]], threads: int, listener: Listener
) -> Generator[_Task, None, None]:
    """Windows of all recordings, read ahead by as many threads; recordings mix, each one's windows do not."""
    if not threads:
        yield from _read(recogniser, recordings, listener)
        return
    queue: Queue[_Task | BaseException | None] = Queue(_QUEUED_WINDOWS)
    shared = _Shared(recordings)
    stop = threading.Event()

    def put(item: _Task | BaseException | None) -> None:
        while not stop.is_set():
            try:
                queue.put(item, timeout=_POLL_SECONDS)
                return
            except Full:
                continue

    def read() -> None:
        try:
            for task in _read(recogniser, shared, listener):
                put(task)
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    readers = [threading.Thread(target=read, daemon=True) for _ in range(threads)]
    for reader in readers:
        reader.start()
    running = len(readers)
    try:
        while running:
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        stop.set()
        for reader in readers:
            # One that waits for what never comes, such as a terminal's input, is left behind.
            reader.join(timeout=_PATIENCE)


class _Shared:
    """An iterator from which several threads take."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def __iter__(self) -> "_Shared":
        return self

    def __next__(self) -> Any:
        with self._lock:
            return next(self._items)
