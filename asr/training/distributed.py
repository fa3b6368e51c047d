"""Data-parallel processes: on one machine by ourselves, on many under torchrun.

Gradients of all parameters lie in one vector (see ``optimizer.py``), so one sum over the processes is the
whole of the communication; the step's statistics ride in the same vector.
"""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from asr.cores import usable_cores
from asr.ending import end_process
from asr.errors import UserError

STOPPED = 130
"""Exit status of a run that was asked to stop, as after Ctrl-C in a shell."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# glibc gives large blocks back to the system at every step and asks for them again: a quarter of the
# time of a step on a CPU. These keep them (see benchmarks/README.md). oneDNN keeps the last 1024 kernels
# that it compiled; every batch has a length of its own, so most are never used again: a process of the
# English model's run held 5.8 GB after ten minutes where these 48 left it at 2.8.
MEMORY_SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "48",
}


class Stopped(Exception):
    """The run was asked to stop (Ctrl-C, SIGTERM) and its state is saved."""


@dataclass
class StopRequest:
    """Whether the run was asked to stop.

    No ``threading.Event``: that has a lock, at which a second signal would wait for the first for ever.
    """

    is_made: bool = False

    def heed(self, *_: object) -> None:
        """The handler of a signal."""
        self.is_made = True


@contextmanager
def heed_stop() -> Iterator[StopRequest]:
    """A request that Ctrl-C and SIGTERM make, in place of what they did before."""
    request = StopRequest()
    with _stop_signals(request.heed):
        yield request


@contextmanager
def _stop_signals(handler: Any) -> Iterator[None]:
    """Another handler of Ctrl-C and SIGTERM, or none, and afterwards that from before."""
    previous = [(number, signal.signal(number, handler)) for number in STOP_SIGNALS]
    try:
        yield
    finally:
        for number, before in previous:
            signal.signal(number, before)


@dataclass(frozen=True)
class Ranks:
    """This process among all of the run."""

    rank: int = 0
    processes: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes."""
        return self.rank == 0

    def sum(self, vector: Tensor) -> None:
        """Add up a vector over the processes, in place."""
        if self.processes > 1:
            dist.all_reduce(vector)

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        if self.processes == 1:
            return [value]
        values: list[Any] = [None] * self.processes
        dist.all_gather_object(values, value)
        return values

    def check_resumed(self, step: int, folder: Path) -> None:
        """Raise :class:`UserError` unless all processes go on from the same step of the run in a folder."""
        if len(set(self.gather(step))) > 1:
            raise UserError(f"{folder}: all machines must see the same run folder to go on with it")


def is_first() -> bool:
    """Whether this process may write what all processes share: the only one, or torchrun's rank 0."""
    return os.environ.get("RANK", "0") == "0"


def is_first_here() -> bool:
    """Whether this process may write what the processes of this machine share."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


LONGEST_WAIT = timedelta(hours=12)

Work = Callable[[Ranks, Any], int | None]
"""What every process does with an argument; a number is an exit status, on which all agree."""


def default_processes() -> int:
    """One for each GPU, or on a CPU one single-threaded process for each core.

    Two processes of one thread train faster than one of two (see benchmarks/README.md).
    """
    return torch.cuda.device_count() or usable_cores()


def launch(work: Work, argument: Any, processes: int = 0) -> None:
    """Call ``work(ranks, argument)`` in every process of a run.

    Under torchrun this process is one of them. Otherwise ``processes`` are started here; 0 means
    :func:`default_processes`.

    Raises:
        UserError: a process met a mistake of the user's, or was killed.
        SystemExit: the work's exit status where it is not 0, or that of a process which failed.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        status = _join(work, argument, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    else:
        gpus = torch.cuda.device_count()
        if gpus and processes > gpus:
            raise UserError(f"processes: {processes} are more than the {gpus} GPUs here")
        processes = processes or default_processes()
        if processes == 1:
            status = work(Ranks(device=torch.device("cuda" if gpus else "cpu")), argument)
        else:
            status = _start(work, argument, processes)
    if status:
        raise SystemExit(status)


def _join(
    work: Work, argument: Any, rank: int, processes: int, store: dist.TCPStore | None = None
) -> int | None:
    """Do the work as one of many, which meet in a store, or without one where torchrun says."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", rank))
        device = torch.device("cuda", local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    backend = "gloo" if device.type == "cpu" else "nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes, timeout=LONGEST_WAIT)
    # One decodes the audio while the others wait here: hundreds of hours take their time.
    dist.barrier()
    status = work(Ranks(rank, processes, device), argument)
    dist.barrier()
    # Not after an exception: the others would fail at their next sum before anyone has said why.
    dist.destroy_process_group()
    return status


def _start(work: Work, argument: Any, processes: int) -> int:
    """Start processes, pass on signals, and wait; when one fails, end the others."""
    for name, value in MEMORY_SETTINGS.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("spawn")
    mistakes = context.SimpleQueue()
    # Where they meet is made here: a port that is only chosen here may be another program's by then.
    store = _store(0, is_master=True)
    workers = [
        context.Process(
            target=_work, args=(work, argument, rank, processes, store.port, mistakes), daemon=True
        )
        for rank in range(processes)
    ]
    # Workers ignore Ctrl-C until they can act on it, and hear of it from here.
    with _stop_signals(signal.SIG_IGN):
        try:
            for worker in workers:
                worker.start()
            with heed_stop() as stop:
                return _wait(workers, mistakes, stop)
        finally:
            begun = [worker for worker in workers if worker.pid is not None]
            # All at once: one that outlives another has a sum that breaks, and says so.
            for worker in begun:
                worker.kill()
            for worker in begun:
                worker.join()


def _wait(workers: list[Any], mistakes: Any, stop: StopRequest) -> int:
    """Exit status on which all workers agree."""
    while alive := [worker for worker in workers if worker.exitcode is None]:
        connection.wait([worker.sentinel for worker in alive], timeout=0.5)
        if not mistakes.empty():
            raise UserError(mistakes.get())
        if _failures(workers):
            # Who was killed, which the others then fail of, comes first; they died before those failed, so
            # that a second look finds them.
            status = min(_failures(workers))
            if status > 0:
                return status
            raise UserError(
                f"a training process was ended by signal {-status} (9: perhaps for want of memory); "
                "go on with --resume"
            )
        if stop.is_made:
            for worker in alive:
                if worker.exitcode is None:
                    os.kill(worker.pid, signal.SIGINT)
    return max(int(worker.exitcode) for worker in workers)


def _failures(workers: list[Any]) -> list[int]:
    """Exit statuses of those that failed; negative where a signal ended one."""
    return [worker.exitcode for worker in workers if worker.exitcode not in (None, 0, STOPPED)]


def _work(work: Work, argument: Any, rank: int, processes: int, port: int, mistakes: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(max(1, usable_cores() // processes))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        status = _join(work, argument, rank, processes, _store(port))
    except UserError as error:
        # Leaving would break the others' sums, with a traceback each: wait until the parent ends all.
        mistakes.put(str(error))
        while True:
            signal.pause()
    except Exception:
        traceback.print_exc()
        status = 1
    end_process(status or 0)


def _end_with_parent() -> None:
    """A run whose first process was killed must not go on unseen beside its continuation."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _store(port: int, is_master: bool = False) -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", port, is_master=is_master, timeout=LONGEST_WAIT, wait_for_workers=False)
