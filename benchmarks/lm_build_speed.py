"""Time and peak memory of ``asr lm build`` beside KenLM's lmplz, on the same text.

    python benchmarks/lm_build_speed.py books.txt.xz --kenlm build/bin --words 20000000

How to build KenLM is said in ``lmplz_golden.py``. Both read plain text and write the model that they would be
used with: ours its directory, lmplz an ARPA file. Best of ``--runs``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from asr.lm.text import read_lines


def main() -> None:
    """Cut the text, run both, print a table."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("text", type=Path, help="A sentence a line; plain, .gz or .xz.")
    arguments.add_argument("--kenlm", type=Path, help="Folder of lmplz; without it only ours is run.")
    arguments.add_argument("--words", type=int, default=20_000_000)
    arguments.add_argument("--order", type=int, default=3)
    arguments.add_argument("--runs", type=int, default=3)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.txt"
        words = write_words(given.text, text, given.words)
        commands = {"asr lm build": [sys.executable, "-m", "asr", "lm", "build", text, "-o", folder / "lm"]}
        commands["asr lm build"] += ["--order", str(given.order), "--temporary", folder]
        if given.kenlm:
            tool = [given.kenlm / "lmplz", "-o", str(given.order), "-S", "2G", "-T", folder]
            commands["lmplz"] = [*tool, "--text", text, "--arpa", folder / "lm.arpa"]
        print(f"order {given.order}, {words:,} words, best of {given.runs}\n")
        print("| | seconds | CPU seconds | peak memory, GB |\n|---|---|---|---|")
        for label, command in commands.items():
            seconds, cpu, memory = min(measure(command) for _ in range(given.runs))
            print(f"| {label} | {seconds:.1f} | {cpu:.1f} | {memory:.2f} |")


def write_words(source: Path, target: Path, words: int) -> int:
    """Copy the first sentences with ``words`` words in all; return how many there are."""
    total = 0
    with target.open("wb") as stream:
        for line in read_lines(source):
            if total >= words:
                break
            stream.write(line)
            total += len(line.split())
    return total


def measure(command: list[str | Path]) -> tuple[float, float, float]:
    """Wall time and CPU time in seconds and peak memory in GB of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed")
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


if __name__ == "__main__":
    main()
