"""Many processes: started here, by torchrun, on two machines; stopped, killed, resumed, in any number."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from finished import Finished, Train
from work import work

from asr.errors import UserError
from asr.training.distributed import launch

# Nothing is drawn at random, and the rate does not depend on how long the run will be.
STEADY = (
    *("encoder.dropout=0", "augment.speed=[1.0]", "augment.spec_augment.probability=0", "data.dev=''"),
    *("schedule.hold=1", "training.evaluate_every=1000000", "optimizer.lr=1e-3", "optimizer.clip=0"),
)
# Seconds until what does not come counts as a failure: a busy machine is none.
PATIENCE = 600.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.02)
    return found


@contextmanager
def started(*command: object) -> Iterator[subprocess.Popen[str]]:
    """A program, of which and of whose processes nothing is left afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill_family(process.pid)
        process.communicate()


def steps_done(folder: Path) -> int:
    found = [int(path.name.split("-")[1]) for path in (folder / "checkpoints").glob("step-*")]
    return max(found, default=0)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_family(pid: int) -> None:
    """Kill a process and all that it has started, as a machine that loses its power does."""
    try:
        family = children(pid)
        os.kill(pid, signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in family:
        kill_family(child)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_worker(pid: int) -> bool:
    return is_running(pid) and "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def assert_same_weights(found: Finished, expected: Finished) -> None:
    """Sums in another order differ by rounding, and Adam makes the most of a tiny gradient."""
    assert found.position["step"] == expected.position["step"]
    assert found.position["epoch"] == expected.position["epoch"]
    difference = (found.tensors["values"] - expected.tensors["values"]).abs()
    assert difference.mean() < 1e-5
    assert difference.max() < 2e-3


@pytest.mark.parametrize("kind", ["well", "stumbles at its end"])
@pytest.mark.parametrize("status", [None, 130])
def test_processes_sum_gather_and_agree_on_an_exit_status(
    tmp_path: Path, status: int | None, kind: str
) -> None:
    what = {"kind": kind, "folder": str(tmp_path), "status": status}
    if status:
        with pytest.raises(SystemExit) as caught:
            launch(work, what, 2)
        assert caught.value.code == 130
    else:
        launch(work, what, 2)
    assert (tmp_path / "sum").read_text() == "[3.0, 3.0, 3.0] [0, 1]"


def test_a_bug_in_one_process_is_a_traceback_and_its_exit_status(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        launch(work, {"kind": "bug", "folder": str(tmp_path)}, 2)
    assert caught.value.code == 1
    assert "ZeroDivisionError" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("mistake", "^clip.flac: no such file$"),
        ("the first one's mistake", "^clip.flac: no such file$"),
        ("killed", "ended by signal 9 .*--resume"),
    ],
)
def test_what_befalls_one_process_is_told_once_and_ends_all(
    tmp_path: Path, kind: str, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=line):
        launch(work, {"kind": kind, "folder": str(tmp_path)}, 2)
    assert not any(map(is_worker, children(os.getpid())))
    if kind != "killed":
        assert capfd.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_processes_stopped_killed_and_resumed_by_one_equal_one_undisturbed(
    recipe_file: Path, tmp_path: Path, train: Train
) -> None:
    folder = tmp_path / "run"
    endless = ("schedule.steps=1000000", "training.processes=2")
    command = ("asr", "train", recipe_file, *STEADY, *endless, "--output", folder)

    # Ctrl-C, sent to the first process alone.
    with started(*command) as process:
        wait_for(lambda: steps_done(folder) >= 3, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130, errors
    assert "Traceback" not in errors
    (hint,) = re.findall(r"stopped; go on with: (.*)", errors)
    stopped_at = steps_done(folder)

    # kill -9 of the first process: the others must not go on behind the back of what comes next.
    with started(*shlex.split(hint)) as process:
        wait_for(lambda: steps_done(folder) >= stopped_at + 3, process)
        workers = children(process.pid)
        assert len(workers) >= 2
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(is_running, workers)))
    killed_at = steps_done(folder)

    last = f"schedule.steps={killed_at + 4}"
    assert_same_weights(train("run", *STEADY, last, resume=True), train("whole", *STEADY, last))


def test_torchrun_trains_with_fewer_utterances_than_processes_and_writes_once(
    recipe_file: Path, tmp_path: Path, train: Train
) -> None:
    """Batches of one to two utterances: in some steps a process has nothing to do."""
    overrides = (*STEADY, "batching.max_seconds=2.1", "schedule.steps=9")
    with started(
        *("torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "asr", "train", recipe_file, *overrides, "--output", tmp_path / "two"),
    ) as process:
        out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert out.splitlines() == [str(tmp_path / "two" / "model")]
    assert errors.count("training on ") == 1
    assert "2 process(es)" in errors
    assert_same_weights(Finished(tmp_path / "two"), train("one", *overrides))


def test_two_machines_go_on_after_one_was_killed_and_came_back(
    recipe_file: Path, tmp_path: Path, train: Train
) -> None:
    """Two agents of torchrun over loopback, each with a process."""
    folder = tmp_path / "run"
    port = free_port()

    def machine(number: int, steps: int) -> AbstractContextManager[subprocess.Popen[str]]:
        return started(
            *("torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--node-rank", number),
            *("--master-addr", "127.0.0.1", "--master-port", port),
            *("-m", "asr", "train", recipe_file, *STEADY, f"schedule.steps={steps}"),
            *("--output", folder, "--resume"),
        )

    with machine(0, 1_000_000) as first, machine(1, 1_000_000) as second:
        wait_for(lambda: steps_done(folder) >= 3, first)
        kill_family(second.pid)
        first.communicate(timeout=PATIENCE)
        assert first.returncode != 0
    reached = steps_done(folder)
    with machine(0, reached + 4) as first, machine(1, reached + 4) as second:
        for process in (first, second):
            _, errors = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, errors
    assert_same_weights(Finished(folder), train("whole", *STEADY, f"schedule.steps={reached + 4}"))


def test_a_file_that_goes_missing_is_one_line_from_two_processes(
    recipe_file: Path, clips: Path, tmp_path: Path
) -> None:
    """The file is there when the run begins, and no audio: only one process finds out."""
    (tmp_path / "bad.wav").write_text("no audio")
    line = json.loads(clips.read_text().splitlines()[0]) | {"id": "bad", "audio_filepath": "bad.wav"}
    (tmp_path / "m.jsonl").write_text(clips.read_text() + json.dumps(line) + "\n")
    overrides = (f"data.train=[{{manifest: {tmp_path}/m.jsonl}}]", "training.processes=2")
    with started("asr", "train", recipe_file, *STEADY, *overrides, "--output", tmp_path / "run") as process:
        out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert out == ""
    assert "Traceback" not in errors
    assert len([line for line in errors.splitlines() if line.startswith("asr: ")]) == 1
    assert "bad.wav" in errors.splitlines()[-1]


def test_a_language_models_processes_stop_together_and_go_on(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("A B C D\nB C D E\nC D E A\n" * 50)
    (tmp_path / "lm.yaml").write_text(
        f"data: {{train: [{tmp_path}/text.txt], dev: {tmp_path}/text.txt}}\n"
        "model: {hidden_size: 8, embedding_size: 8, cutoffs: [4]}\nschedule: {steps: 1000000}\n"
        "batch_words: 40\nevaluate_every: 3\nprecision: fp32\nprocesses: 2\n"
    )
    command = ("asr", "lm", "train", tmp_path / "lm.yaml")
    with started(*command, "--output", tmp_path / "run") as process:
        wait_for((tmp_path / "run" / "model" / "model.safetensors").exists, process)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130, said
    assert f"stopped; go on with: asr lm train {tmp_path / 'lm.yaml'}" in said
    reached = int(re.findall(r"step (\d+)", said)[-1])
    go_on = ("--output", tmp_path / "run", "--resume")
    with started(*command, f"schedule.steps={reached + 4}", *go_on) as process:
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, said
    assert f"100% step {reached + 4}: " in said
