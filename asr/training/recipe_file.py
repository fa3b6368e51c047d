"""Recipes as files: YAML, with values of the command line in the place of its own."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asr.errors import UserError
from asr.files import atomic_write

AnyRecipe = TypeVar("AnyRecipe")


def read_recipe(
    kind: type[AnyRecipe],
    path: str | os.PathLike[str],
    overrides: Sequence[str],
    check: Callable[[AnyRecipe], None],
) -> AnyRecipe:
    """Read, merge and check a recipe.

    Args:
        kind: The dataclass of its sections.
        path: YAML.
        overrides: ``section.key=value``, one by one.
        check: Raises :class:`UserError` for a value that makes no sense.

    Raises:
        UserError: missing file, broken YAML, unknown key, wrong type or what ``check`` says; names the file.
    """
    try:
        names = _section_names(kind)
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        if isinstance(content, dict):  # sections without a key are as good as absent
            content = {key: value for key, value in content.items() if value is not None or key not in names}
        if useless := [override for override in overrides if "=" not in override]:
            raise UserError(f"{useless[0]!r} is not section.key=value")
        changes = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
        given = (_check_sections(each, names) for each in (content, changes))
        recipe = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), *given))
        assert isinstance(recipe, kind)
        check(recipe)
    except OSError as error:
        raise UserError(f"{path}: cannot read this recipe ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise UserError(f"{path}: {_explain(error)}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return recipe


def write_recipe(path: str | os.PathLike[str], recipe: Any) -> None:
    """Write a recipe with every value resolved."""
    with atomic_write(path) as stream:
        stream.write(OmegaConf.to_yaml(OmegaConf.structured(recipe), resolve=True))


def changed_values(path: str | os.PathLike[str], recipe: Any) -> dict[str, tuple[Any, Any]]:
    """What a recipe says otherwise than the one in a file: both values by key, as ``encoder.layers``.

    Keys that only one of them has are of another version, and left out.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    before = dict(_flat(content))
    now = dict(_flat(yaml.safe_load(OmegaConf.to_yaml(OmegaConf.structured(recipe), resolve=True))))
    return {key: (before[key], value) for key, value in now.items() if before.get(key, value) != value}


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(content, dict) or not content:
        yield prefix.removesuffix("."), content
        return
    for key, value in content.items():
        yield from _flat(value, f"{prefix}{key}.")


def _section_names(kind: type) -> set[str]:
    return {field.name for field in fields(kind) if field.default_factory is not MISSING}


def _check_sections(content: Any, sections: set[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError("a recipe is made of sections with keys and values (data:, encoder:, schedule:)")
    for name, section in content.items():
        if name in sections and not isinstance(section, dict):
            raise ValueError(f"{name}: must hold keys and values, not {section!r}")
    return content


def _explain(error: Exception) -> str:
    key = getattr(error, "full_key", None)
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "not in" in message and key:
        return f"unknown key {key!r} (misspelt?)"
    return f"{key}: {message}" if key else message
