"""What libsndfile cannot read, decoded by the program ``ffmpeg`` through a pipe."""

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np

from asr.audio_reader import AudioInfo, AudioReader, Damage, check_format
from asr.errors import UserError


@contextmanager
def open_with_ffmpeg(name: str, path: str, reason: str) -> Iterator[AudioReader]:
    """Decode what libsndfile cannot; the samples come through a pipe in Sun's AU format."""
    program = shutil.which("ffmpeg")
    if program is None and "not recognised" not in reason:
        raise UserError(f"{name}: a damaged audio file ({reason})")
    if program is None:
        raise UserError(
            f"{name}: not a format that libsndfile reads (wav, flac, ogg, opus, mp3, aiff); "
            "for m4a, mp4, webm and others install ffmpeg, or convert the file to wav"
        )
    # Only this file: a playlist must not make ffmpeg fetch from the network.
    command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
    command += ["-vn", "-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages
        ) as process,
    ):
        assert process.stdout is not None
        try:
            rate, channels = _au_header(process.stdout, name, reason)
            check_format(name, rate, channels)
            info = AudioInfo(float("nan"), rate, channels)
            yield AudioReader(name, info, lambda samples: _read_ffmpeg(process, messages, samples, channels))
        finally:
            process.kill()


def _read_ffmpeg(
    process: "subprocess.Popen[bytes]", messages: IO[bytes], samples: int, channels: int
) -> np.ndarray:
    """The next samples; at their end ffmpeg's complaints, if it has any."""
    block = _read_au(process.stdout, samples, channels)
    if len(block) < samples:
        status = process.wait()
        messages.seek(0)
        complaints = messages.read().decode(errors="replace").strip().splitlines()
        if complaints:
            raise Damage(f"ffmpeg: {complaints[-1]}", block)
        if status:
            raise Damage(f"ffmpeg ended with status {status}", block)
    return block


def _au_header(stream: IO[bytes], name: str, reason: str) -> tuple[int, int]:
    """Rate and channels of an AU stream; what is before the first sample is read."""
    header = stream.read(24)
    if len(header) < 24 or header[:4] != b".snd":
        raise UserError(f"{name}: not audio ({reason}; ffmpeg cannot read it either)")
    start, _, _, rate, channels = struct.unpack(">5I", header[4:])
    stream.read(start - len(header))
    return rate, channels


def _read_au(stream: Any, samples: int, channels: int) -> np.ndarray:
    data = stream.read(samples * channels * 4)
    whole = len(data) // (channels * 4) * channels
    return np.frombuffer(data, ">f4", whole).reshape(-1, channels).astype(np.float32)
