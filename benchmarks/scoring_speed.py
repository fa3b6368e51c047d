"""Scoring 100,000 utterances: ``asr score`` with its intervals against sclite and jiwer's command.

    python benchmarks/scoring_speed.py [--utterances 100000] [--repeats 3]

Whole processes, start to exit, one after the other in each round; the best of the rounds counts. The
same texts as trn (ours and sclite) and as plain lines (jiwer, which drops lines of one character, so
every text here is longer). Then the HTML report of 10,000 utterances: when its rows stand, by the
browser's own clock. Needs Debian's ``sctk`` (left out without it) and, for the page, chromium.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCTK = "/usr/lib/sctk/bin/sclite"
PAGE_UTTERANCES = 10_000


def main() -> None:
    """Make the texts, run the programs, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--utterances", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--error-rate", type=float, default=0.1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = make_pairs(given.utterances, given.error_rate, random.Random(1))
        write(folder, pairs)
        compare_programs(folder, given.repeats)
        write(folder, pairs[:PAGE_UTTERANCES])
        measure_page(folder)


def make_pairs(utterances: int, error_rate: float, random_: random.Random) -> list[tuple[str, str]]:
    """References of about 20 words with Zipf's frequencies, and hypotheses with errors in them."""
    words = ["".join(random_.choices("ETAOINSHRDLU", k=random_.randint(2, 9))) for _ in range(20_000)]
    frequencies = [1 / (rank + 3) for rank in range(len(words))]
    pool = random_.choices(words, frequencies, k=1_000_003)
    pairs = []
    for _ in range(utterances):
        start = random_.randrange(len(pool) - 40)
        reference = pool[start : start + random_.randint(4, 36)]
        hypothesis = []
        for word in reference:
            kind = random_.random() / error_rate
            if kind < 0.65:
                hypothesis.append(random_.choice(pool))
            elif kind < 0.85:
                continue
            else:
                hypothesis.append(word)
                if kind < 1:
                    hypothesis.append(random_.choice(pool))
        pairs.append((" ".join(reference), " ".join(hypothesis or reference)))
    return pairs


def write(folder: Path, pairs: list[tuple[str, str]]) -> None:
    """The texts in every form that the programs read."""
    for side, name in enumerate(("ref", "hyp")):
        texts = [pair[side] for pair in pairs]
        ids = [f"spk{index % 97:03d}-{index:06d}" for index in range(len(texts))]
        lines = list(zip(ids, texts, strict=True))
        (folder / f"{name}.trn").write_text("".join(f"{text} ({id_})\n" for id_, text in lines))
        (folder / f"{name}.txt").write_text("".join(f"{text}\n" for text in texts))
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"id": id_, "text": text}) + "\n" for id_, text in lines)
        )


def compare_programs(folder: Path, repeats: int) -> None:
    """Run every program in turn; print best times and what they counted."""
    asr = [sys.executable, "-m", "asr", "score"]
    programs = {
        "asr score, trn, 10,000 replicates": [*asr, "ref.trn", "hyp.trn", "--json"],
        "asr score, JSON lines, 10,000 replicates": [*asr, "ref.jsonl", "hyp.jsonl", "--json"],
        "jiwer": [str(Path(sys.executable).with_name("jiwer")), "-r", "ref.txt", "-h", "hyp.txt"],
        "sclite": [SCTK, "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "spu_id", "-s",
                   "-o", "rsum", "stdout"],
    }  # fmt: skip
    if not Path(SCTK).exists():
        print("sclite is not installed (Debian's sctk); left out")
        del programs["sclite"]
    fresh = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "numba")}
    first, _ = timed(next(iter(programs.values())), folder, fresh)
    times: dict[str, list[float]] = {name: [] for name in programs}
    outputs = {}
    for _ in range(repeats):
        for name, command in programs.items():
            seconds, outputs[name] = timed(command, folder, fresh)
            times[name].append(seconds)
    print(f"{'program':<42} best s   all")
    for name, seconds in times.items():
        print(f"{name:<42} {min(seconds):6.2f}   {', '.join(f'{value:.2f}' for value in seconds)}")
    print(f"the very first asr score, which compiles: {first:.2f} s")
    result = json.loads(outputs["asr score, trn, 10,000 replicates"])
    counted = {key: result[key] for key in ("words", "substitutions", "deletions", "insertions")}
    print(f"asr: {counted}, WER {result['wer']:.4f} %, 95 % interval {result['interval']}")
    print(f"jiwer: WER {100 * float(outputs['jiwer']):.4f} % (unit costs)")
    if "sclite" in outputs:
        summed = re.search(r"\| Sum .*", outputs["sclite"])
        print(f"sclite: {summed[0] if summed else outputs['sclite'][-300:]}")


def measure_page(folder: Path) -> None:
    """Open the HTML report in headless Chromium; print when its rows were ready."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    command = [sys.executable, "-m", "asr", "score", "ref.jsonl", "hyp.jsonl", "--html", "page.html"]
    seconds, _ = timed(command, folder, dict(os.environ))
    size = (folder / "page.html").stat().st_size
    print(f"HTML report of {PAGE_UTTERANCES:,} utterances: written in {seconds:.2f} s, {size / 1e6:.1f} MB")
    if chromium is None:
        print("chromium is not installed; the page was not opened")
        return
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder / 'profile'}", "--dump-dom", (folder / "page.html").as_uri(),
    ]  # fmt: skip
    seconds, page = timed(command, folder, dict(os.environ))
    ready = re.search(r'data-ready-after="([^"]*)"', page)
    print(f"opened in Chromium: rows ready after {ready[1] if ready else '?'}, process {seconds:.2f} s")


def timed(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, str]:
    """Seconds from start to exit, and stdout."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return seconds, done.stdout


if __name__ == "__main__":
    main()
