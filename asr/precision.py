"""In which arithmetic networks compute."""

import torch

AUTO, INT8 = "auto", "int8"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 itself (AVX-512 BF16, AMX); oneDNN emulates it on others."""
    return (
        torch.backends.mkldnn.is_available()
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
        and bool(torch.cpu._is_avx512_bf16_supported())
    )


def rescoring_precision(arithmetic: str) -> torch.dtype:
    """For a language model on the CPU, beside a network that computes so, wherever that is."""
    return torch.bfloat16 if arithmetic == "bf16" and fast_bfloat16() else torch.float32


def precision_name(precision: torch.dtype) -> str:
    """As the user writes it."""
    return next(name for name, dtype in PRECISIONS.items() if dtype == precision)
