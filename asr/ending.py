"""The end of a process without Python's taking everything apart."""

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def end_process(status: int) -> NoReturn:
    """Do of what Python does at its end what others may wait for, and leave with an exit status.

    Threads end, exit functions are called, output is flushed. Torch's modules are not taken apart: that
    lasts a fifth of a second, and a thread of torch's that wants Python meanwhile ends the process with
    SIGABRT ("terminate called without an active exception"): one of gloo's, which drops the last sum's tensor
    when it has long been seen to be done, did so in one of a hundred runs on a busy machine.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # where the shell closed it
            with suppress(OSError, ValueError):  # nobody is left who could be told
                stream.flush()
    os._exit(status)
