"""Quiet speech beside loud speech in one recording."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

from asr.frontend import FrontendConfig
from asr.levels import MOST, RANGE, _runs, even_levels
from asr.manifest import read_manifest
from asr.transcriber import load_model

RATE = 16_000
CONFIG = FrontendConfig()


def syllables(seconds: float, decibels: float = 0.0) -> Tensor:
    """Noise four times a second, as loud as said."""
    draw = torch.Generator().manual_seed(1)
    samples = round(seconds * RATE)
    swell = (torch.arange(samples) * 4 * 2 * torch.pi / RATE).sin().clamp(min=0.01)
    return 0.1 * 10 ** (decibels / 20) * swell * torch.randn(samples, generator=draw)


def even(*parts: Tensor) -> Tensor:
    return even_levels([torch.cat(parts)], CONFIG)[0]


def decibels(samples: Tensor) -> float:
    return 10 * float(samples.square().mean().log10())


@pytest.mark.parametrize("quiet", [-18.0, -25.0])
def test_a_quiet_speaker_comes_near_a_loud_one_who_stays_as_he_is(quiet: float) -> None:
    loud, soft, again = syllables(4), syllables(4, quiet), syllables(4)
    heard = even(loud, soft, again)
    assert torch.equal(heard[: 3 * RATE], loud[: 3 * RATE])
    assert torch.equal(heard[-3 * RATE :], again[-3 * RATE :])
    gained = decibels(heard[5 * RATE : 7 * RATE]) - decibels(soft[RATE : 3 * RATE])
    assert gained == pytest.approx(-quiet - RANGE, abs=1.5)
    # The steps are where the speakers change.
    assert decibels(heard[round(4.3 * RATE) : 5 * RATE]) - decibels(soft[round(0.3 * RATE) : RATE]) > 4
    last = slice(3 * RATE, round(3.7 * RATE))
    assert decibels(heard[4 * RATE :][last]) - decibels(soft[last]) > 4


def test_nothing_is_made_louder_than_the_most() -> None:
    soft = syllables(4, -50)
    assert (
        decibels(even(syllables(4), soft)[5 * RATE : 7 * RATE]) - decibels(soft[RATE : 3 * RATE]) < MOST + 1
    )


@pytest.mark.parametrize(
    "pause",
    [torch.zeros(4 * RATE), 1e-3 * torch.randn(4 * RATE, generator=torch.Generator().manual_seed(2))],
    ids=["silence", "steady noise"],
)
def test_pauses_are_left_as_they_are(pause: Tensor) -> None:
    heard = even(syllables(4), pause, syllables(4))
    assert torch.equal(heard[round(4.5 * RATE) : round(7.5 * RATE)], pause[RATE // 2 : -RATE // 2])


@pytest.mark.parametrize(
    "parts",
    [
        (syllables(8),),
        (syllables(4), syllables(4, -10)),
        (syllables(4), syllables(1, -30), syllables(4)),
        (torch.zeros(8 * RATE),),
        (syllables(1), syllables(0.4, -30)),
        (torch.zeros(0),),
    ],
    ids=["one level", "within the range", "a quiet moment", "silence", "short", "nothing"],
)
def test_what_has_one_level_is_the_same_tensor(parts: tuple[Tensor, ...]) -> None:
    waveform = torch.cat(parts)
    assert even_levels([waveform], CONFIG)[0] is waveform


@pytest.mark.parametrize("frames", [59, 60, 61])
def test_a_run_counts_from_its_shortest_length_on(frames: int) -> None:
    mask = np.array([False] * 5 + [True] * frames + [False] * 5)
    assert np.array_equal(_runs(mask, 60), mask & (frames >= 60))


def test_a_front_end_of_constants_hears_levels_as_they_are() -> None:
    waveform = torch.cat([syllables(4), syllables(4, -25)])
    assert even_levels([waveform], FrontendConfig(cmvn="fixed"))[0] is waveform


def test_another_rate_is_evened_alike() -> None:
    slow = torch.cat([syllables(4), syllables(4, -25)])[::2]
    heard = even_levels([slow], FrontendConfig(sample_rate=8000, high_frequency=3800))[0]
    assert decibels(heard[5 * 8000 : 7 * 8000]) - decibels(slow[5 * 8000 : 7 * 8000]) == pytest.approx(
        25 - RANGE, abs=1.5
    )


def test_the_english_model_understands_every_second_speaker_at_a_twentieth_of_the_amplitude(
    examples: Path,
) -> None:
    utterances = read_manifest(examples)
    clips = [soundfile.read(utterance.audio_filepath, dtype="float32")[0] for utterance in utterances]
    recording = np.concatenate([clip / (20 if number % 2 else 1) for number, clip in enumerate(clips)])
    words = [word for utterance in utterances for word in str(utterance.text).split()]
    heard = load_model("en").transcribe(recording, RATE).text.split()
    assert Levenshtein.distance(words, heard) <= 4  # 44 without evening
