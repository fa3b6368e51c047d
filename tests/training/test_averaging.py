"""Averages of models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from asr.errors import UserError
from asr.model import HeadConfig, load_network, save_network
from asr.training.averaging import average_models, models_of_run


@pytest.fixture
def saved(make_model: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """A model directory: ``saved("name", seed=1, ...)``."""

    def save(name: str, **settings: Any) -> Path:
        save_network(tmp_path / name, make_model(**settings))
        return tmp_path / name

    return save


def test_every_weight_is_the_mean_and_the_sources_are_named(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    sources = [saved("one", seed=1), saved("two", seed=2), saved("two", seed=2)]
    average_models(sources, tmp_path / "mean")
    mean = load_network(tmp_path / "mean")
    one, two = (dict(load_network(source).named_parameters()) for source in sources[:2])
    for name, value in mean.named_parameters():
        torch.testing.assert_close(value, (one[name] + 2 * two[name]) / 3)
    assert mean.config.training["average_of"] == ["one", "two", "two"]


def test_the_mean_of_a_run_has_heard_what_its_last_model_has(
    make_model: Callable[..., Any], tmp_path: Path
) -> None:
    for name, steps in (("early", 3), ("late", 9)):
        model = make_model()
        model.config.training = {"steps": steps, "minutes": steps / 2}
        save_network(tmp_path / name, model)
    average_models([tmp_path / "early", tmp_path / "late"], tmp_path / "mean")
    training = load_network(tmp_path / "mean").config.training
    assert (training["steps"], training["minutes"]) == (9, 4.5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"frontend": {"hop": 0.008}}, "frontend.hop differs"),
        ({"frontend": {"cmvn": "fixed"}}, "frontend.cmvn differs"),
        ({"heads": {"characters": HeadConfig(units="phones")}}, "tokens of characters differs"),
        ({"heads": {"letters": HeadConfig()}}, "is another network"),
        ({"hidden_size": 13}, "is another network"),
        ({"residual": False}, "encoder.residual differs"),
        ({"heads": {"characters": HeadConfig(layer=1)}}, "heads.characters.layer differs"),
    ],
)
def test_models_that_hear_or_say_other_things_are_refused(
    saved: Callable[..., Path], tmp_path: Path, settings: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        average_models([saved("one"), saved("other", **settings)], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


def test_a_model_is_not_written_over_by_a_mean_of_it(saved: Callable[..., Path]) -> None:
    one, two = saved("one", seed=1), saved("two", seed=2)
    before = (one / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="is one of the models that are averaged"):
        average_models([two, one], one.parent / "two" / ".." / "one")
    assert (one / "model.safetensors").read_bytes() == before


def test_the_best_model_of_a_run_is_not_replaced_by_a_mean(
    saved: Callable[..., Path], tmp_path: Path
) -> None:
    one = saved("run/models/012.5000-step-000000300")
    best = saved("run/model", seed=1)
    before = (best / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="is the best model of its run"):
        average_models([one], best)
    assert (best / "model.safetensors").read_bytes() == before
    average_models([one], tmp_path / "model")  # which is no run's


def test_a_mean_is_not_written_among_other_things(saved: Callable[..., Path], tmp_path: Path) -> None:
    one = saved("one")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("")
    with pytest.raises(UserError, match="holds other things"):
        average_models([one], tmp_path / "letters")
    average_models([one], saved("older"))  # which is a model, and may be replaced


def test_the_best_of_a_run_are_by_error_and_the_last_by_step(tmp_path: Path) -> None:
    names = ["012.5000-step-000000300", "013.2000-step-000000400", "019.0000-step-000000100"]
    for name in names:
        (tmp_path / "models" / name).mkdir(parents=True)
    assert [path.name for path in models_of_run(tmp_path, 2, None)] == names[:2]
    assert [path.name for path in models_of_run(tmp_path, None, 2)] == names[:2]
    assert [path.name for path in models_of_run(tmp_path, 1, None)] == names[:1]
    assert [path.name for path in models_of_run(tmp_path, None, 1)] == names[1:2]
    with pytest.raises(UserError, match="choose one"):
        models_of_run(tmp_path, 1, 1)
