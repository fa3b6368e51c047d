"""Forced alignment of long recordings: memory, speed, and whether words are found where they were said.

    python benchmarks/alignment_memory.py data/dev-clean.jsonl --minutes 5 20 60

The utterances of a manifest are put end to end into one FLAC file for each of the lengths, again from the
start where they do not suffice; their texts are the lines of one text. ``asr align`` runs as a process of its
own: wall time from start to exit, and the greatest resident memory. A word is in its place when its middle
lies in the utterance that says it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

import soundfile

from asr.audio import read_audio
from asr.manifest import Utterance, read_manifest

RATE = 16_000


def main() -> None:
    """Join, align, print a table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("manifest", type=Path)
    arguments.add_argument("--minutes", type=float, nargs="+", default=[5.0, 20.0, 60.0])
    arguments.add_argument("--model", default="en")
    arguments.add_argument("--head", help="CTC head (default: the model's).")
    arguments.add_argument("--threads", default="0")
    given = arguments.parse_args()
    utterances = [utterance for utterance in read_manifest(given.manifest) if utterance.text]
    flags = ["--threads", given.threads, *(["--head", given.head] if given.head else [])]
    print("| minutes | words | seconds | times real time | peak memory, MB | words in their place |")
    print("|---|---|---|---|---|---|")
    for minutes in given.minutes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ends = join(utterances, 60 * minutes, folder / "audio.flac", folder / "text.txt")
            command = ["align", given.model, folder / "audio.flac", "--text-file", folder / "text.txt"]
            seconds, memory = measure([*command, *flags, "-o", folder / "times.json"])
            lines = (folder / "text.txt").read_text().splitlines()
            found = json.loads((folder / "times.json").read_text())["words"]
        right = words_in_place(found, lines, ends)
        print(
            f"| {ends[-1] / 60:.1f} | {len(found):,} | {seconds:.1f} | {ends[-1] / seconds:.0f} "
            f"| {memory / 1e6:.0f} | {100 * right / len(found):.2f} % |"
        )


def join(utterances: list[Utterance], seconds: float, audio: Path, text: Path) -> list[float]:
    """Write utterances of so many seconds in all, and their texts; returns the end of each, in seconds."""
    ends: list[float] = []
    samples = 0
    with soundfile.SoundFile(audio, "w", RATE, 1) as recording, text.open("w") as lines:
        for utterance in cycle(utterances):
            waveform = read_audio(utterance.audio_filepath, RATE, utterance.offset, utterance.duration)
            recording.write(waveform.numpy())
            lines.write(f"{utterance.text}\n")
            samples += len(waveform)
            ends.append(samples / RATE)
            if ends[-1] >= seconds:
                return ends
    raise SystemExit("the manifest has no utterance with a text")


def measure(arguments: list[str | Path]) -> tuple[float, int]:
    """Wall time in seconds and greatest resident memory in bytes of an ``asr`` command."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "asr", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("asr align failed")
    return time.perf_counter() - begin, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def words_in_place(found: list[dict[str, float]], lines: list[str], ends: list[float]) -> int:
    """How many words have their middle inside the utterance whose line they are of."""
    right, number = 0, 0
    for line, begin, end in zip(lines, [0.0, *ends], ends, strict=False):
        for word in found[number : number + len(line.split())]:
            right += begin <= (word["start"] + word["end"]) / 2 <= end
        number += len(line.split())
    return right


if __name__ == "__main__":
    main()
