"""Make ``tests/golden/flashlight.json.gz``: what flashlight's decoder says of 200 short utterances.

    python benchmarks/flashlight_golden.py data/dev-clean.jsonl books.txt.xz

What must be installed is said in ``flashlight_peer.py``. The emissions are a model's (its character head),
rounded so that they are small; the language model is one of a few thousand words, pruned. Both are in the
file, so that the test needs neither model nor text.
"""

import argparse
import base64
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from flashlight_peer import compute_emissions, flashlight_decoder, with_separator
from numpy.typing import NDArray

from asr.decoding.config import BeamConfig
from asr.lm.arpa import read_arpa, write_arpa
from asr.lm.build import build_table
from asr.lm.pruning import prune_to_size
from asr.lm.table import SPECIAL_WORDS
from asr.lm.text import read_lines
from asr.manifest import read_manifest
from asr.model import find_model, load_network

UTTERANCES = 200
LONGEST = 4.0  # seconds
TRAINING_WORDS = 2_000_000
VOCABULARY = 2_000
SIZE = 150_000
STEPS_A_NAT = 12
ABOUT = (
    "By flashlight-text 0.0.7 and KenLM (benchmarks/flashlight_golden.py). Emissions: base64 of bytes "
    "(frames, tokens), the utterances one after another; a byte is a log-probability times -"
    f"{STEPS_A_NAT}. Results: best text and score."
)
# Nothing is left out but by the beam, so that both mean the same by it.
COMMON: dict[str, Any] = {"beam_threshold": 50.0, "token_threshold": 100.0}
SETTINGS: list[dict[str, Any]] = [
    {"beam_size": 500, "lm_weight": 1.0, "word_score": 0.0, "sum_alignments": False},
    {"beam_size": 500, "lm_weight": 0.5, "word_score": 1.0, "sum_alignments": True},
    {"beam_size": 50, "lm_weight": 1.0, "word_score": 0.0, "sum_alignments": False},
]


def main() -> None:
    """Choose utterances, build the model, decode, write."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("manifest", type=Path)
    arguments.add_argument("text", type=Path, help="Text of the language model, a sentence a line.")
    arguments.add_argument("--model", default="en")
    arguments.add_argument("-o", "--output", type=Path, default=Path("tests/golden/flashlight.json.gz"))
    given = arguments.parse_args()
    model = load_network(find_model(given.model)).eval()
    tokenizer = model.tokenizers["characters"]
    short = [each for each in read_manifest(given.manifest) if each.duration <= LONGEST]
    clearest = sorted(compute_emissions(model, short, "characters"), key=lambda pair: -clearness(pair[1]))
    heard = [
        (utterance, quantise(with_separator(emissions, tokenizer)))
        for utterance, emissions in clearest[:UTTERANCES]
    ]
    with tempfile.TemporaryDirectory() as name:
        arpa = Path(name) / "lm.arpa"
        write_small_model(given.text, " ".join(each.text or "" for each, _ in heard).split(), arpa)
        words = sorted(set(read_arpa(arpa).words) - set(SPECIAL_WORDS))
        results = []
        for setting in SETTINGS:
            decode = flashlight_decoder(tokenizer, words, arpa, BeamConfig(**setting, **COMMON), Path(name))
            results.append([decode(dequantise(array)) for _, array in heard])
        content = {
            "about": ABOUT,
            "tokens": tokenizer.tokens,
            "arpa": arpa.read_text(),
            "steps_a_nat": STEPS_A_NAT,
            "ids": [utterance.id for utterance, _ in heard],
            "frames": [len(array) for _, array in heard],
            "emissions": base64.b64encode(np.concatenate([array for _, array in heard]).tobytes()).decode(),
            "runs": [
                {
                    "settings": setting | COMMON,
                    "texts": [text for text, _ in rows],
                    "scores": [round(score, 3) for _, score in rows],
                }
                for setting, rows in zip(SETTINGS, results, strict=True)
            ],
        }
    given.output.write_bytes(gzip.compress(json.dumps(content).encode(), 9, mtime=0))
    print(f"{given.output}: {given.output.stat().st_size:,} bytes")


def clearness(emissions: NDArray[np.float32]) -> float:
    """Mean log-probability of the likeliest token."""
    return float(emissions.max(axis=1).mean())


def quantise(emissions: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Log-probabilities as bytes."""
    return np.clip(np.round(-STEPS_A_NAT * emissions), 0, 255).astype(np.uint8)


def dequantise(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Log-probabilities of bytes."""
    return (levels / np.float32(-STEPS_A_NAT)).astype(np.float32)


def write_small_model(text: Path, needed: list[str], arpa: Path) -> None:
    """A 3-gram of the needed words and the most frequent ones of a text."""
    sample = arpa.with_name("text.txt")
    counts: dict[bytes, int] = {}
    total = 0
    with sample.open("wb") as stream:
        for line in read_lines(text):
            stream.write(line)
            for word in line.split():
                counts[word] = counts.get(word, 0) + 1
                total += 1
            if total >= TRAINING_WORDS:
                break
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[:VOCABULARY]
    vocabulary = sorted({*needed, *(word.decode() for word in frequent)})
    table = build_table([sample], 3, vocabulary=vocabulary)
    write_arpa(arpa, prune_to_size(table, SIZE))


if __name__ == "__main__":
    main()
