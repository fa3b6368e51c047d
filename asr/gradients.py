"""How far a recurrent network's output reaches back: the norm of d output(t) / d input(t - k).

In a plain RNN it falls exponentially with k (the vanishing gradient: Bengio et al. 1994, Pascanu et al.
2013); gates keep it from doing so (Hochreiter & Schmidhuber 1997).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr.encoder import CELLS, EncoderConfig, RecurrentStack
from asr.errors import UserError
from asr.model import Model

PROBES = 16
"""Random directions: the mean square of d(v output)/d input over them is that of the whole Jacobian."""
OUTPUTS = 12


@dataclass(frozen=True)
class Reach:
    """One network's gradients.

    Attributes:
        name: Of the network.
        lags: int64 ``(lags,)``, steps k between input and output; negative ones lie in the future.
        norms: float64 ``(lags,)``, root mean square over outputs of the Jacobian's Frobenius norm.
        frame_shift: Seconds of a step; 0 for a network that has heard no speech.
    """

    name: str
    lags: Tensor
    norms: Tensor
    frame_shift: float = 0.0

    @property
    def half_life(self) -> float:
        """Steps in which the norm falls to a half on its way into the past; infinite where it does not."""
        past = self.norms[(self.lags >= 0) & (self.norms > 0)]
        if len(past) < 2:
            return math.inf
        slope = float(np.polyfit(np.arange(len(past)), past.log2().numpy(), 1)[0])
        return -1 / slope if slope < 0 else math.inf


def untrained_reach(
    cell: str, steps: int = 100, hidden_size: int = 256, input_size: int = 80, seed: int = 1
) -> Reach:
    """Reach of one new layer of a cell, one-directional, hearing standard normal noise."""
    torch.manual_seed(seed)
    config = EncoderConfig(
        cell=cell,
        bidirectional=False,
        layers=1,
        hidden_size=hidden_size,
        residual=False,
        layer_norm=False,
        dropout=0.0,
    )
    stack = RecurrentStack(config, input_size).double().eval()
    inputs = torch.randn(2 * steps + 1, input_size, dtype=torch.float64)
    return reach(cell.upper(), stack, inputs, steps)


def model_reach(name: str, model: Model, waveform: Tensor, steps: int = 100, seed: int = 1) -> Reach:
    """Reach of all recurrent layers of a model together, from their input to the last one's output.

    Args:
        name: Of the model.
        model: The network.
        waveform: float32 ``(samples,)``, what it hears.
        steps: Longest lag.
        seed: Of the random directions.

    Raises:
        UserError: the recording is too short for any lag.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        features, lengths = model.frontend(waveform[None], torch.tensor([len(waveform)]))
        inputs = model.encoder.subsampling(features, lengths)[0][0] if features.shape[1] else features[0]
    if len(inputs) < 3:
        raise UserError("the recording is too short: gradients need some steps of speech")
    found = reach(name, model.encoder.recurrent, inputs, min(steps, len(inputs) * 3 // 4))
    return Reach(name, found.lags, found.norms, model.frame_shift)


def reach(name: str, stack: RecurrentStack, inputs: Tensor, steps: int) -> Reach:
    """Norms of the Jacobian at the lags from ``-steps`` (0 if one-directional) to ``steps``.

    Args:
        name: Of the network.
        stack: Recurrent layers; without dropout.
        inputs: ``(time, input)``; a lag is measured at those of some outputs, spread over all of the time,
            from which it does not lead outside.
        steps: Longest lag.
    """
    time = len(inputs)
    lags = torch.arange(-steps if stack.bidirectional else 0, steps + 1)
    squares = torch.zeros(len(lags), dtype=torch.float64)
    counts = torch.zeros(len(lags), dtype=torch.float64)
    for at in torch.linspace(0, time - 1, OUTPUTS).long().tolist():
        x = inputs.detach().expand(PROBES, -1, -1).clone().requires_grad_()
        y = stack(x, torch.full((PROBES,), time))[0][-1][:, at]
        (slope,) = torch.autograd.grad((y * torch.randn_like(y)).sum(), x)
        norms = slope.double().square().sum(2).mean(0)
        inside = (at - lags >= 0) & (at - lags < time)
        squares[inside] += norms[at - lags[inside]]
        counts += inside
    return Reach(name, lags, (squares / counts).sqrt())


def untrained_cells(steps: int = 100, seed: int = 1) -> list[Reach]:
    """Reach of each cell before training."""
    return [untrained_reach(cell, steps, seed=seed) for cell in CELLS]
