"""Transcribing piece by piece, on a model that hears tones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import torch

from asr.encoder import CELLS
from asr.errors import UserError
from asr.frontend import Frontend, FrontendConfig
from asr.frontend_stream import FrontendStream
from asr.model import save_network
from asr.streaming import EmissionStream, Stream
from asr.transcriber import Transcriber, load_model

if TYPE_CHECKING:
    from asr.model import Model

PANGRAM = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"
RATE = 16_000
EXAMPLES = Path(__file__).parents[2] / "examples"
Speak = Callable[..., np.ndarray]
MakeModel = Callable[..., "Model"]


@pytest.fixture(scope="module")
def both_ways(tone_model: Path) -> Transcriber:
    return load_model(tone_model)


@pytest.fixture(scope="module")
def one_way(tone_stream_model: Path) -> Transcriber:
    return load_model(tone_stream_model)


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def emissions(
    model: "Model", waveform: torch.Tensor, look_ahead: float, sizes: Sequence[int]
) -> torch.Tensor:
    """Emissions of a waveform that comes in pieces of these sizes, over and over."""
    stream, pieces, number = EmissionStream(model, model.default_head, look_ahead), [], 0
    while len(waveform):
        size = sizes[number % len(sizes)]
        pieces += list(stream.feed(waveform[:size]))
        waveform = waveform[size:]
        number += 1
    return torch.cat([*pieces, *stream.feed(waveform, final=True)])


def offline(model: "Model", waveform: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.emissions(waveform[None], torch.tensor([len(waveform)]))[0][0]


def heard(stream: Stream, samples: np.ndarray, seconds: float = 0.1) -> list[str]:
    """Texts that settle when samples come in pieces of so many seconds."""
    size = round(seconds * RATE)
    segments = [
        segment
        for start in range(0, len(samples), size)
        for segment in stream.feed(samples[start : start + size])
    ]
    return [segment.text for segment in segments + stream.finish()]


def sentences(speak: Speak, *texts: str, pause: float = 1.0) -> np.ndarray:
    silence = np.zeros(round(pause * RATE), np.float32)
    return np.concatenate([part for text in texts for part in (speak(text), silence)])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("subsampling", "factor"), [("conv2d", 4), ("conv2d", 3), ("stack", 2)])
def test_a_one_directional_model_gives_the_emissions_of_the_whole_recording(
    make_model: MakeModel, cell: str, subsampling: str, factor: int
) -> None:
    model = make_model(
        frontend={"cmvn": "fixed"},
        cell=cell,
        bidirectional=False,
        subsampling=subsampling,
        subsampling_factor=factor,
    )
    waveform = noise(2.7)
    streamed = emissions(model, waveform, 0.0, [3000, 1, 7777])
    torch.testing.assert_close(streamed, offline(model, waveform), atol=1e-5, rtol=0)


def test_blocks_of_the_subsampling_wait_for_the_frames_behind(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(frontend={"cmvn": "fixed"}, bidirectional=False, blocks=2)
    for name, parameter in model.named_parameters():
        if "narrow" in name:
            torch.nn.init.normal_(parameter)
    waveform = noise(2.7)
    streamed = emissions(model, waveform, 0.0, [3000, 1, 7777])
    torch.testing.assert_close(streamed, offline(model, waveform), atol=1e-5, rtol=0)
    save_network(tmp_path, model)
    assert load_model(tmp_path).stream().latency == pytest.approx(0.4 + 2 * 0.04)


@pytest.mark.parametrize("cell", CELLS)
def test_look_ahead_over_everything_is_the_whole_recording(make_model: MakeModel, cell: str) -> None:
    model = make_model(frontend={"cmvn": "fixed"}, cell=cell)
    waveform = noise(2.7)
    whole = offline(model, waveform)
    streamed = emissions(model, waveform, 3.0, [4000])
    torch.testing.assert_close(streamed, whole, atol=1e-4, rtol=0)
    short = emissions(model, waveform, 0.0, [4000])
    assert short.shape == whole.shape
    assert (short - whole).abs().max() > 1e-3


def test_a_frame_depends_on_nothing_beyond_its_chunk_and_look_ahead(make_model: MakeModel) -> None:
    model = make_model()
    waveform = noise(4.0)
    changed = waveform.clone()
    # Chunks of 0.4 s, 0.8 s of look-ahead: the first two chunks end at 0.8 s and hear up to 1.6 s.
    changed[round(1.63 * RATE) :] = 0.0
    before, after = (emissions(model, samples, 0.8, [5000]) for samples in (waveform, changed))
    assert torch.equal(before[:20], after[:20])
    assert not torch.equal(before[20:30], after[20:30])


@pytest.mark.parametrize("bidirectional", [True, False])
def test_how_samples_are_dealt_out_changes_nothing(make_model: MakeModel, bidirectional: bool) -> None:
    model = make_model(bidirectional=bidirectional)
    waveform = noise(3.3)
    look_ahead = 0.5 if bidirectional else 0.0
    whole = emissions(model, waveform, look_ahead, [len(waveform)])
    for sizes in ([160], [1, 12_345], [7000, 0, 13]):
        assert torch.equal(emissions(model, waveform, look_ahead, sizes), whole)


def test_recordings_too_short_for_a_frame_have_no_emissions(make_model: MakeModel) -> None:
    for bidirectional in (True, False):
        model = make_model(bidirectional=bidirectional)
        for samples in (0, 1, 399):
            look_ahead = 1.0 if bidirectional else 0.0
            assert emissions(model, torch.zeros(samples), look_ahead, [100]).shape == (0, 29)


def voice() -> torch.Tensor:
    """A recorded sentence in a quiet room, of a multiple of 0.4 s."""
    samples, _ = soundfile.read(EXAMPLES / "boat.flac", dtype="float32")
    samples = samples[: len(samples) // 6400 * 6400]
    return torch.from_numpy(samples) + 0.01 * noise(len(samples) / RATE)


def running_features(waveform: torch.Tensor) -> torch.Tensor:
    stream = FrontendStream(Frontend(FrontendConfig()))
    return torch.cat([stream.process(piece)[0] for piece in waveform.split(6400)])


@pytest.mark.parametrize(
    "room", [0.01 * noise(4.8, seed=1), 0.01 * noise(40.0, seed=1), torch.zeros(6400 * 5)]
)
def test_a_room_without_a_voice_changes_little_of_how_the_first_words_look(room: torch.Tensor) -> None:
    alone = running_features(voice())
    after = running_features(torch.cat([room, voice()]))
    assert float((after[-len(alone) :] - alone).abs().mean()) < 0.4
    assert float(after[: len(room) // 160 - 2].mean()) < -0.2  # the room is below what is mean of a voice


def test_running_normalisation_comes_near_that_of_the_whole_recording() -> None:
    waveform = voice().repeat(8)
    whole, _ = Frontend(FrontendConfig())(waveform[None], torch.tensor([len(waveform)]))
    running = running_features(waveform)
    differences = [float(part.abs().mean()) for part in (running - whole[0]).chunk(8)]
    assert differences[-1] < 0.1


@pytest.mark.parametrize("gain", [0.01, 0.1, 3.0])
def test_running_normalisation_does_not_depend_on_gain(gain: float) -> None:
    difference = running_features(gain * voice()) - running_features(voice())
    assert float(difference.abs().mean()) < 0.02


def test_running_normalisation_follows_a_change_of_gain() -> None:
    def after(loud: float) -> torch.Tensor:
        before = loud * voice().repeat(3)
        return running_features(torch.cat([before, voice().repeat(30)]))[len(before) // 160 :]

    differences = [float(part.abs().mean()) for part in (after(4.0) - after(1.0)).chunk(30)]
    assert differences[0] > 0.3
    assert differences[-1] < 0.05


def test_each_pause_settles_however_far_the_model_looks_ahead(both_ways: Transcriber, speak: Speak) -> None:
    samples = sentences(speak, "AB", "CD", "EF", "GH")
    for look_ahead in (0.5, 8.0):
        assert heard(both_ways.stream(look_ahead), samples) == ["AB", "CD", "EF", "GH"]


def test_what_is_no_number_in_one_channel_silences_no_other(both_ways: Transcriber, speak: Speak) -> None:
    samples = sentences(speak, "HELLO")
    broken = np.full_like(samples, np.nan)
    assert heard(both_ways.stream(), np.stack([2 * samples, broken], axis=1)) == ["HELLO"]


def test_samples_and_rates_that_are_none_are_refused(both_ways: Transcriber) -> None:
    for rate in (0, -8000, 44_100.0, 4_000_000_000):
        with pytest.raises(UserError, match="the rate must be"):
            both_ways.stream(sample_rate=rate)  # type: ignore[arg-type]
    for samples in ([0.0, 0.1], b"abc"):
        with pytest.raises(UserError, match="must be an array or a tensor"):
            both_ways.stream().feed(samples)  # type: ignore[arg-type]


def test_both_kinds_of_model_say_what_was_said(
    one_way: Transcriber, both_ways: Transcriber, speak: Speak
) -> None:
    samples = sentences(speak, PANGRAM, "HELLO WORLD")
    for transcriber in (one_way, both_ways):
        for seconds in (0.05, 0.7, 60.0):
            assert heard(transcriber.stream(), samples, seconds) == [PANGRAM, "HELLO WORLD"]


def test_words_have_the_times_they_have_offline(both_ways: Transcriber, speak: Speak) -> None:
    samples = sentences(speak, "AB CDE ", "FGH ", "IJ")
    stream = both_ways.stream()
    segments = stream.feed(samples) + stream.finish()
    words = [word for segment in segments for word in segment.words]
    expected = both_ways.transcribe(samples).words
    assert [word.text for word in words] == [word.text for word in expected] == ["AB", "CDE", "FGH", "IJ"]
    for word, other in zip(words, expected, strict=True):
        assert (word.start, word.end) == pytest.approx((other.start, other.end), abs=0.041)
    assert stream.seconds == pytest.approx(len(samples) / RATE)


def test_what_settled_is_not_changed_by_what_follows(both_ways: Transcriber, speak: Speak) -> None:
    samples = sentences(speak, *PANGRAM.split(), pause=0.7)
    complete = heard(both_ways.stream(), samples)
    stream, settled = both_ways.stream(), []
    for start in range(0, len(samples), 8000):
        settled += [segment.text for segment in stream.feed(samples[start : start + 8000])]
        assert settled == complete[: len(settled)]
    assert len(settled) >= 7
    half = len(samples) // 2
    settled = [segment.text for segment in both_ways.stream().feed(samples[:half])]
    otherwise = np.concatenate([samples[:half], speak("SOMETHING ELSE")])
    assert heard(both_ways.stream(), otherwise)[: len(settled)] == settled
    assert len(settled) >= 3


def test_text_is_partial_before_it_settles(one_way: Transcriber, speak: Speak) -> None:
    stream = one_way.stream()
    shown = []
    samples = sentences(speak, "HELLO WORLD")
    for start in range(0, len(samples), 3200):
        settled = stream.feed(samples[start : start + 3200])
        shown.append(stream.partial())
        if settled:
            break
    assert shown[-1] == ""
    assert "HELLO" in shown
    assert "HELLO WORLD" in shown
    assert [segment.text for segment in settled] == ["HELLO WORLD"]
    # It settled a pause and the latency after it was said, and no later than a chunk after that.
    waited = stream.seconds - settled[0].end
    assert waited <= stream.pause + stream.latency + 0.2 + 0.05


def test_latencies_are_those_of_chunk_and_look_ahead(one_way: Transcriber, both_ways: Transcriber) -> None:
    assert one_way.stream().latency == pytest.approx(0.4)
    assert both_ways.stream().latency == pytest.approx(1.4)
    assert both_ways.stream(look_ahead=0.6).latency == pytest.approx(1.0)
    assert both_ways.stream(look_ahead=0.6).partial_latency == pytest.approx(0.4)


def test_speech_without_a_pause_settles_in_the_end(one_way: Transcriber, speak: Speak) -> None:
    text = " ".join([PANGRAM] * 4)
    stream = Stream(one_way, longest=6.0)
    samples, settled, last = speak(text), [], 0.0
    for start in range(0, len(samples), 1600):
        settled += stream.feed(samples[start : start + 1600])
        if settled:
            last = settled[-1].end
        assert stream.seconds - last <= 6.0 + stream.latency + 0.5
    assert " ".join(segment.text for segment in settled + stream.finish()) == text


def test_silence_settles_nothing_and_keeps_nothing(both_ways: Transcriber) -> None:
    stream = both_ways.stream()
    for _ in range(30):
        assert stream.feed(np.zeros(32_000, np.float32)) == []
        assert stream.partial() == ""
    assert len(stream._held) * 0.04 < 2 * stream.pause
    assert stream.finish() == []
    assert both_ways.stream().finish() == []


def test_samples_of_any_kind_and_rate(one_way: Transcriber, speak: Speak) -> None:
    samples = speak("HELLO")
    integers = (samples * 32767).astype(np.int16)
    for given in (
        samples.astype(np.float64),
        integers,
        torch.from_numpy(samples),
        np.stack([samples] * 2, 1),
    ):
        stream = one_way.stream()
        assert [segment.text for segment in stream.feed(given) + stream.finish()] == ["HELLO"]
    stream = one_way.stream(sample_rate=44_100)
    found = [segment for piece in np.array_split(speak("HELLO", 44_100), 9) for segment in stream.feed(piece)]
    assert [segment.text for segment in found + stream.finish()] == ["HELLO"]


def test_damaged_samples_do_not_deafen_the_stream(one_way: Transcriber, speak: Speak) -> None:
    stream = one_way.stream()
    stream.feed(np.array([np.nan, np.inf, -np.inf, 3e38] * 4000, np.float32))
    stream.feed(np.zeros(RATE, np.float32))
    assert "HELLO" in heard(stream, sentences(speak, "HELLO", "HELLO"))


def test_mistakes_are_told(one_way: Transcriber, both_ways: Transcriber) -> None:
    with pytest.raises(UserError, match="one-directional"):
        one_way.stream(look_ahead=1.0)
    for look_ahead in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="must be 0 to 15 seconds"):
            both_ways.stream(look_ahead=look_ahead)
    with pytest.raises(UserError, match="samples must be"):
        one_way.stream().feed(np.array(["a"]))
    stream = one_way.stream()
    stream.finish()
    with pytest.raises(ValueError, match="ended"):
        stream.feed(np.zeros(10, np.float32))


def test_streams_of_one_transcriber_do_not_mix(one_way: Transcriber, speak: Speak) -> None:
    first, second = one_way.stream(), one_way.stream()
    texts: dict[Any, list[str]] = {first: [], second: []}
    recordings = {first: sentences(speak, "HELLO"), second: sentences(speak, "WORLD")}
    for start in range(0, len(recordings[first]), 1600):
        for stream, samples in recordings.items():
            texts[stream] += [segment.text for segment in stream.feed(samples[start : start + 1600])]
    assert (texts[first], texts[second]) == (["HELLO"], ["WORLD"])
