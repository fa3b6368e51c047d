"""A model as an ONNX graph: waveforms or features to emissions, for any onnxruntime without torch.

The graph is written node by node. ONNX's own recurrent operators take the length of each utterance, so a
backward direction starts at an utterance's last valid frame and nothing depends on batch or padding.
In int8 the matrices of the recurrent layers, nearly all of the weights, are 8-bit integers with a scale for
every few of a row; onnxruntime multiplies them out when it loads the file and computes in float32. Its
integer LSTM, which also quantises what goes in, is 1.6 times as fast, but changes one text in ten and makes
an utterance's text depend on its batch.

Speech far quieter than the rest of a recording is made louder before this graph (``levels.py``); who runs it
elsewhere does without.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.encoder import Recurrence, RecurrentLayer
from asr.errors import UserError
from asr.frontend import FIXED_MEAN, FIXED_SCALE, Frontend
from asr.model import CTCHead, Model
from asr.subsampling import ConvolutionalSubsampling, FrameStacking, ResidualBlock

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

OPSET, IR_VERSION = 17, 8
WAVEFORMS, FEATURES = "waveforms", "features"
LENGTHS, EMISSIONS, FRAMES = "lengths", "emissions", "frames"
# Order of the gates in ONNX's weights, in terms of torch's.
_GATES = {"rnn": [0], "lstm": [0, 3, 1, 2], "gru": [1, 0, 2]}
_LARGEST_INT8 = 127
_SCALED_TOGETHER = 16


def export_onnx(model: Model, head: str | None = None, int8: bool = False, source: str = WAVEFORMS) -> bytes:
    """A model as an ONNX file.

    Inputs of the graph: ``waveforms``, float32 ``(batch, samples)`` at the model's rate, padded with any
    numbers, or ``features``, float32 ``(batch, frames, mel_bins)``, zero beyond each length; and
    ``lengths``, int64 ``(batch,)`` in samples or frames. Outputs: ``emissions``, float32
    log-probabilities ``(batch, encoder frames, tokens)``, and ``frames``, int64 ``(batch,)``: how many of
    them are an utterance's own. The file's metadata hold the tokens and the rates.

    Emissions from the same features equal torch's within 1e-4. From waveforms they differ by what Fourier
    transforms in float32 differ, which the logarithm and the network enlarge to some hundredths.

    Args:
        model: The network.
        head: CTC head to export; the default one without it.
        int8: Store the matrices of the recurrent layers as 8-bit integers.
        source: :data:`WAVEFORMS` or :data:`FEATURES`.

    Raises:
        UserError: the ``onnx`` extra is not installed, or there is no such source.
    """
    require_onnx()
    if source not in (WAVEFORMS, FEATURES):
        raise UserError(f"--input: {source!r} is neither {WAVEFORMS} nor {FEATURES}")
    head = head or model.default_head
    graph = _Graph()
    x, lengths = source, LENGTHS
    if source == WAVEFORMS:
        x, lengths = _frontend(graph, model.frontend, x, lengths)
    x, lengths = _subsampling(graph, model.encoder.subsampling, x, lengths)
    # Time comes first from here on, as the recurrent operators want it.
    x = graph.add("Transpose", x, perm=[1, 0, 2])
    valid = graph.add("Cast", graph.add("Max", lengths, graph.constant([1])), to=_INT32)
    layers: list[Any] = list(model.encoder.recurrent.layers)
    for layer in layers[: model.config.heads[head].layer or len(layers)]:
        x = _layer(graph, layer, x, valid, int8)
    x = _head(graph, cast("CTCHead", model.heads[head]), x)
    graph.add("Transpose", x, perm=[1, 0, 2], output=EMISSIONS)
    graph.add("Identity", lengths, output=FRAMES)
    metadata = {
        "head": head,
        "tokens": "\n".join(model.tokenizers[head].tokens),
        "units": model.tokenizers[head].units,
        "sample_rate": str(model.config.frontend.sample_rate),
        "frame_shift": f"{model.frame_shift:g}",
        "precision": "int8" if int8 else "fp32",
    }
    width = ["samples"] if source == WAVEFORMS else ["frames", model.config.frontend.mel_bins]
    proto = graph.finish({source: ["batch", *width]}, len(model.tokenizers[head].tokens), metadata)
    return proto.SerializeToString()


def require_onnx() -> None:
    """Raise :class:`UserError` where the optional packages are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"ONNX and int8 need {error.name or 'onnxruntime'}: pip install 'asr-ctc[onnx]'"
        ) from None


_INT32, _FLOAT = 6, 1  # onnx.TensorProto's numbers of these types


class _Graph:
    """Collects nodes and weights; every method returns the name of a value."""

    def __init__(self) -> None:
        from onnx import NodeProto, TensorProto

        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node with one output that is used."""
        from onnx import helper

        output = output or f"{operator}_{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def constant(self, value: "ArrayLike | Tensor") -> str:
        """An array; lists of integers become int64."""
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        array = np.ascontiguousarray(value) if np.ndim(value) else np.asarray(value)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(np.float32(value))

    def size(self, x: str, axis: int) -> str:
        """Length of a dimension, int64 ``(1,)``."""
        return self.add("Shape", x, start=axis, end=axis + 1)

    def mask(self, lengths: str, x: str, axes: list[int]) -> str:
        """1.0 where time (dimension 1 of ``x``) is within a length, ``(batch, time)`` with ``axes`` added."""
        end = self.add("Squeeze", self.size(x, 1))
        time = self.add("Range", self.constant(np.int64(0)), end, self.constant(np.int64(1)))
        valid = self.add("Less", time, self.add("Unsqueeze", lengths, self.constant([1])))
        return self.add("Unsqueeze", self.add("Cast", valid, to=_FLOAT), self.constant(axes))

    def matrix(self, weights: NDArray[np.float32], int8: bool) -> str:
        """A matrix ``(…, columns)``, in int8 as integers and a scale for every few of a row."""
        if not int8:
            return self.constant(weights)
        integers, scales = quantise(weights)
        columns = weights.shape[-1]
        scaled = self.add("Mul", self.add("Cast", self.constant(integers), to=_FLOAT), self.constant(scales))
        whole = self.add("Reshape", scaled, self.constant([*weights.shape[:-1], -1]))
        ends = [self.constant([value]) for value in (0, columns, weights.ndim - 1)]
        return self.add("Slice", whole, *ends)

    def finish(
        self, source: dict[str, list[str | int]], tokens: int, metadata: dict[str, str]
    ) -> "ModelProto":
        """The whole model, checked; ``source`` is the name and shape of what goes in."""
        from onnx import TensorProto, checker, helper

        from asr import __version__

        def value(name: str, kind: int, *shape: str | int) -> Any:
            return helper.make_tensor_value_info(name, kind, shape)

        inputs = [value(name, TensorProto.FLOAT, *shape) for name, shape in source.items()]
        inputs.append(value(LENGTHS, TensorProto.INT64, "batch"))
        outputs = [
            value(EMISSIONS, TensorProto.FLOAT, "batch", "encoder_frames", tokens),
            value(FRAMES, TensorProto.INT64, "batch"),
        ]
        graph = helper.make_graph(self.nodes, "asr", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="asr", ir_version=IR_VERSION)
        model.producer_version = __version__
        helper.set_model_props(model, metadata)
        checker.check_model(model)
        return model


def _frontend(graph: _Graph, frontend: Frontend, waveforms: str, lengths: str) -> tuple[str, str]:
    """As :class:`Frontend`: features ``(batch, frames, mel_bins)`` and lengths."""
    config, window, hop = frontend.config, frontend.window, frontend.hop
    # Integer division rounds towards zero here, so what is shorter than a frame is made 0 before it.
    room = graph.add("Sub", lengths, graph.constant([window - hop]))
    frames = graph.add("Div", graph.add("Max", room, graph.constant([0])), graph.constant([hop]))
    # Room for the last frame's Fourier transform, which is longer than its window.
    padded = graph.add("Pad", waveforms, graph.constant([0, 0, 0, frontend.fft_size]))
    taper = np.zeros(frontend.fft_size, np.float32)
    taper[:window] = frontend.taper.cpu().numpy()
    spectrum = graph.add(
        "STFT",
        graph.add("Unsqueeze", padded, graph.constant([2])),
        graph.constant(np.int64(hop)),
        graph.constant(taper),
    )
    longest = graph.add("ReduceMax", frames, axes=[0], keepdims=1)
    end = graph.add("Max", longest, graph.constant([1]))
    spectrum = graph.add("Slice", spectrum, graph.constant([0]), end, graph.constant([1]))
    power = graph.add("ReduceSumSquare", spectrum, axes=[3], keepdims=0)
    energies = graph.add("MatMul", power, graph.constant(frontend.filters.cpu().numpy()))
    valid = graph.mask(frames, energies, [2])
    if config.cmvn == "fixed":
        log_mel = graph.add("Log", graph.add("Add", energies, graph.number(config.floor)))
        shifted = graph.add("Sub", log_mel, graph.number(FIXED_MEAN))
        features = graph.add("Div", shifted, graph.number(FIXED_SCALE))
        return graph.add("Mul", features, valid), frames
    return _normalised(graph, energies, valid, frames, config.floor, config.mel_bins), frames


def _normalised(graph: _Graph, energies: str, valid: str, frames: str, floor: float, bins: int) -> str:
    """Features of mel energies, normalised over each utterance's valid frames."""
    count = graph.add("Cast", graph.add("Max", frames, graph.constant([1])), to=_FLOAT)
    count = graph.add("Unsqueeze", count, graph.constant([1, 2]))

    def mean(x: str) -> str:
        return graph.add("Div", graph.add("ReduceSum", x, graph.constant([1]), keepdims=1), count)

    energies = graph.add("Mul", energies, valid)
    share = graph.add("ReduceSum", mean(energies), graph.constant([2]), keepdims=1)
    hidden = graph.add("Add", graph.add("Mul", share, graph.number(floor / bins)), graph.number(1e-12))
    log_mel = graph.add("Mul", graph.add("Log", graph.add("Add", energies, hidden)), valid)
    centred = graph.add("Mul", graph.add("Sub", log_mel, mean(log_mel)), valid)
    variance = mean(graph.add("Mul", centred, centred))
    return graph.add("Div", centred, graph.add("Sqrt", graph.add("Add", variance, graph.number(1e-2))))


def _subsampling(
    graph: _Graph, layer: "FrameStacking | ConvolutionalSubsampling", x: str, lengths: str
) -> tuple[str, str]:
    """As the layer itself: ``(batch, time, output_size)`` and lengths."""
    if isinstance(layer, FrameStacking):
        factor = graph.constant([layer.factor])
        missing = graph.add("Mod", graph.add("Neg", graph.size(x, 1)), factor)
        pads = graph.add("Concat", graph.constant([0, 0, 0, 0]), missing, graph.constant([0]), axis=0)
        padded = graph.add("Pad", x, pads)
        stacked = graph.add("Reshape", padded, graph.constant([0, -1, layer.output_size]))
        return stacked, _divided(graph, lengths, layer.factor)
    flat = layer.dimensions == 1
    dimensions = 1 if flat else 2

    def masked(x: str) -> str:
        # Time is the last dimension of a 1-D convolution and the last but one of a 2-D one.
        by_time = graph.add("Transpose", x, perm=[0, 2, 1] if flat else [0, 2, 1, 3])
        return graph.add("Mul", x, graph.mask(lengths, by_time, [1] if flat else [1, 3]))

    def convolved(x: str, convolution: "nn.Module", strides: tuple[int, int] = (1, 1)) -> str:
        weight, bias = (_array(cast("Tensor", getattr(convolution, name))) for name in ("weight", "bias"))
        pads = [weight.shape[-1] // 2] * 2 * dimensions
        constants = (graph.constant(weight), graph.constant(bias))
        return graph.add("Conv", x, *constants, strides=list(strides[:dimensions]), pads=pads)

    x = graph.add("Transpose", x, perm=[0, 2, 1]) if flat else graph.add("Unsqueeze", x, graph.constant([1]))
    for convolution, stride in zip((layer.first, layer.second), layer.strides, strict=False):
        x = x if convolution is layer.first else masked(x)
        x = graph.add("Relu", convolved(x, convolution, (stride, 2)))
        lengths = _divided(graph, lengths, stride)
    for block in layer.blocks:
        x = masked(x)
        wide = graph.add("Relu", convolved(x, cast(ResidualBlock, block).widen))
        x = graph.add("Add", x, convolved(wide, cast(ResidualBlock, block).narrow))
    if flat:
        return graph.add("Transpose", x, perm=[0, 2, 1]), lengths
    x = graph.add("Transpose", x, perm=[0, 2, 3, 1])
    return graph.add("Reshape", x, graph.constant([0, 0, layer.output_size])), lengths


def _divided(graph: _Graph, lengths: str, factor: int) -> str:
    """Lengths by a factor, rounded up."""
    return graph.add("Div", graph.add("Add", lengths, graph.constant([factor - 1])), graph.constant([factor]))


def _layer(graph: _Graph, layer: RecurrentLayer, x: str, valid: str, int8: bool) -> str:
    """As the layer itself, on ``(time, batch, input)``."""
    inputs = x
    if layer.norm is not None:
        x = _layer_norm(graph, layer.norm, x)
    passes = [layer.forward_pass] + ([layer.backward_pass] if layer.backward_pass is not None else [])
    x = _recurrence(graph, passes, x, valid, int8)
    if layer.projection is not None:
        x = _linear(graph, layer.projection, x, int8)
    return graph.add("Add", inputs, x) if layer.residual else x


def _recurrence(graph: _Graph, passes: list[Recurrence], x: str, valid: str, int8: bool) -> str:
    """One or both directions: ``(time, batch, input)`` to ``(time, batch, hidden of all)``."""
    cell, hidden = passes[0].cell, passes[0].hidden_size
    inputs = np.stack([_gates(each.weight_ih, cell) for each in passes])
    recurrent = np.stack([_gates(each.weight_hh, cell) for each in passes])
    biases = np.stack(
        [np.concatenate([_gates(each.bias_ih, cell), _gates(each.bias_hh, cell)]) for each in passes]
    )
    attributes: dict[str, Any] = {
        "hidden_size": hidden,
        "direction": "bidirectional" if len(passes) == 2 else "forward",
    }
    if cell == "rnn":
        name = "Relu" if passes[0].kernel == "rnn_relu" else "Tanh"
        attributes["activations"] = [name] * len(passes)
    elif cell == "gru":
        attributes["linear_before_reset"] = 1
    weights = [graph.matrix(matrix, int8) for matrix in (inputs, recurrent)]
    y = graph.add(cell.upper(), x, *weights, graph.constant(biases), valid, **attributes)
    y = graph.add("Transpose", y, perm=[0, 2, 1, 3])
    return graph.add("Reshape", y, graph.constant([0, 0, len(passes) * hidden]))


def _gates(weight: "Tensor", cell: str) -> NDArray[np.float32]:
    """Rows of a weight or bias in ONNX's order of gates."""
    parts = np.split(_array(weight), max(_GATES[cell]) + 1)
    return np.concatenate([parts[gate] for gate in _GATES[cell]])


def quantise(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows ``(…, columns)`` as int8 ``(…, groups, columns of a group)`` and scales ``(…, groups, 1)``."""
    missing = -weights.shape[-1] % _SCALED_TOGETHER
    padded = np.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, missing)])
    groups = padded.reshape(*weights.shape[:-1], -1, _SCALED_TOGETHER)
    largest = np.abs(groups).max(axis=-1, keepdims=True)
    scales = np.maximum(largest / _LARGEST_INT8, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(groups / scales).astype(np.int8), scales


def _linear(graph: _Graph, layer: "nn.Linear", x: str, int8: bool = False) -> str:
    weight = graph.add("Transpose", graph.matrix(_array(layer.weight), int8), perm=[1, 0])
    return graph.add("Add", graph.add("MatMul", x, weight), graph.constant(_array(layer.bias)))


def _layer_norm(graph: _Graph, norm: "nn.LayerNorm", x: str) -> str:
    scale, shift = graph.constant(_array(norm.weight)), graph.constant(_array(norm.bias))
    return graph.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=norm.eps)


def _head(graph: _Graph, head: CTCHead, x: str) -> str:
    return graph.add("LogSoftmax", _linear(graph, head.output, _layer_norm(graph, head.norm, x)), axis=-1)


def _array(parameter: "Tensor") -> NDArray[np.float32]:
    array: NDArray[np.float32] = parameter.detach().cpu().float().numpy()
    return array
