"""The command line: one thin file a command, each parsing, calling and printing.

Command modules import torch and numba inside their functions, so that ``asr --help`` is instant.
"""

import errno
import io
import os
import signal
import sys
from typing import Annotated, Any

import typer

from asr import __version__
from asr.cli.output import forget, lost_stdout, tell
from asr.ending import end_process
from asr.errors import UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

app = typer.Typer(
    name="asr",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"asr {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Speech recognition you own: transcribe, train, measure."""


def run() -> None:
    """The program ``asr``: :func:`main`, and an end without Python's taking everything apart."""
    status: Any = 0
    _end_in_order()
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise  # a message, which Python writes
        status = end.code or 0
    end_process(status)


def _open_missing_streams() -> None:
    """Where the shell closed standard input, output or error (``>&-``), there is nothing and nobody.

    Else the next file that is opened would take its number, and a library's message would end in it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115


def _end_in_order() -> None:
    """Where this program is asked to end, or its terminal goes away, it clears away after itself first."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, frame: sys.exit(128 + number))


def main() -> None:
    """Run the command line; a mistake of the user's is one line on stderr and exit status 1.

    Where the reader of a pipe goes away (``| head``), the command ends without a word and with status 141:
    what a shell says of a program that SIGPIPE ended.
    """
    from asr.cli import commands
    from asr.cli.garbage import collect_rarely

    _open_missing_streams()

    if not app.registered_commands:  # where it is called again and again, as tests do
        commands.register(app)
        collect_rarely()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name with letters that the terminal's encoding lacks is escaped, as on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except UserError as error:
        tell(error)
        sys.exit(1)
    except (BrokenPipeError, SystemExit) as end:
        # Click and rich catch a broken pipe themselves and exit with status 1.
        if not isinstance(end, BrokenPipeError) and not isinstance(end.__context__, BrokenPipeError):
            raise
        forget(sys.stdout)
        sys.exit(141)
    except OSError as error:
        # Files that cannot be written are told of by their names, as mistakes of the user's.
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        tell(lost_stdout(error))
        sys.exit(1)
