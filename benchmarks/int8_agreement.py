"""How often int8 gives the same text as fp32.

    python benchmarks/int8_agreement.py data/dev-clean.jsonl [--model en]

``asr decode`` hears the manifest in both precisions, with the model's own decoder and greedily with the
character head, where the model has one. Beside the utterances whose texts are equal: the words that differ,
and both word error rates.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from asr.manifest import read_manifest
from asr.model import find_model, load_network

PRECISIONS = ("fp32", "int8")


def main() -> None:
    """Decode twice in each way, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="en")
    given = parser.parse_args()
    references = {each.id: (each.text or "").split() for each in read_manifest(given.manifest)}
    ways: dict[str, list[str]] = {"the model's own": []}
    if "characters" in load_network(find_model(given.model)).config.heads:
        ways["greedy, characters"] = ["--decoder", "greedy", "--head", "characters"]
    print("| decoding | utterances with equal text | words that differ | WER fp32 | WER int8 |")
    print("|---|---:|---:|---:|---:|")
    for name, options in ways.items():
        exact, rounded = (decode(given.model, given.manifest, precision, options) for precision in PRECISIONS)
        equal = sum(exact[each] == rounded[each] for each in exact) / len(exact)
        rates = (errors(references, exact), errors(exact, rounded), errors(references, rounded))
        wer, differing, wer_int8 = (f"{100 * rate:.2f} %" for rate in rates)
        print(f"| {name} | {100 * equal:.1f} % | {differing} | {wer} | {wer_int8} |", flush=True)


def decode(model: str, manifest: Path, precision: str, options: list[str]) -> dict[str, list[str]]:
    """The words of each utterance."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "heard.jsonl")
        command = [sys.executable, "-m", "asr", "decode", model, manifest, "--precision", precision]
        subprocess.run([*command, *options, "-o", output], check=True)
        lines = map(json.loads, output.read_text().splitlines())
        return {line["id"]: line["text"].split() for line in lines}


def errors(references: dict[str, list[str]], hypotheses: dict[str, list[str]]) -> float:
    """Word error rate (0 to 1)."""
    distance = sum(Levenshtein.distance(references[each], hypotheses[each]) for each in hypotheses)
    return distance / sum(len(references[each]) for each in hypotheses)


if __name__ == "__main__":
    main()
