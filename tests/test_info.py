"""``asr info``: nothing optional that is missing or broken keeps it from speaking."""

import json
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from asr import environment
from asr.model import load_network, save_network

SECTIONS = ("asr:", "packages:", "computing:", "models:", "optional:")


def test_text_has_every_section(run_asr: Callable) -> None:
    ran = run_asr("info")
    assert ran.status == 0
    lines = ran.stdout.splitlines()
    assert [line for line in lines if not line.startswith(" ")][:5] == list(SECTIONS)
    assert f"  torch: {metadata.version('torch')}" in lines


def test_json_is_one_object_with_the_same_facts(run_asr: Callable) -> None:
    found = json.loads(run_asr("info", "--json").stdout)
    assert found["versions"]["torch"] == metadata.version("torch")
    assert found["devices"][0]["name"] == "cpu"
    assert found["threads"] >= 1
    assert set(found["programs"]) == {"ffmpeg"}
    assert found["problems"] == []


def test_missing_packages_and_programs_are_said(
    run_asr: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(environment.metadata, "version", version)
    monkeypatch.setenv("PATH", str(tmp_path))
    ran = run_asr("info")
    assert ran.status == 0
    assert "  torchaudio: missing" in ran.stdout
    assert "  ffmpeg: missing: reads m4a" in ran.stdout
    assert "  plot: missing: pip install 'asr-ctc[plot]'" in ran.stdout


def test_libraries_that_cannot_be_imported_are_a_problem_and_no_traceback(
    run_asr: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    ran = run_asr("info")
    assert ran.status == 0
    assert "torchaudio cannot be imported" in ran.stdout
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "torch cannot be imported" in run_asr("info").stdout


def test_without_metadata_there_are_no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(environment.metadata, "requires", requires)
    assert environment.optional_extras() == {}


def test_extras_are_those_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "numpy>=1.26",
        "matplotlib>=3.8; extra == 'plot'",
        'ray[data]!=2.9,>=2; (python_version < "3.14") and extra == "ray"',
        "pytest; extra == 'test'",
    ]
    monkeypatch.setattr(environment.metadata, "requires", lambda _: requirements)
    extras = environment.optional_extras()
    assert list(extras) == ["plot", "ray"]
    assert list(extras["ray"]) == ["ray"]


class TestKernelCache:
    def test_beside_the_sources(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        folder = tmp_path / "decoding" / "__pycache__"
        folder.mkdir(parents=True)
        (folder / "beam.kernel.nbi").write_bytes(b"12")
        (folder / "beam.kernel.1.nbc").write_bytes(b"345")
        cache = environment.kernel_cache(tmp_path)
        assert (cache.writable, cache.kernels, cache.size) == (True, 1, 5)

    def test_in_the_users_own_folder_where_the_sources_are_read_only(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(os, "access", lambda path, _: "installed" not in str(path))
        (tmp_path / "installed").mkdir()
        cache = environment.kernel_cache(tmp_path / "installed")
        if sys.platform == "linux":
            assert cache.folder == str(tmp_path / "cache" / "numba")
        assert cache.writable

    def test_where_the_variable_says(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
        assert environment.kernel_cache(tmp_path / "elsewhere").folder == str(tmp_path)


class TestModel:
    def test_facts_are_those_of_the_network(self, run_asr: Callable, model_directory: Path) -> None:
        found = json.loads(run_asr("info", model_directory, "--json").stdout)
        network = load_network(model_directory)
        assert found["parameters"] == sum(parameter.numel() for parameter in network.parameters())
        assert set(found["parameters_by_part"]) == {"encoder", "heads.characters"}
        assert found["tokens"] == {"characters": 29}
        assert found["bytes"] == sum(path.stat().st_size for path in model_directory.iterdir())

    def test_card_and_training_are_printed(
        self, run_asr: Callable, make_model: Callable, tmp_path: Path
    ) -> None:
        model = make_model(cell="gru", bidirectional=False)
        model.config.training = {"hours": 18.5, "development": {"characters": {"wer": 40.25}}}
        save_network(tmp_path, model)
        (tmp_path / "README.md").write_text("# A card\n\nFor tests.\n")
        lines = run_asr("info", tmp_path).stdout.splitlines()
        assert "  encoder: 2 × 12 one-directional GRU over conv2d, a frame every 40 ms" in lines
        assert "  hours: 18.5" in lines
        assert "  development: characters: wer: 40.25" in lines
        assert lines[-3:] == ["# A card", "", "For tests."]

    def test_broken_ones_are_named(self, run_asr: Callable, make_model: Callable, tmp_path: Path) -> None:
        assert "none: no such model directory" in run_asr("info", "none").stderr
        save_network(tmp_path, make_model())
        (tmp_path / "model.safetensors").write_bytes(b"nothing")
        ran = run_asr("info", tmp_path)
        assert ran.status == 1
        assert "model.safetensors: not a model's weights" in ran.stderr
