"""Speed and word error rate of our beam search beside flashlight's, one thread, in one run.

    python benchmarks/decoding_speed.py data/dev-clean.jsonl --utterances 200 --kenlm build/bin

Both get the same emissions (the model's character head: see ``flashlight_peer.py``), the same words and
the model's own n-gram, flashlight's as a KenLM binary made of the same values. Then ours alone on the head
that the model uses by itself, with its tuned weights. Times are of decoding only. Utterances take turns:
each is decoded by all, so that what else the machine does hits all alike.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from flashlight_peer import compute_emissions, flashlight_decoder, with_separator
from numpy.typing import NDArray

from asr.decoding.beam import BeamDecoder
from asr.decoding.config import BeamConfig
from asr.decoding.loading import load_beam_parts
from asr.decoding.options import DecodingOptions
from asr.decoding.settings import beam_config
from asr.decoding.trie import LexiconTrie
from asr.lm.ngram import NGram
from asr.manifest import evenly_spread, read_manifest
from asr.model import find_model, load_network
from asr.scoring import score

Decode = Callable[[NDArray[np.float32]], str]


def main() -> None:
    """Compute emissions, make the decoders, measure, print a table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("manifest", type=Path)
    arguments.add_argument(
        "--model", default="en", help="Model directory with a head of characters and an LM."
    )
    arguments.add_argument("--utterances", type=int, default=200)
    arguments.add_argument("--beams", type=int, nargs="+", default=[50, 500])
    arguments.add_argument("--lm-weight", type=float, default=1.0)
    arguments.add_argument("--word-score", type=float, default=0.0)
    arguments.add_argument("--max-tokens", type=int, default=0, help="Tokens tried in a frame, by both.")
    arguments.add_argument("--kenlm", type=Path, help="Folder of build_binary; without it the ARPA is read.")
    given = arguments.parse_args()
    torch.set_num_threads(1)
    folder = find_model(given.model)
    model = load_network(folder)
    model.eval()
    utterances = evenly_spread(read_manifest(given.manifest), given.utterances)
    config = BeamConfig(lm_weight=given.lm_weight, word_score=given.word_score, max_tokens=given.max_tokens)
    configs = {size: replace(config, beam_size=size) for size in given.beams}

    tokenizer = model.tokenizers["characters"]
    heard = compute_emissions(model, utterances, "characters")
    texts = {each.id: each.text or "" for each, _ in heard}
    seconds = sum(each.duration for each, _ in heard)
    lm = NGram.load(folder / "lm")
    trie = LexiconTrie.from_words(lm.words, tokenizer)
    with tempfile.TemporaryDirectory() as name:
        language_model = write_for_kenlm(folder / "lm", Path(name), given.kenlm)
        decoders: dict[str, Decode] = {}
        for size, each in configs.items():
            peer = flashlight_decoder(tokenizer, trie.words, language_model, each, Path(name))
            decoders[f"flashlight, beam {size}"] = lambda emissions, peer=peer: peer(emissions)[0]
        for size, each in configs.items():
            best = replace(each, sum_alignments=False)
            for label, one in (("sums of alignments", each), ("best alignments", best)):
                decoder = BeamDecoder(tokenizer, one, lm=lm, lexicon=trie)
                decoders[f"ours, beam {size}, {label}"] = best_text(decoder)
        print(f"{len(heard)} utterances, {seconds / 60:.1f} minutes; one thread; {len(trie.words):,} words\n")
        print(f"characters, LM weight {given.lm_weight}, word score {given.word_score}\n")
        emissions = {each.id: with_separator(array, tokenizer) for each, array in heard}
        report(decoders, emissions, texts, seconds)

    head = model.default_head
    options = DecodingOptions(decoder="beam")
    parts, tuned = load_beam_parts(folder, model, options), beam_config(model.config.decoding, options)
    emissions = {each.id: array for each, array in compute_emissions(model, utterances, head)}
    decoders = {
        f"ours, beam {size}": best_text(parts.decoder(replace(tuned, beam_size=size))) for size in given.beams
    }
    print(f"\n{head}, the model's own weights\n")
    report(decoders, emissions, texts, seconds)


def write_for_kenlm(lm: Path, folder: Path, kenlm: Path | None) -> Path:
    """The model as an ARPA file, or KenLM's default binary where ``build_binary`` is given."""
    arpa = folder / "lm.arpa"
    subprocess.run(
        [sys.executable, "-m", "asr", "lm", "build", lm, "-o", arpa], check=True, capture_output=True
    )
    if kenlm is None:
        return arpa
    binary = folder / "lm.bin"
    subprocess.run([kenlm / "build_binary", arpa, binary], check=True, capture_output=True)
    return binary


def best_text(decoder: BeamDecoder) -> Decode:
    """The best reading's text."""
    return lambda emissions: decoder.decode(emissions)[0].text


def report(
    decoders: dict[str, Decode],
    emissions: dict[str, NDArray[np.float32]],
    texts: dict[str, str],
    seconds: float,
) -> None:
    """Decode with each, warm; print a table of time, real-time factor and WER."""
    for decode in decoders.values():
        decode(next(iter(emissions.values())))
    spent = dict.fromkeys(decoders, 0.0)
    found: dict[str, dict[str, str]] = {label: {} for label in decoders}
    for name, array in emissions.items():
        for label, decode in decoders.items():
            begin = time.perf_counter()
            found[label][name] = decode(array)
            spent[label] += time.perf_counter() - begin
    print("| | seconds | real-time factor | WER |\n|---|---|---|---|")
    for label, hypotheses in found.items():
        wer = score(texts, hypotheses).wer
        print(f"| {label} | {spent[label]:.2f} | {spent[label] / seconds:.5f} | {wer:.2f} |")


if __name__ == "__main__":
    main()
