"""Two who talk by turns in one recording, the second one quieter: WER by how much, and with one level heard.

    python benchmarks/two_levels.py data/dev-clean.jsonl [--utterances 170] [--quieter 0 10 20 30]

Utterances are put end to end in memory, every second one so many decibels quieter. Beside what ``asr
transcribe`` makes of it stands what it would without ``asr/levels.py``.
"""

import argparse
import math
from pathlib import Path
from unittest import mock

import torch
from rapidfuzz.distance import Levenshtein

from asr.audio import read_audio
from asr.levels import RANGE
from asr.manifest import read_manifest
from asr.transcriber import load_model


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="en")
    parser.add_argument("--utterances", type=int, default=170)
    parser.add_argument("--quieter", type=float, nargs="+", default=[0.0, 10.0, 15.0, 20.0, 30.0], help="dB")
    given = parser.parse_args()
    transcriber = load_model(given.model)
    rate = transcriber.sample_rate
    utterances = read_manifest(given.manifest)[: given.utterances]
    waveforms = [read_audio(item.audio_filepath, rate, item.offset, item.duration) for item in utterances]
    words = [word for item in utterances for word in str(item.text).split()]
    print(f"| every second of {len(utterances)} utterances quieter by | WER | without evening |")
    print("|---:|---:|---:|")
    for decibels in given.quieter:
        factor = 10 ** (-decibels / 20)
        recording = torch.cat([each * (factor if n % 2 else 1) for n, each in enumerate(waveforms)])
        cells = []
        for allowed in (RANGE, math.inf):
            with mock.patch("asr.levels.RANGE", allowed):
                heard = transcriber.transcribe(recording, rate).text.split()
            cells.append(f"{100 * Levenshtein.distance(words, heard) / len(words):.2f} %")
        print(f"| {decibels:g} dB | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
