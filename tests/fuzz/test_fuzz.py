"""Damaged audio is read, read in part or refused in one line: no traceback, no hang, no flood of memory.

300 cases (and a tenth of them through ffmpeg and through ``asr transcribe``); more with
``ASR_FUZZ_CASES=10000``, others with ``ASR_FUZZ_FIRST=20000``.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import mutations
import pytest

CASES = int(os.environ.get("ASR_FUZZ_CASES", "300"))
FIRST = int(os.environ.get("ASR_FUZZ_FIRST", "0"))
MEMORY = 2 << 30  # bytes
READER = Path(__file__).with_name("read_damaged.py")


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the files that are damaged."""
    folder = tmp_path_factory.mktemp("originals")
    mutations.make_originals(folder)
    return folder


@pytest.mark.parametrize("ffmpeg", [False, True])
def test_damaged_files_are_read_or_refused(originals: Path, tmp_path: Path, ffmpeg: bool) -> None:
    if ffmpeg and not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg here")
    cases = CASES // 10 if ffmpeg else CASES
    path = os.environ["PATH"] if ffmpeg else str(tmp_path)
    done = subprocess.run(
        [sys.executable, READER, originals, str(FIRST), str(cases)],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]} {done.stderr[-2000:]}"
    outcomes = Counter(line.split("\t")[1] for line in lines)
    assert sum(outcomes.values()) == cases
    # Some of everything, or nothing would be learnt.
    assert min(outcomes["read"], outcomes["refused"]) > cases / 10


def test_transcribing_damaged_files_gives_a_line_for_each(
    originals: Path, model_directory: Path, tmp_path: Path
) -> None:
    cases = max(CASES // 10, 10)
    names = []
    for number in range(FIRST, FIRST + cases):
        name, data = mutations.damaged(originals, number)
        (tmp_path / name).write_bytes(data)
        names.append(name)
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "asr", "transcribe", "--model", str(model_directory), *names],
            cwd=tmp_path,
            stdout=out,
            stderr=err,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1
    assert usage.ru_maxrss * 1024 < MEMORY
    heard = [line.split("\t")[0] for line in (tmp_path / "out").read_text().splitlines()]
    messages = (tmp_path / "err").read_text().splitlines()
    messages = [line for line in messages if not line.startswith("transcribing: ")]  # progress, of many files
    assert all(line.startswith("asr: ") for line in messages)
    refused = [name for name in names if name not in heard]
    assert heard == [name for name in names if name in heard]
    assert heard and refused
    for name in refused:
        assert sum(line.startswith(f"asr: {name}: ") for line in messages) == 1
    assert messages[-1] == f"asr: {len(refused)} of {cases} failed"
