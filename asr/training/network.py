"""The network that a recipe describes, new or started from another."""

import fnmatch
from collections.abc import Sequence

import torch
from torch import Tensor

from asr.errors import UserError
from asr.model import HeadConfig, Model, ModelConfig, build_tokenizer, load_network
from asr.precision import fast_bfloat16
from asr.tokenizer import PhoneTokenizer
from asr.training.config import Recipe


def build_model(recipe: Recipe, heads: dict[str, HeadConfig] | None = None) -> Model:
    """A new network of a recipe, or with other heads, initialised from its seed."""
    torch.manual_seed(recipe.training.seed)
    heads = recipe.all_heads() if heads is None else heads
    tokenizers = {name: build_tokenizer(head, _pronunciations(head)) for name, head in heads.items()}
    model = Model(
        ModelConfig(recipe.frontend, recipe.encoder, heads, dict(recipe.decoding)),
        tokenizers,
    )
    _freeze(model, recipe.training.freeze)
    return model


def _freeze(model: Model, patterns: list[str]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"training.freeze: {pattern!r} fits no parameter ({names[0]}, … {names[-1]})")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(fnmatch.fnmatch(name, pattern) for pattern in patterns))
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("training.freeze: nothing is left to train")


def initialise_from(model: Model, source: str) -> list[str]:
    """Take the weights that fit from another model directory; returns the names of those that do not.

    Where its phones do not tell those that end words, both kinds share the probability of theirs at first.
    """
    other = load_network(source)
    theirs = {name: parameter.data for name, parameter in other.named_parameters()}
    for name, tokenizer in model.tokenizers.items():
        if name in other.heads and isinstance(tokenizer, PhoneTokenizer):
            _divide_among_word_ends(theirs, name, other.tokenizers[name].tokens, tokenizer)
    left = []
    for name, parameter in model.named_parameters():
        if name in theirs and theirs[name].shape == parameter.shape:
            parameter.data.copy_(theirs[name])
        else:
            left.append(name)
    return left


def _divide_among_word_ends(
    weights: dict[str, Tensor], head: str, tokens: Sequence[str], wanted: PhoneTokenizer
) -> None:
    """Make the output of a head over ``tokens`` that of a tokenizer that only tells word ends too."""
    if tokens == wanted.tokens or set(wanted.phones) != set(tokens):
        return
    rows = torch.tensor([tokens.index(phone) for phone in wanted.phones])
    shares = torch.bincount(rows, minlength=len(tokens))
    weight, bias = (f"heads.{head}.output.{part}" for part in ("weight", "bias"))
    weights[weight] = weights[weight][rows]
    weights[bias] = (weights[bias] - shares.log())[rows]


def _pronunciations(head: HeadConfig) -> dict[str, tuple[str, ...]] | None:
    if head.units != "phones":
        return None
    from asr.lexicon import read_lexicon

    first: dict[str, tuple[str, ...]] = {}
    for word, phones in read_lexicon(head.lexicon):
        first.setdefault(word, phones)
    return first


def training_precision(name: str, device: torch.device) -> torch.dtype:
    """``auto``: bfloat16 where the machine's kernels compute it fast, else float32."""
    if name == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else fast_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if name == "bf16" else torch.float32
