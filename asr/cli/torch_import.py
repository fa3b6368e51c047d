"""Importing torch for the commands that recognise, in two thirds of the time.

A third of torch's import registers how its compiler and exporter are to think about every operator
(``torch/_meta_registrations.py``). Recognition computes with tensors that have values, and never asks. In a
process that imported torch so, ``torch.compile`` may not work; ``import asr`` leaves torch alone.
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
