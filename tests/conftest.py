"""What the tests share: clips, tiny models, a miniature LibriSpeech and the command line."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from asr.model import Model

# One thread a process, here and in what is started from here: tests are small and run side by side.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background leaves Ctrl-C ignored; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # and nohup leaves it ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine is no failure, and a failure comes again at the next run.
settings.register_profile(
    "asr", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("asr")

EXAMPLES = Path(__file__).parents[1] / "examples"
SPLITS = (
    *("train-clean-5", "train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean-2", "dev-clean", "dev-other", "test-clean", "test-other"),
)
CLIP_SECONDS = (0.9, 1.4, 1.0, 1.2, 0.8, 1.5, 1.1, 1.3)


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it wrote."""

    status: int
    stdout: str
    stderr: str


@pytest.fixture
def run_asr(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run ``asr`` with arguments in this process; an exception that is no user's mistake comes through."""
    from asr.cli import main

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["asr", *map(str, arguments)])
        stdout, stderr = StringIO(), StringIO()
        status: Any = 0
        with redirect_stdout(stdout), redirect_stderr(stderr):
            try:
                main()
            except SystemExit as stop:
                status = stop.code
        return Ran(int(status or 0), stdout.getvalue(), stderr.getvalue())

    return run


@pytest.fixture(scope="session")
def examples() -> Path:
    """The manifest of the eight clips that ship with the project."""
    return EXAMPLES / "manifest.jsonl"


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of eight stretches of about a second, with short texts: for runs of a few steps."""
    path = tmp_path_factory.mktemp("clips") / "clips.jsonl"
    with path.open("w") as stream:
        for entry, seconds in zip(_entries(), CLIP_SECONDS, strict=True):
            line = {
                "id": entry["id"],
                "audio_filepath": str(EXAMPLES / entry["audio_filepath"]),
                "offset": 0.5,
                "duration": seconds,
                "text": " ".join(entry["text"].split()[:2]),
            }
            stream.write(json.dumps(line) + "\n")
    return path


@pytest.fixture(scope="session")
def librispeech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in the form of LibriSpeech: every official split, two speakers each with one clip."""
    root = tmp_path_factory.mktemp("corpora") / "LibriSpeech"
    entries = _entries()
    for number, split in enumerate(SPLITS):
        for speaker in (2 * number, 2 * number + 1):
            entry = entries[speaker % len(entries)]
            name = f"{speaker + 100}-{speaker + 1000}"
            folder = root / split / name.replace("-", "/")
            folder.mkdir(parents=True)
            shutil.copyfile(EXAMPLES / entry["audio_filepath"], folder / f"{name}-0000.flac")
            (folder / f"{name}.trans.txt").write_text(f"{name}-0000 {entry['text']}\n")
    return root


@pytest.fixture(scope="session")
def make_model() -> Callable[..., "Model"]:
    """A tiny model with random weights: ``make_model(cell="gru", frontend={...}, heads={...})``."""
    import torch

    from asr.encoder import EncoderConfig
    from asr.frontend import FrontendConfig
    from asr.model import HeadConfig, Model, ModelConfig, build_tokenizer

    def make(
        frontend: dict[str, Any] | None = None,
        heads: dict[str, HeadConfig] | None = None,
        seed: int = 0,
        **encoder: Any,
    ) -> Model:
        torch.manual_seed(seed)
        shape = {"layers": 2, "hidden_size": 12, "channels": 4} | encoder
        config = ModelConfig(FrontendConfig(**(frontend or {})), EncoderConfig(**shape))
        config.heads = heads or {"characters": HeadConfig()}
        tokenizers = {name: build_tokenizer(head) for name, head in config.heads.items()}
        return Model(config, tokenizers).eval()

    return make


@pytest.fixture(scope="session")
def model_directory(make_model: Callable[..., "Model"], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with tiny random weights; to be read only."""
    from asr.model import save_network

    path = tmp_path_factory.mktemp("models") / "tiny"
    save_network(path, make_model())
    return path


@pytest.fixture
def recipe_file(tmp_path: Path, clips: Path) -> Path:
    """A recipe of a tiny model on the clips, of twelve steps (two to an epoch); override at will."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"""\
data: {{train: [{{manifest: "{clips}"}}], dev: "{clips}", dev_utterances: 2}}
encoder: {{layers: 1, hidden_size: 16, subsampling: conv1d, channels: 16, dropout: 0.1}}
augment: {{speed: [0.9, 1.0, 1.1], spec_augment: {{probability: 0.5, time_width: 5}}}}
optimizer: {{lr: 3.0e-3, average: 0.9}}
schedule: {{steps: 12, warmup: 3}}
batching: {{max_seconds: 7}}
training: {{processes: 1, precision: fp32, evaluate_every: 3, checkpoint_minutes: 0}}
"""
    )
    return path


def _entries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLES / "manifest.jsonl").read_text().splitlines()]
