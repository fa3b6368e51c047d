"""ONNX graphs against the networks they were made from."""

import builtins
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from asr.export import export_onnx, quantise
from asr.model import HeadConfig, save_network
from asr.onnx_model import OnnxModel

if TYPE_CHECKING:
    from asr.model import Model

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

MakeModel = Callable[..., "Model"]
CELLS = [{"cell": "rnn", "nonlinearity": name} for name in ("tanh", "relu")] + [
    {"cell": name} for name in ("lstm", "gru")
]
LENGTHS = (16_000, 9_999, 400, 399, 0, 4_321)


def run(graph: bytes, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    emissions, frames = session.run(None, {"waveforms": waveforms.numpy(), "lengths": lengths.numpy()})
    return emissions, frames


def speech_like(lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise whose level rises and falls, padded with garbage."""
    draw = torch.Generator().manual_seed(1)
    samples = max(lengths)
    waveforms = 0.3 * torch.randn(len(lengths), samples, generator=draw)
    waveforms *= torch.sin(torch.arange(samples) / 800)
    for waveform, length in zip(waveforms, lengths, strict=True):
        waveform[length:] = 0.7
    return waveforms, torch.tensor(lengths)


def assert_same(
    model: "Model", graph: bytes, lengths: tuple[int, ...] = LENGTHS, head: str = "", tolerance: float = 1e-4
) -> None:
    waveforms, samples = speech_like(lengths)
    with torch.inference_mode():
        expected, frames = model.emissions(waveforms, samples, head or None)
    emissions, found = run(graph, waveforms, samples)
    assert found.tolist() == frames.tolist()
    for ours, theirs, length in zip(emissions, expected.numpy(), frames.tolist(), strict=True):
        np.testing.assert_allclose(ours[:length], theirs[:length], atol=tolerance, rtol=0)


@pytest.mark.parametrize(("cell", "bidirectional"), product(CELLS, (True, False)))
def test_every_cell_equals_torch_on_ragged_batches(
    make_model: MakeModel, cell: dict[str, str], bidirectional: bool
) -> None:
    model = make_model(bidirectional=bidirectional, **cell)
    assert_same(model, export_onnx(model))


@pytest.mark.parametrize(("kind", "factor"), product(("conv2d", "conv1d", "stack"), (2, 3, 4)))
def test_every_subsampling_equals_torch(make_model: MakeModel, kind: str, factor: int) -> None:
    model = make_model(subsampling=kind, subsampling_factor=factor, layers=1)
    assert_same(model, export_onnx(model))


@pytest.mark.parametrize("kind", ["conv2d", "conv1d"])
def test_blocks_equal_torch(make_model: MakeModel, kind: str) -> None:
    model = make_model(subsampling=kind, blocks=2, layers=1)
    for name, parameter in model.named_parameters():
        if "narrow" in name:
            torch.nn.init.normal_(parameter)
    assert_same(model, export_onnx(model))


@pytest.mark.parametrize(
    "shape",
    [
        {"projection": 10},
        {"projection": 10, "bidirectional": False, "cell": "gru"},
        {"residual": False, "layer_norm": False, "layers": 3},
    ],
)
def test_projection_and_plain_layers_equal_torch(make_model: MakeModel, shape: dict[str, Any]) -> None:
    model = make_model(**shape)
    assert_same(model, export_onnx(model))


def test_other_front_ends_equal_torch(make_model: MakeModel) -> None:
    model = make_model(
        frontend={"cmvn": "fixed", "sample_rate": 8000, "high_frequency": 3800.0, "mel_bins": 41}
    )
    assert_same(model, export_onnx(model))


def test_a_head_on_a_lower_layer(make_model: MakeModel) -> None:
    model = make_model(heads={"top": HeadConfig(), "low": HeadConfig(units="phones", layer=1)})
    assert_same(model, export_onnx(model, "low"), head="low")
    assert_same(model, export_onnx(model), head="top")


def test_an_utterance_does_not_depend_on_its_batch(make_model: MakeModel) -> None:
    graph = export_onnx(make_model())
    waveforms, lengths = speech_like((16_000, 9_999))
    emissions, frames = run(graph, waveforms, lengths)
    alone, (length,) = run(graph, waveforms[1:, :9_999], lengths[1:])
    assert length == frames[1]
    np.testing.assert_allclose(alone[0, :length], emissions[1, :length], atol=1e-5)


def test_the_file_says_what_its_outputs_mean(make_model: MakeModel) -> None:
    model = make_model()
    metadata = {prop.key: prop.value for prop in onnx.load_from_string(export_onnx(model)).metadata_props}
    assert metadata["tokens"].split("\n") == model.tokenizers["characters"].tokens
    assert metadata["sample_rate"] == "16000"
    assert float(metadata["frame_shift"]) == pytest.approx(0.04)


@pytest.mark.parametrize("shape", [{}, {"bidirectional": False}, {"projection": 16}, {"cell": "gru"}])
def test_int8_is_near_fp32_and_smaller(make_model: MakeModel, shape: dict[str, Any]) -> None:
    model = make_model(hidden_size=64, **shape)
    graph = export_onnx(model, int8=True)
    sizes = [len(export_onnx(model, int8=int8, source="features")) for int8 in (True, False)]
    assert sizes[0] < 0.45 * sizes[1]
    assert_same(model, graph, tolerance=0.05)
    with pytest.raises(AssertionError):
        assert_same(model, graph)


def test_a_rounded_weight_is_off_by_half_a_step_at_most() -> None:
    weights = np.random.default_rng(1).standard_normal((2, 6, 21)).astype(np.float32)
    weights[0, 0] = 0
    integers, scales = quantise(weights)
    back = (integers * scales).reshape(2, 6, -1)[..., :21]
    steps = np.broadcast_to(scales, integers.shape).reshape(2, 6, -1)[..., :21]
    assert (np.abs(back - weights) <= 0.5001 * steps).all()


def test_features_instead_of_waveforms(make_model: MakeModel) -> None:
    model = make_model()
    waveforms, samples = speech_like((16_000, 9_999, 400))
    with torch.inference_mode():
        features, lengths = model.frontend(waveforms, samples)
        expected, frames = model.emissions(waveforms, samples)
    session = onnxruntime.InferenceSession(export_onnx(model, source="features"))
    inputs = {"features": features.numpy(), "lengths": lengths.numpy()}
    emissions, found = session.run(None, inputs)
    assert found.tolist() == frames.tolist()
    for ours, theirs, length in zip(emissions, expected.numpy(), frames.tolist(), strict=True):
        np.testing.assert_allclose(ours[:length], theirs[:length], atol=1e-4, rtol=0)


def test_shorter_than_a_frame_in_int8(make_model: MakeModel) -> None:
    model = make_model()
    graph = export_onnx(model, int8=True, source="features")
    int8 = OnnxModel(graph, model.config, model.tokenizers["characters"], "characters")
    emissions, frames = int8.emissions(torch.zeros(2, 399), torch.tensor([399, 0]))
    assert emissions.shape == (2, 0, 29)
    assert frames.tolist() == [0, 0]


def test_export_writes_a_file_or_into_a_folder(
    run_asr: Callable[..., Any], make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    save_network(tmp_path / "tiny", model)
    ran = run_asr("export", tmp_path / "tiny", "-o", tmp_path / "out" / "some.onnx")
    assert (ran.status, ran.stderr) == (0, "")
    assert_same(model, (tmp_path / "out" / "some.onnx").read_bytes())
    assert run_asr("export", tmp_path / "tiny", "--int8", "-o", tmp_path / "out").status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["some.onnx", "tiny.int8.onnx"]
    (tmp_path / "notes").write_text("mine")
    ran = run_asr("export", tmp_path / "tiny", "-o", tmp_path / "notes")
    assert (ran.status, (tmp_path / "notes").read_text()) == (1, "mine")
    assert ran.stderr == f"asr: {tmp_path}/notes: is a file; -o takes a name in .onnx, or a folder\n"


def test_mistakes_are_one_line(run_asr: Callable[..., Any], model_directory: Path, tmp_path: Path) -> None:
    for arguments in (["--format", "coreml"], ["--head", "none"], ["--input", "text"]):
        ran = run_asr("export", model_directory, "-o", tmp_path / "a.onnx", *arguments)
        assert ran.status == 1
        assert ran.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_int8_recognises_and_keeps_its_graph(
    run_asr: Callable[..., Any],
    model_directory: Path,
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = run_asr("decode", model_directory, clips, "--precision", "int8")
    assert (first.status, len(first.stdout.splitlines())) == (0, 8)
    (cached,) = (tmp_path / "asr").glob("int8-*.onnx")
    written = cached.stat().st_mtime_ns
    assert run_asr("decode", model_directory, clips, "--precision", "int8").stdout == first.stdout
    assert cached.stat().st_mtime_ns == written
    audio = clips.parent / json.loads(clips.read_text().splitlines()[0])["audio_filepath"]
    assert run_asr("transcribe", "-m", model_directory, audio, "--precision", "int8").status == 0
    whole = cached.read_bytes()
    cached.write_bytes(whole[:1000])  # by a disk that was full, say
    assert run_asr("decode", model_directory, clips, "--precision", "int8").stdout == first.stdout
    assert cached.read_bytes() == whole


def test_without_onnxruntime_int8_is_one_clear_line(
    run_asr: Callable[..., Any], model_directory: Path, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name=name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    ran = run_asr("decode", model_directory, clips, "--precision", "int8")
    assert ran.status == 1
    assert ran.stderr == "asr: ONNX and int8 need onnxruntime: pip install 'asr-ctc[onnx]'\n"


def test_int8_computes_on_the_cpu_only(
    run_asr: Callable[..., Any], model_directory: Path, clips: Path
) -> None:
    audio = clips.parent / json.loads(clips.read_text().splitlines()[0])["audio_filepath"]
    ran = run_asr("transcribe", "-m", model_directory, audio, "--precision", "int8", "--device", "cuda")
    assert ran.status == 1
    assert "--precision int8" in ran.stderr
