"""Model directories, and emissions that belong to their utterance alone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from asr.encoder import CELLS, SUBSAMPLING
from asr.errors import UserError
from asr.model import PRETRAINED, HeadConfig, Model, find_model, load_network, save_network

MakeModel = Callable[..., Model]

TWO_HEADS = {
    "phones": HeadConfig("phones", layer=1),
    "characters": HeadConfig("characters", layer=0, weight=0.5),
}


def waveforms(lengths: list[int], size: int, padding: float) -> torch.Tensor:
    batch = torch.full((len(lengths), size), padding)
    for row, length in enumerate(lengths):
        batch[row, :length] = 0.1 * torch.randn(length, generator=torch.Generator().manual_seed(row))
    return batch


@pytest.mark.parametrize("subsampling", SUBSAMPLING)
@pytest.mark.parametrize("cell", CELLS)
def test_emissions_of_an_utterance_do_not_depend_on_its_batch(
    make_model: MakeModel, cell: str, subsampling: str
) -> None:
    model = make_model(cell=cell, subsampling=subsampling)
    lengths = [12_000, 400, 9_111, 100, 15_999]
    with torch.inference_mode():
        batch, frames = model.emissions(waveforms(lengths, 16_000, 5.0), torch.tensor(lengths))
        wide, wide_frames = model.emissions(waveforms(lengths[:3], 30_000, 0.0), torch.tensor(lengths[:3]))
        assert frames[3] == 0
        assert wide_frames.tolist() == frames[:3].tolist()
        for row, length in enumerate(lengths):
            alone, count = model.emissions(
                waveforms(lengths, 16_000, 0.0)[row : row + 1, :length], torch.tensor([length])
            )
            assert count == frames[row]
            torch.testing.assert_close(batch[row, : frames[row]], alone[0], atol=1e-5, rtol=0)
            if row < len(wide):
                torch.testing.assert_close(wide[row, : frames[row]], alone[0], atol=1e-5, rtol=0)
            assert alone.exp().sum(-1).sub(1).abs().max() < 1e-5 if count else True


@pytest.mark.parametrize(
    ("rate", "hop"), [(16_000, 0.008), (22_050, 0.008), (22_050, 0.01), (11_025, 0.0125)]
)
def test_the_frame_shift_is_what_the_frames_really_follow_each_other_by(
    make_model: MakeModel, rate: int, hop: float
) -> None:
    settings = {"sample_rate": rate, "hop": hop, "high_frequency": 3800, "mel_bins": 20}
    model = make_model(frontend=settings)
    samples = model.frame_shift * rate
    assert samples == pytest.approx(round(samples), abs=1e-6)
    frames = 50 * model.config.encoder.subsampling_factor
    heard = torch.tensor([model.frontend.window + (frames - 1) * model.frontend.hop])
    _, lengths = model.emissions(torch.zeros(1, int(heard)), heard)
    assert int(lengths) == 50
    assert samples * int(lengths) == pytest.approx(frames * model.frontend.hop)


def test_audio_shorter_than_a_frame_has_no_emissions(make_model: MakeModel) -> None:
    emissions, frames = make_model().emissions(torch.zeros(2, 50), torch.tensor([50, 3]))
    assert emissions.shape == (2, 0, 29)
    assert frames.tolist() == [0, 0]


def test_silence_has_finite_emissions(make_model: MakeModel) -> None:
    emissions, _ = make_model().emissions(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert emissions.isfinite().all()


@pytest.mark.parametrize(
    ("cell", "nonlinearity"), [("rnn", "tanh"), ("rnn", "relu"), ("lstm", "tanh"), ("gru", "tanh")]
)
def test_a_one_directional_model_gives_the_same_emissions_piece_by_piece(
    make_model: MakeModel, cell: str, nonlinearity: str
) -> None:
    model = make_model(cell=cell, nonlinearity=nonlinearity, bidirectional=False, frontend={"cmvn": "fixed"})
    waveform = waveforms([16_000], 16_000, 0.0)
    with torch.inference_mode():
        whole, _ = model.emissions(waveform, torch.tensor([16_000]))
        features, _ = model.frontend(waveform, torch.tensor([16_000]))
        pieces, state = [], None
        for piece in features.split(7, dim=1):
            emissions, state = model.stream(piece, state, False)
            pieces.append(emissions)
        pieces.append(model.stream(features[:, :0], state, True)[0])
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=0)


def test_each_head_listens_to_its_own_layer(make_model: MakeModel) -> None:
    model = make_model(heads=TWO_HEADS)
    batch, lengths = waveforms([8000], 8000, 0.0), torch.tensor([8000])
    with torch.inference_mode():
        before = {name: model.emissions(batch, lengths, name)[0] for name in TWO_HEADS}
        assert before["phones"].shape[2] == 40
        for parameter in model.encoder.recurrent.layers[1].parameters():
            parameter.zero_()
        after = {name: model.emissions(batch, lengths, name)[0] for name in TWO_HEADS}
    assert torch.equal(before["phones"], after["phones"])
    assert not torch.equal(before["characters"], after["characters"])


def test_the_configuration_says_which_head_is_decoded(make_model: MakeModel) -> None:
    model = make_model(heads=TWO_HEADS)
    assert model.default_head == "phones"
    model.config.decoding["head"] = "characters"
    assert model.default_head == "characters"
    model.config.decoding["head"] = "words"
    with pytest.raises(UserError, match=r"decoding\.head: 'words' is not a head"):
        _ = model.default_head


@pytest.mark.parametrize(
    ("storage", "tolerance"), [("fp32", 0.0), ("fp16", 1e-3), ("bf16", 1e-2), ("int8", 1e-2), ("int6", 2e-2)]
)
def test_a_model_survives_its_directory(
    make_model: MakeModel, tmp_path: Path, storage: str, tolerance: float
) -> None:
    model = make_model(heads=TWO_HEADS, cell="gru", projection=9)
    model.config.decoding = {"head": "characters", "lm_weight": 0.5}
    model.config.training = {"hours": 1.5, "development": {"characters": {"wer": 12.3}}}
    save_network(tmp_path / "model", model, storage)
    found = load_network(tmp_path / "model")
    assert found.config == model.config
    assert {name: tokenizer.tokens for name, tokenizer in found.tokenizers.items()} == {
        name: tokenizer.tokens for name, tokenizer in model.tokenizers.items()
    }
    for name, weight in model.named_parameters():
        assert found.get_parameter(name).dtype == torch.float32
        torch.testing.assert_close(found.get_parameter(name), weight, atol=tolerance, rtol=tolerance)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.yaml",
        "model.safetensors",
        "tokens.characters.txt",
        "tokens.phones.txt",
    ]


@pytest.fixture
def broken(model_directory: Path, tmp_path: Path) -> Path:
    """A copy of a model directory, to be damaged."""
    return Path(shutil.copytree(model_directory, tmp_path / "broken"))


def complaint(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_network(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "tokens.txt"])
def test_a_missing_file_of_a_model_is_named(broken: Path, name: str) -> None:
    (broken / name).unlink()
    assert name in complaint(broken)


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "tokens.txt"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe garbage", b"[1, 2]", b"a: b: c"])
def test_a_damaged_file_of_a_model_is_named(broken: Path, name: str, content: bytes) -> None:
    (broken / name).write_bytes(content)
    assert name in complaint(broken)


def test_weights_that_were_cut_short_are_named(broken: Path) -> None:
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "model.safetensors" in complaint(broken)


def test_tokens_of_another_model_are_named_with_both_sizes(broken: Path) -> None:
    with (broken / "tokens.txt").open("a") as stream:
        stream.write("Ä\n")
    line = complaint(broken)
    assert "heads.characters.output" in line
    assert "30" in line
    assert "29" in line


def test_weights_of_another_network_are_named(broken: Path, make_model: MakeModel) -> None:
    save_network(broken / "other", make_model(layers=1))
    shutil.move(broken / "other" / "model.safetensors", broken / "model.safetensors")
    assert "encoder.recurrent.layers.1" in complaint(broken)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"encoder": {"cell": "attention"}}, "encoder.cell"),
        ({"encoder": {"layers": "many"}}, "encoder.layers"),
        ({"encoderr": {}}, "encoderr"),
        ({"frontend": {"cmvn": "fixd"}}, "frontend.cmvn"),
        ({"frontend": {"hop": 0.0}}, "frontend.hop"),
        ({"heads": {}}, "heads"),
        ({"heads": {"characters": {"units": "runes"}}}, "runes"),
        ({"heads": {"characters": {"layer": 9}}}, "layer"),
        ({"heads": {"../characters": {}}}, "name"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_one_line(
    broken: Path, change: dict[str, object], named: str
) -> None:
    config = yaml.safe_load((broken / "config.yaml").read_text())
    (broken / "config.yaml").write_text(yaml.safe_dump(config | change))
    with pytest.raises(UserError, match=named) as caught:
        load_network(broken)
    assert "\n" not in str(caught.value)


def test_a_missing_model_names_those_that_ship(tmp_path: Path) -> None:
    for name in (tmp_path / "none", "klingon"):
        with pytest.raises(UserError, match=r"no such model directory.*models that ship: .*\ben\b"):
            find_model(name)


def test_a_folder_of_recordings_does_not_hide_the_model_that_ships(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("en").mkdir()
    assert find_model("en") == PRETRAINED / "en"
