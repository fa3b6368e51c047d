"""Sequences of several lengths as one batch, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor


def padded(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Sequences ``(time, ...)`` as ``(batch, longest, ...)``, zero behind each, and lengths ``(batch,)``.

    No sequences are a batch ``(0, 0)``.
    """
    lengths = torch.tensor([len(each) for each in sequences], dtype=torch.int64)
    if not sequences:
        return torch.zeros(0, 0), lengths
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths


def unpadded(batch: Tensor, lengths: Tensor) -> list[Tensor]:
    """What :func:`padded` was given: views of ``(batch, time, ...)``, each as long as it was."""
    return [each[:length] for each, length in zip(batch, lengths.tolist(), strict=True)]
