"""Grapheme to phoneme: a bidirectional recurrent network with CTC over the letters of a word.

CTC needs no alignment of letters with phones (Rao et al. 2015, "Grapheme-to-phoneme conversion using
long short-term memory recurrent neural networks"). Each letter gives several CTC frames, since a word
may have more phones than letters; they come out of one encoder step, which halves the work of repeating
the letters.

A model directory holds ``g2p.yaml`` (shape, training, error rates) and ``g2p.safetensors``.
"""

import os
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

from asr.encoder import EncoderConfig, RecurrentStack
from asr.errors import UserError
from asr.files import atomic_write, exists, is_file, is_folder
from asr.model import PRETRAINED, CTCHead
from asr.packing import pack, unpack
from asr.tokenizer import PHONES

CONFIG, WEIGHTS = "g2p.yaml", "g2p.safetensors"
LETTERS = "'ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass
class G2pTraining:
    """How the model is trained.

    Attributes:
        epochs: Passes over the words.
        batch_size: Words a step.
        learning_rate, weight_decay: Of AdamW; the rate rises over the first tenth, then falls to zero.
        average: Decay of the running average of the weights, which is what is kept.
        held_out: Share of the words that measure the error rates and are never trained on.
        seed: Of the split, the initial weights and the order of the words.
    """

    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    average: float = 0.999
    held_out: float = 0.1
    seed: int = 1


@dataclass
class G2pConfig:
    """Shape of the network, its training, and its error rates once trained."""

    embedding: int = 64
    layers: int = 4
    hidden_size: int = 128
    dropout: float = 0.2
    frames_per_letter: int = 2
    training: G2pTraining = field(default_factory=G2pTraining)
    results: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise :class:`UserError` for a size or a share that cannot be."""
        training = self.training
        positive = {
            "embedding": self.embedding,
            "layers": self.layers,
            "hidden_size": self.hidden_size,
            "frames_per_letter": self.frames_per_letter,
            "training.epochs": training.epochs,
            "training.batch_size": training.batch_size,
            "training.learning_rate": training.learning_rate,
        }
        fractions = {
            "dropout": self.dropout,
            "training.held_out": training.held_out,
            "training.average": training.average,
        }
        for key, value in positive.items():
            if not value > 0:
                raise UserError(f"{key}: must be more than 0, not {value}")
        for key, value in fractions.items():
            if not 0 <= value < 1:
                raise UserError(f"{key}: must be at least 0 and less than 1, not {value}")


class G2p(nn.Module):
    """The network: letters in, log-probabilities of phones out (0 is the blank)."""

    def __init__(self, config: G2pConfig) -> None:
        super().__init__()
        self.config = config
        self.precision = torch.float32
        self.embedding = nn.Embedding(len(LETTERS) + 1, config.embedding, padding_idx=0)
        encoder = EncoderConfig(layers=config.layers, hidden_size=config.hidden_size, dropout=config.dropout)
        self.encoder = RecurrentStack(encoder, config.embedding)
        self.head = CTCHead(self.encoder.output_size, config.frames_per_letter * len(PHONES))

    def forward(self, letters: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Emissions of a batch of words.

        Args:
            letters: int64 ``(batch, letters)`` as :func:`encode` gives them, 0 beyond each length.
            lengths: int64 ``(batch,)``.

        Returns:
            float32 log-probabilities ``(batch, letters * frames_per_letter, phones)``, lengths ``(batch,)``.
        """
        layers, _ = self.encoder(self.embedding(letters).to(self.precision), lengths)
        logits = self.head(layers[-1]).view(len(letters), -1, len(PHONES))
        return logits.log_softmax(-1), lengths * self.config.frames_per_letter


def encode(words: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Letters of words as ids ``(batch, letters)``, 0 beyond each length, and lengths ``(batch,)``."""
    lengths = torch.tensor([len(word) for word in words])
    letters = torch.zeros(len(words), max(map(len, words)), dtype=torch.int64)
    for row, word in enumerate(words):
        letters[row, : len(word)] = torch.tensor([LETTERS.index(letter) + 1 for letter in word])
    return letters, lengths


def read_g2p_config(path: str | os.PathLike[str]) -> G2pConfig:
    """Read a recipe or the ``g2p.yaml`` of a model; raises :class:`UserError` naming file and key."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(G2pConfig), content))
        assert isinstance(config, G2pConfig)
        config.check()
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (yaml.YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: not a grapheme-to-phoneme configuration ({reason})") from error
    return config


def save_g2p(path: str | os.PathLike[str], model: G2p) -> None:
    """Write a model directory, weights in 8 bits (see :mod:`asr.packing`)."""
    with atomic_write(Path(path) / WEIGHTS, "wb") as stream:
        stream.write(save(pack(model.named_parameters(), "int8")))
    with atomic_write(Path(path) / CONFIG) as stream:
        yaml.safe_dump(asdict(model.config), stream, sort_keys=False)


def load_g2p(name: str | os.PathLike[str] = "en") -> G2p:
    """Read a model directory, or the one that ships under a name (``en``).

    Raises:
        UserError: there is no such directory, or its files do not fit each other.
    """
    path = Path(name)
    shipped = PRETRAINED / f"g2p_{name}"
    if not exists(path) and path.name == str(name) and is_folder(shipped):
        path = shipped
    if not is_file(path / CONFIG):
        raise UserError(f"{name}: no grapheme-to-phoneme model here ({CONFIG} and {WEIGHTS}); 'en' ships")
    model = G2p(read_g2p_config(path / CONFIG))
    try:
        model.load_state_dict(unpack(load_file(path / WEIGHTS)))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path / WEIGHTS}: does not fit {CONFIG} ({reason})") from error
    return model.eval()
