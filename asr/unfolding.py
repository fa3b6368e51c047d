"""A recurrent layer unfolded in time: its hidden state and gates at every step.

The encoder runs fused kernels that show only the hidden states. Here the cells' equations are written
out, one step after the other, on the same weights: for pictures and for readers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.encoder import Recurrence, RecurrentLayer, layer_norm, reversal_index
from asr.errors import UserError
from asr.model import Model


@dataclass(frozen=True)
class Steps:
    """What one direction of a layer did, in the order of time.

    Attributes:
        hidden: float32 ``(steps, units)``, the hidden state h.
        memory: float32 ``(steps, units)``, an LSTM's cell state c; None for other cells.
        gates: float32 ``(steps, units)`` each, between 0 (shut) and 1 (open), by name; a plain RNN has
            none.
    """

    hidden: Tensor
    memory: Tensor | None
    gates: dict[str, Tensor]


@dataclass(frozen=True)
class Unfolded:
    """One layer over one recording.

    Attributes:
        features: float32 ``(frames, mel_bins)``.
        forward: The direction that hears the past.
        backward: The one that hears the future; None in a one-directional model.
    """

    features: Tensor
    forward: Steps
    backward: Steps | None


def rnn_step(cell: Recurrence, x: Tensor, h: Tensor) -> Tensor:
    """Elman's cell: h' = tanh(W x + U h + b) (or ReLU); ``x (input,)``, ``h (units,)``."""
    total = cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh
    return torch.relu(total) if cell.kernel == "rnn_relu" else torch.tanh(total)


def lstm_step(cell: Recurrence, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    The forget gate scales the old memory, the input gate what is added to it, the output gate what of it
    shows in the hidden state. Returns h', c' and the gates.
    """
    total = cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh
    write, keep, candidate, show = total.chunk(4)
    gates = {"input": torch.sigmoid(write), "forget": torch.sigmoid(keep), "output": torch.sigmoid(show)}
    c = gates["forget"] * c + gates["input"] * torch.tanh(candidate)
    return gates["output"] * torch.tanh(c), c, gates


def gru_step(cell: Recurrence, x: Tensor, h: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Gated recurrent unit (Cho et al. 2014), in the form that torch and cuDNN compute.

    The reset gate says how much of the old state the candidate hears, the update gate how much of the old
    state stays. Returns h' and the gates.
    """
    heard = (cell.weight_ih @ x + cell.bias_ih).chunk(3)
    remembered = (cell.weight_hh @ h + cell.bias_hh).chunk(3)
    reset, update = torch.sigmoid(heard[0] + remembered[0]), torch.sigmoid(heard[1] + remembered[1])
    candidate = torch.tanh(heard[2] + reset * remembered[2])
    return (1 - update) * candidate + update * h, {"reset": reset, "update": update}


def run_steps(cell: Recurrence, inputs: Tensor) -> Steps:
    """Run a cell over ``(steps, input)``, first step first, from a zero state."""
    h = c = inputs.new_zeros(cell.hidden_size)
    hidden, memory, opened = [], [], []
    for x in inputs:
        gates: dict[str, Tensor] = {}
        if cell.cell == "lstm":
            h, c, gates = lstm_step(cell, x, h, c)
        elif cell.cell == "gru":
            h, gates = gru_step(cell, x, h)
        else:
            h = rnn_step(cell, x, h)
        hidden.append(h)
        memory.append(c)
        opened.append(gates)
    return Steps(
        torch.stack(hidden),
        torch.stack(memory) if cell.cell == "lstm" else None,
        {name: torch.stack([gates[name] for gates in opened]) for name in opened[0]},
    )


@torch.no_grad()
def unfold(model: Model, waveform: Tensor, layer: int = 0) -> Unfolded:
    """Unfold one layer of a model over a recording.

    Args:
        model: The network.
        waveform: float32 ``(samples,)`` at the model's rate.
        layer: Counted from 1 at the input; 0 for the top one.

    Raises:
        UserError: there is no such layer, or the recording is shorter than one frame.
    """
    layers = model.encoder.recurrent.layers
    if not 0 <= layer <= len(layers):
        raise UserError(f"layer {layer}: this model has layers 1 to {len(layers)}")
    number = (layer or len(layers)) - 1
    features, lengths = model.frontend(waveform[None], torch.tensor([len(waveform)]))
    if not features.shape[1]:
        raise UserError(f"a recording of {len(waveform)} samples is shorter than one frame")
    x, lengths = model.encoder.subsampling(features, lengths)
    for below in list(layers)[:number]:
        x, _ = below(x, reversal_index(lengths, x.shape[1]))
    forward, backward = _run_layer(layers[number], x[0])
    return Unfolded(features[0], forward, backward)


def _run_layer(layer: torch.nn.Module, x: Tensor) -> tuple[Steps, Steps | None]:
    assert isinstance(layer, RecurrentLayer)
    if layer.norm is not None:
        x = layer_norm(x, layer.norm)
    forward = run_steps(layer.forward_pass, x)
    if layer.backward_pass is None:
        return forward, None
    return forward, _reversed(run_steps(layer.backward_pass, x.flip(0)))


def _reversed(steps: Steps) -> Steps:
    """The steps of a backward pass in the order of time."""
    return Steps(
        steps.hidden.flip(0),
        None if steps.memory is None else steps.memory.flip(0),
        {name: gate.flip(0) for name, gate in steps.gates.items()},
    )
