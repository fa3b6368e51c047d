"""Data-parallel processes: on one machine by ourselves, on many under torchrun.

Gradients of all parameters lie in one vector (see ``optimizer.py``), so one sum over the processes is the
whole of the communication; the step's statistics ride in the same vector.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from asr.errors import UserError


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

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.processes > 1:
            dist.barrier()


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launch(run: Callable[[Ranks, Any], None], argument: Any, processes: int = 0) -> None:
    """Call ``run(ranks, argument)`` in every process of a run.

    Under torchrun this process is one of them. Otherwise ``processes`` are started here; 0 means one for
    each GPU, or on a CPU one single-threaded process for each core: two processes of one thread train
    faster than one of two (see benchmarks/README.md).

    Raises:
        UserError: a process reported a mistake of the user's (it printed the line itself).
        SystemExit: a process was stopped or failed.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        _join(run, argument, int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), "env://")
        return
    gpus = torch.cuda.device_count()
    processes = processes or gpus or usable_cores()
    if processes == 1:
        run(Ranks(device=torch.device("cuda" if gpus else "cpu")), argument)
        return
    address = f"tcp://127.0.0.1:{_free_port()}"
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_worker, args=(run, argument, rank, processes, address), daemon=True)
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    code = _wait(workers)
    if code:
        raise SystemExit(code)


def _worker(
    run: Callable[[Ranks, Any], None], argument: Any, rank: int, processes: int, address: str
) -> None:
    torch.set_num_threads(max(1, usable_cores() // processes))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        _join(run, argument, rank, processes, address)
    except UserError as error:
        if rank == 0:
            sys.stderr.write(f"asr: {error}\n")
        sys.exit(1)


def _join(run: Callable[[Ranks, Any], None], argument: Any, rank: int, processes: int, address: str) -> None:
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", rank))
    device = torch.device("cuda", local % torch.cuda.device_count()) if cuda else torch.device("cpu")
    dist.init_process_group("nccl" if cuda else "gloo", address, rank=rank, world_size=processes)
    try:
        run(Ranks(rank, processes, device), argument)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _wait(workers: list[Any]) -> int:
    """Wait for all; pass on a signal; when one fails, end the others. Returns the exit status."""

    def forward(number: int, _: Any) -> None:
        for worker in workers:
            if worker.is_alive():
                os.kill(worker.pid, number)

    # A terminal's Ctrl-C reaches the workers by itself and a second one would end them at once.
    previous = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN if os.isatty(0) else forward),
        signal.SIGTERM: signal.signal(signal.SIGTERM, forward),
    }
    try:
        while any(worker.is_alive() for worker in workers):
            for worker in workers:
                worker.join(0.1)
            if any(worker.exitcode for worker in workers):
                break
        failed = [worker.exitcode for worker in workers if worker.exitcode]
        for worker in workers:
            worker.join(5 if failed else None)
            if worker.is_alive():
                worker.terminate()
                worker.join()
        return abs(failed[0]) if failed else 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
