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

from asr.manifest import read_manifest
from asr.model import find_model, load_network
from asr.scoring import score

PRECISIONS = ("fp32", "int8")


def main() -> None:
    """Decode twice in each way, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="en")
    given = parser.parse_args()
    references = {each.id: each.text or "" for each in read_manifest(given.manifest)}
    ways: dict[str, list[str]] = {"the model's own": []}
    if "characters" in load_network(find_model(given.model)).config.heads:
        ways["greedy, characters"] = ["--decoder", "greedy", "--head", "characters"]
    print("| decoding | utterances with equal text | words that differ | WER fp32 | WER int8 |")
    print("|---|---:|---:|---:|---:|")
    for name, options in ways.items():
        exact, rounded = (decode(given.model, given.manifest, precision, options) for precision in PRECISIONS)
        equal = sum(exact[each] == rounded[each] for each in exact) / len(exact)
        pairs = ((references, exact), (exact, rounded), (references, rounded))
        wer, differing, wer_int8 = (f"{score(*pair).wer:.2f} %" for pair in pairs)
        print(f"| {name} | {100 * equal:.1f} % | {differing} | {wer} | {wer_int8} |", flush=True)


def decode(model: str, manifest: Path, precision: str, options: list[str]) -> dict[str, str]:
    """The text of each utterance."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "heard.jsonl")
        command = [sys.executable, "-m", "asr", "decode", model, manifest, "--precision", precision]
        subprocess.run([*command, *options, "-o", output], check=True)
        lines = map(json.loads, output.read_text().splitlines())
        return {line["id"]: line["text"] for line in lines}


if __name__ == "__main__":
    main()
