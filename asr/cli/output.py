"""Standard output that a full disk or a closed pipe does not make a traceback of."""

import errno
import os
import sys

from asr.errors import UserError


def write_stdout(text: str) -> None:
    """Write and flush.

    Raises:
        UserError: standard output cannot be written (a full disk).
        BrokenPipeError: the reader of a pipe has gone, which ends a command quietly.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno == errno.EPIPE:
            raise
        # What is left in the buffer must not be tried again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UserError(f"standard output: cannot be written ({error.strerror})") from error
