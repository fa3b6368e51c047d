"""Recordings of hours: memory, speed and what joining costs in words.

    python benchmarks/long_audio.py data/dev-clean.jsonl [--hours 1 10] [options of asr transcribe]

The utterances of a manifest are put end to end, again and again, into one FLAC file for each of the lengths.
``asr transcribe`` writes it as a process of its own: wall time from start to exit, and the greatest
resident memory. Word error rates are of the same utterances joined and transcribed one by one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import soundfile
from rapidfuzz.distance import Levenshtein

from asr.audio import read_audio
from asr.manifest import Utterance, read_manifest

RATE = 16_000


@dataclass(frozen=True)
class Measured:
    """A process: wall time in seconds, greatest resident memory in bytes, what it wrote."""

    seconds: float
    memory: int
    output: str


def main() -> None:
    """Join, transcribe, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--hours", type=float, nargs="+", default=[1.0, 10.0])
    given, options = parser.parse_known_args()
    utterances = [utterance for utterance in read_manifest(given.manifest) if utterance.text]
    with tempfile.TemporaryDirectory() as name:
        longest = used(utterances, max(given.hours) * 3600)
        alone = errors_one_by_one(given.manifest, longest, options)
        print(
            "| hours | s | × real time | s a minute of audio | memory, MB | WER joined | one by one | more |"
        )
        print("|---:|---:|---:|---:|---:|---:|---:|---:|")
        for hours in given.hours:
            some = used(utterances, hours * 3600)
            path = Path(name, f"{hours:g}h.flac")
            seconds = join(some, path)
            run = transcribe([path], options)
            path.unlink()
            words = [word for utterance in some for word in str(utterance.text).split()]
            joined = 100 * Levenshtein.distance(words, run.output.split()) / len(words)
            separate = 100 * sum(alone[utterance.id] for utterance in some) / len(words)
            print(
                f"| {seconds / 3600:.2f} | {run.seconds:.1f} | {seconds / run.seconds:.0f} "
                f"| {60 * run.seconds / seconds:.3f} | {run.memory / 1e6:.0f} | {joined:.2f} % "
                f"| {separate:.2f} % | {joined - separate:+.2f} |",
                flush=True,
            )


def used(utterances: Sequence[Utterance], seconds: float) -> list[Utterance]:
    """The first utterances that last so long, from the beginning again where there are too few."""
    chosen, total = [], 0.0
    for utterance in cycle(utterances):
        chosen.append(utterance)
        total += utterance.duration
        if total >= seconds:
            return chosen
    raise SystemExit("the manifest has no utterance with a text")


def join(utterances: Sequence[Utterance], path: Path) -> float:
    """Write utterances end to end; the seconds they last."""
    samples = 0
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as stream:
        for utterance in utterances:
            waveform = read_audio(utterance.audio_filepath, RATE, utterance.offset, utterance.duration)
            stream.write(waveform.numpy())
            samples += len(waveform)
    return samples / RATE


def errors_one_by_one(
    manifest: Path, utterances: Sequence[Utterance], options: Sequence[str]
) -> dict[str, int]:
    """Word errors of each utterance, transcribed as a recording of its own."""
    wanted = {utterance.id: str(utterance.text).split() for utterance in utterances}
    with tempfile.NamedTemporaryFile("w", dir=manifest.parent, suffix=".jsonl") as part:
        # Beside the manifest, whose paths are relative to it.
        for line, utterance in zip(manifest.read_text().splitlines(), read_manifest(manifest), strict=True):
            if utterance.id in wanted:
                part.write(line + "\n")
        part.flush()
        run = transcribe([part.name, "--format", "jsonl"], options)
    heard = {entry["file"]: entry["text"] for entry in map(json.loads, run.output.splitlines())}
    return {name: Levenshtein.distance(words, heard[name].split()) for name, words in wanted.items()}


def transcribe(arguments: Sequence[str | Path], options: Sequence[str]) -> Measured:
    """Run ``asr transcribe`` by itself."""
    with tempfile.TemporaryFile("w+") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "asr", "transcribe", *map(str, arguments), *options], stdout=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(process.returncode)
        output.seek(0)
        return Measured(seconds, usage.ru_maxrss * 1024, output.read())


if __name__ == "__main__":
    main()
