"""Files appear whole or not at all."""

import errno
import os
import threading
from pathlib import Path

import pytest

from asr.errors import UserError
from asr.files import atomic_write, check_own_folder, check_writable


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    for content in ("old", "new ü"):
        with atomic_write(path) as stream:
            stream.write(content)
    assert path.read_text(encoding="utf-8") == "new ü"
    assert names(path.parent) == ["a.txt"]


def test_an_exception_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as stream:
        stream.write("half")
        raise KeyError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(UserError, match=r"a\.txt: cannot be written \(No space left"), atomic_write(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a", "wb") as stream:
        stream.write(b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_device_is_written_to_and_not_replaced() -> None:
    with atomic_write("/dev/null") as stream:
        stream.write("gone")
    assert not Path("/dev/null").is_file()


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    with atomic_write(pipe) as stream:
        stream.write("through")
    reader.join(300)
    assert heard == ["through"]
    assert pipe.is_fifo()


def test_a_folder_in_the_way_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"), atomic_write(tmp_path) as stream:
        stream.write("x")
    with pytest.raises(UserError, match="cannot be written"):
        check_writable(tmp_path)


def test_a_file_where_a_folder_is_needed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(UserError, match="cannot be written"), atomic_write(tmp_path / "a" / "b"):
        pass
    with pytest.raises(UserError, match="cannot be written"):
        check_writable(tmp_path / "a" / "b")


def test_what_can_be_written_passes_the_check_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    for name in ("a", "b", "c/d", "/dev/null"):
        check_writable(tmp_path / name)
    assert (tmp_path / "a").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


PARTS = ("*.npy",)


def test_a_folder_of_other_things_is_not_written_into(tmp_path: Path) -> None:
    check_own_folder(tmp_path / "new", "config.yaml", PARTS)
    assert not (tmp_path / "new").exists()
    for unfinished in (".hidden", "weights.npy"):
        (tmp_path / unfinished).write_text("")
    check_own_folder(tmp_path, "config.yaml", PARTS)
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(UserError, match=r"holds other things \(letters\.txt\); name a new folder"):
        check_own_folder(tmp_path, "config.yaml", PARTS)
    (tmp_path / "config.yaml").write_text("")
    check_own_folder(tmp_path, "config.yaml", PARTS)
