"""Where nobody speaks: runs of frames whose likeliest token is a blank or parts words."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from asr.tokenizer import BLANK, SPACE, Tokenizer


def pause_tokens(tokenizer: Tokenizer) -> list[int]:
    """What is said between words: the blank, and the token that parts words where there is one."""
    return [number for number, token in enumerate(tokenizer.tokens) if token in (BLANK, SPACE)]


def pauses(emissions: Tensor, pause_tokens: Sequence[int] = (0,)) -> tuple[Tensor, Tensor]:
    """Where the runs of pause tokens in ``(frames, vocabulary)`` begin, and where they end."""
    silent = torch.isin(emissions.argmax(1), torch.tensor(pause_tokens))
    edges = torch.nn.functional.pad(silent.int(), (1, 1)).diff()
    return (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]


def tokens_before(emissions: Tensor, pause_tokens: Sequence[int]) -> Tensor:
    """How many tokens begin before each frame of ``(frames, vocabulary)``, and in all: ``(frames + 1,)``."""
    best = emissions.argmax(1)
    begins = ~torch.isin(best, torch.tensor(pause_tokens))
    begins[1:] &= best.diff() != 0
    return torch.nn.functional.pad(begins.cumsum(0), (1, 0))


def long_pauses(emissions: Tensor, pause_tokens: Sequence[int], shortest: float) -> Iterator[tuple[int, int]]:
    """The middle and the length of each pause of at least so many frames in ``(frames, vocabulary)``."""
    begins, ends = pauses(emissions, pause_tokens)
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        if end - begin >= shortest:
            yield (begin + end) // 2, end - begin


def longest_pause(emissions: Tensor, pause_tokens: Sequence[int] = (0,)) -> int:
    """The frame in the middle of the longest pause in ``(frames, vocabulary)``.

    Of equal ones the last; without any the frame where pause tokens are likeliest.
    """
    begins, ends = pauses(emissions, pause_tokens)
    if not len(begins):
        return int(emissions[:, pause_tokens].logsumexp(1).argmax())
    lengths = ends - begins
    best = int(len(lengths) - 1 - lengths.flip(0).argmax())
    return int(begins[best] + ends[best]) // 2
