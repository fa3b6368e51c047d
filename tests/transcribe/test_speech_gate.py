"""No words from nothing: the gate on made-up emissions, and the model that ships on sounds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.decoding.options import DecodingOptions
from asr.decoding.speech_gate import SpeechGate, Stretch, fit_threshold, stretches
from asr.errors import UserError
from asr.model import Model, load_network, save_network
from asr.transcriber import Transcriber, load_model

SHIFT = 0.04


def emissions(tokens: dict[int, tuple[int, float]], frames: int) -> torch.Tensor:
    """Surely blank but for frames that have a token with a probability: ``(frames, 5)``."""
    probabilities = torch.full((frames, 5), 1e-4)
    probabilities[:, 0] = 1 - 4e-4
    for frame, (token, probability) in tokens.items():
        probabilities[frame] = (1 - probability) / 4
        probabilities[frame, token] = probability
    return probabilities.log()


def run(begin: int, end: int, probability: float, every: int = 2) -> dict[int, tuple[int, float]]:
    """A token in every other frame."""
    return {frame: (1 + frame % 4, probability) for frame in range(begin, end, every)}


def test_stretches_are_parted_by_long_pauses_and_short_ones_count_for_little() -> None:
    found = list(stretches(emissions(run(10, 30, 0.9) | run(40, 50, 0.5) | run(90, 100, 0.5), 120), SHIFT))
    assert [(each.begin, each.end) for each in found] == [(10, 49), (90, 99)]
    assert found[0].evidence == pytest.approx((10 * 0.81 + 5 * 0.25) / (27 * SHIFT + 0.2 + 0.3), rel=1e-4)


def test_a_token_of_several_frames_counts_once_by_its_surest() -> None:
    (found,) = stretches(emissions({5: (1, 0.5), 6: (1, 0.9), 7: (1, 0.6), 8: (2, 0.8)}, 20), SHIFT)
    assert found.evidence == pytest.approx((0.9**2 + 0.8**2) / (4 * SHIFT + 0.3), rel=1e-4)


def test_slow_speech_is_speech() -> None:
    (fast,), (slow,) = (stretches(emissions(run(0, 100, 0.9, every), 100), SHIFT) for every in (5, 20))
    assert slow.evidence == pytest.approx(0.9**2 * 5 / (SHIFT + 4 * 0.2 + 0.3), rel=1e-4)
    assert slow.evidence > 0.8 * fast.evidence


def test_doubtful_tokens_become_blanks_whether_many_or_rare_and_speech_stays() -> None:
    gate = SpeechGate(3.0, SHIFT)
    spoken = emissions(run(40, 80, 0.9), 120)
    batch = torch.stack(
        [spoken, emissions(run(40, 80, 0.4), 120), emissions(run(0, 120, 0.6, every=15), 120)]
    )
    gated = gate(batch, torch.tensor([120, 120, 120]))
    assert torch.equal(gated[0, 28:91], spoken[28:91])
    assert (gated[1:].argmax(2) == 0).all()
    assert (gated[1:, :, 0] == 0).all()


def test_padding_is_not_heard_and_other_utterances_change_nothing() -> None:
    gate = SpeechGate(3.0, SHIFT)
    spoken = emissions(run(10, 30, 0.9), 60)
    alone = gate(spoken[None], torch.tensor([60]))[0]
    padded = torch.cat([spoken, emissions(run(0, 60, 0.99), 60)])
    together = gate(torch.stack([padded, padded]), torch.tensor([60, 120]))
    assert torch.equal(together[0, :60], alone)


@pytest.mark.parametrize("frames", [0, 1])
def test_no_frame_or_one(frames: int) -> None:
    given = torch.zeros(1, frames, 5)
    assert SpeechGate(3.0, SHIFT)(given, torch.tensor([frames])).shape == given.shape


def test_broken_emissions_are_left_for_the_decoder_to_tell() -> None:
    broken = torch.full((1, 50, 5), float("nan"))
    assert SpeechGate(3.0, SHIFT)(broken, torch.tensor([50])).isnan().any()


def test_a_threshold_lies_between_speech_and_nothing() -> None:
    speech = [[Stretch(0, 100, 8.0)], [Stretch(0, 100, 6.0)]]
    nothing: list[list[Stretch]] = [[], [Stretch(0, 5, 2.0)], [Stretch(0, 5, 1.0), Stretch(80, 90, 2.0)]]
    assert 2.0 < fit_threshold(speech, nothing) < 4.0
    assert 0 < fit_threshold(speech, [[]]) < 6.0


def test_the_user_can_do_without(make_model: Callable[..., Model], tmp_path: Path) -> None:
    model = make_model()
    model.config.decoding = {"speech_gate": {"characters": 1e9}}
    save_network(tmp_path / "deaf", model)
    noise = np.random.default_rng(0).standard_normal(64_000).astype(np.float32)
    assert load_model(tmp_path / "deaf").transcribe(noise).text == ""
    heard = load_model(tmp_path / "deaf", DecodingOptions(speech_gate=False))
    assert heard.transcribe(noise).text
    assert heard.provenance["decoding"]["speech_gate"] is False


def test_every_command_has_the_gate(
    make_model: Callable[..., Model], tmp_path: Path, clips: Path, run_asr: Callable[..., object]
) -> None:
    model = make_model()
    model.config.decoding = {"speech_gate": {"characters": 1e9}}
    save_network(tmp_path / "deaf", model)
    deaf = tmp_path / "deaf"
    for command in (
        ("transcribe", clips, "--model", deaf),
        ("transcribe", clips, "--model", deaf, "--stream", "--look-ahead", 0.5),
        ("decode", deaf, clips),
        ("evaluate", deaf, clips),
    ):
        gated, open_ = run_asr(*command), run_asr(*command, "--no-speech-gate")
        assert gated.status == open_.status == 0  # type: ignore[attr-defined]
        assert gated.stdout != open_.stdout, command  # type: ignore[attr-defined]


def test_a_threshold_that_is_no_number(make_model: Callable[..., Model], tmp_path: Path) -> None:
    model = make_model()
    model.config.decoding = {"speech_gate": {"characters": "high"}}
    save_network(tmp_path / "model", model)
    with pytest.raises(UserError, match=r"decoding\.speech_gate\.characters: 'high' is not a number"):
        load_model(tmp_path / "model")


@pytest.fixture(scope="module")
def english() -> Transcriber:
    return load_model("en")


def test_every_head_that_ships_has_a_threshold() -> None:
    config = load_network("en").config
    assert set(config.decoding["speech_gate"]) == set(config.heads)


def sounds() -> dict[str, np.ndarray]:
    draw, time = np.random.default_rng(3), np.arange(64_000) / 16_000
    white = draw.standard_normal(64_000)
    notes = np.repeat(220 * 2 ** (draw.integers(0, 12, 16) / 12), 4000)
    return {
        "no sample": np.zeros(0),
        "10 ms": 0.1 * white[:160],
        "silence": np.zeros(64_000),
        "white noise": 0.1 * white,
        "brown noise": 0.001 * np.cumsum(white - white.mean()),
        "clicks": 0.5 * (draw.random(64_000) < 3e-4),
        "hum": 0.1 * np.sin(2 * np.pi * 50 * time) + 0.03 * np.sin(2 * np.pi * 150 * time),
        "melody": 0.2 * np.sin(2 * np.pi * np.cumsum(notes) / 16_000),
    }


@pytest.mark.parametrize("name", sounds())
def test_nothing_is_written_where_nobody_speaks(english: Transcriber, name: str) -> None:
    assert english.transcribe(sounds()[name].astype(np.float32)).text == ""


def test_speech_keeps_its_words_beside_silence(english: Transcriber, examples: Path) -> None:
    import soundfile

    speech, rate = soundfile.read(sorted(examples.parent.glob("*.flac"))[0], dtype="float32")
    alone = english.transcribe(speech, rate)
    nothing = 0.001 * np.random.default_rng(0).standard_normal(10 * rate).astype(np.float32)
    both = english.transcribe(np.concatenate([nothing, speech, nothing]), rate)
    assert alone.text
    assert both.words
    assert all(9.5 < word.start < 10.5 + len(speech) / rate for word in both.words)
