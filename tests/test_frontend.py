"""Features depend on the utterance's own sound, and on nothing else."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.frontend import Frontend, FrontendConfig

KINDS = ("utterance", "fixed")


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def features(waveform: torch.Tensor, cmvn: str = "utterance") -> torch.Tensor:
    found, lengths = Frontend(FrontendConfig(cmvn=cmvn))(waveform[None], torch.tensor([len(waveform)]))
    return found[0, : lengths[0]]


@settings(max_examples=25)
@given(st.integers(0, 4000), st.sampled_from([8000, 16000, 22050]))
def test_frames_are_counted_as_they_come(samples: int, rate: int) -> None:
    frontend = Frontend(FrontendConfig(sample_rate=rate, high_frequency=3800, mel_bins=20))
    found, lengths = frontend(noise(1, samples), torch.tensor([samples]))
    window, hop = round(0.025 * rate), round(0.010 * rate)
    expected = 0 if samples < window else 1 + (samples - window) // hop
    assert found.shape == (1, expected, 20)
    assert lengths.tolist() == [expected]
    assert frontend.frames(samples) == expected


def test_the_frame_shift_is_a_whole_number_of_samples() -> None:
    assert FrontendConfig(sample_rate=11_025, hop=0.01).frame_shift == 110 / 11_025


@pytest.mark.parametrize("cmvn", KINDS)
@pytest.mark.parametrize("padding", [0.0, 7.0, math.nan, math.inf])
def test_padding_changes_no_feature_of_an_utterance(cmvn: str, padding: float) -> None:
    frontend = Frontend(FrontendConfig(cmvn=cmvn))
    lengths = [16000, 399, 5555, 9000]
    batch = torch.full((4, 17000), padding)
    for row, length in enumerate(lengths):
        batch[row, :length] = noise(length, seed=row)
    found, frames = frontend(batch, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone = features(noise(length, seed=row), cmvn)
        assert len(alone) == frames[row]
        torch.testing.assert_close(found[row, : frames[row]], alone, atol=1e-5, rtol=0)
        assert not found[row, frames[row] :].any()


@pytest.mark.parametrize("frames", [100, 512, 513, 1027])
def test_what_is_computed_at_once_changes_no_bit_of_the_energies(frames: int) -> None:
    frontend = Frontend(FrontendConfig())
    samples = 400 + 160 * (frames - 1)
    batch = torch.stack([noise(samples, seed=row) for row in range(5)])
    alone = torch.cat([frontend.mel_energies(row[None]) for row in batch])
    assert torch.equal(frontend.mel_energies(batch), alone)
    assert torch.equal(frontend.mel_energies(batch[:3]), alone[:3])


def test_padding_changes_no_bit_of_the_normalisation() -> None:
    frontend = Frontend(FrontendConfig())
    energies, length = noise(1, 700, 80).square(), torch.tensor([700])
    alone = frontend._normalise(energies, torch.ones(1, 700, 1, dtype=torch.bool), length)
    for padding in (1, 7, 100, 5000):
        padded = torch.nn.functional.pad(energies, (0, 0, 0, padding), value=3.0)
        valid = (torch.arange(700 + padding) < 700).view(1, -1, 1)
        assert torch.equal(frontend._normalise(padded, valid, length)[:, :700], alone)


@pytest.mark.parametrize("gain", [0.01, 0.1, 9.0])
def test_gain_changes_no_feature_normalised_over_the_utterance(gain: float) -> None:
    loud = noise(16000) * torch.linspace(0.1, 1, 16000)
    torch.testing.assert_close(features(gain * loud), features(loud), atol=2e-3, rtol=0)


def test_every_bin_has_zero_mean_and_the_same_spread_over_the_utterance() -> None:
    coloured = torch.cumsum(noise(32000), 0) * torch.linspace(0.01, 1, 32000)
    found = features(coloured)
    assert found.mean(0).abs().max() < 1e-4
    assert (found.std(0) - 1).abs().max() < 0.05


def test_fixed_features_of_a_frame_do_not_depend_on_what_follows() -> None:
    waveform = noise(16000)
    whole = features(waveform, "fixed")
    start = features(waveform[:8000], "fixed")
    torch.testing.assert_close(whole[: len(start)], start, atol=1e-5, rtol=0)


def test_features_are_the_logarithm_of_torchaudios_mel_spectrogram() -> None:
    from torchaudio.transforms import MelSpectrogram

    waveform = noise(16000)
    mel = MelSpectrogram(
        n_fft=512, win_length=400, hop_length=160, f_min=20, f_max=7600, n_mels=80, center=False
    )
    # torchaudio centres the window in its FFT: the same frame lies 56 samples earlier there.
    expected = mel(torch.nn.functional.pad(waveform, (56, 56)))
    expected = ((expected + 1e-5).log().T + 4) / 4
    torch.testing.assert_close(features(waveform, "fixed"), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("cmvn", KINDS)
@pytest.mark.parametrize("level", [0.0, 1e-30, 1e-6, 1e6])
def test_silence_and_extreme_levels_stay_finite(cmvn: str, level: float) -> None:
    assert features(level * noise(8000), cmvn).isfinite().all()


@pytest.mark.parametrize("cmvn", KINDS)
def test_audio_shorter_than_a_frame_has_no_frames_alone_or_in_a_batch(cmvn: str) -> None:
    frontend = Frontend(FrontendConfig(cmvn=cmvn))
    for samples in (0, 1, 399):
        assert features(noise(samples), cmvn).shape == (0, 80)
    found, lengths = frontend(noise(3, 4000), torch.tensor([0, 399, 4000]))
    assert lengths.tolist() == [0, 0, 23]
    assert found.isfinite().all()
    assert not found[:2].any()
