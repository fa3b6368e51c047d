"""A model that hears tones as letters, so that whole roads can be tested on text that is known."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from asr.model import Model

RATE = 16_000
LETTERS = " 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TONE, GAP = 0.12, 0.08  # seconds: three encoder frames and two


def say(text: str, rate: int = RATE) -> np.ndarray:
    """A tone for each letter (and for the space between words), 0.2 s each: float32 ``(samples,)``."""
    pieces = [np.zeros(round(0.2 * rate))]
    for letter in text:
        time = np.arange(round(TONE * rate)) / rate
        frequency = 700 * (10 ** ((300 + 85 * LETTERS.index(letter)) / 2595) - 1)  # mel to Hz
        pieces += [0.3 * np.sin(2 * np.pi * frequency * time), np.zeros(round(GAP * rate))]
    return np.concatenate([*pieces, np.zeros(round(0.2 * rate))]).astype(np.float32)


def _train_head(model: "Model") -> None:
    """Least squares from features to the letter that sounds; the recurrent layer adds nothing."""
    import torch

    from asr.tokenizer import CHARACTERS

    draw = np.random.default_rng(1)
    inputs, targets = [], []
    lengths = [*range(1, 9), *range(1, 9), *range(2, 7), 20, 60, 120, 60, 120]
    for number, length in enumerate(lengths):
        text = "".join(draw.choice(list(LETTERS), length))
        samples = say(text)
        # Noise as lossy codecs leave it, or none.
        noise = (0.0, 1e-4, 1e-3)[number % 3]
        samples += (noise * draw.standard_normal(len(samples))).astype(np.float32)
        waveform = torch.from_numpy(samples)[None]
        with torch.no_grad():
            features, frames = model.frontend(waveform, torch.tensor([waveform.shape[1]]))
            stacked, frames = model.encoder.subsampling(features, frames)
        inputs.append(torch.nn.functional.layer_norm(stacked[0], stacked.shape[2:]))
        target = torch.zeros(int(frames), len(CHARACTERS))
        for frame in range(len(target)):
            # The frame's middle decides.
            position, within = divmod(frame * 0.04 + 0.025 - 0.2, TONE + GAP)
            sounds = 0 <= position < length and within < TONE
            target[frame, 1 + LETTERS.index(text[int(position)]) if sounds else 0] = 1.0
        targets.append(target)
    x = torch.cat(inputs)
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    ridge = 1e-2 * torch.eye(x.shape[1])
    weights = torch.linalg.solve(x.T @ x + ridge, x.T @ torch.cat(targets))
    head = model.heads["characters"]
    with torch.no_grad():
        head.output.weight.copy_(20 * weights[:-1].T)
        head.output.bias.copy_(20 * weights[-1])
        for parameter in model.encoder.recurrent.parameters():
            parameter.zero_()
        for layer in model.encoder.recurrent.layers:
            layer.norm.weight.fill_(1.0)


def _save(make_model: Callable[..., "Model"], folder: Path, bidirectional: bool) -> Path:
    from asr.model import save_network

    model = make_model(
        frontend={"cmvn": "fixed", "mel_bins": 40},
        layers=1,
        hidden_size=80 if bidirectional else 160,
        bidirectional=bidirectional,
        subsampling="stack",
    )
    _train_head(model)
    save_network(folder, model)
    return folder


@pytest.fixture(scope="session")
def tone_model(make_model: Callable[..., "Model"], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a bidirectional model that hears what :func:`say` says."""
    return _save(make_model, tmp_path_factory.mktemp("models") / "tones", True)


@pytest.fixture(scope="session")
def tone_stream_model(make_model: Callable[..., "Model"], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, one-directional."""
    return _save(make_model, tmp_path_factory.mktemp("models") / "stream", False)


@pytest.fixture(scope="session")
def record() -> Callable[..., Path]:
    """Write a file that says a text: ``record(path, text, rate=…, **soundfile's arguments)``."""

    def write(path: Path, text: str, rate: int = RATE, **how: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, say(text, rate), rate, **how)
        return path

    return write


@pytest.fixture(scope="session")
def speak() -> Callable[..., np.ndarray]:
    """:func:`say` as a fixture."""
    return say


@pytest.fixture
def transcribe(run_asr: Callable[..., Any], tone_model: Path) -> Callable[..., Any]:
    """Run ``asr transcribe`` with the model that hears tones."""
    return lambda *arguments: run_asr("transcribe", "--model", tone_model, *arguments)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Give bytes to whoever reads standard input."""

    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give
