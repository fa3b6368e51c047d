"""Long recordings as overlapping windows, and their emissions put together again.

A recording of up to :data:`WHOLE` seconds is one window, so that it is heard as the model was trained.
A longer one is cut into windows that overlap; the emissions of two neighbours are joined at a frame of
the overlap where both are surest of a blank, so that no word is cut. The joined emissions are handed on in
pieces that end in pauses. Memory does not grow with the recording.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr.pauses import longest_pause
from asr.tokenizer import BLANK_ID

WHOLE = 40.0
WINDOW = 30.0
OVERLAP = 4.0
SHORTEST_PIECE, LONGEST_PIECE = 12.0, 30.0
# Frames over which the evidence of a pause is averaged where windows are joined.
_SMOOTHING = 7


@dataclass(frozen=True)
class Window:
    """A stretch of a recording.

    Attributes:
        waveform: float32 ``(samples,)``.
        start: Its first encoder frame within the recording.
        final: The recording ends with it.
    """

    waveform: Tensor
    start: int
    final: bool


@dataclass(frozen=True)
class Piece:
    """Emissions ``(frames, vocabulary)`` from encoder frame ``start`` of a recording on."""

    emissions: Tensor
    start: int


def cut_windows(
    blocks: Iterable[Tensor],
    frame_samples: int,
    sample_rate: int,
    whole: float = WHOLE,
    window: float = WINDOW,
    overlap: float = OVERLAP,
) -> Iterator[Window]:
    """Windows of a recording; at least one, the last one final.

    Args:
        blocks: The recording's samples, in order.
        frame_samples: Samples from one encoder frame to the next; windows start at its multiples.
        sample_rate: In Hz.
        whole: Up to so many seconds the recording is one window.
        window: Length of a window in seconds; the last one may be longer by up to ``overlap``.
        overlap: Seconds that neighbours share.
    """
    length = round(window * sample_rate / frame_samples) * frame_samples
    step = length - round(overlap * sample_rate / frame_samples) * frame_samples
    enough = max(round(whole * sample_rate), length + 1)
    held: list[Tensor] = []
    samples = start = 0
    for block in blocks:
        held.append(block)
        samples += len(block)
        while samples > enough:
            waveform = torch.cat(held)
            yield Window(waveform[:length].clone(), start // frame_samples, False)
            held, samples = [waveform[step:]], samples - step
            start += step
            # Within a long recording a tail shorter than a window's step is no window of its own.
            enough = length + step // 2
    yield Window(torch.cat(held) if held else torch.zeros(0), start // frame_samples, True)


class EmissionJoiner:
    """Puts the emissions of a recording's windows together; give them in order."""

    def __init__(self, frame_shift: float, pause_tokens: Sequence[int] = (BLANK_ID,)) -> None:
        """Begin a recording.

        Args:
            frame_shift: Seconds from one encoder frame to the next.
            pause_tokens: What is said between words: the blank, and the token that parts words.
        """
        self._pause_tokens = list(pause_tokens)
        self._shortest = round(SHORTEST_PIECE / frame_shift)
        self._longest = round(LONGEST_PIECE / frame_shift)
        self._whole = round(WHOLE / frame_shift)
        self._joined: Tensor | None = None
        self._start = 0

    def add(self, window: Window, emissions: Tensor) -> list[Piece]:
        """Take the emissions ``(frames, vocabulary)`` of the next window; the pieces that are complete."""
        if self._joined is None:
            self._joined = emissions
        else:
            self._joined = join(self._joined, emissions, window.start - self._start)
        pieces = []
        # A cut is always further from the end than what the next window overlaps, which may still change.
        while len(self._joined) > self._whole:
            cut = self._shortest + longest_pause(
                self._joined[self._shortest : self._longest], self._pause_tokens
            )
            pieces.append(self._take(cut))
        if window.final:
            pieces.append(self._take(len(self._joined)))
        return pieces

    def _take(self, frames: int) -> Piece:
        assert self._joined is not None
        piece = Piece(self._joined[:frames], self._start)
        self._joined = self._joined[frames:]
        self._start += frames
        return piece


def join(before: Tensor, after: Tensor, start: int) -> Tensor:
    """Join two emissions ``(frames, vocabulary)``; ``after`` begins at frame ``start`` of ``before``.

    The frame where they meet is the one, within the overlap, around which both are surest of a blank;
    frames near the ends of the overlap, heard with little context, count for less.
    """
    overlap = min(len(before) - start, len(after))
    if overlap <= 0:
        return torch.cat([before, after])
    blank = (before[start : start + overlap, BLANK_ID] + after[:overlap, BLANK_ID]).exp()
    ends = torch.linspace(-1, 1, overlap).square()
    meeting = start + int((_average(blank, _SMOOTHING) - 0.5 * ends).argmax())
    return torch.cat([before[:meeting], after[meeting - start :]])


def _average(values: Tensor, width: int) -> Tensor:
    """Running mean of odd width, of as many values as there are at the ends."""
    padding = width // 2
    return torch.nn.functional.avg_pool1d(
        values[None], width, stride=1, padding=padding, count_include_pad=False
    )[0]
