"""What an n-gram's size costs: perplexity and word error rate of one model pruned to several sizes.

    python benchmarks/lm_sizes.py books.txt.xz data/dev-clean.jsonl --sizes 2 4 8 16 32

The model is estimated once (as ``asr lm build`` does), pruned by entropy to each size, and put in the place
of the acoustic model's own language model; lexicon and weights stay as they are. The unpruned one comes last.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from asr.lm.build import build_table
from asr.lm.formats import save_table
from asr.lm.pruning import prune_to_size
from asr.manifest import evenly_spread, read_manifest, write_manifest


def main() -> None:
    """Build, prune, measure, print a table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("text", type=Path, help="A sentence a line; plain, .gz or .xz.")
    arguments.add_argument("manifest", type=Path, help="Utterances with texts.")
    arguments.add_argument("--model", default="en")
    arguments.add_argument("--order", type=int, default=4)
    arguments.add_argument("--vocabulary", type=int, default=100_000)
    arguments.add_argument("--sizes", nargs="+", type=int, default=[2, 4, 8, 16, 32], help="In MB.")
    arguments.add_argument("--utterances", type=int, default=0, help="Decoded, evenly spread (0: all).")
    given = arguments.parse_args()
    chosen = evenly_spread([each for each in read_manifest(given.manifest) if each.text], given.utterances)
    print("| size, MB | n-grams | perplexity | without unknown words | WER, % | decoding, s |")
    print("|---|---|---|---|---|---|")
    megabyte = 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(folder / "decoded.jsonl", chosen)
        whole = build_table([given.text], given.order, vocabulary=given.vocabulary, temporary=folder)
        for size in [*given.sizes, None]:
            lm = folder / "lm"
            save_table(lm, prune_to_size(whole, size * megabyte) if size else whole)
            facts = json.loads(run("lm", "info", lm, "--json"))
            text = json.loads(run("lm", "perplexity", lm, given.manifest, "--json"))
            begin = time.perf_counter()
            found = json.loads(run("evaluate", given.model, folder / "decoded.jsonl", "--lm", lm, "--json"))
            seconds = time.perf_counter() - begin
            print(
                f"| {facts['bytes'] / megabyte:.1f} | {sum(facts['ngrams']):,} | {text['perplexity']:.1f} "
                f"| {text['perplexity_without_unknown']:.1f} | {found['wer']:.2f} | {seconds:.0f} |",
                flush=True,
            )


def run(*arguments: Any) -> str:
    """What an ``asr`` command prints."""
    command = [sys.executable, "-m", "asr", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
