"""A model as an ONNX graph: waveforms to emissions, for any onnxruntime without Python or torch.

The graph is written node by node. ONNX's own recurrent operators take the length of each utterance, so a
backward direction starts at an utterance's last valid frame and nothing depends on batch or padding.
Int8 is dynamic: weights are stored as integers, one scale for each row of a gate, and activations are
quantised as they come (onnxruntime's ``DynamicQuantizeLSTM`` and ``DynamicQuantizeMatMul``). The front
end, the convolutions and the head, a few percent of the work, stay in float32.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.encoder import Recurrence, RecurrentLayer
from asr.errors import UserError
from asr.frontend import FIXED_MEAN, FIXED_SCALE, Frontend
from asr.model import CTCHead, Model
from asr.subsampling import ConvolutionalSubsampling, FrameStacking

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

OPSET, IR_VERSION = 17, 8
WAVEFORMS, LENGTHS, EMISSIONS, FRAMES = "waveforms", "lengths", "emissions", "frames"
# Order of the gates in ONNX's weights, in terms of torch's.
_GATES = {"rnn": [0], "lstm": [0, 3, 1, 2], "gru": [1, 0, 2]}
# Without VNNI the fastest integer kernels add two products in 16 bits: 8-bit weights would overflow them.
_LARGEST_INT8 = 63


def export_onnx(model: Model, head: str | None = None, int8: bool = False) -> bytes:
    """A model as an ONNX file.

    Inputs of the graph: ``waveforms``, float32 ``(batch, samples)`` at the model's rate, padded with any
    numbers, and ``lengths``, int64 ``(batch,)`` in samples. Outputs: ``emissions``, float32
    log-probabilities ``(batch, encoder frames, tokens)``, and ``frames``, int64 ``(batch,)``: how many of
    them are an utterance's own. The file's metadata hold the tokens and the rates.

    Args:
        model: The network.
        head: CTC head to export; the default one without it.
        int8: Store the LSTM layers and projections as 8-bit integers.

    Raises:
        UserError: the ``onnx`` extra is not installed, or int8 is asked for layers other than LSTM.
    """
    require_onnx()
    head = head or model.default_head
    cell = model.config.encoder.cell
    if int8 and cell != "lstm":
        raise UserError(f"int8: onnxruntime has no int8 kernel for {cell} layers, only for lstm; use fp32")
    graph = _Graph()
    x, lengths = _frontend(graph, model.frontend, WAVEFORMS, LENGTHS)
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
    return graph.finish(len(model.tokenizers[head].tokens), metadata).SerializeToString()


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

    def add(self, operator: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        """A node with one output that is used."""
        from onnx import helper

        output = output or f"{operator}_{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes)
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

    def finish(self, tokens: int, metadata: dict[str, str]) -> "ModelProto":
        """The whole model, checked."""
        from onnx import TensorProto, checker, helper

        from asr import __version__

        def value(name: str, kind: int, *shape: str | int) -> Any:
            return helper.make_tensor_value_info(name, kind, shape)

        inputs = [
            value(WAVEFORMS, TensorProto.FLOAT, "batch", "samples"),
            value(LENGTHS, TensorProto.INT64, "batch"),
        ]
        outputs = [
            value(EMISSIONS, TensorProto.FLOAT, "batch", "encoder_frames", tokens),
            value(FRAMES, TensorProto.INT64, "batch"),
        ]
        graph = helper.make_graph(self.nodes, "asr", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
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
    convolutions = cast("tuple[nn.Conv2d, nn.Conv2d]", (layer.first, layer.second))
    x = graph.add("Transpose", x, perm=[0, 2, 1]) if flat else graph.add("Unsqueeze", x, graph.constant([1]))
    for index, (convolution, stride) in enumerate(zip(convolutions, layer.strides, strict=True)):
        if index:
            # Time is the last dimension of a 1-D convolution and the last but one of a 2-D one.
            by_time = graph.add("Transpose", x, perm=[0, 2, 1] if flat else [0, 2, 1, 3])
            x = graph.add("Mul", x, graph.mask(lengths, by_time, [1] if flat else [1, 3]))
        dimensions = 1 if flat else 2
        x = graph.add(
            "Conv",
            x,
            graph.constant(_array(convolution.weight)),
            graph.constant(_array(cast("Tensor", convolution.bias))),
            strides=[stride, 2][:dimensions],
            pads=[1] * 2 * dimensions,
        )
        x = graph.add("Relu", x)
        lengths = _divided(graph, lengths, stride)
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
    if int8:
        (w, *w_scale), (r, *r_scale) = (
            [graph.constant(array) for array in _quantised(matrix)] for matrix in (inputs, recurrent)
        )
        names = [x, w, r, graph.constant(biases), valid, "", "", "", *w_scale, *r_scale]
        y = graph.add("DynamicQuantizeLSTM", *names, domain="com.microsoft", **attributes)
    else:
        names = [x, graph.constant(inputs), graph.constant(recurrent), graph.constant(biases), valid]
        y = graph.add(cell.upper(), *names, **attributes)
    y = graph.add("Transpose", y, perm=[0, 2, 1, 3])
    return graph.add("Reshape", y, graph.constant([0, 0, len(passes) * hidden]))


def _gates(weight: "Tensor", cell: str) -> NDArray[np.float32]:
    """Rows of a weight or bias in ONNX's order of gates."""
    parts = np.split(_array(weight), max(_GATES[cell]) + 1)
    return np.concatenate([parts[gate] for gate in _GATES[cell]])


def _quantised(
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8]]:
    """Matrices ``(…, outputs, inputs)`` as int8 ``(…, inputs, outputs)``, scales and zero points."""
    scale = np.maximum(np.abs(weights).max(axis=-1) / _LARGEST_INT8, np.finfo(np.float32).tiny)
    integers = np.rint(weights / scale[..., None]).astype(np.int8)
    return np.swapaxes(integers, -1, -2), scale.astype(np.float32), np.zeros(scale.shape, np.int8)


def _linear(graph: _Graph, layer: "nn.Linear", x: str, int8: bool = False) -> str:
    bias = graph.constant(_array(layer.bias))
    if int8:
        parts = [graph.constant(array) for array in _quantised(_array(layer.weight))]
        return graph.add("DynamicQuantizeMatMul", x, *parts, bias, domain="com.microsoft")
    return graph.add("Add", graph.add("MatMul", x, graph.constant(_array(layer.weight).T)), bias)


def _layer_norm(graph: _Graph, norm: "nn.LayerNorm", x: str) -> str:
    scale, shift = graph.constant(_array(norm.weight)), graph.constant(_array(norm.bias))
    return graph.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=norm.eps)


def _head(graph: _Graph, head: CTCHead, x: str) -> str:
    return graph.add("LogSoftmax", _linear(graph, head.output, _layer_norm(graph, head.norm, x)), axis=-1)


def _array(parameter: "Tensor") -> NDArray[np.float32]:
    array: NDArray[np.float32] = parameter.detach().cpu().float().numpy()
    return array
