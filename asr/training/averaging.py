"""The mean of several models' weights, which usually errs less than any of them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from asr.errors import UserError
from asr.files import check_own_folder
from asr.model import CONFIG, NETWORK_PARTS, Model, find_model, load_network, save_network
from asr.packing import STORAGES
from asr.training.kept_models import kept_models
from asr.training.run_folder import MODEL

_OF_TRAINING = {"dropout", "recurrent_dropout"}


def models_of_run(run: Path, best: int | None, last: int | None) -> list[Path]:
    """Model directories that a run kept: the ``best`` by error rate, or the ``last`` by step.

    Raises:
        UserError: the run kept no models, or both are asked for.
    """
    if best is not None and last is not None:
        raise UserError("--best and --last: choose one of them")
    kept = kept_models(run)
    if not kept:
        raise UserError(f"{run}: kept no models (training.keep, training.evaluate_every)")
    if last is not None:
        return sorted(kept, key=lambda path: path.name.rsplit("-", 1)[1])[-last:]
    return kept[: best or len(kept)]


def _differences(one: Model, other: Model) -> Iterator[str]:
    """Why weights may not be averaged: what is heard or said differs, or their names or shapes do."""
    for section in ("frontend", "encoder"):
        ours, theirs = (asdict(getattr(model.config, section)) for model in (one, other))
        for key in ours:
            if ours[key] != theirs[key] and key not in _OF_TRAINING:
                yield f"{section}.{key}"
    for name, head in one.config.heads.items():
        if name in other.config.heads and other.config.heads[name].layer != head.layer:
            yield f"heads.{name}.layer"
    for name, tokenizer in one.tokenizers.items():
        if name in other.tokenizers and other.tokenizers[name].tokens != tokenizer.tokens:
            yield f"tokens of {name}"
    weights = dict(other.named_parameters())
    for name, value in one.named_parameters():
        if name not in weights or weights[name].shape != value.shape:
            yield name


def average_models(sources: Sequence[Path], output: Path, storage: str = "fp32") -> None:
    """Write a model directory whose weights are the mean of those of ``sources``.

    Args:
        sources: Model directories of one network.
        output: Where to write.
        storage: How the weights are stored, one of :data:`asr.packing.STORAGES`.

    Raises:
        UserError: there are none, they are not of one shape, hear or say other things, the storage is
            not known, or ``output`` is one of them, the best model of a run or a folder of other things.
    """
    if storage not in STORAGES:
        raise UserError(f"--dtype: {storage!r} is not one of {', '.join(STORAGES)}")
    if not sources:
        raise UserError("nothing to average: name model directories, or a run folder")
    if output.resolve() in {find_model(source).resolve() for source in sources}:
        raise UserError(
            f"{output}: is one of the models that are averaged; give the mean a folder of its own"
        )
    if output.name == MODEL and kept_models(output.resolve().parent):
        raise UserError(f"{output}: is the best model of its run; give the mean a folder of its own")
    check_own_folder(output, CONFIG, NETWORK_PARTS)
    first = load_network(find_model(sources[0]))
    totals = {name: value.detach().double() for name, value in first.named_parameters()}
    longest = first.config.training
    for source in sources[1:]:
        other = load_network(find_model(source))
        if difference := next(_differences(first, other), None):
            raise UserError(f"{source}: is another network than {sources[0]} ({difference} differs)")
        longest = max(longest, other.config.training, key=lambda facts: facts.get("steps") or 0)
        weights = dict(other.named_parameters())
        totals = {name: total + weights[name].detach().double() for name, total in totals.items()}
    mean = {name: (total / len(sources)).float() for name, total in totals.items()}
    first.config.training = {
        **longest,
        "average_of": [source.name for source in sources],
        "development": {},
    }
    save_network(output, first, storage, mean)
