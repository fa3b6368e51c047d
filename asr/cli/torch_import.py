"""Importing torch in two thirds of the time, for commands that recognise and are over soon.

A third of torch's import registers, in Python, what every operator does to tensors without values, which its
compiler and exporter ask (``torch/_meta_registrations.py``). These commands make such tensors only where a
network is read (``device="meta"``), by operators that know this without Python: another way to initialise
weights may not. In a process that imported torch so ``torch.compile`` may not work; ``import asr`` leaves
torch alone.
"""

import sys
from types import ModuleType

FOR_COMPILERS = "torch._meta_registrations"


def import_torch() -> None:
    """Import torch without what only compilers need."""
    if "torch" in sys.modules:
        return
    sys.modules[FOR_COMPILERS] = ModuleType(FOR_COMPILERS)
    try:
        import torch  # noqa: F401
    finally:
        del sys.modules[FOR_COMPILERS]
