"""Speech recognition with recurrent networks and CTC: transcribe, train, measure.

The public names are loaded on first use, so that ``import asr`` (and ``asr --help``) stays fast.
"""

from importlib import import_module
from typing import Any

from asr.kernel_cache import ensure_kernel_cache

__version__ = "0.1.0"

_LAZY = {
    "load_model": "asr.transcriber",
    "transcribe": "asr.transcriber",
    "Transcript": "asr.transcript",
    "score": "asr.scoring",
    "UserError": "asr.errors",
}

ensure_kernel_cache()

__all__ = [*_LAZY, "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'asr' has no attribute {name!r}")
