"""Make ``tests/golden/sclite.json.gz``: 2,000 utterances with what sclite says of each.

    python benchmarks/scoring_golden.py REF HYP --sctk /usr/lib/sctk/bin

REF is the manifest of LibriSpeech dev-clean, HYP what a recogniser made of some of it. To these come
references of dev-clean corrupted in the ways recognisers err, sequences over tiny vocabularies (where
alignments of the same cost abound), and empty texts. Needs Debian's ``sctk``.
"""

import argparse
import gzip
import json
import random
import re
import subprocess
import tempfile
from pathlib import Path

from asr.scoring import read_texts

ABOUT = (
    "References from LibriSpeech dev-clean (Panayotov et al. 2015), CC BY 4.0, and random sequences. "
    "Hypotheses by {recogniser} (ids that start with real), by corruption of the references with a seed "
    "(bent), or random (fuzz). Counts by sclite {version}, options -s -i spu_id. "
    "matched_pairs: sc_stats on these hypotheses and the references without every ninth word."
)
UTTERANCES = 2_000
LONGEST = 22
TINY_VOCABULARIES = (["A", "I"], ["A", "B", "C", "O"], ["THE", "A", "CAT", "SAT", "ON", "MAT", "I"])


def main() -> None:
    """Corrupt, let sclite score, write."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("references", metavar="REF", type=Path)
    arguments.add_argument("hypotheses", metavar="HYP", type=Path)
    arguments.add_argument("--recogniser", default="a recogniser", help="Name and version, for the file.")
    arguments.add_argument("--sctk", type=Path, default=Path("/usr/lib/sctk/bin"))
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("-o", "--output", type=Path, default=Path("tests/golden/sclite.json.gz"))
    given = arguments.parse_args()

    pairs = make_pairs(read_texts(given.references), read_texts(given.hypotheses), random.Random(given.seed))
    with tempfile.TemporaryDirectory() as folder:
        counts, version = run_sclite(given.sctk, Path(folder), pairs)
        segments, z = run_sc_stats(given.sctk, Path(folder), pairs)
    golden = {
        "about": ABOUT.format(recogniser=given.recogniser, version=version),
        "columns": ["id", "reference", "hypothesis", "correct", "substitutions", "deletions", "insertions"],
        "utterances": [[name, *texts, *counts[name]] for name, texts in pairs.items()],
        "matched_pairs": {"segments": segments, "z": z},
    }
    lines = json.dumps(golden, ensure_ascii=False).replace("], [", "],\n[")
    given.output.write_bytes(gzip.compress(lines.encode(), 9, mtime=0))
    print(f"{given.output}: {len(pairs)} utterances, {given.output.stat().st_size:,} bytes")


def make_pairs(
    references: dict[str, str], hypotheses: dict[str, str], random_: random.Random
) -> dict[str, tuple[str, str]]:
    """Reference and hypothesis of each utterance."""
    short = [text for text in references.values() if len(text.split()) <= LONGEST]
    vocabulary = sorted({word for text in references.values() for word in text.split()})
    real = [(references[name], text) for name, text in hypotheses.items()]
    empty = [("", ""), ("", "I"), ("A", ""), ("", "WHAT WAS THAT"), (short[0], "")]
    left = UTTERANCES - len(real) - len(empty)
    bent = [bend(random_.choice(short), vocabulary, random_) for _ in range(left // 2)]
    fuzz = [fuzzed(random_) for _ in range(left - left // 2)]
    return {
        f"{kind}-{number:04d}": pair
        for kind, members in (("real", real), ("bent", bent), ("fuzz", fuzz), ("empty", empty))
        for number, pair in enumerate(members)
    }


def bend(text: str, vocabulary: list[str], random_: random.Random) -> tuple[str, str]:
    """Err as recognisers do: similar words, lost and added short words, words split, joined, repeated."""
    strength = random_.random() * 0.6
    words = text.split()
    result: list[str] = []
    for word in words:
        kind = random_.random() / strength if strength else 1.0
        if kind > 1 or random_.random() < 0.1:
            result.append(word)
        elif kind < 0.35:
            alike = [other for other in vocabulary if other[:2] == word[:2] and other != word]
            result.append(random_.choice(alike or vocabulary))
        elif kind < 0.5:
            continue
        elif kind < 0.6:
            result += [word, random_.choice(["A", "THE", "AND", "I", "O", "TO"])]
        elif kind < 0.7:
            cut = random_.randint(1, max(1, len(word) - 1))
            result += [part for part in (word[:cut], word[cut:]) if part]
        elif kind < 0.8 and result:
            result[-1] += word
        elif kind < 0.9:
            result += [word, word]
        else:
            result.append(random_.choice(vocabulary))
    return text, " ".join(result)


def fuzzed(random_: random.Random) -> tuple[str, str]:
    """Random words of a tiny vocabulary, or a reference with random edits."""
    vocabulary = random_.choice(TINY_VOCABULARIES)
    reference = random_.choices(vocabulary, k=random_.randint(0, 24))
    if random_.random() < 0.4:
        return " ".join(reference), " ".join(random_.choices(vocabulary, k=random_.randint(0, 24)))
    hypothesis = [word for word in reference if random_.random() < 0.85]
    for _ in range(random_.randint(0, 6)):
        hypothesis.insert(random_.randint(0, len(hypothesis)), random_.choice(vocabulary))
    return " ".join(reference), " ".join(hypothesis)


def without_every_ninth_word(text: str) -> str:
    """The second system of the matched-pairs test."""
    return " ".join(word for place, word in enumerate(text.split(), 1) if place % 9)


def run_sclite(
    programs: Path, folder: Path, pairs: dict[str, tuple[str, str]]
) -> tuple[dict[str, list[int]], str]:
    """Correct, substituted, deleted, inserted words of each utterance, and sclite's version."""
    references = {name: reference for name, (reference, _) in pairs.items()}
    write_trn(folder / "ref.trn", references)
    write_trn(folder / "first.trn", {name: hypothesis for name, (_, hypothesis) in pairs.items()})
    report = sclite(programs, folder, "first", "pra")
    found = re.findall(r"^id: \((\S+)\)\nScores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)$", report, re.M)
    counts = {name: [int(number) for number in numbers] for name, *numbers in found}
    assert counts.keys() == pairs.keys(), "sclite left utterances out"
    usage = subprocess.run([programs / "sclite"], capture_output=True, text=True, check=False)
    version = re.search(r"sclite Version: ([\d.]+)", usage.stdout + usage.stderr)
    return counts, version[1] if version else "of unknown version"


def run_sc_stats(programs: Path, folder: Path, pairs: dict[str, tuple[str, str]]) -> tuple[int, float]:
    """Segments and Z of the matched-pairs test of the hypotheses and the shortened references."""
    second = {name: without_every_ninth_word(reference) for name, (reference, _) in pairs.items()}
    write_trn(folder / "second.trn", second)
    alignments = "".join(sclite(programs, folder, name, "sgml") for name in ("first", "second"))
    command = [programs / "sc_stats", "-p", "-r", "sum", "-t", "mapsswe", "-v", "-n", "pair"]
    subprocess.run(command, input=alignments, cwd=folder, capture_output=True, text=True, check=True)
    report = (folder / "pair.stats.mapsswe").read_text()
    found = re.search(r"# segs: (\d+)\).*Z Stat: +(-?[\d.]+)", report)
    assert found, report
    return int(found[1]), float(found[2])


def sclite(programs: Path, folder: Path, system: str, form: str) -> str:
    """Run sclite on a system's trn; its report."""
    command = [
        programs / "sclite", "-r", "ref.trn", "trn", "-h", f"{system}.trn", "trn", system,
        "-i", "spu_id", "-s", "-o", form, "stdout",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def write_trn(path: Path, texts: dict[str, str]) -> None:
    """Write texts as sclite reads them."""
    path.write_text("".join(f"{text} ({name})\n" for name, text in texts.items()))


if __name__ == "__main__":
    main()
