"""WER in noise and in rooms: the same utterances under conditions that are drawn, each in its turn.

    python benchmarks/robustness.py data/dev-clean.jsonl en
    python benchmarks/robustness.py data/dev-clean.jsonl en OTHER_MODEL --utterances 100 --snr 5 10 20

One row a condition, one column a model. Babble is made of other speakers of the manifest; music and street
are sounds of ``sounds.py``, made in other ways than those that training draws.
"""

import argparse
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torchaudio
from no_words import hear, transcribe
from sounds import RATE, Draw, Sound, drums, engine, guitar, organ, rain
from torch import Tensor

from asr.augmentation import synthetic_response
from asr.manifest import Utterance, read_manifest
from asr.noises import add_noise, babble, coloured_noise
from asr.scoring import score
from asr.transcriber import load_model

MUSIC: tuple[Sound, ...] = (organ, guitar)
STREET: tuple[Sound, ...] = (engine, rain, drums)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--snr", type=float, nargs="+", default=[10.0], help="dB")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    everything = list(read_manifest(arguments.manifest))
    random.Random(0).shuffle(everything)
    utterances = everything[: arguments.utterances]
    waveforms = [hear(utterance) for utterance in utterances]
    references = {utterance.id: utterance.text for utterance in utterances}
    models = [load_model(name) for name in arguments.models]
    print(f"| {len(utterances)} utterances | " + " | ".join(arguments.models) + " |")
    print("|---|" + "---|" * len(models))
    for condition, changed in conditions(utterances, waveforms, arguments.snr):
        cells = []
        for model in models:
            texts = [transcript.text for transcript in transcribe(model, changed, arguments.threads)]
            cells.append(f"{score(references, dict(zip(references, texts, strict=True))).wer:.2f}")
        print(f"| {condition} | " + " | ".join(cells) + " |", flush=True)


def conditions(
    utterances: Sequence[Utterance], waveforms: Sequence[Tensor], ratios: Sequence[float]
) -> Iterator[tuple[str, list[Tensor]]]:
    """Each condition with the utterances under it."""

    def drawn(change: Callable[[Tensor, Draw, str | None], Tensor]) -> list[Tensor]:
        return [
            change(waveform, np.random.default_rng([1, number]), utterance.speaker)
            for number, (utterance, waveform) in enumerate(zip(utterances, waveforms, strict=True))
        ]

    def voices(count: int) -> Callable[[int, Draw, str | None], Tensor]:
        def others(samples: int, draw: Draw, speaker: str | None) -> Tensor:
            spoken = [n for n, utterance in enumerate(utterances) if utterance.speaker != speaker]
            if not spoken:
                raise SystemExit("babble needs utterances of several speakers (`speaker` in the manifest)")
            return babble(samples, count, lambda draw: waveforms[draw.choice(spoken)], draw)

        return others

    def sounds(kinds: Sequence[Sound]) -> Callable[[int, Draw, str | None], Tensor]:
        def sound(samples: int, draw: Draw, speaker: str | None) -> Tensor:
            kind = kinds[draw.integers(len(kinds))]
            return torch.from_numpy(kind(samples, draw).astype(np.float32))

        return sound

    def coloured(samples: int, draw: Draw, speaker: str | None) -> Tensor:
        return coloured_noise(samples, draw.uniform(0, 2), draw)

    noises = {
        "white to brown noise": coloured,
        "music": sounds(MUSIC),
        "street": sounds(STREET),
        "babble of 6": voices(6),
        "another voice": voices(1),
    }
    yield "as it is", list(waveforms)
    for ratio in ratios:
        for name, noise in noises.items():
            yield (
                f"{name}, {ratio:g} dB",
                drawn(
                    lambda waveform, draw, speaker, noise=noise, ratio=ratio: add(
                        waveform, noise(len(waveform), draw, speaker), ratio
                    )
                ),
            )
    for seconds in (0.3, 0.6):
        yield (
            f"a room of {seconds:g} s",
            drawn(
                lambda waveform, draw, speaker, seconds=seconds: torchaudio.functional.fftconvolve(
                    waveform, synthetic_response(seconds, RATE, draw)
                )[: len(waveform)]
            ),
        )


def add(waveform: Tensor, noise: Tensor, ratio: float) -> Tensor:
    """A noise at so many dB below the speech, the sum no louder than a file can hold."""
    mixed = add_noise(waveform, noise, ratio)
    return mixed / mixed.abs().max().clamp(min=1.0)


if __name__ == "__main__":
    main()
