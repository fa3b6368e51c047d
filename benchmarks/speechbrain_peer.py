"""SpeechBrain's training step on batches that ``training_speed.py`` has written; run by that script.

    python benchmarks/speechbrain_peer.py FOLDER --threads 2

Needs torch and speechbrain only. The network is that of the benchmark, of SpeechBrain's own parts: Fbank,
sentence normalisation, two strided 2-D convolutions, a bidirectional LSTM on padded sequences (as its CTC
recipes call it, which is faster than packed), a linear layer and ``ctc_loss``; ``Brain.fit_batch`` makes
the step. Prints one JSON object.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import speechbrain as sb
import torch
from speechbrain.lobes.features import Fbank
from speechbrain.nnet.CNN import Conv2d
from speechbrain.nnet.linear import Linear
from speechbrain.nnet.losses import ctc_loss
from speechbrain.nnet.RNN import LSTM
from speechbrain.processing.features import InputNormalization
from torch import Tensor

Batch = dict[str, Tensor]


class Recogniser(sb.Brain):
    """3 x 320 BiLSTM with CTC; lengths are fractions of the longest, as everywhere in SpeechBrain."""

    def compute_forward(self, batch: Batch, stage: Any) -> Tensor:
        """Log-probabilities ``(batch, encoder frames, tokens)``."""
        parts = self.modules
        features = parts.normalize(parts.fbank(batch["waveforms"]), relative(batch["lengths"]))
        x = features.unsqueeze(-1)
        for convolution in (parts.first, parts.second):
            x = torch.relu(convolution(x))
        x, _ = parts.lstm(x.flatten(2))
        return parts.output(x).log_softmax(-1)

    def compute_objectives(self, predictions: Tensor, batch: Batch, stage: Any) -> Tensor:
        """Loss a label."""
        labels = batch["target_lengths"]
        total = ctc_loss(
            predictions, batch["targets"], relative(batch["lengths"]), relative(labels), 0, reduction="sum"
        )
        return total / labels.sum()


def relative(lengths: Tensor) -> Tensor:
    """Fractions of the longest."""
    return lengths / lengths.max()


def build(mel_bins: int, channels: int, layers: int, hidden_size: int, tokens: int) -> Recogniser:
    """The network and its optimizer."""
    convolution = {"kernel_size": (3, 3), "stride": (2, 2), "padding": "same"}
    modules = {
        "fbank": Fbank(n_mels=mel_bins),
        "normalize": InputNormalization(norm_type="sentence"),
        "first": Conv2d(channels, in_channels=1, **convolution),
        "second": Conv2d(channels, in_channels=channels, **convolution),
        "lstm": LSTM(hidden_size, input_size=channels * mel_bins // 4, num_layers=layers, bidirectional=True),
        "output": Linear(tokens, input_size=2 * hidden_size),
    }
    return Recogniser(modules, lambda values: torch.optim.AdamW(values, lr=1e-3), run_opts={"device": "cpu"})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="0.pt, 1.pt, … and network.json")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warm-up", type=int, default=1, help="Steps before the clock runs.")
    options = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(options.threads)
    recogniser = build(**json.loads((options.folder / "network.json").read_text()))
    recogniser.on_fit_start()
    recogniser.modules.train()
    paths = sorted(options.folder.glob("*.pt"), key=lambda path: int(path.stem))
    batches: list[Batch] = [torch.load(path, weights_only=True) for path in paths]
    audio, started, loss = 0.0, time.monotonic(), float("nan")
    for number, batch in enumerate(batches):
        if number == options.warm_up:
            audio, started = 0.0, time.monotonic()
        recogniser.step += 1
        loss = float(recogniser.fit_batch(batch))
        audio += float(batch["lengths"].sum()) / 16000
    print(json.dumps({"speed": audio / (time.monotonic() - started), "loss": loss}))


if __name__ == "__main__":
    main()
