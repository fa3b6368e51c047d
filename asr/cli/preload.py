"""Torch's libraries, loaded in a thread while Python imports what does not need them.

Loading them is a third of a second of mapping and relocating, which takes no interpreter lock; imports of
numba and of our own modules hold it meanwhile. ``import torch`` then finds them in place.
"""

import ctypes
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

# Commands that need torch whatever their arguments are.
COMMANDS = ("align", "decode", "evaluate", "listen", "pretrain", "train", "transcribe", "tune")


def preload_for(arguments: list[str]) -> None:
    """Begin to load, where the arguments of the program name a command that needs torch."""
    if sys.platform == "linux" and arguments and arguments[0] in COMMANDS and "torch" not in sys.modules:
        threading.Thread(target=load_torch_libraries, daemon=True).start()


def load_torch_libraries() -> None:
    """Load what ``import torch`` will load, in its order; where that fails, the import says why."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return
    folder = Path(found.origin).parent / "lib"
    with suppress(OSError):
        # As torch does: the libraries that it depends on are for all to see.
        ctypes.CDLL(str(folder / "libtorch_global_deps.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libtorch_python.so"))
