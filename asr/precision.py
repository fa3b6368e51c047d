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


def fast_eight_bits() -> bool:
    """Whether this CPU adds products of bytes itself (AVX-512 VNNI); on others oneDNN's sums may overflow."""
    return torch.backends.mkldnn.is_available() and bool(torch.cpu._is_vnni_supported())


def precision_name(precision: torch.dtype) -> str:
    """As the user writes it."""
    return next(name for name, dtype in PRECISIONS.items() if dtype == precision)
