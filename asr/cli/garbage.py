"""How often Python looks for unreachable cycles: rarely in commands that are mostly imports, else as usual.

Importing torch and numba makes some 300,000 objects that live as long as the process. Walking over them again
and again was a quarter of the time of transcribing one file.
"""

import gc

_USUAL = gc.get_threshold()


def collect_rarely() -> None:
    """For a process that begins to import."""
    gc.set_threshold(100_000, 50)


def collect_as_usual() -> None:
    """For a long run, whose cycles may hold tensors."""
    gc.set_threshold(*_USUAL)
