"""What a run leaves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asr.training.checkpoint import load_checkpoint


class Finished:
    """A run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = load_checkpoint(folder / "checkpoints")
        assert found is not None
        self.tensors, self.position = found

    def log(self) -> list[dict[str, Any]]:
        """The lines of ``train.jsonl``."""
        return [json.loads(line) for line in (self.folder / "train.jsonl").read_text().splitlines()]

    def evaluations(self) -> list[dict[str, Any]]:
        """Those lines that hold an error rate."""
        return [line for line in self.log() if any(key.startswith("wer_") for key in line)]


Train = Callable[..., Finished]
