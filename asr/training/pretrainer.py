"""Pre-training without text: the encoder learns to forecast speech.

Autoregressive predictive coding (Chung & Glass 2019): from what it has heard so far, a one-directional
encoder predicts the features some frames ahead; the loss is the absolute error. ``training.init_from``
starts a recogniser from the result.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from asr.errors import UserError
from asr.frontend import valid_frames
from asr.model import Model
from asr.padding import padded
from asr.training.config import Recipe
from asr.training.data import Batch
from asr.training.distributed import Ranks
from asr.training.network import build_model
from asr.training.trainer import Trainer

HEAD = "forecast"


def build_forecaster(recipe: Recipe) -> Model:
    """The network of a recipe with a forecast in the place of its CTC heads.

    Raises:
        UserError: the encoder is bidirectional, so that it would hear what it is to forecast, or the recipe
            asks for what only a recogniser can be taught.
    """
    if recipe.encoder.bidirectional:
        raise UserError(
            "a bidirectional encoder hears the future that it is to forecast: encoder.bidirectional=false"
        )
    for key, wanted in (
        ("loss.consistency", recipe.loss.consistency),
        ("loss.word_errors.weight", recipe.loss.word_errors.weight),
        ("augment.noise.alone", recipe.augment.noise.alone),
    ):
        if wanted:
            raise UserError(f"{key}: is for recognition; a forecast is trained with {key}=0")
    model = build_model(recipe, heads={})
    size = recipe.frontend.mel_bins * recipe.encoder.subsampling_factor
    model.heads[HEAD] = nn.Linear(model.encoder.output_size, size)
    return model


class Pretrainer(Trainer):
    """A run in which the loss is the forecast's error."""

    def __init__(self, recipe: Recipe, folder: Path, ranks: Ranks) -> None:
        super().__init__(recipe, folder, ranks, build_forecaster(recipe))

    def backward(self, batch: Batch) -> None:
        if not batch.ids:
            return
        device = self.ranks.device
        features, lengths = self.model.frontend(batch.waveforms.to(device), batch.lengths.to(device))
        if not lengths.any():
            return
        # What is forecast keeps the time of what is heard, but has no holes.
        features = self.spec_augment.warp(self.vocal_tract(features), lengths)
        heard = self.spec_augment.mask(features, lengths)
        error, count, frames = forecast_error(self.model, features, heard, lengths, self.recipe.loss.ahead)
        error.backward()
        self._count(f"loss_{HEAD}", error.detach())
        self._count(f"labels_{HEAD}", count)
        self._count("padded", len(frames) * int(frames.max()))
        self._count("frames", frames.sum())

    def _measure(self) -> None:
        """Mean error of the averaged weights on the development set; the best are kept."""
        with self.average.swapped_in(self.flat.values):
            error = self._development_error()
            self._keep(error, self._improves(error), {HEAD: error})
        if self.reporter is not None:
            line = f"epoch {self.position.epoch + 1} step {self.position.step}: error {error:.4f}"
            metrics = {"step": self.position.step, "epoch": self.position.epoch + 1, "error": error}
            self.reporter.evaluation(metrics, [line])

    @torch.inference_mode()
    def _development_error(self) -> float:
        self.model.eval()
        device = self.ranks.device
        totals = torch.zeros(2, device=device)
        for batch in self.development.batches[self.ranks.rank :: self.ranks.processes]:
            waveforms, lengths = padded([self.development.audio[item.index] for item in batch])
            features, lengths = self.model.frontend(waveforms.to(device), lengths.to(device))
            error, count, _ = forecast_error(self.model, features, features, lengths, self.recipe.loss.ahead)
            totals += torch.stack([error, count.to(error.dtype)])
        self.ranks.sum(totals)
        self.model.train()
        return float(totals[0] / totals[1].clamp(min=1))

    def _weights(self) -> dict[str, Tensor]:
        """The encoder's alone: the forecast has done its work."""
        return {name: value for name, value in super()._weights().items() if not name.startswith("heads.")}


def forecast_error(
    model: Model, target: Tensor, features: Tensor, lengths: Tensor, ahead: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of absolute errors of the forecasts, their number (of values), and encoder frames ``(batch,)``.

    Args:
        model: Its head ``forecast`` predicts the features of an encoder frame, side by side.
        target, features: ``(batch, frames, mel_bins)`` as they are, and as the encoder hears them.
        lengths: int64 ``(batch,)``.
        ahead: Encoder frames from what is heard to what is forecast.
    """
    factor = model.config.encoder.subsampling_factor
    outputs, frames = model.encoder(features.to(model.precision), lengths)
    predicted = model.heads[HEAD](outputs[-1].float())[:, :-ahead]
    missing = -target.shape[1] % factor
    stacked = nn.functional.pad(target, (0, 0, 0, missing)).reshape(len(target), -1, predicted.shape[-1])
    future = stacked[:, ahead : ahead + predicted.shape[1]]
    valid = valid_frames((frames - ahead).clamp(min=0), predicted.shape[1]).unsqueeze(-1)
    error = ((predicted - future).abs() * valid).sum()
    return error, valid.sum() * predicted.shape[-1], frames
