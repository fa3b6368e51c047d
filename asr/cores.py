"""How many cores there are, and how many torch computes on where several threads or processes share them."""

import os
import threading


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ComputingOn:
    """While any such block lasts, torch computes on so many cores a thread; afterwards on as many as before.

    Torch has one such setting for all threads: of blocks that overlap only the first knows what it was.
    """

    _lock = threading.Lock()
    _blocks = 0
    _before = 1

    def __init__(self, cores: int) -> None:
        self._cores = cores

    def __enter__(self) -> None:
        import torch

        with self._lock:
            if not ComputingOn._blocks:
                ComputingOn._before = torch.get_num_threads()
            ComputingOn._blocks += 1
            torch.set_num_threads(self._cores)

    def __exit__(self, *_: object) -> None:
        import torch

        with self._lock:
            ComputingOn._blocks -= 1
            # Not only at the last: OpenMP keeps the number for each thread that set it.
            torch.set_num_threads(ComputingOn._before)
