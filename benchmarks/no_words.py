"""No words from nothing: what is written of recordings in which nobody speaks, and what that costs speech.

    python benchmarks/no_words.py en data/dev-clean.jsonl
    python benchmarks/no_words.py MODEL data/train-clean-100.jsonl --fit

Clips of silence, noise and music, half of them of kinds that no threshold was fitted on, and utterances as
they are, 40 dB quieter and in noise 10 dB below them, each transcribed with the speech gate and without it.
``--fit`` sets the gate from other clips and the utterances of a training manifest instead, and writes it into
the model directory.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from sounds import FITTED, HELD_OUT, RATE, Draw, Sound, draw_sound
from torch import Tensor

from asr.audio import read_audio
from asr.decoding.options import DecodingOptions
from asr.decoding.speech_gate import SETTING, GatedDecoder, Stretch, fit_threshold, stretches
from asr.manifest import Utterance, read_manifest
from asr.model import find_model, load_network, read_config, write_config
from asr.noises import add_noise, coloured_noise
from asr.recording import Recording
from asr.scoring import score
from asr.transcriber import Transcriber, load_model
from asr.transcript import Transcript

# Seeds: clips that check are none of those that the gate was fitted on.
CHECK, FIT = 1, 2


def main() -> None:
    """Measure and print, or fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--fit", action="store_true", help="write a gate into the model directory")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--utterances", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    utterances = list(read_manifest(arguments.manifest))
    random.Random(0).shuffle(utterances)
    utterances = utterances[: arguments.utterances]
    if arguments.fit:
        fit(arguments.model, utterances, arguments.clips)
        return
    gates = {
        name: load_model(arguments.model, DecodingOptions(speech_gate=wanted))
        for name, wanted in (("no gate", False), ("gate", None))
    }
    report_clips(gates, arguments.clips, arguments.threads)
    report_speech(gates, utterances, arguments.threads)
    report_time(gates["gate"], utterances)


def report_clips(gates: dict[str, Transcriber], clips: int, threads: int) -> None:
    """How many clips give no text, kind by kind."""
    print(
        f"| nobody speaks: {clips} clips | clips | " + " | ".join(f"empty, {name}" for name in gates) + " |"
    )
    print("|---|---|" + "---|" * len(gates))
    for group, kinds in (("fitted", FITTED), ("held out", HELD_OUT)):
        drawn = list(draw_clips(kinds, clips // 2, CHECK))
        empty = {
            name: [
                not transcript.text for transcript in transcribe(gate, [clip for _, clip in drawn], threads)
            ]
            for name, gate in gates.items()
        }
        for row in (*(kind.__name__ for kind in kinds), f"all {group}"):
            own = [number for number, (name, _) in enumerate(drawn) if row in (name, f"all {group}")]
            cells = [str(sum(empty[name][number] for number in own)) for name in gates]
            print(f"| {row} | {len(own)} | " + " | ".join(cells) + " |")
    print()


def report_speech(gates: dict[str, Transcriber], utterances: Sequence[Utterance], threads: int) -> None:
    """WER of each condition."""
    print(f"| speech: {len(utterances)} utterances | " + " | ".join(f"WER, {name}" for name in gates) + " |")
    print("|---|" + "---|" * len(gates))
    references = {utterance.id: utterance.text for utterance in utterances}
    waveforms = [hear(utterance) for utterance in utterances]
    for condition, change in CONDITIONS.items():
        heard = [change(waveform, np.random.default_rng([CHECK, n])) for n, waveform in enumerate(waveforms)]
        cells = []
        for gate in gates.values():
            texts = [transcript.text for transcript in transcribe(gate, heard, threads)]
            cells.append(f"{score(references, dict(zip(references, texts, strict=True))).wer:.2f}")
        print(f"| {condition} | " + " | ".join(cells) + " |")
    print()


def report_time(transcriber: Transcriber, utterances: Sequence[Utterance]) -> None:
    """The gate's share of the time, on one thread."""
    waveforms = [hear(utterance) for utterance in utterances[:8]]
    assert isinstance(transcriber.decoder, GatedDecoder), "decoding.speech_gate is missing: use --fit"
    began = time.perf_counter()
    emissions = transcriber.emissions(waveforms)
    transcriber.hypotheses(emissions)
    whole = time.perf_counter() - began
    lengths = torch.tensor([len(piece) for piece in emissions])
    padded = torch.nn.utils.rnn.pad_sequence(emissions, batch_first=True)
    began = time.perf_counter()
    transcriber.decoder.gate(padded, lengths)
    print(f"the gate takes {100 * (time.perf_counter() - began) / whole:.2f} % of encoding and decoding")


def fit(name: str, utterances: Sequence[Utterance], clips: int) -> None:
    """Fit a threshold for each head and write them into ``config.yaml``."""
    folder = find_model(name)
    model = load_network(folder)
    heads = list(model.config.heads)
    waveforms = [hear(utterance) for utterance in utterances]

    def evidence(waveform: Tensor) -> list[list[Stretch]]:
        """The stretches that each head hears."""
        with torch.inference_mode():
            features, frames = model.frontend(waveform[None], torch.tensor([len(waveform)]))
            logits, _ = model.logits(features, frames, heads)
        return [list(stretches(each[0].log_softmax(-1), model.frame_shift)) for each in logits]

    speech = [
        evidence(change(waveform, np.random.default_rng([FIT, number])))
        for change in CONDITIONS.values()
        for number, waveform in enumerate(waveforms)
    ]
    nothing = [evidence(torch.from_numpy(clip)) for _, clip in draw_clips(FITTED, clips, FIT)]
    thresholds = {
        head: fit_threshold(own_speech, own_nothing)
        for head, own_speech, own_nothing in zip(
            heads, zip(*speech, strict=True), zip(*nothing, strict=True), strict=True
        )
    }
    config = read_config(folder)
    config.decoding[SETTING] = thresholds
    write_config(folder, config)
    print(f"{folder}: {SETTING} {thresholds}")


def draw_clips(kinds: Sequence[Sound], clips: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Clips of each kind in turn, with its name."""
    for number in range(clips):
        kind = kinds[number % len(kinds)]
        yield kind.__name__, draw_sound(kind, np.random.default_rng([seed, number]))


def transcribe(
    transcriber: Transcriber, sounds: Sequence[np.ndarray | Tensor], threads: int
) -> list[Transcript]:
    """The road of ``asr transcribe``."""
    results = transcriber.transcribe_all((Recording(sound) for sound in sounds), threads)
    return [result for result in results if isinstance(result, Transcript)]


def hear(utterance: Utterance) -> Tensor:
    """Samples of an utterance."""
    return read_audio(utterance.audio_filepath, RATE, utterance.offset, utterance.duration or None)


def in_noise(waveform: Tensor, draw: Draw) -> Tensor:
    """With coloured noise 10 dB below it."""
    return add_noise(waveform, coloured_noise(len(waveform), draw.uniform(0, 2), draw), 10.0)


CONDITIONS: dict[str, Callable[[Tensor, Draw], Tensor]] = {
    "as it is": lambda waveform, draw: waveform,
    "-40 dB": lambda waveform, draw: waveform * 0.01,
    "in noise, 10 dB": in_noise,
}


if __name__ == "__main__":
    main()
