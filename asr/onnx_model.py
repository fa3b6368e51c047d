"""The acoustic model run by onnxruntime: what ``--precision int8`` uses.

The int8 graph is made from the model directory when it is first needed and kept in the user's cache
folder, named after what it was made from; so it never goes stale and nobody needs to export anything.
"""

import hashlib
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from asr import __version__
from asr.decoding.cache import cache_folder
from asr.decoding.head import choose_head
from asr.decoding.options import DecodingOptions
from asr.errors import UserError
from asr.export import EMISSIONS, FEATURES, FRAMES, LENGTHS, export_onnx, require_onnx
from asr.files import atomic_write
from asr.frontend import Frontend
from asr.model import CONFIG, WEIGHTS, AcousticModel, ModelConfig, load_network, read_config, read_tokenizer
from asr.precision import INT8
from asr.tokenizer import Tokenizer

# What a graph in the cache ends with tells whether it is whole.
_DIGEST_BYTES = hashlib.sha256().digest_size


class OnnxModel(AcousticModel):
    """One head of a model; several threads may call it, each call computes on one core.

    Attributes:
        head: The head that the graph computes.
    """

    def __init__(self, graph: bytes, config: ModelConfig, tokenizer: Tokenizer, head: str) -> None:
        """Take a graph of features as :func:`asr.export.export_onnx` makes it, and what it was made from."""
        import onnxruntime

        self.config = config
        self.tokenizers = {head: tokenizer}
        self.head = head
        self._frontend = Frontend(config.frontend)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, settings, ["CPUExecutionProvider"])

    @property
    def arithmetic(self) -> str:
        """See :meth:`AcousticModel.arithmetic`."""
        return INT8

    def emissions(self, waveforms: Tensor, lengths: Tensor, head: str | None = None) -> tuple[Tensor, Tensor]:
        """See :meth:`AcousticModel.emissions`."""
        if head not in (None, self.head):
            raise ValueError(f"this graph computes the head {self.head}, not {head}")
        features, frames = self._frontend(waveforms, lengths)
        if not features.shape[1]:
            return features.new_zeros(len(features), 0, len(self.tokenizers[self.head].tokens)), frames
        inputs = {FEATURES: features.numpy(), LENGTHS: frames.numpy()}
        emissions, counts = self._session.run([EMISSIONS, FRAMES], inputs)
        return torch.from_numpy(emissions), torch.from_numpy(counts)


def load_int8(folder: Path, options: DecodingOptions) -> OnnxModel:
    """The head of a model directory that is decoded so, in int8.

    Raises:
        UserError: the ``onnx`` extra is not installed, or the model cannot be had in int8.
    """
    require_onnx()
    config = read_config(folder)
    head = choose_head(config, options)
    return OnnxModel(_int8_graph(folder, head), config, read_tokenizer(folder, head, config), head)


def _int8_graph(folder: Path, head: str) -> bytes:
    """From the cache where it was made before."""
    key = hashlib.sha256(f"{__version__} {head}\n".encode())
    for name in (CONFIG, WEIGHTS):
        key.update((folder / name).read_bytes())
    cached = cache_folder() / f"int8-{key.hexdigest()[:24]}.onnx"
    with suppress(OSError):
        content = cached.read_bytes()
        graph, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if hashlib.sha256(graph).digest() == digest:  # else a disk was full, or a machine fell over
            return graph
    graph = export_onnx(load_network(folder), head, int8=True, source=FEATURES)
    with suppress(UserError), atomic_write(cached, "wb") as stream:
        stream.write(graph + hashlib.sha256(graph).digest())
    return graph
