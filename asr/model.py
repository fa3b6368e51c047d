"""Front end, encoder and CTC heads as one network, and its part of a model directory.

A model directory describes itself: ``config.yaml`` (front end, encoder, heads, decoding defaults,
provenance), ``model.safetensors`` and the tokens of each head.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from asr.encoder import Encoder, EncoderConfig, State, layer_norm, linear
from asr.errors import UserError
from asr.files import atomic_write, is_file, is_folder
from asr.frontend import Frontend, FrontendConfig
from asr.levels import even_levels
from asr.packing import pack, unpack
from asr.padding import padded
from asr.precision import precision_name
from asr.tokenizer import (
    PHONES,
    UNITS,
    WORD_END_PHONES,
    CharacterTokenizer,
    PhoneTokenizer,
    Tokenizer,
    WordPieceTokenizer,
    read_tokens,
    write_tokens,
)

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
NETWORK_PARTS = (WEIGHTS, "tokens*.txt", "wordpieces.*.model")
"""Patterns of what :func:`save_network` writes beside the configuration."""
PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass
class HeadConfig:
    """One CTC output.

    Attributes:
        units: ``characters``, ``phones`` or ``wordpieces``.
        layer: Encoder layer it listens to, counted from 1; 0 for the top one.
        weight: Share in the training loss.
        lexicon: Pronunciations of the training words (phones only, used in training).
        wordpieces: sentencepiece model file (word pieces only).
        word_ends: Phones that end a word are tokens of their own (phones only).
        denominator: Order of the n-gram over units that makes the loss CTC-CRF's (2 or 3, used in training);
            0 for plain CTC.
    """

    units: str = "characters"
    layer: int = 0
    weight: float = 1.0
    lexicon: str = ""
    wordpieces: str = ""
    word_ends: bool = False
    denominator: int = 0


@dataclass
class ModelConfig:
    """What ``config.yaml`` of a model directory says about the network."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    heads: dict[str, HeadConfig] = field(default_factory=dict)
    decoding: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def default_head(self) -> str:
        """The head that is meant where none is named: ``decoding.head``, else the first."""
        if not self.heads:
            raise UserError("this model is only pre-trained; train it with training.init_from")
        head = str(self.decoding.get("head") or next(iter(self.heads)))
        if head not in self.heads:
            raise UserError(f"decoding.head: {head!r} is not a head of this model ({', '.join(self.heads)})")
        return head

    def find_head(self, name: str | None) -> str:
        """The head that a user named, or the default one.

        Raises:
            UserError: there is no such head.
        """
        if name is None:
            return self.default_head
        if name not in self.heads:
            raise UserError(f"--head: {name!r} is not one of {', '.join(self.heads)}")
        return name


class CTCHead(nn.Module):
    """Layer normalisation and a linear layer onto the tokens."""

    def __init__(self, input_size: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(input_size)
        self.output = nn.Linear(input_size, tokens)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, frames, input_size)`` to float32 logits ``(batch, frames, tokens)``."""
        return linear(layer_norm(x, self.norm), self.output).float()


class AcousticModel:
    """What decoding asks of a model, whatever computes it.

    Attributes:
        config: What the model directory says.
        tokenizers: Of each head, by its name.
    """

    config: ModelConfig
    tokenizers: dict[str, Tokenizer]

    @property
    def device(self) -> torch.device:
        """Where waveforms are wanted."""
        return torch.device("cpu")

    @property
    def arithmetic(self) -> str:
        """``fp32``, ``bf16`` or ``int8``."""
        raise NotImplementedError

    @property
    def frame_shift(self) -> float:
        """Seconds from one encoder frame to the next."""
        return self.config.frontend.frame_shift * self.config.encoder.subsampling_factor

    @property
    def default_head(self) -> str:
        """See :attr:`ModelConfig.default_head`."""
        return self.config.default_head

    def emissions(self, waveforms: Tensor, lengths: Tensor, head: str | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the tokens.

        Args:
            waveforms: float32 ``(batch, samples)`` at ``config.frontend.sample_rate``.
            lengths: int64 ``(batch,)``, samples of each.
            head: Name of the head; the default one without it.

        Returns:
            float32 ``(batch, encoder frames, tokens)`` and lengths ``(batch,)``; an utterance shorter
            than one frame has length 0.
        """
        raise NotImplementedError

    def hear(self, waveforms: Sequence[Tensor], head: str | None = None) -> tuple[Tensor, Tensor]:
        """:meth:`emissions` of recordings ``(samples,)`` as they come, their levels evened and padded."""
        batch, lengths = padded(even_levels(waveforms, self.config.frontend))
        return self.emissions(batch.to(self.device), lengths.to(self.device), head)


class Model(nn.Module, AcousticModel):
    """The acoustic model as a network of torch.

    Attributes:
        precision: dtype in which the encoder computes (weights stay float32).
    """

    def __init__(self, config: ModelConfig, tokenizers: dict[str, Tokenizer], device: str = "cpu") -> None:
        """Make a network with random weights; on the device ``meta`` with none, which are to be given."""
        super().__init__()
        self.config = config
        self.tokenizers = tokenizers
        self.precision = torch.float32
        self.frontend = Frontend(config.frontend)
        with torch.device(device):
            self.encoder = Encoder(config.encoder, config.frontend.mel_bins)
            sizes = {name: len(tokenizers[name].tokens) for name in config.heads}
            self.heads = nn.ModuleDict(
                {name: CTCHead(self.encoder.output_size, size) for name, size in sizes.items()}
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def arithmetic(self) -> str:
        """See :meth:`AcousticModel.arithmetic`."""
        return precision_name(self.precision)

    def logits(self, features: Tensor, lengths: Tensor, heads: list[str]) -> tuple[list[Tensor], Tensor]:
        """Scores of some heads.

        Args:
            features: ``(batch, frames, mel_bins)``, zero beyond each length.
            lengths: int64 ``(batch,)``.
            heads: Names of the heads.

        Returns:
            For each head float32 ``(batch, encoder frames, tokens)``, and lengths ``(batch,)``.
        """
        if not features.shape[1]:
            sizes = [len(self.tokenizers[name].tokens) for name in heads]
            return [features.new_zeros(len(features), 0, size) for size in sizes], lengths
        layers, lengths = self.encoder(features.to(self.precision), lengths)
        return [self._head(name, layers) for name in heads], lengths

    def emissions(self, waveforms: Tensor, lengths: Tensor, head: str | None = None) -> tuple[Tensor, Tensor]:
        """See :meth:`AcousticModel.emissions`."""
        features, frames = self.frontend(waveforms, lengths)
        (logits,), frames = self.logits(features, frames, [head or self.default_head])
        return logits.log_softmax(-1), frames

    def stream(
        self,
        features: Tensor,
        state: State | None,
        final: bool,
        head: str | None = None,
        look_ahead: int | None = None,
    ) -> tuple[Tensor, State]:
        """Emissions of the next frames of an utterance; see :meth:`asr.encoder.Encoder.stream`."""
        layers, state = self.encoder.stream(features.to(self.precision), state, final, look_ahead)
        return self._head(head or self.default_head, layers).log_softmax(-1), state

    def _head(self, name: str, layers: list[Tensor]) -> Tensor:
        # Layer 0 is the topmost, as -1 is the last of a list.
        logits: Tensor = self.heads[name](layers[self.config.heads[name].layer - 1])
        return logits


def build_tokenizer(head: HeadConfig, pronunciations: dict[str, tuple[str, ...]] | None = None) -> Tokenizer:
    """The tokenizer of a head, before training; tokens of a trained one come from its directory."""
    if head.units == "wordpieces":
        return WordPieceTokenizer(Path(head.wordpieces))
    if head.units == "phones":
        return PhoneTokenizer(WORD_END_PHONES if head.word_ends else PHONES, pronunciations)
    return CharacterTokenizer()


def check_heads(heads: dict[str, HeadConfig], layers: int) -> None:
    """Raise :class:`UserError` for heads that an encoder of so many layers cannot have."""
    for name, head in heads.items():
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
            raise UserError(f"heads.{name}: a head's name is made of letters, digits, - and _")
        if hasattr(nn.ModuleDict(), name):
            raise UserError(f"heads.{name}: torch has a name like this; choose another")
        if head.units not in UNITS:
            raise UserError(f"heads.{name}.units: {head.units!r} is not one of {', '.join(UNITS)}")
        if not 0 <= head.layer <= layers:
            raise UserError(f"heads.{name}.layer: {head.layer} is not a layer; the encoder has {layers}")
        if head.denominator not in (0, 2, 3):
            raise UserError(f"heads.{name}.denominator: {head.denominator} is not one of 0, 2, 3")


def tokens_file(name: str, heads: dict[str, HeadConfig]) -> str:
    """``tokens.txt``, or one file a head where there are several."""
    return "tokens.txt" if len(heads) == 1 else f"tokens.{name}.txt"


def find_model(name: str | os.PathLike[str]) -> Path:
    """The directory of a model: a path, or the name of one that ships (``en``).

    Raises:
        UserError: there is no such directory, or it lacks a file.
    """
    path = Path(name)
    # A folder of recordings may be called as a model that ships.
    is_model = is_file(path / CONFIG)
    if not is_model and is_file(PRETRAINED / path.name / CONFIG) and path.name == str(name):
        path = PRETRAINED / path.name
    if not is_folder(path):
        shipped = sorted(found.parent.name for found in PRETRAINED.glob(f"*/{WEIGHTS}"))
        raise UserError(f"{name}: no such model directory (models that ship: {', '.join(shipped) or 'none'})")
    for required in (CONFIG, WEIGHTS):
        if not is_file(path / required):
            raise UserError(f"{path}: not a whole model directory: {required} is missing")
    return path


def load_network(name: str | os.PathLike[str]) -> Model:
    """Read the network of a model directory; its weights become float32.

    Raises:
        UserError: a file is missing or does not fit the others.
    """
    path = find_model(name)
    config = read_config(path)
    tokenizers = {head: read_tokenizer(path, head, config) for head in config.heads}
    # Random weights that are replaced at once would take longer than reading the real ones.
    model = Model(config, tokenizers, device="meta")
    try:
        weights = unpack(load_file(path / WEIGHTS))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{path / WEIGHTS}: damaged, or not safetensors ({_first_line(error)})") from error
    parameters = dict(model.named_parameters())
    for key, parameter in parameters.items():
        weight = weights.get(key)
        if weight is None or weight.shape != parameter.shape:
            found = "is missing" if weight is None else f"has the shape {tuple(weight.shape)}"
            raise UserError(
                f"{path / WEIGHTS}: {key} {found}; {CONFIG} and the tokens say {tuple(parameter.shape)}"
            )
    if unknown := weights.keys() - parameters.keys():
        raise UserError(f"{path / WEIGHTS}: {min(unknown)} is no part of what {CONFIG} says")
    model.load_state_dict(weights, assign=True)
    return model.eval()


def save_network(
    path: str | os.PathLike[str],
    model: Model,
    storage: str = "fp32",
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write the network's part of a model directory, the configuration last.

    Args:
        path: The directory; made where it is missing.
        model: Network, tokenizers, configuration.
        storage: How the weights are stored, one of :data:`asr.packing.STORAGES`.
        weights: Parameters by name to store in place of the model's own (an average, say).
    """
    folder = Path(path)
    for name, tokenizer in model.tokenizers.items():
        write_tokens(folder / tokens_file(name, model.config.heads), tokenizer.tokens)
        if isinstance(tokenizer, WordPieceTokenizer):
            with atomic_write(folder / _wordpiece_file(name), "wb") as stream:
                stream.write(tokenizer.model_file.read_bytes())
    weights = weights or dict(model.named_parameters())
    with atomic_write(folder / WEIGHTS, "wb") as stream:
        stream.write(save(pack(weights.items(), storage)))
    write_config(folder, model.config)


def read_config(path: Path) -> ModelConfig:
    """Read and check ``config.yaml`` of a model directory."""
    source = path / CONFIG
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ModelConfig), content))
        assert isinstance(config, ModelConfig)
        config.frontend.check()
        config.encoder.check()
        check_heads(config.heads, config.encoder.layers)
    except (yaml.YAMLError, OmegaConfBaseException, OSError, TypeError, ValueError, UserError) as error:
        key = getattr(error, "full_key", None)
        reason = f"{key}: {_first_line(error)}" if key else _first_line(error)
        raise UserError(f"{source}: not a model's configuration ({reason})") from error
    return config


def write_config(path: str | os.PathLike[str], config: ModelConfig) -> None:
    """Write ``config.yaml`` of a model directory."""
    content = asdict(config)
    for head in content["heads"].values():
        # Files of the training machine; tokens and word pieces lie in the directory under fixed names.
        head["lexicon"] = head["wordpieces"] = ""
    with atomic_write(Path(path) / CONFIG) as stream:
        yaml.safe_dump(content, stream, sort_keys=False, allow_unicode=True)


def read_tokenizer(path: Path, name: str, config: ModelConfig) -> Tokenizer:
    """The tokenizer of a head of a model directory."""
    head = config.heads[name]
    if head.units == "wordpieces":
        return WordPieceTokenizer(path / _wordpiece_file(name))
    tokens = read_tokens(path / tokens_file(name, config.heads))
    return PhoneTokenizer(tokens) if head.units == "phones" else CharacterTokenizer(tokens)


def _wordpiece_file(name: str) -> str:
    return f"wordpieces.{name}.model"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
