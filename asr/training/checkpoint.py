"""Checkpoints that are whole or absent.

A checkpoint is a folder ``step-<number>`` with the weights, the optimizer's state and a JSON file; it is
written under a temporary name, flushed to the disk and renamed, so that a process killed at any moment
leaves the last whole one. The JSON file is written last: a temporary folder that has it is whole as well.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from asr.errors import UserError
from asr.training.kept_models import kept_models
from asr.training.run_folder import CHECKPOINTS

TENSORS, STATE = "tensors.safetensors", "state.json"


def save_checkpoint(folder: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write ``folder/step-<step>`` and remove older checkpoints.

    Raises:
        UserError: the disk is full or cannot be written; what was there before stays.
    """
    target = folder / f"step-{step:09d}"
    temporary = folder / f".{target.name}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _write(temporary / TENSORS, save({name: value.contiguous() for name, value in tensors.items()}))
        _write(temporary / STATE, json.dumps(state).encode())
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"{target}: the checkpoint cannot be written ({error.strerror}); the one before it is kept: "
            "make room and continue with --resume"
        ) from error
    for old in _steps(folder):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint, or None where there is none.

    Raises:
        UserError: there is one, but it cannot be read.
    """
    reasons = []
    for path in reversed(_steps(folder)):
        try:
            return load_file(path / TENSORS), json.loads((path / STATE).read_text())
        except (OSError, SafetensorError, ValueError) as error:
            if not path.name.startswith("."):  # which are those that were being written
                reasons.append(f"{path}: this checkpoint cannot be read ({error}); to begin anew remove it")
    if reasons:
        raise UserError(reasons[0])
    return None


def refuse_second_run(folder: Path) -> None:
    """Raise :class:`UserError` where a run folder holds a run, which must not be written over."""
    if load_checkpoint(folder / CHECKPOINTS) is not None or kept_models(folder):
        raise UserError(
            f"{folder}: holds a run already; continue it with --resume or choose another --output"
        )


def _steps(folder: Path) -> list[Path]:
    """Folders of checkpoints, whole or not, by step; of one step the temporary one comes first."""
    found = [path for path in folder.glob("*step-*") if path.is_dir()]
    return sorted(found, key=lambda path: (path.name.strip(".").removesuffix(".tmp"), path.name[0] != "."))


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
