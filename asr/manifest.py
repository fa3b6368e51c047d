"""Utterances and manifests: JSON lines with the field's common keys.

A line is ``{"audio_filepath": "a.flac", "duration": 3.2, "text": "HELLO", ...}``, as NeMo and lhotse
users know it. Paths are relative to the manifest's folder. Keys this module does not know are kept in
``Utterance.extra`` and written back.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.files import atomic_write, escape_name

_KNOWN = ("id", "audio_filepath", "offset", "duration", "text", "speaker", "sample_rate", "confidence")
# Beyond any number of seconds or Hz; integers of JSON may be too great for a float.
_ENDLESS = 1e18
PHONES_KEY = "phones"
"""Key of ``Utterance.extra``: how the text was said, for phone heads; phones separated by spaces."""
WORD_BREAK = "|"
"""Parts the phones of one word from those of the next."""


@dataclass(frozen=True)
class Utterance:
    """One stretch of speech.

    Attributes:
        id: Unique within a manifest.
        audio_filepath: Absolute or relative to the working directory once read from a manifest.
        duration: Seconds; 0 where the manifest does not say: to the end of the file.
        offset: Seconds from the start of the file.
        text: Reference transcript; None where it is not known.
        speaker: Speaker label, if known.
        sample_rate: Rate of the file in Hz, if known.
        confidence: Trust in the text, 0 to 1 (1 for human transcripts).
        extra: Every other key of the manifest line.
    """

    id: str
    audio_filepath: str
    duration: float
    offset: float = 0.0
    text: str | None = None
    speaker: str | None = None
    sample_rate: int | None = None
    confidence: float = 1.0
    extra: dict[str, Any] = field(default_factory=dict, hash=False)


def read_manifest(path: str | os.PathLike[str]) -> list[Utterance]:
    """Read a manifest.

    Raises:
        UserError: the file is missing, a line is broken (named by number), an id occurs twice or there is
            no utterance.
    """
    utterances = list(iterate_manifest(path))
    if not utterances:
        raise UserError(f"{path}: no utterances in this manifest")
    lines: dict[str, int] = {}
    for number, utterance in enumerate(utterances, start=1):
        if utterance.id in lines:
            raise UserError(
                f"{path}: the id {utterance.id!r} occurs twice (entries {lines[utterance.id]} and {number}); "
                "give every utterance an id of its own"
            )
        lines[utterance.id] = number
    return utterances


def iterate_manifest(path: str | os.PathLike[str]) -> Iterator[Utterance]:
    """Yield the utterances of a manifest one by one; raises as :func:`read_manifest`, ids unchecked."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _parse_line(line, path, number)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read this manifest ({_reason(error)})") from error


def evenly_spread(utterances: list[Utterance], count: int) -> list[Utterance]:
    """``count`` of the utterances at equal distances, always the same ones; all of them for 0."""
    if not 0 < count < len(utterances):
        return utterances
    return [utterances[number * len(utterances) // count] for number in range(count)]


def write_manifest(path: str | os.PathLike[str], utterances: Iterable[Utterance]) -> None:
    """Write a manifest atomically; audio paths become relative to its folder.

    Raises:
        UserError: it cannot be written, or the name of an audio file is not UTF-8, as JSON is.
    """
    folder = Path(path).resolve().parent
    with atomic_write(path) as stream:
        for utterance in utterances:
            try:
                stream.write(json.dumps(to_json(utterance, folder), ensure_ascii=False) + "\n")
            except UnicodeEncodeError as error:
                name = escape_name(utterance.audio_filepath)
                raise UserError(f"{name}: a manifest holds UTF-8 names only; rename the file") from error


def to_json(utterance: Utterance, folder: Path) -> dict[str, Any]:
    """The manifest line of an utterance, as a dictionary, with its path relative to ``folder``."""
    line: dict[str, Any] = {
        "id": utterance.id,
        "audio_filepath": os.path.relpath(Path(utterance.audio_filepath).resolve(), folder),
        "duration": utterance.duration,
    }
    if utterance.offset:
        line["offset"] = utterance.offset
    for key in ("text", "speaker", "sample_rate"):
        if getattr(utterance, key) is not None:
            line[key] = getattr(utterance, key)
    if utterance.confidence != 1.0:
        line["confidence"] = utterance.confidence
    return line | utterance.extra


def with_text(
    utterance: Utterance, text: str, confidence: float, phones: Iterable[Sequence[str]] | None = None
) -> Utterance:
    """An utterance with the text that a machine gave it; how the old text was said goes with that.

    ``phones``: of each word, as it was said.
    """
    extra = {key: value for key, value in utterance.extra.items() if key != PHONES_KEY}
    if phones is not None:
        extra[PHONES_KEY] = f" {WORD_BREAK} ".join(" ".join(word) for word in phones)
    return replace(utterance, text=text, confidence=confidence, extra=extra)


def default_id(audio_filepath: str, offset: float) -> str:
    """The id of a manifest line that has none: its path as written, and where in the file it starts."""
    return f"{audio_filepath}@{offset:.12g}" if offset else audio_filepath


def json_object(line: str | bytes, path: str | os.PathLike[str], number: int) -> dict[str, Any]:
    """What stands in a line of JSON lines.

    Raises:
        UserError: it is no JSON object; the file and the line are named.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", error)
        raise UserError(f"{path}: line {number} is not JSON ({reason}): one object a line") from error
    if not isinstance(entry, dict):
        raise UserError(f"{path}: line {number} is not a JSON object")
    return entry


def utterance_id(entry: dict[str, Any], path: str | os.PathLike[str], number: int) -> str:
    """The id of a manifest line, or where it has none that of its audio.

    Raises:
        UserError: it has neither, or what cannot be written.
    """
    given, audio_filepath = entry.get("id"), entry.get("audio_filepath")
    if given in (None, ""):
        if not isinstance(audio_filepath, str):
            raise UserError(f"{path}: line {number} has neither 'id' nor 'audio_filepath'")
        given = default_id(audio_filepath, _number(entry, "offset", 0.0, path, number))
    identifier = str(given)
    if "\0" in identifier or not _is_writable(identifier):
        raise UserError(f"{path}: line {number}: the id {identifier!r} is no text")
    return identifier


def _parse_line(line: str, path: Path, number: int) -> Utterance:
    entry = json_object(line, path, number)
    audio_filepath = entry.get("audio_filepath")
    if not isinstance(audio_filepath, str) or not audio_filepath:
        raise UserError(f"{path}: line {number} has no 'audio_filepath'")
    if "\0" in audio_filepath or not _is_writable(audio_filepath):
        raise UserError(f"{path}: line {number}: the path {audio_filepath!r} is no text")
    offset = _number(entry, "offset", 0.0, path, number)
    text = entry.get("text")
    if text is not None and not isinstance(text, str):
        raise UserError(f"{path}: line {number}: 'text' is not a string")
    if text is not None and not _is_writable(text):
        raise UserError(f"{path}: line {number}: 'text' holds half a character")
    speaker = entry.get("speaker")
    if not _is_writable(str(speaker)):
        raise UserError(f"{path}: line {number}: the speaker {speaker!r} is no text")
    return Utterance(
        id=utterance_id(entry, path, number),
        audio_filepath=str(path.parent / audio_filepath),
        duration=_number(entry, "duration", 0.0, path, number),
        offset=offset,
        text=text,
        speaker=None if speaker is None else str(speaker),
        sample_rate=int(_number(entry, "sample_rate", 0.0, path, number)) or None,
        confidence=_number(entry, "confidence", 1.0, path, number),
        extra={key: value for key, value in entry.items() if key not in _KNOWN},
    )


def _is_writable(text: str) -> bool:
    """Whether it is Unicode, or the bytes of a file's name: JSON can hold halves of characters."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _number(
    entry: dict[str, Any], key: str, default: float, path: str | os.PathLike[str], number: int
) -> float:
    value = default if entry.get(key) is None else entry[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _ENDLESS:
        raise UserError(f"{path}: line {number}: {key!r} must be a number of at least 0, not {value!r}")
    return float(value)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
