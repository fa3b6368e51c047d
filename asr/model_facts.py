"""The main facts of a model directory, read without loading its weights."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr.environment import folder_size
from asr.errors import UserError
from asr.model import WEIGHTS, ModelConfig, find_model, read_config, tokens_file

CARD = "README.md"


@dataclass(frozen=True)
class ModelFacts:
    """What ``asr info MODEL`` says.

    Attributes:
        folder: The model directory.
        config: Its ``config.yaml``.
        parameters: Number of weights by part (``encoder``, ``heads.<name>``).
        dtype: Precision in which they are stored.
        tokens: Number of tokens of each head, blank included.
        sizes: Bytes of each file and folder.
        card: The model card, Markdown; empty where there is none.
    """

    folder: Path
    config: ModelConfig
    parameters: dict[str, int]
    dtype: str
    tokens: dict[str, int]
    sizes: dict[str, int]
    card: str

    @property
    def encoder(self) -> str:
        """The encoder in a line."""
        encoder = self.config.encoder
        shift = 1000 * self.config.frontend.frame_shift * encoder.subsampling_factor
        kind = "bidirectional" if encoder.bidirectional else "one-directional"
        cell = f"{encoder.layers} × {encoder.hidden_size} {kind} {encoder.cell.upper()}"
        return f"{cell} over {encoder.subsampling}, a frame every {shift:g} ms"

    def to_json(self) -> dict[str, Any]:
        """As a dictionary of JSON's types."""
        return {
            "folder": str(self.folder),
            "parameters": sum(self.parameters.values()),
            "parameters_by_part": self.parameters,
            "dtype": self.dtype,
            "tokens": self.tokens,
            "bytes": sum(self.sizes.values()),
            "bytes_by_file": self.sizes,
            "config": asdict(self.config),
            "card": self.card,
        }


def read_facts(name: str | os.PathLike[str]) -> ModelFacts:
    """Read the facts of a model directory, or of a model that ships.

    Raises:
        UserError: there is no such model, or a file of it is broken.
    """
    folder = find_model(name)
    config = read_config(folder)
    parameters, dtype = _parameters(folder / WEIGHTS)
    tokens = {}
    for head, settings in config.heads.items():
        file = folder / tokens_file(head, config.heads)
        if settings.units != "wordpieces" or file.is_file():
            tokens[head] = len(_text(file).splitlines())
    sizes = {
        path.name + ("/" if path.is_dir() else ""): folder_size(path)
        if path.is_dir()
        else path.stat().st_size
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and path.exists()
    }
    card = _text(folder / CARD) if (folder / CARD).is_file() else ""
    return ModelFacts(folder, config, parameters, dtype, tokens, sizes, card)


def _parameters(path: Path) -> tuple[dict[str, int], str]:
    """Number of weights by part, and their type, from the file's header."""
    from safetensors import SafetensorError, safe_open

    from asr.packing import describe_stored

    parts: dict[str, int] = {}
    types: dict[str, None] = {}
    try:
        with safe_open(str(path), framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118 - no mapping
                part = ".".join(key.split(".")[: 2 if key.startswith("heads.") else 1])
                stored = weights.get_slice(key)
                count, kind = describe_stored(key, str(stored.get_dtype()), stored.get_shape())
                parts[part] = parts.get(part, 0) + count
                types |= {kind: None} if kind else {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a model's weights ({error})") from error
    return parts, ", ".join(types)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
