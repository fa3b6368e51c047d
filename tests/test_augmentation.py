"""Each augmentation changes what it says, by as much as it says, and repeats."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from asr.augmentation import (
    AugmentConfig,
    NoiseConfig,
    ReverberationConfig,
    SpecAugment,
    SpecAugmentConfig,
    WaveformAugmentation,
    synthetic_response,
)
from asr.errors import UserError
from asr.noises import babble, coloured_noise, swelling

RATE = 16_000


def draw(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def tone(frequency: float, seconds: float = 1.0) -> Tensor:
    return 0.1 * torch.sin(2 * math.pi * frequency * torch.arange(round(seconds * RATE)) / RATE)


def vary(waveform: Tensor, seed: int = 0, speed: float = 1.0, **options: Any) -> Tensor:
    config = AugmentConfig(**{"speed": [speed]} | options)
    return WaveformAugmentation(config, RATE)(waveform, speed, draw(seed))


def sounds(folder: Path, **waveforms: Tensor) -> str:
    """A manifest of sounds."""
    lines = []
    for name, waveform in waveforms.items():
        soundfile.write(folder / f"{name}.wav", waveform.numpy(), RATE, subtype="FLOAT")
        lines.append(json.dumps({"audio_filepath": f"{name}.wav", "duration": len(waveform) / RATE}))
    (folder / "sounds.jsonl").write_text("\n".join(lines))
    return str(folder / "sounds.jsonl")


def level(waveform: Tensor) -> float:
    return 10 * math.log10(float(waveform.square().mean()))


EVERYTHING: dict[str, Any] = {
    "reverberation": ReverberationConfig(probability=1),
    "noise": NoiseConfig(probability=1),
    "telephone": 1.0,
    "gain_probability": 1.0,
}


def test_probabilities_of_zero_change_nothing() -> None:
    waveform = tone(440)
    for seed in range(20):
        torch.testing.assert_close(vary(waveform, seed), waveform, atol=0, rtol=0)


@pytest.mark.parametrize("kind", EVERYTHING)
def test_what_is_drawn_follows_from_the_generator(kind: str) -> None:
    waveform = tone(440)
    changed = vary(waveform, 1, **{kind: EVERYTHING[kind]})
    assert not torch.equal(changed, waveform)
    assert changed.shape == waveform.shape
    assert changed.isfinite().all()
    torch.testing.assert_close(vary(waveform, 1, **{kind: EVERYTHING[kind]}), changed, atol=0, rtol=0)
    if kind != "telephone":
        assert not torch.equal(vary(waveform, 2, **{kind: EVERYTHING[kind]}), changed)


@pytest.mark.parametrize("kind", EVERYTHING)
def test_a_probability_is_how_often_it_happens(kind: str) -> None:
    option = 0.3 if isinstance(EVERYTHING[kind], float) else type(EVERYTHING[kind])(probability=0.3)
    waveform = tone(440, 0.05)
    changed = sum(not torch.equal(vary(waveform, seed, **{kind: option}), waveform) for seed in range(200))
    assert 35 <= changed <= 85


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch(speed: float) -> None:
    changed = vary(tone(440, 2.0), speed=speed)
    assert len(changed) == pytest.approx(2 * RATE / speed, abs=1)
    spectrum = torch.fft.rfft(changed).abs()
    assert spectrum.argmax().item() * RATE / len(changed) == pytest.approx(440 * speed, rel=0.01)


@pytest.mark.parametrize("speeds", [[], [0.3], [1.0, 3.0]])
def test_a_speed_that_no_one_speaks_at_is_refused(speeds: list[float]) -> None:
    with pytest.raises(UserError, match=r"augment\.speed"):
        WaveformAugmentation(AugmentConfig(speed=speeds), RATE)


@pytest.mark.parametrize("snr", [-5.0, 10.0, 30.0])
@pytest.mark.parametrize("recorded", [True, False])
def test_noise_has_the_drawn_ratio_to_the_speech(tmp_path: Path, snr: float, recorded: bool) -> None:
    manifest = sounds(tmp_path, hum=tone(100, 0.3), hiss=0.01 * torch.randn(5 * RATE)) if recorded else ""
    noise = NoiseConfig(probability=1, snr=(snr, snr), manifest=manifest)
    waveform = tone(440)
    for seed in range(4):
        added = vary(waveform, seed, noise=noise) - waveform
        assert level(waveform) - level(added) == pytest.approx(snr, abs=0.3)


def test_silent_noise_and_silent_speech_stay_finite(tmp_path: Path) -> None:
    manifest = sounds(tmp_path, silence=torch.zeros(RATE))
    noise = NoiseConfig(probability=1, manifest=manifest)
    torch.testing.assert_close(vary(tone(440), noise=noise), tone(440))
    for kind, option in EVERYTHING.items():
        assert vary(torch.zeros(RATE), **{kind: option}).isfinite().all()


def voice(draw: np.random.Generator) -> Tensor:
    """One of three people, each with a pitch and a length of their own."""
    number = int(draw.integers(3))
    return (0.1 + number) * tone(100.0 * (number + 1), number + 1)


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_babble_is_made_of_the_voices_and_has_the_drawn_ratio(snr: float) -> None:
    noise, waveform = NoiseConfig(probability=1, snr=(snr, snr), babble=1.0), tone(440)
    vary = WaveformAugmentation(AugmentConfig(noise=noise), RATE, voice)
    for seed in range(4):
        added = vary(waveform, 1.0, draw(seed)) - waveform
        assert level(waveform) - level(added) == pytest.approx(snr, abs=0.3)
        power = torch.fft.rfft(added).abs().square()
        hertz = torch.arange(len(power)) * RATE / len(waveform)
        assert power[(hertz % 100).minimum(100 - hertz % 100) > 10].sum() < 0.02 * power.sum()


def test_voices_of_babble_are_equally_loud() -> None:
    people = iter([tone(100.0, 1), 0.1 * tone(200.0, 1)])
    power = torch.fft.rfft(babble(RATE, 2, lambda draw: next(people), draw())).abs().square()
    assert float(power[200] / power[100]) == pytest.approx(1.0, rel=0.05)


def test_music_is_notes_at_the_drawn_ratio() -> None:
    noise, waveform = NoiseConfig(probability=1, snr=(10.0, 10.0), music=1.0), tone(440)
    for seed in range(4):
        added = vary(waveform, seed, noise=noise) - waveform
        assert level(waveform) - level(added) == pytest.approx(10.0, abs=0.3)
        power = torch.fft.rfft(added).abs().square().sort(descending=True).values
        assert power[: len(power) // 10].sum() > 0.8 * power.sum()


def test_noise_swells_and_ebbs() -> None:
    for seed in range(4):
        swollen = swelling(torch.ones(20 * RATE), RATE, draw(seed))
        assert swollen.max() * swollen.min() == pytest.approx(1.0, abs=0.2)
        assert swollen.max() > 1.05


def test_shares_decide_which_noise_it_is() -> None:
    noise = NoiseConfig(probability=1, babble=0.3, music=0.3)
    kinds = {"babble": 0, "music": 0, "coloured_noise": 0}
    with pytest.MonkeyPatch.context() as patch:
        for kind in kinds:

            def sound(samples: int, *_: object, kind: str = kind) -> Tensor:
                kinds[kind] += 1
                return torch.ones(samples)

            patch.setattr(f"asr.augmentation.{kind}", sound)
        vary = WaveformAugmentation(AugmentConfig(noise=noise), RATE, voice)
        for seed in range(300):
            vary(tone(440), 1.0, draw(seed))
    assert kinds["babble"] == pytest.approx(90, abs=30)
    assert kinds["music"] == pytest.approx(90, abs=30)
    assert kinds["coloured_noise"] == pytest.approx(120, abs=30)


def test_silent_and_empty_voices_babble_silently() -> None:
    noise = NoiseConfig(probability=1, babble=1.0)
    for said in (torch.zeros(9), torch.zeros(0)):
        vary = WaveformAugmentation(AugmentConfig(noise=noise), RATE, lambda draw, said=said: said)  # type: ignore[misc]
        torch.testing.assert_close(vary(tone(440), 1.0, draw()), tone(440))


def test_noise_is_coloured_as_its_exponent_says() -> None:
    for exponent in (0.0, 1.0, 2.0):
        power = torch.fft.rfft(coloured_noise(1 << 16, exponent, draw())).abs().square()
        low, high = power[100:200].mean(), power[10_000:20_000].mean()
        assert math.log(low / high) / math.log(100) == pytest.approx(exponent, abs=0.15)


def test_a_synthetic_room_falls_by_sixty_decibels_in_its_time() -> None:
    response = synthetic_response(0.5, RATE, draw())
    assert response[0] == 1
    assert len(response) == RATE // 2
    start, end = response[100:900].square().mean(), response[-800:].square().mean()
    assert 10 * math.log10(start / end) == pytest.approx(60 * (1 - 1300 / 8000), abs=4)


def test_reverberation_keeps_length_level_and_onset() -> None:
    click = torch.zeros(RATE)
    click[4000] = 0.5
    wet = vary(click, reverberation=ReverberationConfig(probability=1, rt60=(0.3, 0.3)))
    assert len(wet) == RATE
    assert level(wet) == pytest.approx(level(click), abs=0.01)
    assert wet.abs().argmax() == 4000
    assert wet[:3999].abs().max() < 1e-5
    assert wet[4001:].any()


def test_a_rooms_own_response_is_used(tmp_path: Path) -> None:
    echo = torch.zeros(2000)
    echo[0], echo[1500] = 1.0, 0.5
    click = torch.zeros(RATE)
    click[4000] = 0.5
    wet = vary(click, reverberation=ReverberationConfig(probability=1, manifest=sounds(tmp_path, room=echo)))
    assert (wet.abs() > 0.05).nonzero().flatten().tolist() == [4000, 5500]


def test_telephone_keeps_speech_and_takes_the_rest() -> None:
    def kept(frequency: float) -> float:
        return level(vary(tone(frequency), telephone=1.0)[2000:]) - level(tone(frequency)[2000:])

    assert kept(1000) > -1
    assert kept(100) < -12
    assert kept(7000) < -12


def test_telephone_does_not_cut_off_what_is_louder_than_1() -> None:
    quiet, loud = tone(1000), 100 * tone(1000)
    torch.testing.assert_close(vary(loud, telephone=1.0) / 100, vary(quiet, telephone=1.0), atol=1e-4, rtol=0)


def test_gain_lies_within_its_range() -> None:
    gains = [level(vary(tone(440), seed, gain=6.0, gain_probability=1.0)) for seed in range(50)]
    gains = [gain - level(tone(440)) for gain in gains]
    assert -6 <= min(gains) < -3
    assert 3 < max(gains) <= 6


def test_an_empty_waveform_passes() -> None:
    for speed in (0.9, 1.0):
        assert len(vary(torch.zeros(0), speed=speed, **EVERYTHING)) == 0


def test_a_manifest_without_sounds_is_named(tmp_path: Path) -> None:
    (tmp_path / "sounds.jsonl").write_text("")
    (tmp_path / "empty.jsonl").write_text('{"audio_filepath": "empty.wav", "duration": 0}\n')
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(UserError, match=r"empty\.jsonl: holds no sounds, or empty ones"):
        vary(tone(440), noise=NoiseConfig(probability=1, manifest=str(tmp_path / "empty.jsonl")))
    with pytest.raises(UserError, match=r"sounds\.jsonl: no utterances in this manifest"):
        vary(tone(440), noise=NoiseConfig(probability=1, manifest=str(tmp_path / "sounds.jsonl")))


def masked(lengths: list[int], bins: int = 40, **options: Any) -> Tensor:
    """Which cells of features of ones are masked: ``(batch, frames, bins)``."""
    features = torch.ones(len(lengths), max(lengths), bins)
    return SpecAugment(SpecAugmentConfig(**options))(features, torch.tensor(lengths)) == 0


def test_spec_augment_with_probability_zero_changes_nothing() -> None:
    torch.manual_seed(0)
    assert not masked([100] * 20, probability=0.0).any()


def test_spec_augment_masks_as_many_utterances_as_its_probability_says() -> None:
    torch.manual_seed(0)
    chosen = masked([50] * 400, probability=0.3, frequency_width=20).any(2).any(1)
    assert 0.2 < chosen.float().mean() < 0.35


def test_time_masks_lie_within_each_utterance_and_are_no_wider_than_allowed() -> None:
    torch.manual_seed(0)
    lengths = [100, 37, 9, 0] * 100
    found = masked(lengths, probability=1.0, frequency_masks=0, time_masks=1, time_width=15, time_share=0.2)
    assert (found.all(2) == found.any(2)).all()
    widths = found[:, :, 0].sum(1)
    for length, most in ((100, 15), (37, 7), (9, 1), (0, 0)):
        rows = [row for row, each in enumerate(lengths) if each == length]
        assert not found[rows, length:].any()
        assert widths[rows].max() == most
        assert widths[rows].min() == 0
    edges = found[:, :, 0].int().diff(dim=1).abs().sum(1)
    assert edges.max() <= 2  # one stretch


def test_frequency_masks_are_bands_no_wider_than_allowed() -> None:
    torch.manual_seed(0)
    found = masked([30] * 200, probability=1.0, time_masks=0, frequency_masks=2, frequency_width=6)
    assert (found.all(1) == found.any(1)).all()
    widths = found[:, 0].sum(1)
    assert widths.max() <= 12
    assert widths.max() > 6
    assert found[:, 0].any(0).all()  # every bin is masked some time


def test_spec_augment_leaves_features_without_frames_alone() -> None:
    assert masked([0, 0], probability=1.0).shape == (2, 0, 40)


def warped(features: Tensor, lengths: list[int], **options: Any) -> Tensor:
    options = {"probability": 1.0, "time_masks": 0, "frequency_masks": 0} | options
    return SpecAugment(SpecAugmentConfig(**options))(features, torch.tensor(lengths))


def test_a_time_warp_shifts_by_no_more_than_allowed_and_keeps_both_ends_and_the_order() -> None:
    torch.manual_seed(0)
    lengths, limits = [200, 200, 41, 9, 2, 1, 0] * 60, {200: 30.0, 41: 10.0, 9: 2.0, 2: 0.25, 1: 0.0, 0: 0.0}
    time = torch.arange(200.0).expand(len(lengths), -1).unsqueeze(2)
    found = warped(time, lengths, time_warp=30)[:, :, 0]
    shifts = (found - time[:, :, 0]).abs()
    for length, limit in limits.items():
        rows = [row for row, each in enumerate(lengths) if each == length]
        assert not shifts[rows, length:].any()
        assert shifts[rows].max() <= limit + 1e-3
        if length > 2:
            assert shifts[rows].max() > 0.8 * limit
            assert shifts[rows][:, [0, length - 1]].max() < 1e-3
            assert found[rows, :length].diff(dim=1).min() > 0
            assert found[rows, :length].diff(dim=1).max() < 2 + 1e-3  # no more than twice as fast
    assert not torch.equal(shifts[0], shifts[1])


def test_a_time_warp_mixes_neighbouring_frames_of_its_own_utterance_only() -> None:
    torch.manual_seed(0)
    features = torch.arange(8.0).view(8, 1, 1).expand(8, 50, 3)
    torch.testing.assert_close(warped(features, [50] * 8, time_warp=10), features)
    features = torch.zeros(1, 100, 1)
    features[:, 50] = 1.0
    found = warped(features, [100], time_warp=10)
    assert 0.4 < found.sum() < 2.1
    assert 1 <= (found > 0).sum() <= 3


def test_only_the_chosen_utterances_are_warped() -> None:
    torch.manual_seed(0)
    features = torch.randn(400, 50, 2)
    changed = (warped(features, [50] * 400, time_warp=5, probability=0.3) != features).any(2).any(1)
    assert 0.2 < changed.float().mean() < 0.4
    assert torch.equal(warped(features, [50] * 400, time_warp=5, probability=0.0), features)
    assert torch.equal(warped(features, [50] * 400, time_warp=0), features)
