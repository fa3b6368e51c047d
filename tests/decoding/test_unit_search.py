"""Best paths under an n-gram over units."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.greedy import greedy_decode
from asr.decoding.unit_search import best_paths
from asr.denominator import UnitNgram
from asr.errors import UserError
from asr.tokenizer import PhoneTokenizer

PHONES = ("AA", "B", "CH")


def tokenizer_of(tokens: int) -> PhoneTokenizer:
    return PhoneTokenizer(("<blank>", *PHONES[: tokens - 1]))


def random_ngram(tokens: int, order: int, seed: int) -> UnitNgram:
    draw = np.random.default_rng(seed)
    targets = [draw.integers(1, tokens, size).tolist() for size in draw.integers(0, 8, 6)]
    return UnitNgram.estimate(targets, tokens, order)


def score_of(path: tuple[int, ...], emissions: torch.Tensor, ngram: UnitNgram) -> float:
    """Of a path, by the definition."""
    units = [token for token, _ in itertools.groupby(path) if token]
    target = torch.tensor([units], dtype=torch.int64)
    spoken = sum(float(emissions[frame, token]) for frame, token in enumerate(path))
    return spoken + float(ngram.log_probability(target, torch.tensor([len(units)])))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 4), st.integers(0, 5), st.integers(2, 3), st.sampled_from([0.5, 3.0]), st.integers(0, 999)
)
def test_no_path_is_better(tokens: int, frames: int, order: int, spread: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    emissions = (spread * torch.randn(frames, tokens, generator=generator)).log_softmax(-1)
    ngram = random_ngram(tokens, order, seed)
    (found,) = best_paths(emissions[None], torch.tensor([frames]), tokenizer_of(tokens), ngram)
    best = max(
        itertools.product(range(tokens), repeat=frames), key=lambda path: score_of(path, emissions, ngram)
    )
    assert found.score == pytest.approx(score_of(best, emissions, ngram), abs=1e-4)
    assert list(found.tokens) == [token for token, _ in itertools.groupby(best) if token]
    starts = [t for t in range(frames) if best[t] and (t == 0 or best[t] != best[t - 1])]
    assert list(found.frames) == starts


def test_an_unlikely_successor_is_heard_only_where_it_is_clear() -> None:
    ngram = UnitNgram.estimate([[1, 2]] * 50, 4, 2)
    tokenizer = tokenizer_of(4)
    for usual, expected in ((0.4, (1, 2)), (1e-9, (1, 3))):
        frames = [[1e-9, 1.0, 1e-9, 1e-9], [1e-9, 1e-9, usual, 1 - usual]]
        emissions = torch.tensor([frames]).log()
        assert greedy_decode(emissions, torch.tensor([2]), tokenizer)[0].tokens == (1, 3)
        assert best_paths(emissions, torch.tensor([2]), tokenizer, ngram)[0].tokens == expected


def test_padding_is_never_used() -> None:
    ngram, tokenizer = random_ngram(4, 3, 1), tokenizer_of(4)
    emissions = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    padded = torch.cat([emissions, torch.full((1, 4, 4), math.nan)], dim=1)
    length = torch.tensor([9])
    assert best_paths(padded, length, tokenizer, ngram) == best_paths(emissions, length, tokenizer, ngram)


def test_broken_emissions_are_named() -> None:
    emissions = torch.zeros(2, 5, 4).log_softmax(-1)
    emissions[1, 2] = math.nan
    with pytest.raises(UserError, match="utterance 2 of the batch: emissions hold NaN"):
        best_paths(emissions, torch.tensor([5, 5]), tokenizer_of(4), random_ngram(4, 3, 2))
