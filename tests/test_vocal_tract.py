import math

import pytest
import torch
from torch import Tensor

from asr.frontend import Frontend, FrontendConfig
from asr.vocal_tract import VocalTract

TELEPHONE = FrontendConfig(sample_rate=8000, high_frequency=3800.0)


def positions(factor: float, frontend: FrontendConfig | None = None) -> Tensor:
    """Where each bin is read, ``(mel_bins,)``."""
    return VocalTract(0.5, frontend or FrontendConfig()).positions(torch.tensor([[factor]]))[0]


def test_zero_changes_nothing() -> None:
    features = torch.randn(3, 20, 80)
    assert VocalTract(0.0, FrontendConfig())(features) is features


def test_a_factor_of_one_reads_each_bin_where_it_is() -> None:
    torch.testing.assert_close(positions(1.0), torch.arange(80.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("factor", [0.5, 0.8, 0.9, 1.1, 1.25, 1.5])
@pytest.mark.parametrize("frontend", [FrontendConfig(), TELEPHONE])
def test_bins_are_read_in_order_and_the_last_one_stays(factor: float, frontend: FrontendConfig) -> None:
    read = positions(factor, frontend)
    assert (read.diff() >= 0).all()
    assert read[10:].diff().min() > 0.1
    assert read[-1] == pytest.approx(79, abs=1e-3)
    assert (read[5:60] < torch.arange(5, 60)).all() == (factor < 1)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_tone_is_heard_as_one_that_is_a_factor_away(factor: float) -> None:
    frontend = Frontend(FrontendConfig(cmvn="fixed"))

    def loudest(frequency: float, read: Tensor) -> float:
        tone = torch.sin(2 * math.pi * frequency * torch.arange(16_000) / 16_000)
        energies = frontend(tone[None], torch.tensor([16_000]))[0][0, 10]
        low = read.floor().long().clamp(max=78)
        return float(torch.lerp(energies[low], energies[low + 1], read - low).argmax())

    assert abs(loudest(1500.0, positions(factor)) - loudest(1500.0 / factor, positions(1.0))) <= 1


def test_utterances_are_stretched_by_different_factors_within_the_limit() -> None:
    torch.manual_seed(0)
    vary = VocalTract(0.1, FrontendConfig())
    ramp = torch.arange(80.0).expand(300, 4, 80)
    found = vary(ramp)  # of a ramp, values say where they were read
    assert torch.equal(found[:, 0], found[:, 3])
    lowest, highest = positions(0.9)[30].item(), positions(1.1)[30].item()
    assert lowest - 1e-3 <= found[:, 0, 30].min() <= lowest + 0.2
    assert highest - 0.2 <= found[:, 0, 30].max() <= highest + 1e-3
    assert len(found[:, 0, 30].unique()) > 200


def test_padding_stays_zero() -> None:
    features = torch.randn(2, 10, 80)
    features[1, 6:] = 0
    assert not VocalTract(0.2, FrontendConfig())(features)[1, 6:].any()


def test_features_without_frames_pass() -> None:
    assert VocalTract(0.2, FrontendConfig())(torch.zeros(2, 0, 80)).shape == (2, 0, 80)
