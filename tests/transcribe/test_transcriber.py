"""Transcribing through the Python interface, on a model that hears tones."""

import contextlib
import io
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import asr
from asr.audio import RawFormat
from asr.decoding.options import DecodingOptions
from asr.errors import UserError
from asr.pipeline import Listener, _tasks
from asr.precision import fast_bfloat16
from asr.recording import Recording, open_recording
from asr.transcriber import Transcriber, load_model
from asr.transcript import Transcript

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.flac"))
PANGRAM = "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"
Speak = Callable[..., np.ndarray]
Record = Callable[..., Path]


@pytest.fixture(scope="module")
def transcriber(tone_model: Path) -> Transcriber:
    return load_model(tone_model)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_files_of_any_rate_and_format(
    transcriber: Transcriber, record: Record, tmp_path: Path, rate: int, suffix: str
) -> None:
    text = transcriber.transcribe(record(tmp_path / f"a.{suffix}", PANGRAM, rate)).text
    assert (
        text == PANGRAM if suffix in ("wav", "flac") else SequenceMatcher(None, text, PANGRAM).ratio() > 0.7
    )


def test_every_kind_of_source(transcriber: Transcriber, record: Record, speak: Speak, tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav", PANGRAM)
    samples = speak(PANGRAM)
    sources = [
        path,
        str(path),
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        samples,
        samples.astype(np.float64),
        torch.from_numpy(samples),
        (samples * 32767).astype(np.int16),
        np.stack([samples, samples], axis=1),
    ]
    for source in sources:
        assert transcriber.transcribe(source).text == PANGRAM
    assert transcriber.transcribe(speak(PANGRAM, 48_000), sample_rate=48_000).text == PANGRAM
    assert asr.transcribe(path, transcriber.folder).text == PANGRAM
    assert asr.transcribe(speak(PANGRAM, 48_000), transcriber.folder, 48_000).text == PANGRAM
    assert asr.load_model(transcriber.folder).transcribe(path).text == PANGRAM


def test_what_is_no_sound_is_refused(transcriber: Transcriber) -> None:
    for source in (np.zeros((2, 2, 2)), np.array(["a"])):
        with pytest.raises(UserError, match="samples must be"):
            transcriber.transcribe(source)


def test_what_holds_no_bytes_is_an_error_in_its_place(
    transcriber: Transcriber, record: Record, tmp_path: Path
) -> None:
    path = record(tmp_path / "a.wav", "ABC")
    closed = path.open("rb")
    closed.close()
    with path.open(encoding="utf-8") as as_text, (tmp_path / "out").open("wb") as write_only:
        odd: list[Any] = [closed, as_text, write_only, io.StringIO("ABC"), torch.zeros(9, device="meta")]
        odd.append(torch.eye(3).to_sparse())
        results = list(transcriber.transcribe_all([path, *odd, path]))
    assert [isinstance(result, UserError) for result in results] == [False, *[True] * len(odd), False]
    assert not any("None" in str(result) for result in results[1:-1])


def test_one_recording_is_no_list_of_recordings(transcriber: Transcriber, tmp_path: Path) -> None:
    for one in ("a.wav", tmp_path, np.zeros(3)):
        with pytest.raises(UserError, match="takes a list"):
            next(transcriber.transcribe_all(one))


def test_integers_are_the_same_samples_block_by_block(transcriber: Transcriber) -> None:
    samples = np.random.default_rng(0).integers(-30_000, 30_000, (70_000, 2)).astype(">i2")
    with open_recording(Recording(samples), 16_000) as reader:
        blocks = list(reader.blocks())
    assert {block.dtype for block in blocks} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate(blocks), (samples / 32_768).astype(np.float32))


def test_settings_replace_those_of_the_options(tone_model: Path) -> None:
    chosen = load_model(tone_model, DecodingOptions(decoder="greedy"), speech_gate=False)
    assert (chosen.options.decoder, chosen.options.speech_gate) == ("greedy", False)


def test_words_have_times_and_confidences(transcriber: Transcriber, speak: Speak) -> None:
    transcript = transcriber.transcribe(speak("AB CDE"))
    first, second = transcript.words
    assert (first.text, second.text) == ("AB", "CDE")
    # Letters begin 0.2 s apart from 0.2 s on.
    assert first.start == pytest.approx(0.2, abs=0.05)
    assert second.start == pytest.approx(0.8, abs=0.05)
    assert second.end == pytest.approx(1.32, abs=0.12)
    assert 0 < first.confidence <= 1
    assert transcript.duration == pytest.approx(len(speak("AB CDE")) / 16_000)


def test_nothing_in_is_nothing_out(transcriber: Transcriber) -> None:
    for seconds in (0, 0.001, 0.01, 0.02, 0.04, 1.0):
        transcript = transcriber.transcribe(np.zeros(round(16_000 * seconds), np.float32))
        assert (transcript.text, transcript.words, transcript.segments) == ("", (), ())
        assert transcript.duration == pytest.approx(seconds)


def test_a_long_recording_says_what_its_parts_say(transcriber: Transcriber, speak: Speak) -> None:
    text = " ".join([PANGRAM] * 25)
    transcript = transcriber.transcribe(speak(text))
    assert transcript.duration > 200
    assert transcript.text == text
    starts = [word.start for word in transcript.words]
    expected = 0.2 + 0.2 * np.array([0, *(i + 1 for i, letter in enumerate(text) if letter == " ")])
    assert np.abs(np.array(starts) - expected).max() < 0.05
    assert all(segment.end - segment.start <= 30 for segment in transcript.segments)


def test_segments_end_at_pauses(transcriber: Transcriber, speak: Speak) -> None:
    silence = np.zeros(16_000, np.float32)
    transcript = transcriber.transcribe(np.concatenate([speak("AB CD "), silence, speak("EF")]))
    assert [segment.text for segment in transcript.segments] == ["AB CD", "EF"]
    assert transcript.text == "AB CD EF"
    assert transcript.segments[1].start == transcript.words[2].start


def test_channels(transcriber: Transcriber, speak: Speak, record: Record, tmp_path: Path) -> None:
    left, right = speak("HELLO"), speak("WORLD")
    later = np.concatenate([np.zeros(3 * 16_000, np.float32), right])
    stereo = np.stack([np.pad(left, (0, len(later) - len(left))), later], axis=1)
    assert transcriber.transcribe(stereo, channel=1).text == "HELLO"
    assert transcriber.transcribe(stereo, channel=2).text == "WORLD"
    assert [segment.channel for segment in transcriber.transcribe(stereo, channel=2).segments] == [2]
    assert [segment.channel for segment in transcriber.transcribe(stereo).segments] == [None]
    apart = transcriber.transcribe(stereo, channel="all")
    assert [(segment.text, segment.channel) for segment in apart.segments] == [("HELLO", 1), ("WORLD", 2)]
    assert apart.text == "HELLO WORLD"
    mono = record(tmp_path / "mono.wav", "ABC")
    assert transcriber.transcribe(mono, channel="all").segments[0].channel is None
    assert transcriber.transcribe(io.BytesIO(mono.read_bytes()), channel="all").text == "ABC"
    assert transcriber.transcribe(stereo, channel=np.int64(2)).text == "WORLD"  # type: ignore[arg-type]
    for odd in ("1", 1.5, "left"):
        with pytest.raises(UserError, match="a channel is a whole number or 'all', not"):
            transcriber.transcribe(stereo, channel=odd)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no channel 2"):
        transcriber.transcribe(mono, channel=2)
    with pytest.raises(UserError, match="no such file"):
        transcriber.transcribe("/nowhere.wav", channel="all")


def test_each_channel_of_a_named_pipe_is_heard(
    transcriber: Transcriber, speak: Speak, tmp_path: Path
) -> None:
    stereo = io.BytesIO()
    soundfile.write(stereo, np.stack([speak("ABC"), speak("ABC")], axis=1), 16_000, format="WAV")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[stereo.getvalue()])
    writer.start()
    apart = transcriber.transcribe(pipe, channel="all")
    writer.join()
    assert [(segment.text, segment.channel) for segment in apart.segments] == [("ABC", 1), ("ABC", 2)]


def test_parts_of_files_and_raw_samples(
    transcriber: Transcriber, speak: Speak, record: Record, tmp_path: Path
) -> None:
    path = record(tmp_path / "a.flac", "ABC DEF")
    part = Recording(path, offset=0.9, duration=0.75)
    raw = tmp_path / "a.pcm"
    raw.write_bytes((speak("ABC", 8_000) * 32767).astype("<i2").tobytes())
    (first, second) = transcriber.transcribe_all([part, Recording(raw, raw=RawFormat(8_000))])
    assert isinstance(first, Transcript)
    assert first.text == "DEF"
    assert isinstance(second, Transcript)
    assert second.text == "ABC"
    (beyond,) = transcriber.transcribe_all([Recording(path, offset=99.0)])
    assert "before the part that begins at 99 s" in str(beyond)


def texts(results: object) -> list[str]:
    return [result.text if isinstance(result, Transcript) else f"! {result}" for result in results]  # type: ignore[attr-defined]


def test_neither_batches_nor_threads_change_a_text(transcriber: Transcriber, speak: Speak) -> None:
    draw = np.random.default_rng(1)
    words = [PANGRAM.split()[: draw.integers(1, 9)] * repeats for repeats in (1, 9, 1, 2, 1, 1, 3)]
    expected = [" ".join(some) for some in words]
    sources = [speak(text) for text in expected]
    assert max(map(len, sources)) > 45 * 16_000
    for threads, batch_seconds in ((0, 1.0), (0, 1e4), (1, 60.0), (3, 5.0)):
        assert texts(transcriber.transcribe_all(sources, threads, batch_seconds)) == expected


@pytest.mark.parametrize("threads", [0, 2])
def test_a_bad_file_harms_no_other(
    transcriber: Transcriber, record: Record, tmp_path: Path, threads: int
) -> None:
    good = record(tmp_path / "good.wav", "GOOD")
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"bad")
    found = texts(transcriber.transcribe_all([bad, good, tmp_path / "none", good, bad], threads))
    assert [text.split(":")[0] for text in found] == [
        f"! {bad}", "GOOD", f"! {tmp_path / 'none'}", "GOOD", f"! {bad}",
    ]  # fmt: skip


def test_recordings_are_taken_as_they_are_needed(transcriber: Transcriber, speak: Speak) -> None:
    taken = []

    def sources(count: int) -> object:
        for number in range(count):
            taken.append(number)
            yield speak("AB")

    results = transcriber.transcribe_all(sources(10_000), batch_seconds=5.0)  # type: ignore[arg-type]
    assert next(results).text == "AB"  # type: ignore[union-attr]
    assert len(taken) < 100
    results.close()  # type: ignore[attr-defined]


def test_closing_early_stops_the_readers(transcriber: Transcriber, speak: Speak) -> None:
    endless = (speak("AB") for _ in iter(int, 1))
    results = transcriber.transcribe_all(endless, threads=2, batch_seconds=5.0)
    assert next(results).text == "AB"  # type: ignore[union-attr]
    results.close()  # type: ignore[attr-defined]


def test_one_transcriber_serves_many_threads(transcriber: Transcriber, speak: Speak) -> None:
    expected = [PANGRAM[:length].strip() for length in range(5, 43)]
    sources = [speak(text) for text in expected]
    with ThreadPoolExecutor(4) as pool:
        assert [transcript.text for transcript in pool.map(transcriber.transcribe, sources)] == expected


def test_a_listener_hears_of_every_second(transcriber: Transcriber, speak: Speak) -> None:
    class Count(Listener):
        opened_seconds = done_seconds = 0.0

        def opened(self, name: str, info: asr.audio_reader.AudioInfo) -> None:  # type: ignore[name-defined]
            self.opened_seconds += info.duration

        def done(self, seconds: float) -> None:
            self.done_seconds += seconds

    count = Count()
    sources = [speak("AB"), speak(" ".join([PANGRAM] * 12))]
    part = Recording(sources[1], offset=2.0, duration=3.0)
    list(transcriber.transcribe_all([*sources, part], listener=count))
    seconds = sum(map(len, sources)) / 16_000 + 3.0
    assert count.opened_seconds == pytest.approx(seconds)
    assert count.done_seconds == pytest.approx(seconds)


def test_damage_is_told_and_what_came_before_is_transcribed(
    transcriber: Transcriber, tmp_path: Path, record: Record
) -> None:
    path = record(tmp_path / "a.flac", " ".join([PANGRAM] * 3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match="damaged after"):
        text = transcriber.transcribe(path).text
    assert len(text) > 40
    assert " ".join([PANGRAM] * 3).startswith(text[:20])


def test_a_model_or_device_that_is_not_there(tone_model: Path) -> None:
    with pytest.raises(UserError, match="no such model"):
        load_model("/nowhere")
    for device in ("cuda:99", "abacus"):
        with pytest.raises(UserError, match="--device"):
            load_model(tone_model, device=device)
    with pytest.raises(UserError, match="--precision"):
        load_model(tone_model, precision="fp7")


@pytest.mark.skipif(not fast_bfloat16(), reason="this CPU does not multiply bfloat16 itself")
def test_bfloat16_is_taken_where_it_is_fast_and_ties_no_text_to_its_batch() -> None:
    model = load_model("en", decoder="greedy", head="characters")
    assert model.provenance["model"]["precision"] == "bf16"
    alone = [model.transcribe(path).text for path in EXAMPLES]
    together = [found.text for found in model.transcribe_all(EXAMPLES) if isinstance(found, Transcript)]
    assert together == alone


def test_float32_is_taken_where_bfloat16_is_not_fast(
    tone_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.transcriber.fast_bfloat16", lambda: False)
    assert load_model(tone_model).provenance["model"]["precision"] == "fp32"


def test_a_reader_that_waits_for_ever_holds_nobody_up(transcriber: Transcriber, tmp_path: Path) -> None:
    silent = tmp_path / "pipe"
    os.mkfifo(silent)
    recordings = [Recording(np.zeros(16_000, np.float32)), Recording(silent)]
    tasks = _tasks(transcriber, iter(enumerate(recordings)), 2, Listener())
    assert next(tasks).recording == 0
    started = time.monotonic()
    tasks.close()  # what Ctrl-C comes to
    assert time.monotonic() - started < 30
    with contextlib.suppress(OSError):
        os.close(os.open(silent, os.O_WRONLY | os.O_NONBLOCK))  # lets the thread go


def test_an_array_comes_in_blocks_like_a_file(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, 200_000).astype(np.float32)
    with open_recording(Recording(samples, offset=1.0), 16_000) as reader:
        blocks = list(reader.blocks())
    assert max(map(len, blocks)) < 70_000
    assert np.array_equal(np.concatenate(blocks)[:, 0], samples[16_000:])


@pytest.mark.parametrize("part", [{"offset": -1.0}, {"duration": -0.5}, {"offset": float("nan")}])
def test_parts_that_no_recording_has_are_refused(part: dict[str, float]) -> None:
    with pytest.raises(UserError, match="is not a number of seconds"):
        Recording(np.zeros(32_000, np.float32), **part)
