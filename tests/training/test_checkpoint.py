"""Checkpoints are whole or absent, whatever happens in between."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from asr.errors import UserError
from asr.training import checkpoint
from asr.training.checkpoint import load_checkpoint, save_checkpoint


def save(folder: Path, step: int) -> None:
    save_checkpoint(folder, step, {"values": torch.full((1000,), float(step))}, {"step": step})


def newest(folder: Path) -> int | None:
    found = load_checkpoint(folder)
    if found is None:
        return None
    tensors, state = found
    assert (tensors["values"] == state["step"]).all()
    return int(state["step"])


def test_the_newest_is_kept_alone(tmp_path: Path) -> None:
    assert newest(tmp_path / "none") is None
    for step in (9, 10, 100):
        save(tmp_path, step)
        assert newest(tmp_path) == step
        assert [path.name for path in tmp_path.iterdir()] == [f"step-{step:09d}"]


def test_of_damaged_ones_the_newest_whole_one_is_found(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        save(tmp_path / str(step), step)
        shutil.copytree(tmp_path / str(step), tmp_path / "run", dirs_exist_ok=True)
    tensors = tmp_path / "run" / "step-000000004" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1])
    (tmp_path / "run" / "step-000000003" / "state.json").write_text('{"step": 3')
    assert newest(tmp_path / "run") == 2
    (tmp_path / "run" / "step-000000002" / "tensors.safetensors").unlink()
    assert newest(tmp_path / "run") == 1
    (tmp_path / "run" / "step-000000001" / "state.json").write_bytes(b"")
    with pytest.raises(UserError, match="step-000000004: this checkpoint cannot be read"):
        newest(tmp_path / "run")


@pytest.mark.parametrize("existing", [None, 6, 7])
@pytest.mark.parametrize("point", range(1, 8))
def test_ending_at_any_point_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: int, existing: int | None
) -> None:
    """Between any two operations on the disk; 7 over 7 is a checkpoint written again."""
    if existing is not None:
        save(tmp_path, existing)
    calls = 0

    class Killed(BaseException):
        pass

    def dying(function):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls == point:
                if function is checkpoint._write:
                    arguments[0].write_bytes(arguments[1][: len(arguments[1]) // 2])
                raise Killed
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write", dying(checkpoint._write))
        patch.setattr(checkpoint.shutil, "rmtree", dying(shutil.rmtree))
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(Path, "mkdir", dying(Path.mkdir))
        try:
            save(tmp_path, 7)
        except Killed:
            assert newest(tmp_path) in ({7} if existing == 7 else {existing, 7})
        else:
            assert newest(tmp_path) == 7
    save(tmp_path, 8)
    assert newest(tmp_path) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000008"]


def test_a_full_disk_keeps_the_old_one_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:50])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(UserError, match=r"step-000000002: the checkpoint cannot be written \(No space left"):
        save(tmp_path, 2)
    assert newest(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
