"""Pre-training by forecasting, and starting a recogniser from it."""

from pathlib import Path

import pytest
import torch

from asr.errors import UserError
from asr.model import load_network
from asr.training.config import load_recipe
from asr.training.distributed import Ranks
from asr.training.network import build_model, initialise_from
from asr.training.pretrainer import Pretrainer, build_forecaster, forecast_error
from asr.training.run import train

ONE_DIRECTION = ("encoder.bidirectional=false", "frontend.cmvn=fixed")


@pytest.mark.parametrize("key", ["loss.consistency", "loss.word_errors.weight", "augment.noise.alone"])
def test_what_only_a_recogniser_learns_is_refused(recipe_file: Path, key: str) -> None:
    model = ["loss.word_errors.model=en"] if "word_errors" in key else []
    overrides = [*ONE_DIRECTION, f"{key}=0.5", *model]
    with pytest.raises(UserError, match=f"{key}: is for recognition"):
        build_forecaster(load_recipe(recipe_file, overrides))


def test_a_bidirectional_encoder_is_refused_because_it_hears_the_future(recipe_file: Path) -> None:
    with pytest.raises(UserError, match="bidirectional=false"):
        build_forecaster(load_recipe(recipe_file))


def test_padding_is_not_forecast(recipe_file: Path) -> None:
    model = build_forecaster(load_recipe(recipe_file, ONE_DIRECTION)).eval()
    features = torch.randn(1, 90, 80)
    with torch.no_grad():
        error, count, _ = forecast_error(model, features, features, torch.tensor([90]), 3)
    padded = torch.cat([features, torch.zeros(1, 60, 80)], dim=1)
    with torch.no_grad():
        again, same_count, _ = forecast_error(model, padded, padded, torch.tensor([90]), 3)
    assert int(count) == int(same_count)
    assert float(again) == pytest.approx(float(error), rel=1e-4)


def test_what_is_forecast_lies_ahead_of_what_is_heard(recipe_file: Path) -> None:
    """With a forecast of nothing the error is that of the features ``ahead`` encoder frames later."""
    model = build_forecaster(load_recipe(recipe_file, ONE_DIRECTION)).eval()
    for parameter in model.heads["forecast"].parameters():
        torch.nn.init.zeros_(parameter)
    features = torch.zeros(1, 40, 80)
    features[:, 12:16] = 1.0
    with torch.no_grad():
        near, _, _ = forecast_error(model, features, features, torch.tensor([40]), 3)
        far, _, _ = forecast_error(model, features, features, torch.tensor([40]), 4)
    assert float(near) == 4 * 80
    assert float(far) == 0.0


def test_the_error_falls_and_a_recogniser_starts_from_the_encoder(
    recipe_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(recipe_file, [*ONE_DIRECTION, "schedule.steps=30", "optimizer.lr=1e-2"])
    pretrained = train(recipe, tmp_path / "run", pretraining=True)
    errors = [
        float(line.rsplit(" ", 1)[1]) for line in capfd.readouterr().err.splitlines() if ": error " in line
    ]
    assert errors[-1] < errors[0]
    assert not load_network(pretrained).heads
    model = build_model(load_recipe(recipe_file, ONE_DIRECTION))
    left = initialise_from(model, str(pretrained))
    assert left
    assert all(name.startswith("heads.") for name in left)


def test_without_a_development_set_the_end_of_the_run_is_what_is_kept(
    recipe_file: Path, tmp_path: Path
) -> None:
    overrides = (*ONE_DIRECTION, "data.dev=''", "schedule.steps=6", "training.evaluate_every=1")
    pretrained = train(load_recipe(recipe_file, overrides), tmp_path / "run", pretraining=True)
    assert load_network(pretrained).config.training["steps"] == 6


def test_vocal_tracts_change_what_is_forecast(recipe_file: Path, tmp_path: Path) -> None:
    weights = []
    for number, tract in enumerate(("augment.vocal_tract=0", "augment.vocal_tract=0.3")):
        overrides = (*ONE_DIRECTION, "data.dev=''", "schedule.steps=3", tract)
        folder = train(load_recipe(recipe_file, overrides), tmp_path / str(number), pretraining=True)
        weights.append(torch.cat([each.flatten() for each in load_network(folder).parameters()]))
    assert not torch.equal(*weights)


def test_a_plateau_of_the_error_lowers_the_rate(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pretrainer, "_development_error", lambda self: 1.0)
    schedule = ("schedule.kind=plateau", "schedule.patience=1", "training.evaluate_every=1")
    overrides = (*ONE_DIRECTION, *schedule, "schedule.steps=0", "schedule.epochs=3")
    run = Pretrainer(load_recipe(recipe_file, overrides), tmp_path, Ranks(processes=1))
    run.run(resume=False)
    assert run.position.plateau == 0.25
