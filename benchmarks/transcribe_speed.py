"""Speed of transcribing, whole processes with their start-up, beside other recognisers in one run.

    python benchmarks/transcribe_speed.py data/dev-clean.jsonl [--minutes 20] [--peer-python PYTHON]

The same utterances, drawn with a seed, are written as wav files once; then each row is one process that
reads them all: ``asr transcribe`` greedy (character head) and with beam and LM (the model's default), each
also in int8 where onnxruntime is installed; faster-whisper tiny.en and base in int8, and pocketsphinx, where
the Python given with ``--peer-python`` has them (see ``transcribe_peer.py``). A second table is ``asr decode
--decoder beam`` on fewer minutes, a third one file of about 10 s from a cold process, with the share of what
is imported. Before it is measured every command runs once on one file, so that caches on disk are filled.
Word error rates are of texts normalised as Whisper's paper does, the same for all.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import soundfile

from asr.audio import read_audio
from asr.manifest import Utterance, read_manifest
from asr.scoring import score
from asr.scoring.normalizers import normalizer

RATE = 16_000
PEER = Path(__file__).with_name("transcribe_peer.py")
PEERS = {
    "whisper-tiny": "faster-whisper tiny.en, int8, beam 1",
    "whisper-base": "faster-whisper base, int8, beam 1",
    "pocketsphinx": "pocketsphinx, its own model, a process a core",
}
GREEDY = ["--decoder", "greedy", "--head", "characters"]
IMPORTS = ("torch", "asr.transcriber", "asr.decoding.beam", "numba", "typer", "numpy", "soundfile")


@dataclass(frozen=True)
class Row:
    """One process: wall-clock and CPU seconds, and what it printed."""

    wall: float
    cpu: float
    output: str


@dataclass(frozen=True)
class Clips:
    """Wav files and their manifest."""

    manifest: Path
    utterances: list[Utterance]

    @property
    def seconds(self) -> float:
        """Audio in all."""
        return sum(utterance.duration for utterance in self.utterances)

    def part(self, name: str, utterances: list[Utterance]) -> "Clips":
        """Some of them."""
        path = self.manifest.with_name(name)
        path.write_text(
            "".join(
                json.dumps({"id": each.id, "audio_filepath": f"{each.id}.wav", "duration": each.duration})
                + "\n"
                for each in utterances
            )
        )
        return Clips(path, utterances)


def write_clips(folder: Path, utterances: list[Utterance]) -> Clips:
    """Utterances as 16-bit wav files."""
    for each in utterances:
        waveform = read_audio(each.audio_filepath, RATE, each.offset, each.duration or None)
        soundfile.write(folder / f"{each.id}.wav", waveform.numpy(), RATE, subtype="PCM_16")
    return Clips(folder / "all.jsonl", []).part("all.jsonl", utterances)


def first_minutes(utterances: list[Utterance], minutes: float) -> list[Utterance]:
    """As many as hold so much audio."""
    chosen, seconds = [], 0.0
    for each in utterances:
        if seconds >= 60 * minutes:
            break
        chosen.append(each)
        seconds += each.duration
    return chosen


def run(command: list[str]) -> Row:
    """Run a process to its end.

    Raises:
        RuntimeError: it failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} …: {done.stderr.strip()[-500:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Row(wall, cpu, done.stdout)


def asr(*arguments: object) -> list[str]:
    """A command line of ours."""
    return [sys.executable, "-m", "asr", *map(str, arguments)]


def transcribe_commands(model: str) -> dict[str, list[str]]:
    """Our rows of the first table, without the manifest."""
    ways = {"greedy": GREEDY, "beam + LM": []}
    names = ["auto", "fp32", *(["int8"] if find_spec("onnxruntime") else [])]
    precisions = {name: ["--precision", name] for name in names}
    return {
        f"asr transcribe, {way}, {precision}": asr("transcribe", "--model", model, *flags, *extra)
        for way, flags in ways.items()
        for precision, extra in precisions.items()
    }


def peer_commands(python: str | None, folder: Path) -> dict[str, list[str]]:
    """Rows of the peers that are installed; a line on stderr for each of the others."""
    commands = {}
    for system, label in PEERS.items():
        if python is None:
            print(f"{label}: skipped, no --peer-python", file=sys.stderr)
            continue
        prepare = [python, str(PEER), "prepare", system, str(folder / system)]
        done = subprocess.run(prepare, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["failed"])[-1]
            print(f"{label}: skipped, {reason}", file=sys.stderr)
        else:
            commands[label] = [python, str(PEER), "run", system, done.stdout.strip()]
    return commands


def error_rate(clips: Clips, output: str) -> float:
    """Word error rate in percent of lines ``text`` or ``name<TAB>text`` in the order of the clips."""
    texts = [line.rpartition("\t")[2] for line in output.splitlines()]
    normalise = normalizer("whisper-en")
    references = {each.id: each.text or "" for each in clips.utterances}
    hypotheses = dict(zip(references, texts, strict=True))
    return score(normalise(references), normalise(hypotheses)).wer


def speed_table(title: str, commands: dict[str, list[str]], clips: Clips, warm: Clips) -> None:
    """Measure each command on the clips; times are against the first peer."""
    rows: dict[str, Row] = {}
    for label, command in commands.items():
        run([*command, str(warm.manifest)])
        rows[label] = run([*command, str(clips.manifest)])
        print(f"{label}: {rows[label].wall:.1f} s", file=sys.stderr)
    print(f"\n{title}: {len(clips.utterances)} utterances, {clips.seconds / 60:.1f} minutes\n")
    reference = next((rows[label].wall for label in PEERS.values() if label in rows), None)
    print("| process | seconds | × real time | CPU seconds | × tiny.en | WER % |\n|---|---|---|---|---|---|")
    for label, row in rows.items():
        ratio = f"{reference / row.wall:.1f}" if reference else ""
        print(
            f"| {label} | {row.wall:.1f} | {clips.seconds / row.wall:.0f} | {row.cpu:.1f} | {ratio} "
            f"| {error_rate(clips, _texts(row.output)):.2f} |"
        )


def _texts(output: str) -> str:
    """Lines of text, of JSON lines as ``asr decode`` writes them too."""
    if not output.startswith("{"):
        return output
    return "".join(json.loads(line)["text"] + "\n" for line in output.splitlines())


def cold_table(commands: dict[str, list[str]], clip: Clips, repeats: int) -> None:
    """One file from a cold process: the best of several, and what of it is imports."""
    print(f"\nOne file of {clip.seconds:.1f} s, best of {repeats} processes\n")
    print("| process | seconds | CPU seconds |\n|---|---|---|")
    imports = {f"import {name}": [sys.executable, "-c", f"import {name}"] for name in IMPORTS}
    for label, command in commands.items():
        rows = [run([*command, str(clip.manifest)]) for _ in range(repeats)]
        print(f"| {label} | {min(r.wall for r in rows):.2f} | {min(r.cpu for r in rows):.2f} |", flush=True)
    for label, command in imports.items():
        rows = [run(command) for _ in range(repeats)]
        print(f"| {label} | {min(r.wall for r in rows):.2f} | {min(r.cpu for r in rows):.2f} |", flush=True)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--model", default="en")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--decode-minutes", type=float, default=8.0)
    parser.add_argument("--repeats", type=int, default=5, help="processes of the cold start")
    parser.add_argument("--peer-python", help="Python that has faster-whisper and pocketsphinx")
    given = parser.parse_args()
    utterances = list(read_manifest(given.manifest))
    random.Random(0).shuffle(utterances)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = write_clips(folder, first_minutes(utterances, given.minutes))
        ten = min(clips.utterances, key=lambda each: abs(each.duration - 10))
        warm = clips.part("warm.jsonl", [ten])
        ours, peers = transcribe_commands(given.model), peer_commands(given.peer_python, folder)
        speed_table("Transcribing", ours | peers, clips, warm)
        fewer = clips.part("fewer.jsonl", first_minutes(clips.utterances, given.decode_minutes))
        decode = {"asr decode --decoder beam": asr("decode", given.model, "--decoder", "beam")}
        tiny = {label: command for label, command in peers.items() if label == PEERS["whisper-tiny"]}
        speed_table("asr decode", decode | tiny, fewer, warm)
        cold_table(ours | tiny, warm, given.repeats)


if __name__ == "__main__":
    main()
