"""Subsampling and stacked recurrent layers: plain RNN, LSTM or GRU, one- or bidirectional.

A bidirectional layer is two one-direction passes: the second hears each utterance's valid frames in
reverse. That equals a packed sequence (within rounding) but stays on oneDNN's fast kernel, and it makes
the result independent of padding. On bfloat16 input the kernels run in bfloat16 over float32 weights;
LSTMs are trained in it by kernels of our own (:mod:`asr.lstm`).

A stream is encoded piece by piece. One direction carries its hidden state and loses nothing; a
bidirectional encoder hears each piece with some look-ahead, over which the backward direction starts
(latency-controlled BLSTM: Zhang et al. 2016, "Highway long short-term memory RNNs for distant speech
recognition", section 4).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from asr.errors import UserError, check_range
from asr.frontend import valid_frames
from asr.subsampling import STRIDES, build_subsampling

CELLS = {"rnn": 1, "lstm": 4, "gru": 3}  # gates of each cell
NONLINEARITIES = ("tanh", "relu")
SUBSAMPLING = ("conv2d", "conv1d", "stack")

State = list[Any]
"""Carried from piece to piece: what subsampling left over, the look-ahead, and one entry a layer."""


@dataclass
class EncoderConfig:
    """Shape of the encoder.

    Attributes:
        cell: ``rnn``, ``lstm`` or ``gru``.
        nonlinearity: ``tanh`` or ``relu``, for the plain RNN.
        bidirectional: Hear each utterance in both directions.
        layers, hidden_size: Number of layers; units per direction.
        projection: Size to which each layer's output is projected (0: none).
        residual, layer_norm: Add each layer's input to its output; normalise each layer's input.
        subsampling: ``conv2d``, ``conv1d`` or ``stack``.
        subsampling_factor: Feature frames per encoder frame, 2 to 4.
        channels: Channels of the convolutions.
        blocks: Residual blocks of convolutions after them.
        dropout: Probability; one mask serves all frames of an utterance.
        recurrent_dropout: Probability for each weight from a hidden state to the next; one mask serves all
            frames of a batch (DropConnect, as in Merity et al. 2018, "Regularizing and optimizing LSTM
            language models").
    """

    cell: str = "lstm"
    nonlinearity: str = "tanh"
    bidirectional: bool = True
    layers: int = 3
    hidden_size: int = 320
    projection: int = 0
    residual: bool = True
    layer_norm: bool = True
    subsampling: str = "conv2d"
    subsampling_factor: int = 4
    channels: int = 32
    blocks: int = 0
    dropout: float = 0.1
    recurrent_dropout: float = 0.0

    def check(self) -> None:
        """Raise :class:`UserError` for a value outside its choices."""
        choices = {
            "cell": CELLS,
            "nonlinearity": NONLINEARITIES,
            "subsampling": SUBSAMPLING,
            "subsampling_factor": STRIDES,
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                names = ", ".join(str(choice) for choice in allowed)
                raise UserError(f"encoder.{key}: {getattr(self, key)!r} is not one of {names}")
        for key in ("layers", "hidden_size", "channels"):
            check_range(f"encoder.{key}", getattr(self, key), 1)
        for key in ("projection", "blocks"):
            check_range(f"encoder.{key}", getattr(self, key), 0)
        if self.blocks and self.subsampling == "stack":
            raise UserError("encoder.blocks: frame stacking has no convolutions for blocks to follow")
        for key in ("dropout", "recurrent_dropout"):
            if not 0 <= getattr(self, key) < 1:
                raise UserError(f"encoder.{key}: {getattr(self, key)} must be at least 0 and below 1")


class _ReverseTime(torch.autograd.Function):
    """Reverse valid frames. The reversal is its own inverse, so the gradient is the same selection."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return x.reshape(-1, x.shape[2]).index_select(0, index).view(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[2])
        return flat.index_select(0, index).view(gradient.shape), None


def reversal_index(lengths: Tensor, frames: int) -> Tensor:
    """Flat index ``(batch * frames,)`` that reverses each utterance's valid frames in place."""
    time = torch.arange(frames, device=lengths.device)
    reversed_time = torch.where(
        valid_frames(lengths, frames), lengths.unsqueeze(1) - 1 - time, time.expand(len(lengths), -1)
    )
    return (reversed_time + torch.arange(len(lengths), device=lengths.device).unsqueeze(1) * frames).flatten()


class Recurrence(nn.Module):
    """One direction of one recurrent layer; parameters are named and shaped as in ``nn.LSTM``."""

    def __init__(self, config: EncoderConfig, input_size: int) -> None:
        super().__init__()
        cell, hidden_size = config.cell, config.hidden_size
        self.kernel = f"rnn_{config.nonlinearity}" if cell == "rnn" else cell
        self.cell, self.hidden_size, self.dropout = cell, hidden_size, config.recurrent_dropout
        rows = CELLS[cell] * hidden_size
        bound = hidden_size**-0.5
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.zeros(rows))
        self.bias_hh = nn.Parameter(torch.zeros(rows))
        if cell == "lstm":
            # An open forget gate lets early training see far back (Jozefowicz et al. 2015).
            nn.init.ones_(self.bias_ih[hidden_size : 2 * hidden_size])

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """``(batch, time, input)`` to ``(batch, time, hidden)`` and the state after the last frame.

        The state is for streaming: where an LSTM is trained in bfloat16 no gradient flows through it.
        """
        recurrent = functional.dropout(self.weight_hh, self.dropout, self.training)
        weights = [weight.to(x.dtype) for weight in (self.weight_ih, recurrent, self.bias_ih, self.bias_hh)]
        if state is None and self._is_trained_in_bfloat16(x):
            from asr.lstm import lstm

            y, cell = lstm(x, weights[0], weights[1], weights[2] + weights[3])
            return y, (y[None, :, -1].detach(), cell[None].to(x.dtype))
        if state is None:
            zeros = x.new_zeros(1, x.shape[0], self.hidden_size)
            state = (zeros, zeros) if self.cell == "lstm" else zeros
        run = getattr(torch._VF, self.kernel)
        y, *after = run(x, state, weights, True, 1, 0.0, self.training, False, True)
        return y, tuple(after) if self.cell == "lstm" else after[0]

    def _is_trained_in_bfloat16(self, x: Tensor) -> bool:
        """Whether there is something faster than the kernel, whose backward pass is slow on a CPU."""
        on_cpu = x.dtype == torch.bfloat16 and x.device.type == "cpu"
        return on_cpu and self.cell == "lstm" and self.training and torch.is_grad_enabled() and x.shape[1] > 0

    def step(self, x: Tensor, state: Sequence[Tensor] | None = None) -> tuple[Tensor, Sequence[Tensor]]:
        """One frame, float32 ``(batch, input)``, to ``(batch, hidden)``: for many steps of few frames.

        As :meth:`forward` without a kernel, which takes longer to prepare than to compute one frame. The
        state is the output, and an LSTM's cell state behind it, ``(batch, hidden)`` each.
        """
        if state is None:
            state = (x.new_zeros(len(x), self.hidden_size),) * 2
        before = state[0]
        inputs = product(x, self.weight_ih) + self.bias_ih
        hidden = product(before, self.weight_hh) + self.bias_hh
        if self.cell == "gru":
            reset, update = (inputs + hidden)[:, : -self.hidden_size].sigmoid().chunk(2, 1)
            new = (inputs[:, -self.hidden_size :] + reset * hidden[:, -self.hidden_size :]).tanh()
            y = new + update * (before - new)
        elif self.cell == "lstm":
            enter, forget, new, leave = (inputs + hidden).chunk(4, 1)
            cell = forget.sigmoid() * state[1] + enter.sigmoid() * new.tanh()
            y = leave.sigmoid() * cell.tanh()
        else:
            y = inputs + hidden
            y = y.relu() if self.kernel == "rnn_relu" else y.tanh()
        return y, (y, cell) if self.cell == "lstm" else (y,)


class RecurrentLayer(nn.Module):
    """Normalise, run both directions, project, drop out, add the input."""

    def __init__(self, config: EncoderConfig, input_size: int) -> None:
        super().__init__()
        directions = 2 if config.bidirectional else 1
        width = config.hidden_size * directions
        self.norm = nn.LayerNorm(input_size) if config.layer_norm else None
        self.forward_pass = Recurrence(config, input_size)
        self.backward_pass = Recurrence(config, input_size) if config.bidirectional else None
        self.projection = nn.Linear(width, config.projection) if config.projection else None
        self.output_size = config.projection or width
        self.residual = config.residual and self.output_size == input_size
        self.dropout = config.dropout

    def forward(
        self, x: Tensor, reversal: Tensor | None, state: Any = None, settled: int | None = None
    ) -> tuple[Tensor, Any]:
        """``(batch, time, input)`` to ``(batch, time, output_size)``; state of the forward direction.

        The state is that after ``settled`` frames (all without it); what follows is look-ahead.
        """
        inputs = x
        if self.norm is not None:
            x = layer_norm(x, self.norm)
        if settled is None or settled == x.shape[1]:
            y, state = self.forward_pass(x, state)
        elif not settled:
            y, _ = self.forward_pass(x, state)
        else:
            y, state = self.forward_pass(x[:, :settled], state)
            ahead, _ = self.forward_pass(x[:, settled:], state)
            y = torch.cat([y, ahead], dim=1)
        if self.backward_pass is not None:
            backward, _ = self.backward_pass(_ReverseTime.apply(x, reversal))
            y = torch.cat([y, _ReverseTime.apply(backward, reversal)], dim=2)
        if self.projection is not None:
            y = linear(y, self.projection)
        if self.training and self.dropout:
            keep = 1 - self.dropout
            y = y * torch.empty_like(y[:, :1]).bernoulli_(keep).div_(keep)
        return (inputs + y if self.residual else y), state

    def step(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One frame, float32 ``(batch, input)``, to ``(batch, output_size)``; see :meth:`Recurrence.step`."""
        y, state = self.forward_pass.step(x if self.norm is None else layer_norm(x, self.norm), state)
        if self.projection is not None:
            y = linear(y, self.projection)
        return (x + y if self.residual else y), state


class RecurrentStack(nn.Module):
    """The recurrent layers without subsampling: for anything that is a sequence of vectors."""

    def __init__(self, config: EncoderConfig, input_size: int) -> None:
        super().__init__()
        config.check()
        layers: list[RecurrentLayer] = []
        for _ in range(config.layers):
            layers.append(RecurrentLayer(config, layers[-1].output_size if layers else input_size))
        self.layers = nn.ModuleList(layers)
        self.bidirectional = config.bidirectional
        self.output_size = layers[-1].output_size if layers else input_size

    def forward(
        self, x: Tensor, lengths: Tensor, state: State | None = None, settled: int | None = None
    ) -> tuple[list[Tensor], State]:
        """Run all layers.

        Args:
            x: ``(batch, time, input_size)``; bfloat16 input runs bfloat16 kernels.
            lengths: int64 ``(batch,)``, valid frames; what is beyond them is never heard backwards.
            state: Of the same call on the frames before these.
            settled: Frames after which the returned state is; the last one's without it.

        Returns:
            The output of each layer ``(batch, time, output_size)``, and the state of forward directions.
        """
        reversal = reversal_index(lengths, x.shape[1]) if self.bidirectional else None
        outputs, states = [], []
        for number, layer in enumerate(self.layers):
            x, after = layer(x, reversal, state[number] if state else None, settled)
            outputs.append(x)
            states.append(after)
        return outputs, states

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One frame of one-directional layers, float32: ``(batch, input_size)`` to ``(batch, output_size)``.

        Args:
            x: One frame of each sequence.
            state: What the step before returned; None at the start.

        Returns:
            The last layer's output, and the state after this frame.
        """
        states = []
        layers: Iterable[Any] = self.layers
        for number, layer in enumerate(layers):
            x, after = layer.step(x, state[number] if state else None)
            states.append(after)
        return x, states


class Encoder(nn.Module):
    """Subsampling and recurrent layers."""

    def __init__(self, config: EncoderConfig, features: int) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.subsampling = build_subsampling(
            config.subsampling, features, config.subsampling_factor, config.channels, config.blocks
        )
        self.recurrent = RecurrentStack(config, self.subsampling.output_size)
        self.output_size = self.recurrent.output_size

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Encode whole utterances.

        Args:
            features: ``(batch, frames, mel_bins)``, zero beyond each length.
            lengths: int64 ``(batch,)``.

        Returns:
            Output of each layer ``(batch, encoder frames, output_size)``, and lengths ``(batch,)``.
        """
        x, lengths = self.subsampling(features, lengths)
        outputs, _ = self.recurrent(x, lengths)
        return outputs, lengths

    def stream(
        self,
        features: Tensor,
        state: State | None = None,
        final: bool = False,
        look_ahead: int | None = None,
    ) -> tuple[list[Tensor], State]:
        """Encode the next frames of an utterance, carrying the hidden state.

        Args:
            features: ``(batch, frames, mel_bins)``, the frames after those already given.
            state: What the call before returned; None at the start.
            final: These are the last frames.
            look_ahead: Encoder frames at the end that the next call encodes again, with what follows them;
                none with ``final``. A bidirectional encoder needs them.

        Returns:
            Output of each layer for the encoder frames that are complete, and the state. The last
            ``look_ahead`` of them are provisional.

        Raises:
            UserError: the encoder is bidirectional and no look-ahead is given.
        """
        if self.config.bidirectional and look_ahead is None:
            raise UserError("this model is bidirectional: it hears a stream with a look-ahead only")
        held, ahead, recurrent = state or (None, None, None)
        x, held = self.subsampling.stream(features, held, final)
        if ahead is not None:
            x = torch.cat([ahead, x], dim=1)
        if not x.shape[1]:
            empty = x.new_zeros(x.shape[0], 0, self.output_size)
            return [empty] * self.config.layers, [held, None, recurrent]
        settled = x.shape[1] if final else max(x.shape[1] - (look_ahead or 0), 0)
        lengths = torch.full((len(x),), x.shape[1], device=x.device)
        outputs, recurrent = self.recurrent(x, lengths, recurrent, settled)
        return outputs, [held, x[:, settled:], recurrent]


def product(x: Tensor, weight: Tensor | Callable[[Tensor], Tensor]) -> Tensor:
    """``x @ weight.T`` in the precision of ``x``, or what stands in the weight's place makes of ``x``."""
    return functional.linear(x, weight.to(x.dtype)) if isinstance(weight, Tensor) else weight(x)


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """A linear layer in the precision of its input; or what stands in its weight's place, and its bias."""
    if not isinstance(layer.weight, Tensor):
        y = product(x, layer.weight)
        return y if layer.bias is None else y + layer.bias
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return functional.linear(x, layer.weight.to(x.dtype), bias)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer normalisation in the precision of its input (the statistics are float32 all the same)."""
    return functional.layer_norm(
        x, norm.normalized_shape, norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps
    )
