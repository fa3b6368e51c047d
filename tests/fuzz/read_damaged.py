"""Reads damaged files with little memory and time; a process of its own, which damage may kill.

    python read_damaged.py ORIGINALS FIRST COUNT

A line for each case: its name, and what became of it.
"""

import faulthandler
import resource
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import mutations
import numpy as np

from asr.audio import open_audio, probe
from asr.audio_reader import MAX_AMPLITUDE, AudioReader
from asr.errors import UserError
from asr.live import open_pipe

MEMORY = 2 << 30  # bytes
CASE_SECONDS = 60


def main(originals: Path, first: int, count: int) -> None:
    """Read each case; any exception but a user's error ends it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with TemporaryDirectory() as folder:
        for number in range(first, first + count):
            name, data = mutations.damaged(originals, number)
            path = Path(folder, name)
            path.write_bytes(data)
            sys.stdout.write(f"{name}\t")
            sys.stdout.flush()
            # Also ends what hangs in a library.
            faulthandler.dump_traceback_later(CASE_SECONDS, exit=True)
            sys.stdout.write(outcome(path) + "\n")
            if data[:4] == b"RIFF":
                listen(path)
            faulthandler.cancel_dump_traceback_later()
            path.unlink()


def outcome(path: Path) -> str:
    """``read``, ``damaged`` or ``refused``."""
    try:
        duration = probe(path).duration
        with open_audio(path) as reader:
            samples = 0
            for block in reader.blocks():
                check(block, reader)
                samples += len(block)
            heard = samples / reader.info.sample_rate
            # A header may promise more than there is, but nothing that the file could not hold.
            assert 0 <= duration <= 10 * heard + 24 * 3600, (duration, heard)
            return "damaged" if reader.damage else "read"
    except UserError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return "refused"


def listen(path: Path) -> None:
    """Read it as a pipe whose samples are taken as they come, or refuse it."""
    try:
        with path.open("rb") as stream, open_pipe(stream, None, sys.stderr.write) as reader:
            for block in reader.blocks():
                check(block, reader)
    except UserError as error:
        assert "\n" not in str(error)


def check(block: np.ndarray, reader: AudioReader) -> None:
    """Samples are numbers, of as many channels as the header says."""
    assert block.dtype == np.float32
    assert block.shape[1] == reader.info.channels
    assert np.abs(block).max() <= MAX_AMPLITUDE


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
