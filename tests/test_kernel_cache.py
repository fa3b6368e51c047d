"""Where compiled kernels go when nothing usual can be written."""

import os
import stat
from pathlib import Path

import pytest

from asr.decoding.cache import cache_folder
from asr.kernel_cache import VARIABLE, ensure_kernel_cache, user_cache

NOWHERE = Path("/dev/null/nowhere")


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Set before it is deleted: what the code sets is taken back after the test, too.
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(NOWHERE))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX")
def test_a_private_folder_where_nothing_else_is_writable(tmp_path: Path) -> None:
    ensure_kernel_cache(NOWHERE)
    folder = Path(os.environ[VARIABLE])
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    os.environ[VARIABLE] = ""
    ensure_kernel_cache(NOWHERE)
    assert os.environ[VARIABLE] == str(folder), "the next process finds the same kernels"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="POSIX")
def test_a_folder_that_others_can_write_is_not_trusted(tmp_path: Path) -> None:
    planted = tmp_path / f"asr-kernels-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    ensure_kernel_cache(NOWHERE)
    assert Path(os.environ[VARIABLE]) != planted


def test_numba_chooses_where_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_kernel_cache(tmp_path)
    assert not os.environ[VARIABLE]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not yet"))
    ensure_kernel_cache(NOWHERE)
    assert not os.environ[VARIABLE]
    monkeypatch.setenv(VARIABLE, "chosen")
    monkeypatch.setenv("XDG_CACHE_HOME", str(NOWHERE))
    ensure_kernel_cache(NOWHERE)
    assert os.environ[VARIABLE] == "chosen"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}["nobody"])
    monkeypatch.setattr("sys.platform", "linux")
    assert user_cache() == Path("~/.cache")
    assert cache_folder() == Path("~/.cache/asr")
