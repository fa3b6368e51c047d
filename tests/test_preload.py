"""Torch's libraries are loaded before torch is, where a command needs it."""

import subprocess
import sys
import threading

import pytest

from asr.cli import app, commands
from asr.cli.preload import COMMANDS, preload_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="done on Linux only")


def test_the_import_finds_the_libraries_in_place() -> None:
    code = (
        "import sys\n"
        "from asr.cli.preload import load_torch_libraries\n"
        "load_torch_libraries()\n"
        "assert 'libtorch_cpu' in open('/proc/self/maps').read()\n"
        "assert 'torch' not in sys.modules\n"
        "import torch\n"
        "print(float(torch.ones(3, 4) @ torch.ones(4) @ torch.ones(3)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "12.0\n"


def test_only_commands_that_need_torch_begin_to_load_it(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    monkeypatch.setattr("asr.cli.preload.load_torch_libraries", begun.set)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for arguments in ([], ["--help"], ["score", "a", "b"], ["lm", "build"]):
        preload_for(arguments)
    assert not begun.wait(0.2)
    preload_for(["transcribe", "a.wav"])
    assert begun.wait(10)


def test_each_of_them_is_a_command() -> None:
    if not app.registered_commands:
        commands.register(app)
    names = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    }
    assert set(COMMANDS) <= names
