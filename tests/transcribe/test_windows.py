"""Long recordings in windows: nothing is lost, doubled or cut at the joins."""

import numpy as np
import pytest
import torch

from asr.pauses import longest_pause
from asr.windows import EmissionJoiner, Window, cut_windows, join

RATE, FRAME = 1_000, 40


def windows_of(samples: int, blocks: int = 100) -> list[Window]:
    waveform = torch.arange(samples, dtype=torch.float32)
    return list(cut_windows(waveform.split(blocks), FRAME, RATE, whole=10, window=8, overlap=2))


@pytest.mark.parametrize("samples", [0, 1, 9_999, 10_000])
def test_a_short_recording_is_one_window(samples: int) -> None:
    (window,) = windows_of(samples)
    assert (window.start, window.final) == (0, True)
    assert window.waveform.tolist() == list(range(samples))


@pytest.mark.parametrize("samples", [10_001, 14_000, 20_000, 123_456])
@pytest.mark.parametrize("blocks", [37, 1_000, 50_000])
def test_windows_overlap_and_cover_everything(samples: int, blocks: int) -> None:
    windows = windows_of(samples, blocks)
    assert [window.final for window in windows] == [False] * (len(windows) - 1) + [True]
    reached = 0
    for window in windows:
        begin, end = int(window.waveform[0]), int(window.waveform[-1]) + 1
        assert begin == window.start * FRAME
        assert begin == 0 or begin == reached - 2 * RATE
        assert end - begin <= 11 * RATE
        reached = end
    assert reached == samples


def emissions_of(tokens: list[int], vocabulary: int = 4, sureness: float = 0.97) -> torch.Tensor:
    """Log-probabilities whose best path is ``tokens``."""
    other = (1 - sureness) / (vocabulary - 1)
    probabilities = torch.full((len(tokens), vocabulary), other)
    probabilities[range(len(tokens)), tokens] = sureness
    return probabilities.log()


def test_joining_takes_each_token_once_even_where_frames_differ() -> None:
    tokens = [0, 1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 1, 0, 2]
    # The second window hears the token before the pause one frame later, the one behind it earlier.
    after = [0, 2, 0, 0, 0, 0, 3, 0, 0, 1, 0, 2]
    joined = join(emissions_of(tokens[:11]), emissions_of(after), 2).argmax(1).tolist()
    assert [token for token in joined if token] == [1, 2, 3, 1, 2]
    assert len(joined) == len(tokens)


def test_windows_that_only_touch_are_put_end_to_end() -> None:
    first, second = emissions_of([1, 0]), emissions_of([2, 0])
    assert torch.equal(join(first, second, 2), torch.cat([first, second]))


def test_the_longest_pause_and_the_last_of_equal_ones() -> None:
    assert longest_pause(emissions_of([1, 0, 1, 0, 0, 0, 1, 0, 1])) == 4
    assert longest_pause(emissions_of([0, 0, 1, 0, 0, 1])) == 4
    assert longest_pause(emissions_of([1, 0, 0, 1, 0, 2, 0, 1]), pause_tokens=[0, 2]) == 5
    # Without any pause it is the frame of the likeliest blank.
    emissions = emissions_of([1, 2, 3])
    emissions[1, 0] += 0.5
    assert longest_pause(emissions) == 1


def test_pieces_end_in_pauses_and_hold_all_frames() -> None:
    draw = np.random.default_rng(1)
    tokens = list(draw.integers(1, 4, 5_000))
    for pause in range(0, 5_000, 400):
        tokens[pause : pause + 10] = [0] * len(tokens[pause : pause + 10])
    joiner = EmissionJoiner(frame_shift=0.04)
    emissions = emissions_of(tokens)
    pieces, starts = [], list(range(0, 5_000, 650))
    for start in starts:
        window = Window(torch.zeros(0), start, start == starts[-1])
        pieces += joiner.add(window, emissions[start : start + 750])
    assert [piece.start for piece in pieces] == np.cumsum([0, *map(len, (p.emissions for p in pieces))])[
        :-1
    ].tolist()
    assert torch.equal(torch.cat([piece.emissions for piece in pieces]), emissions)
    for piece in pieces[:-1]:
        assert piece.emissions[-1].argmax() == 0
        assert 12 <= len(piece.emissions) * 0.04 <= 40
