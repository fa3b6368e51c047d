"""The section ``decoding`` of a model directory or a recipe, and a user's wishes instead of it."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from asr.decoding.config import BeamConfig
from asr.decoding.options import DecodingOptions
from asr.decoding.rescoring import RescoringConfig
from asr.decoding.speech_gate import gate_threshold
from asr.errors import UserError

DECODERS = ("greedy", "beam")
_OF_THE_SEARCH = {field.name for field in fields(BeamConfig)}
_OTHERS = {"decoder", "head", "pause", "rescoring", "speech_gate"}

Settings = TypeVar("Settings", BeamConfig, RescoringConfig)


def check_settings(decoding: Mapping[str, Any], heads: Mapping[str, Any]) -> None:
    """Check a whole section.

    Args:
        decoding: The section.
        heads: The model's heads by their names.

    Raises:
        UserError: naming the first setting that there is not, or that makes no sense.
    """
    if unknown := [key for key in decoding if key not in _OF_THE_SEARCH | _OTHERS]:
        raise UserError(f"decoding.{unknown[0]}: no such setting (misspelt?)")
    if (head := decoding.get("head")) and heads and head not in heads:
        raise UserError(f"decoding.head: {head!r} is not one of {', '.join(heads)}")
    decoder_name(decoding)
    beam_config(decoding)
    rescoring_config(decoding)
    phrase_pause(decoding)
    for each in heads:
        gate_threshold(decoding, each)


def decoder_name(decoding: Mapping[str, Any], wished: str | None = None) -> str:
    """The decoder to use, one of :data:`DECODERS`."""
    if wished is not None and wished not in DECODERS:
        raise UserError(f"--decoder: {wished!r} is not one of {', '.join(DECODERS)}")
    name = wished or decoding.get("decoder") or "greedy"
    if name not in DECODERS:
        raise UserError(f"decoding.decoder: {name!r} is not one of {', '.join(DECODERS)}")
    return str(name)


def beam_config(decoding: Mapping[str, Any], options: DecodingOptions | None = None) -> BeamConfig:
    """Tuned settings of a model directory, with the user's in their place."""
    given = {key: value for key, value in decoding.items() if key in _OF_THE_SEARCH}
    config = _typed(BeamConfig, given, "decoding")
    if options is not None:
        config = replace(config, **options.settings)
        if options.nbest is not None:
            config = replace(config, nbest=options.nbest)
    config.check()
    return config


def rescoring_config(decoding: Mapping[str, Any]) -> RescoringConfig:
    """How a model directory scores n-best lists anew."""
    config = _typed(RescoringConfig, decoding.get("rescoring") or {}, "decoding.rescoring")
    config.check()
    return config


def phrase_pause(decoding: Mapping[str, Any], options: DecodingOptions | None = None) -> float:
    """Seconds of the pauses at which utterances are cut for the search; 0 searches them whole.

    Raises:
        UserError: it is no number of seconds.
    """
    wished = None if options is None else options.pause
    pause = decoding.get("pause", 0.0) if wished is None else wished
    if isinstance(pause, bool) or not isinstance(pause, int | float) or not 0 <= pause < math.inf:
        raise UserError(f"decoding.pause: {pause!r} is not a number of seconds")
    return float(pause)


def config_for_rescoring(config: BeamConfig, rescoring: RescoringConfig) -> BeamConfig:
    """Settings of the search whose n-best list is scored anew."""
    threshold = rescoring.threshold if config.nbest == 1 else config.nbest_threshold
    return replace(config, nbest=max(config.nbest, rescoring.nbest), nbest_threshold=threshold)


def _typed(kind: type[Settings], given: Any, where: str) -> Settings:
    """A dataclass of given values."""
    if not isinstance(given, Mapping):
        raise UserError(f"{where}: must hold keys and values, not {given!r}")
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), dict(given)))
    except (OmegaConfBaseException, ValueError) as error:
        key, reason = getattr(error, "full_key", ""), str(error).strip().splitlines()[0]
        if key and key not in {field.name for field in fields(kind)}:
            reason = "no such setting"
        raise UserError(f"{where}.{key}: {reason}") from error
    assert isinstance(settings, kind)
    return settings
