"""Reading audio: every format, any rate, and files that lie or are damaged."""

import io
import os
import re
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from asr.audio import RawFormat, open_audio, probe, read_audio, read_samples
from asr.errors import UserError
from asr.resampling import Resampler

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def write(path: Path, samples: np.ndarray = TONE, rate: int = RATE, **how: str) -> Path:
    soundfile.write(path, samples, rate, **how)
    return path


@pytest.mark.parametrize(
    ("name", "how", "tolerance"),
    [
        ("8bit.wav", {"subtype": "PCM_U8"}, 0.02),
        ("16bit.wav", {"subtype": "PCM_16"}, 1e-4),
        ("24bit.wav", {"subtype": "PCM_24"}, 1e-6),
        ("32bit.wav", {"subtype": "PCM_32"}, 1e-6),
        ("float.wav", {"subtype": "FLOAT"}, 1e-7),
        ("double.wav", {"subtype": "DOUBLE"}, 1e-7),
        ("alaw.wav", {"subtype": "ALAW"}, 0.02),
        ("ulaw.wav", {"subtype": "ULAW"}, 0.02),
        ("a.flac", {}, 1e-4),
        ("a.ogg", {"subtype": "VORBIS"}, 0.1),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 0.1),
        ("a.mp3", {}, 0.1),
        ("a.aiff", {}, 1e-4),
        ("a.au", {}, 1e-4),
        ("a.caf", {}, 1e-4),
        ("a.w64", {}, 1e-4),
    ],
)
def test_formats_are_read(tmp_path: Path, name: str, how: dict[str, str], tolerance: float) -> None:
    path = write(tmp_path / name, **how)
    waveform = read_audio(path)
    middle = slice(4000, 12000)
    assert waveform.dtype == torch.float32
    assert np.abs(waveform.numpy()[middle] - TONE[middle]).max() < tolerance
    assert probe(path).duration == pytest.approx(1.0, abs=0.1)


def test_the_extension_does_not_matter(tmp_path: Path) -> None:
    flac = write(tmp_path / "a.flac")
    for name in ("a.wav", "a.mp3", "a.raw", "a.vox", "a.txt", "noextension"):
        flac.rename(tmp_path / name)
        flac = tmp_path / name
        assert len(read_audio(flac)) == RATE


def test_channels_are_averaged_and_bytes_and_streams_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.stack([TONE, -TONE, TONE], axis=1))
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert np.allclose(read_audio(source).numpy(), TONE / 3, atol=1e-4)


def test_offset_and_duration(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac")
    samples, rate = read_samples(path, offset=0.25, duration=0.5)
    assert rate == RATE
    assert np.allclose(samples[:, 0], TONE[4000:12000], atol=1e-4)
    assert len(read_samples(path, offset=1.0)[0]) == 0
    with pytest.raises(UserError, match="ends at 1 s, before the part that begins at 9 s"):
        read_samples(path, offset=9.0)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 44_101, 48_000, 192_000])
def test_a_tone_keeps_its_pitch_at_any_rate(tmp_path: Path, rate: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    waveform = read_audio(write(tmp_path / "a.wav", tone, rate, subtype="FLOAT")).numpy()
    assert len(waveform) == pytest.approx(RATE, abs=2)
    middle = slice(1000, 15000)
    assert np.abs(waveform[middle] - TONE[middle]).max() < 5e-3


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 44_101])
@pytest.mark.parametrize("block", [1, 37, 5_000])
def test_resampling_by_blocks_equals_the_whole(rate: int, block: int) -> None:
    noise = torch.randn(6_000 if block == 1 else 30_000, generator=torch.Generator().manual_seed(1))
    whole = Resampler(rate, RATE).process(noise, final=True)
    resampler = Resampler(rate, RATE)
    pieces = [resampler.process(piece) for piece in noise.split(block)]
    pieces.append(resampler.process(noise[:0], final=True))
    assert torch.allclose(torch.cat(pieces), whole, atol=1e-6)


def test_resampling_equals_torchaudio() -> None:
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    expected = torchaudio.functional.resample(noise, 44_100, RATE)
    assert torch.allclose(Resampler(44_100, RATE).process(noise, final=True), expected, atol=2e-4)


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "flac"])
def test_reading_by_blocks_equals_the_whole(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 5 * RATE)
    path = write(tmp_path / f"a.{suffix}", noise)
    whole, _ = soundfile.read(path, dtype="float32", always_2d=True)
    with open_audio(path) as reader:
        assert np.allclose(np.concatenate(list(reader.blocks(3_333))), whole, atol=1e-6)


def test_raw_samples(tmp_path: Path) -> None:
    path = tmp_path / "a.pcm"
    stereo = np.stack([TONE, TONE / 2], axis=1)
    path.write_bytes((stereo * 32767).astype("<i2").tobytes())
    with open_audio(path, RawFormat(RATE, 2)) as reader:
        samples = np.concatenate(list(reader.blocks(1000)))
    assert np.allclose(samples, stereo, atol=1e-4)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = write(tmp_path / "a.flac").read_bytes()
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    assert len(read_audio(path)) == RATE
    writer.join()


@pytest.mark.parametrize("name", ["a b\t.wav", "a\nb.wav", "-a.wav", "\udcff\udc80.wav", "日本.wav"])
def test_odd_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(write(tmp_path / "plain.wav").read_bytes())
    assert len(read_audio(path)) == RATE
    path.write_bytes(b"no audio")
    with pytest.raises(UserError) as raised:
        read_audio(path)
    assert "\n" not in str(raised.value)
    str(raised.value).encode()


def test_a_file_without_samples_is_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", TONE[:0])
    assert len(read_audio(path)) == 0
    assert probe(path).duration == 0


def unfinished(path: Path, kept: int | None = None) -> tuple[Path, np.ndarray]:
    """A WAVE file as a recorder that was killed leaves it, and its samples."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 20_000).astype(np.float32)
    soundfile.write(path, samples, 16_000, subtype="PCM_24")
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = data[4:8] = bytes(4)
    expected = read_audio(path).numpy()
    path.write_bytes(data[:kept])
    return path, expected


def test_samples_that_the_header_does_not_count_are_read(tmp_path: Path) -> None:
    path, expected = unfinished(tmp_path / "a.wav")
    assert probe(path).duration == 1.25
    assert np.array_equal(read_audio(path).numpy(), expected)
    assert np.array_equal(
        read_audio(path.read_bytes(), offset=0.5, duration=0.5).numpy(), expected[8_000:16_000]
    )


def test_no_samples_and_a_title_behind_them_stay_no_samples(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", TONE[:0])
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert len(read_audio(path)) == 0


@pytest.mark.parametrize("kept", [44, 45])
def test_a_file_that_ends_with_its_header_is_told(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16_000), 16_000)
    path.write_bytes(path.read_bytes()[:kept])
    told: list[str] = []
    assert len(read_audio(path, warn=told.append)) == 0
    assert told == [f"{path}: cut off after 0.0 s of 1.0 s"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"hello, this is text\n" * 9, "not a format"), (b"RIFF", "damaged|not a format")],
)
def test_what_is_no_audio_is_named(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        read_audio(path)
    assert str(path) in str(raised.value)


def test_missing_folder_and_device() -> None:
    for path, message in (("/nowhere/a.wav", "no such file"), ("/", "folder"), ("/dev/zero", "device")):
        with pytest.raises(UserError, match=message):
            read_audio(path)
    with pytest.raises(UserError, match="no such file"):
        read_audio("a\0b")


@pytest.mark.parametrize("rate", [0, 999, 4_000_000_000])
def test_impossible_rates_are_refused(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav")
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.wav"):
        read_audio(path)


def test_samples_that_are_no_numbers_are_silence(tmp_path: Path) -> None:
    samples = TONE.copy()
    samples[100:200] = np.nan
    samples[300] = np.inf
    samples[400] = 1e30
    waveform = read_audio(write(tmp_path / "a.wav", samples, subtype="FLOAT"))
    assert torch.isfinite(waveform).all()
    assert waveform.abs().max() < 1e5
    assert (waveform[100:200] == 0).all()


def test_what_comes_before_damage_is_kept(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 10 * RATE)
    path = write(tmp_path / "a.flac", noise)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with open_audio(path) as reader:
        samples = np.concatenate(list(reader.blocks()))
        assert "damaged after" in reader.damage
    assert 4 * RATE < len(samples) < 6 * RATE
    assert np.allclose(samples[:, 0], noise[: len(samples)], atol=1e-4)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "mp3"])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_a_file_that_was_cut_off_says_so(tmp_path: Path, suffix: str, offset: float) -> None:
    path = write(tmp_path / f"a.{suffix}", np.random.default_rng(1).uniform(-0.5, 0.5, 10 * RATE))
    with open_audio(path, offset=offset) as whole:
        assert sum(len(block) for block in whole.blocks()) / RATE == pytest.approx(10 - offset, abs=0.2)
        assert not whole.damage
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with open_audio(path, offset=offset) as reader:
        came = sum(len(block) for block in reader.blocks()) / RATE
        found = re.fullmatch(r"cut off after (.*) s of (.*) s", reader.damage)
    assert found is not None
    assert came == pytest.approx(float(found[1]) - offset, abs=0.06)
    assert float(found[2]) == pytest.approx(10, abs=0.2)
    assert came == pytest.approx(5 - offset, abs=0.3)


def test_a_stream_whose_length_nobody_knew_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    data = bytearray(path.read_bytes())
    start = data.index(b"data") + 4
    for size in (0, 0x7F00_0000, 0x7FFF_EFFE, 0x7FFF_FFFF, 0xFFFF_FFFF):
        data[start : start + 4] = size.to_bytes(4, "little")
        path.write_bytes(data)
        with open_audio(path) as reader:
            list(reader.blocks())
            assert not reader.damage


def test_a_part_behind_the_end_is_refused_whoever_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.m4a").write_bytes(b"m4a")
    header = "struct.pack('>4s5I', b'.snd', 24, 0xffffffff, 6, 16000, 1)"
    fake_ffmpeg(tmp_path, monkeypatch, f"sys.stdout.buffer.write({header} + bytes(4 * 16000))")
    for path in (tmp_path / "a.m4a", write(tmp_path / "a.wav")):
        with pytest.raises(UserError, match=r"ends at 1 s, before the part that begins at 3 s"):
            read_audio(path, offset=3.0)


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac")
    data = bytearray(path.read_bytes())
    data[21] |= 0x0F  # the upper bits of the number of samples in STREAMINFO
    data[22:26] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert len(read_audio(path)) == RATE


def fake_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A program called ffmpeg in front of the PATH."""
    program = folder / "ffmpeg"
    program.write_text(f"#!{sys.executable}\nimport struct, sys\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_other_formats_go_through_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A ")
    fake_ffmpeg(
        tmp_path,
        monkeypatch,
        f"assert 'file:{path}' in sys.argv\n"
        "out = sys.stdout.buffer\n"
        "out.write(b'.snd' + struct.pack('>5I', 28, 0xffffffff, 6, 8000, 2) + b'info')\n"
        "out.write(struct.pack('>16000f', *[0.25, 0.75] * 8000))",
    )
    samples, rate = read_samples(path)
    assert (rate, samples.shape) == (8000, (8000, 2))
    assert np.allclose(samples[0], [0.25, 0.75])
    info = probe(path)
    assert (info.duration, info.sample_rate, info.channels) == (1.0, 8000, 2)
    assert read_samples(path, offset=0.75)[0].shape == (2000, 2)


def test_what_ffmpeg_cannot_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.m4a"
    path.write_bytes(b"nothing")
    fake_ffmpeg(tmp_path, monkeypatch, "sys.exit('Invalid data')")
    with pytest.raises(UserError, match=r"a\.m4a: not audio"):
        read_audio(path)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "a.flac"), tmp_path / "b.flac"
    bad.write_bytes(b"fLaC" + bytes(50))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        read_audio(good)
        with pytest.raises(UserError):
            read_audio(bad)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# What ffmpeg is to write before it ends.
A_SECOND = (
    "sys.stdout.buffer.write(struct.pack('>4s5I', b'.snd', 24, 0xffffffff, 6, 8000, 1))\n"
    "sys.stdout.buffer.write(struct.pack('>8000f', *[0.5] * 8000))\n"
)


def test_what_ffmpeg_complains_of_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.webm"
    path.write_bytes(b"\x1aE\xdf\xa3")
    fake_ffmpeg(
        tmp_path,
        monkeypatch,
        A_SECOND + "sys.exit('File ended prematurely')",
    )
    with open_audio(path) as reader:
        assert sum(len(block) for block in reader.blocks()) == 8000
        assert reader.damage.endswith("(ffmpeg: File ended prematurely)")


def test_an_ffmpeg_that_was_ended_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.webm"
    path.write_bytes(b"\x1aE\xdf\xa3")
    fake_ffmpeg(
        tmp_path,
        monkeypatch,
        A_SECOND + "import os\nsys.stdout.flush()\nos.kill(os.getpid(), 9)",
    )
    with open_audio(path) as reader:
        assert sum(len(block) for block in reader.blocks()) == 8000
        assert reader.damage == "damaged after 1.0 s (ffmpeg ended with status -9)"
