"""Training speed, side by side in one run: ours, packed sequences, and the processor's limit.

    python benchmarks/training_speed.py [--steps 12] [--corpus MANIFEST] [--speechbrain PYTHON]

Every row is the whole training step (reading, augmentation, features, network, CTC, update) of the same
3 x 320 BiLSTM on the same ragged batches of noise of 2 to 16 s, unless ``--corpus`` names real speech:

- ours, bf16 and fp32: one single-threaded process a core, as ``asr train`` starts them;
- the same in bf16 with oneDNN's LSTM instead of that of ``asr/lstm.py``;
- packed: the recurrent layers as packed bidirectional ``nn.LSTM`` in fp32, one process of all threads;
- SpeechBrain, where ``--speechbrain`` names a Python that has it: its own LSTM + CTC training step in fp32
  (see ``speechbrain_peer.py``), one process of all threads, on the same batches, already read and varied;
- limit: the step's floating-point operations at the rate of a 2048-cubed matrix product.

The result is a Markdown table on stdout.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor, multiprocessing, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.cores import usable_cores
from asr.encoder import EncoderConfig, Recurrence, RecurrentStack, State
from asr.precision import fast_bfloat16
from asr.training.config import Recipe, load_recipe
from asr.training.distributed import MEMORY_SETTINGS, Ranks, launch
from asr.training.trainer import Trainer

WARM_UP = 2
OURS, ONEDNN, PACKED = "ours", "oneDNN", "packed"


class PackedStack(nn.Module):
    """The layers of ``RecurrentStack`` the usual way: packed bidirectional ``nn.LSTM``."""

    def __init__(self, config: EncoderConfig, input_size: int) -> None:
        super().__init__()
        width = 2 * config.hidden_size
        sizes = [input_size] + [width] * (config.layers - 1)
        self.norms = nn.ModuleList([nn.LayerNorm(size) for size in sizes])
        self.lstms = nn.ModuleList(
            [nn.LSTM(size, config.hidden_size, batch_first=True, bidirectional=True) for size in sizes]
        )
        self.output_size = width

    def forward(self, x: Tensor, lengths: Tensor, state: State | None = None) -> tuple[list[Tensor], State]:
        """As ``RecurrentStack.forward``."""
        outputs = []
        for norm, lstm in zip(self.norms, self.lstms, strict=True):
            packed = pack_padded_sequence(norm(x), lengths, batch_first=True, enforce_sorted=False)
            y, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=x.shape[1])
            x = x + y if x.shape == y.shape else y
            outputs.append(x)
        return outputs, []


@dataclass(frozen=True)
class Measurement:
    """What one process is told."""

    recipe: Recipe
    layers: str
    steps: int
    result: Path


def measure(ranks: Ranks, what: Measurement) -> None:
    """Time whole steps; the main process writes seconds of audio a second, and the loss."""
    trainer = Trainer(what.recipe, what.result.parent, ranks)
    if what.layers == ONEDNN:
        Recurrence._is_trained_in_bfloat16 = lambda self, x: False  # type: ignore[method-assign]
    if what.layers == PACKED:
        stack = PackedStack(what.recipe.encoder, trainer.model.encoder.subsampling.output_size)
        trainer.model.encoder.recurrent = stack  # type: ignore[assignment]
        trainer = _rebuilt(trainer)
    batches = [batch for epoch in range(1, 9) for batch in trainer.plan(epoch)]
    audio = loading = 0.0
    for number, plan in enumerate(batches[: what.steps + WARM_UP]):
        if number == WARM_UP:
            ranks.gather(None)
            started, audio, loading = time.monotonic(), 0.0, 0.0
        trainer._seed_step()
        trainer.flat.buffer.zero_()
        before = time.monotonic()
        (batch,) = trainer._batches([plan])
        loading += time.monotonic() - before
        trainer.backward(batch)
        trainer._step()
        audio += sum(item.duration for item in plan)
    elapsed = time.monotonic() - started
    found = dict(zip(trainer.counted, trainer.flat.statistics.tolist(), strict=True))
    if ranks.is_main:
        loss = found["loss_characters"] / found["labels_characters"]
        what.result.write_text(
            json.dumps({"speed": audio / elapsed, "loss": loss, "loading": loading / elapsed})
        )


def _rebuilt(trainer: Trainer) -> Trainer:
    from asr.training.optimizer import Optimisation

    trainer.optimisation = Optimisation(trainer.model, trainer.recipe.optimizer, len(trainer.counted))
    trainer.flat, trainer.average = trainer.optimisation.flat, trainer.optimisation.average
    return trainer


def run(recipe: Recipe, processes: int, layers: str, steps: int, folder: Path) -> dict[str, float]:
    """One row of the table."""
    result = folder / "result.json"
    what = Measurement(recipe, layers, steps, result)
    if processes == 1:
        # In a process of its own, with the same settings of memory as the others.
        worker = multiprocessing.get_context("spawn").Process(target=measure, args=(Ranks(), what))
        worker.start()
        worker.join()
    else:
        launch(measure, what, processes)
    found: dict[str, float] = json.loads(result.read_text())
    return found


def run_speechbrain(python: str, recipe: Recipe, steps: int, threads: int, folder: Path) -> dict[str, float]:
    """The row of the peer, whose Python may be of another environment."""
    trainer = Trainer(recipe, folder, Ranks())
    folder.mkdir()
    for number, plan in enumerate(trainer.plan(1)[: steps + WARM_UP]):
        (batch,) = trainer._batches([plan])
        targets, target_lengths = batch.targets["characters"]
        tensors = {"waveforms": batch.waveforms, "lengths": batch.lengths}
        torch.save(tensors | {"targets": targets, "target_lengths": target_lengths}, folder / f"{number}.pt")
    network = {
        "mel_bins": recipe.frontend.mel_bins,
        "channels": recipe.encoder.channels,
        "layers": recipe.encoder.layers,
        "hidden_size": recipe.encoder.hidden_size,
        "tokens": len(trainer.model.tokenizers["characters"].tokens),
    }
    (folder / "network.json").write_text(json.dumps(network))
    script = Path(__file__).with_name("speechbrain_peer.py")
    command = [python, str(script), str(folder), "--threads", str(threads), "--warm-up", str(WARM_UP)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def operations_per_second_of_audio(recipe: Recipe) -> float:
    """Floating-point operations of a training step for a second of audio: forward once, backward twice."""
    stack = RecurrentStack(recipe.encoder, recipe.encoder.channels * recipe.frontend.mel_bins // 4)
    matrices = sum(value.numel() for value in stack.parameters() if value.dim() == 2)
    # The second convolution reads 3 x 3 x channels at a quarter of the bins; the first is 1 / channels of it.
    convolution = 9 * recipe.encoder.channels**2 * recipe.frontend.mel_bins // 4
    frames = 1 / (recipe.frontend.hop * recipe.encoder.subsampling_factor)
    return 3 * 2 * (matrices + convolution) * frames


def matrix_product_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Best floating-point operations a second of a square matrix product on all threads."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    best = float("inf")
    for _ in range(12):
        started = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def make_corpus(folder: Path, utterances: int, seed: int) -> Path:
    """Ragged utterances of noise with random letters, 14 a second."""
    draw = np.random.default_rng(seed)
    lines = []
    for number in range(utterances):
        seconds = float(draw.uniform(2, 16))
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * draw.standard_normal(int(16000 * seconds)), 16000)
        text = "".join(draw.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), int(14 * seconds)))
        lines.append({"id": str(number), "audio_filepath": path.name, "duration": seconds, "text": text})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return manifest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--corpus", help="manifest of real speech instead of noise")
    parser.add_argument(
        "--speechbrain", metavar="PYTHON", help="a Python that has speechbrain: its training step too"
    )
    parser.add_argument("overrides", nargs="*", help="of the recipe, as encoder.hidden_size=32 for a trial")
    options = parser.parse_args()
    cores = usable_cores()
    torch.set_num_threads(cores)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = options.corpus or make_corpus(folder, 300, seed=1)
        (folder / "recipe.yaml").write_text(
            f"data: {{train: [{{manifest: {manifest}}}], cache: {folder}/cache}}\n"
            "augment: {speed: [0.9, 1.0, 1.1], spec_augment: {probability: 1.0}}\n"
            "encoder: {layers: 3, hidden_size: 320}\nschedule: {steps: 1000}\n"
        )

        def recipe(*overrides: str) -> Recipe:
            return load_recipe(folder / "recipe.yaml", [*overrides, *options.overrides])

        bf16 = fast_bfloat16()
        rates = {"fp32": matrix_product_rate(torch.float32)}
        if bf16:
            rates["bf16"] = matrix_product_rate(torch.bfloat16)
        rows = {}
        for precision in rates:
            rows[f"ours, {precision}, {cores} processes of one thread"] = run(
                recipe(f"training.precision={precision}"), cores, OURS, options.steps, folder
            )
        if bf16:
            rows[f"the same with oneDNN's LSTM, bf16, {cores} processes of one thread"] = run(
                recipe("training.precision=bf16"), cores, ONEDNN, options.steps, folder
            )
        os.environ |= MEMORY_SETTINGS | {"OMP_NUM_THREADS": str(cores)}
        rows[f"packed nn.LSTM, fp32, one process of {cores} threads"] = run(
            recipe("training.precision=fp32"), 1, PACKED, max(2, options.steps // 6), folder
        )
        reference = rows[next(reversed(rows))]["speed"]
        if options.speechbrain:
            rows[f"SpeechBrain, fp32, one process of {cores} threads"] = run_speechbrain(
                options.speechbrain, recipe(), max(2, options.steps // 2), cores, folder / "speechbrain"
            )
        operations = operations_per_second_of_audio(recipe())
    limit = max(rates.values()) / operations
    print("| training step, 3 x 320 BiLSTM | s of audio / s | against packed | of the limit | input | loss |")
    print("|---|---|---|---|---|---|")
    for label, row in rows.items():
        input_share = f"{row['loading']:.1%}" if "loading" in row else ""
        print(
            f"| {label} | {row['speed']:.0f} | {row['speed'] / reference:.1f} x | {row['speed'] / limit:.0%} "
            f"| {input_share} | {row['loss']:.3f} |"
        )
    for precision, rate in rates.items():
        speed = rate / operations
        print(f"| limit: {precision} matrix product, {rate / 1e9:.0f} GFLOP/s | {speed:.0f} | | | | |")


if __name__ == "__main__":
    main()
