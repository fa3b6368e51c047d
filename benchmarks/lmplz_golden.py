"""Make ``tests/golden/lmplz.json.gz``: what KenLM's lmplz and query say of a million words.

    python benchmarks/lmplz_golden.py --kenlm build/bin --text books.txt.xz

Two texts: random words (:func:`random_sentences`, so that the test needs no file) and the first million
words of a book corpus (the test skips that part without it). KenLM builds from its source distribution:

    pip download --no-deps --no-binary kenlm kenlm==0.3.0 && tar xf kenlm-0.3.0.tar.gz
    apt-get install cmake g++ libboost-{program-options,system,thread,test}-dev zlib1g-dev
    cmake -B build -DBUILD_TESTING=OFF kenlm-0.3.0 && make -C build lmplz query
"""

import argparse
import gzip
import json
import lzma
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

WORDS = 1_000_000
HELD_OUT = 2_000
SAMPLES = 40
SEED = 1
ABOUT = "By KenLM 0.3.0 (benchmarks/lmplz_golden.py). N-grams: words, log10 probability, log10 back-off."
# lmplz options of each model; the thresholds of --prune are its own.
MODELS = {
    "2": [],
    "3": [],
    "4": [],
    "4 pruned": ["--prune", "0", "0", "1", "2"],
    "3 pruned": ["--prune", "0", "1"],
}


def main() -> None:
    """Estimate, score, sample, write."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--kenlm", type=Path, required=True, help="Folder of lmplz and query.")
    arguments.add_argument("--text", type=Path, required=True, help="A sentence a line, .xz.")
    arguments.add_argument("-o", "--output", type=Path, default=Path("tests/golden/lmplz.json.gz"))
    given = arguments.parse_args()
    with lzma.open(given.text, "rt") as stream:
        texts = {"random": random_sentences(), "books": stream}
        golden = {name: run_kenlm(given.kenlm, sentences) for name, sentences in texts.items()}
    content = json.dumps({"about": ABOUT, **golden}, ensure_ascii=False)
    given.output.write_bytes(gzip.compress(content.encode(), 9, mtime=0))
    print(f"{given.output}: {given.output.stat().st_size:,} bytes")


def random_sentences(seed: int = SEED) -> Iterator[str]:
    """Endless sentences, their words' frequencies like Zipf's, half of the words led by the one before."""
    chance = random.Random(seed).random
    while True:
        length, word, words = 3 + int(30 * chance() ** 2), 0, []
        for _ in range(length):
            follows = chance() < 0.5
            word = (word * 31 + int(60 ** chance())) % 5_000 if follows else int(200_000 ** chance())
            words.append(f"W{word}")
        yield " ".join(words)


def split_text(sentences: Iterator[str], folder: Path) -> tuple[Path, Path]:
    """Write the first million words to one file, the sentences after them, with unknown words, to another."""
    training, held_out = folder / "training.txt", folder / "held_out.txt"
    words = 0
    with training.open("w") as stream:
        for sentence in sentences:
            stream.write(f"{sentence.strip()}\n")
            words += len(sentence.split())
            if words >= WORDS:
                break
    lines = (f"{line.strip()} UNHEARD-OF\n" for line in islice(sentences, HELD_OUT))
    held_out.write_text("".join(lines))
    return training, held_out


def run_kenlm(tools: Path, sentences: Iterator[str]) -> dict[str, Any]:
    """What lmplz and query say of one text, for each of the models."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        training, held_out = split_text(iter(sentences), folder)
        return {
            model: _run_model(tools, model, options, training, held_out, folder)
            for model, options in MODELS.items()
        }


def _run_model(
    tools: Path, model: str, options: list[str], training: Path, held_out: Path, folder: Path
) -> dict[str, Any]:
    arpa = folder / "model.arpa"
    command = [tools / "lmplz", "-o", model[0], "-S", "1G", "-T", folder, *options, "--arpa", arpa]
    with training.open() as stdin:
        said = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=True).stderr
    discounts = re.findall(r"D1=(\S+) D2=(\S+) D3\+=(\S+)", said)
    with held_out.open() as stdin:
        query = [tools / "query", "-v", "summary", arpa]
        summary = subprocess.run(query, stdin=stdin, capture_output=True, text=True, check=True).stdout
    values = dict(re.findall(r"^(.+?):\s+([\d.]+)$", summary, re.MULTILINE))
    return {
        "prune": [int(value) for value in options[1:]],
        "discounts": [[float(value) for value in row] for row in discounts],
        "levels": [_summarise(rows) for rows in _read_levels(arpa)],
        "perplexity": float(values["Perplexity including OOVs"]),
        "perplexity_without_unknown": float(values["Perplexity excluding OOVs"]),
        "unknown": int(values["OOVs"]),
        "tokens": int(values["Tokens"]),
    }


def _read_levels(arpa: Path) -> Iterator[list[tuple[str, float, float]]]:
    level: list[tuple[str, float, float]] = []
    for line in arpa.read_text().splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            level.append((fields[1], float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0))
        elif level and not line:
            yield level
            level = []


def _summarise(rows: list[tuple[str, float, float]]) -> dict[str, Any]:
    # <s> is never predicted: lmplz gives it probability 1, others 0.
    predicted = [row for row in rows if row[0] != "<s>"]
    chosen = random.Random(SEED).sample(predicted, min(SAMPLES, len(predicted)))
    return {
        "count": len(rows),
        "mean_log_probability": sum(row[1] for row in predicted) / len(predicted),
        "mean_backoff": sum(row[2] for row in rows) / len(rows),
        "ngrams": chosen,
    }


if __name__ == "__main__":
    main()
