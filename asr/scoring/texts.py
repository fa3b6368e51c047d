"""Reading references and hypotheses: which form a file has is seen from its content.

Utterance ids pair them, never line numbers. Read are manifests and JSON lines, Kaldi's ``text``
(``id words…``), and sclite's ``trn`` (``words (id)``), ``stm`` and ``ctm``.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.manifest import default_id

FORMS = "a manifest or JSON lines with 'id' and 'text', Kaldi text (id words…), trn (words (id)), stm or ctm"

_TRN = re.compile(r"^(.*?)\s*\(([^()\s]+)\)\s*$")
_NUMBER = re.compile(r"^\d+(\.\d*)?$|^\.\d+$")
_LOOKS_LIKE_AN_ID = re.compile(r"[\d_\-./:\\]")


@dataclass(frozen=True)
class Texts:
    """The texts of a file by utterance id, in its order.

    Attributes:
        path: Where they came from.
        form: "json", "kaldi", "trn", "stm" or "ctm".
        texts: Words of each utterance, as written.
        attributes: What else is known of each: ``speaker``, ``duration`` (seconds), ``audio_filepath``,
            and every other key of a manifest.
    """

    path: Path
    form: str
    texts: dict[str, str]
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)


def read_texts(path: str | os.PathLike[str], hypotheses: bool = False) -> dict[str, str]:
    """The texts of a file by utterance id; see :func:`read`."""
    return read(path, hypotheses).texts


def read(path: str | os.PathLike[str], hypotheses: bool = False) -> Texts:
    """Read references or hypotheses in any of the forms.

    Args:
        path: The file; compressed files and pipes are not read.
        hypotheses: Prefer a JSON line's ``pred_text`` (NeMo's key) to its ``text``.

    Raises:
        UserError: the file is missing, is no text, has no ids, is broken at a line (named by number)
            or has an id twice.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not UTF-8 text").lower()
        raise UserError(f"{path}: cannot be read ({reason})") from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise UserError(f"{path}: the file is empty; expected {FORMS}")
    if numbered[0][1].lstrip().startswith("{"):
        return _read_json(path, numbered, hypotheses)
    spoken = [(number, line) for number, line in numbered if not line.startswith(";;")]
    if all(_TRN.match(line) for _, line in spoken):
        return _read_trn(path, spoken)
    if _is_timed(spoken, 3):
        return _read_stm(path, spoken)
    if _is_timed(spoken, 2):
        return _read_ctm(path, spoken)
    if all(_LOOKS_LIKE_AN_ID.search(line.split(None, 1)[0]) for _, line in numbered):
        return _read_kaldi(path, numbered)
    raise UserError(f"{path}: these lines have no utterance ids; expected {FORMS}")


def _read_json(path: Path, lines: Iterable[tuple[int, str]], hypotheses: bool) -> Texts:
    attributes: dict[str, dict[str, Any]] = {}

    def pairs() -> Iterator[tuple[int, str, str]]:
        for number, line in lines:
            entry = _parse(path, number, line)
            text = entry.get("pred_text", entry.get("text")) if hypotheses else entry.get("text")
            if not isinstance(text, str):
                raise UserError(f"{path}: line {number} has no 'text'; every line needs one (it may be empty)")
            name = entry.get("id")
            if name is None:
                name = _id_from_audio(path, number, entry)
            attributes[str(name)] = entry
            yield number, str(name), text

    return Texts(path, "json", _by_id(path, pairs()), attributes)


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: line {number} is not JSON ({error.msg}): one object a line") from error
    if not isinstance(entry, dict):
        raise UserError(f"{path}: line {number} is not a JSON object")
    return entry


def _id_from_audio(path: Path, number: int, entry: dict[str, Any]) -> str:
    audio = entry.get("audio_filepath")
    offset = entry.get("offset") or 0.0
    if not isinstance(audio, str) or not isinstance(offset, int | float):
        raise UserError(f"{path}: line {number} has neither 'id' nor 'audio_filepath'")
    return default_id(audio, offset)


def _read_kaldi(path: Path, lines: Iterable[tuple[int, str]]) -> Texts:
    def pairs() -> Iterator[tuple[int, str, str]]:
        for number, line in lines:
            name, _, text = line.strip().replace("\t", " ").partition(" ")
            yield number, name, text

    return Texts(path, "kaldi", _by_id(path, pairs()))


def _read_trn(path: Path, lines: Iterable[tuple[int, str]]) -> Texts:
    def pairs() -> Iterator[tuple[int, str, str]]:
        for number, line in lines:
            match = _TRN.match(line)
            assert match
            yield number, match[2], match[1]

    return Texts(path, "trn", _by_id(path, pairs()))


def _is_timed(lines: Iterable[tuple[int, str]], first: int) -> bool:
    """Whether fields ``first`` and ``first + 1`` of every line are times, some of them with a point."""
    point = False
    for _, line in lines:
        times = line.split(None, first + 2)[first : first + 2]
        if len(times) < 2 or not all(map(_NUMBER.match, times)):
            return False
        point |= any("." in time for time in times)
    return point


def _read_stm(path: Path, lines: Iterable[tuple[int, str]]) -> Texts:
    raise UserError(f"{path}: stm is not read yet")


def _read_ctm(path: Path, lines: Iterable[tuple[int, str]]) -> Texts:
    raise UserError(f"{path}: ctm is not read yet")


def _by_id(path: Path, pairs: Iterable[tuple[int, str, str]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, name, text in pairs:
        if name in texts:
            raise UserError(f"{path}: line {number}: the id {name!r} occurs a second time")
        texts[name] = text
    return texts
