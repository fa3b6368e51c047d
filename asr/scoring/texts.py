"""Reading references and hypotheses: which form a file has is seen from its content.

Utterance ids pair them, never line numbers. Read are manifests and JSON lines, Kaldi's ``text``
(``id words…``), and sclite's ``trn`` (``words (id)``), ``stm`` and ``ctm``.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import UserError
from asr.files import is_file
from asr.manifest import json_object, utterance_id
from asr.scoring.timed import TimedText, looks_like_ctm, looks_like_stm, read_ctm, read_stm

FORMS = "a manifest or JSON lines with 'id' and 'text', Kaldi text (id words…), trn (words (id)), stm or ctm"

_LOOKS_LIKE_JSON = re.compile(r'\s*\{\s*["}]')
_LOOKS_LIKE_AN_ID = re.compile(r"[\d_\-./:\\]")
_SPEAKER = re.compile(r"[^-_]+")

Lines = list[tuple[int, str]]


@dataclass(frozen=True)
class Texts:
    """The texts of a file by utterance id, in its order.

    Attributes:
        path: Where they came from.
        form: "json", "kaldi", "trn", "stm" or "ctm".
        texts: Words of each utterance, as written.
        attributes: Every key of a JSON line, by id; ``speaker`` and ``duration`` of an stm.
        timed: Times of an stm's segments or a ctm's words.
    """

    path: Path
    form: str
    texts: dict[str, str]
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    timed: TimedText | None = field(default=None, repr=False)

    def attribute(self, key: str) -> dict[str, Any]:
        """What is known under ``key``, by id; speakers of Kaldi and trn files come from the ids.

        A Kaldi ``text`` has its speakers in ``utt2spk`` beside it; without that file, as in a trn, the
        speaker is the id's part before the first hyphen or underscore.

        Raises:
            UserError: no utterance has the key.
        """
        if key == "speaker" and self.form in ("kaldi", "trn"):
            speakers = _read_utt2spk(self.path.with_name("utt2spk")) if self.form == "kaldi" else {}
            return {name: speakers.get(name) or _speaker_of(name) for name in self.texts}
        found = {name: entry[key] for name, entry in self.attributes.items() if entry.get(key) is not None}
        if not found:
            keys = sorted({key for entry in self.attributes.values() for key in entry} - {"text", "id"})
            known = f"it has {', '.join(keys)}" if keys else "a manifest can hold such a key"
            raise UserError(f"{self.path}: no utterance has the key {key!r}; {known}")
        return found

    @property
    def confidences(self) -> dict[str, list[float]]:
        """Confidence of each word by id, where JSON lines hold ``words`` as ``asr decode`` writes them.

        Other programs write scores there that are no probabilities; such utterances are left out.
        """
        return {
            name: [float(word["confidence"]) for word in entry["words"]]
            for name, entry in self.attributes.items()
            if isinstance(entry.get("words"), list) and all(map(_has_confidence, entry["words"]))
        }


def _has_confidence(word: Any) -> bool:
    confidence = word.get("confidence") if isinstance(word, dict) else None
    return isinstance(confidence, int | float) and not isinstance(confidence, bool) and 0 <= confidence <= 1


def read_texts(path: str | os.PathLike[str], hypotheses: bool = False) -> dict[str, str]:
    """The texts of a file by utterance id; see :func:`read`."""
    return read(path, hypotheses).texts


def read(path: str | os.PathLike[str], hypotheses: bool = False) -> Texts:
    """Read references or hypotheses in any of the forms.

    Args:
        path: The file.
        hypotheses: Prefer a JSON line's ``pred_text`` (NeMo's key) to its ``text``.

    Raises:
        UserError: the file is missing, is no text, has no ids, is broken at a line (named by number)
            or has an id twice.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not UTF-8 text").lower()
        raise UserError(f"{path}: cannot be read ({reason})") from error
    lines = [
        (number, line) for number, line in enumerate(content.split("\n"), 1) if line and not line.isspace()
    ]
    if not lines:
        raise UserError(f"{path}: the file is empty; expected {FORMS}")
    if _LOOKS_LIKE_JSON.match(lines[0][1]):
        return _read_json(path, lines, hypotheses)
    for form, reader in _READERS.items():
        result = reader(path, lines)
        if result is not None:
            return Texts(path, form, *result)
    raise UserError(f"{path}: these lines have no utterance ids; expected {FORMS}")


def _read_json(path: Path, lines: Lines, hypotheses: bool) -> Texts:
    attributes: dict[str, dict[str, Any]] = {}

    def entries() -> Iterator[tuple[int, str, str]]:
        for number, line in lines:
            entry = json_object(line, path, number)
            text = entry.get("text")
            if hypotheses:
                text = entry.get("pred_text", text)
            if not isinstance(text, str):
                raise UserError(f"{path}: line {number} has no 'text' (a string, which may be empty)")
            name = utterance_id(entry, path, number)
            attributes[name] = entry
            yield number, name, text

    return Texts(path, "json", _by_id(path, entries()), attributes)


_Read = tuple[dict[str, str]] | tuple[dict[str, str], Mapping[str, Mapping[str, Any]], TimedText | None]


def _read_trn(path: Path, lines: Lines) -> _Read | None:
    entries = [(number, *_split_trn(line)) for number, line in lines if not line.startswith(";;")]
    if not entries or not all(name for _, name, _ in entries):
        return None
    return (_by_id(path, _without_alternatives(path, entries)),)


def _split_trn(line: str) -> tuple[str, str]:
    """Id and words of a line of a trn; no id where the line has none at its end."""
    words, _, rest = line.rstrip().rpartition("(")
    name = rest[:-1]
    has_id = rest.endswith(")") and ")" not in name and len(name.split(None, 1)) == 1
    return (name, words) if has_id else ("", line)


def _read_stm(path: Path, lines: Lines) -> _Read | None:
    spoken = [(number, line) for number, line in lines if not line.startswith(";;")]
    if not looks_like_stm(spoken):
        return None
    entries, attributes, timed = read_stm(spoken)
    return _by_id(path, _without_alternatives(path, entries)), attributes, timed


def _read_ctm(path: Path, lines: Lines) -> _Read | None:
    spoken = [(number, line) for number, line in lines if not line.startswith(";;")]
    if not looks_like_ctm(spoken):
        return None
    texts, timed = read_ctm(path, spoken)
    return texts, {}, timed


def _read_kaldi(path: Path, lines: Lines) -> _Read | None:
    separator = "\t" if all("\t" in line for _, line in lines) else None
    entries = []
    for number, line in lines:
        name, *words = line.strip().split(separator, 1)
        if not _LOOKS_LIKE_AN_ID.search(name):
            return None
        entries.append((number, name, words[0] if words else ""))
    return (_by_id(path, entries),)


_READERS: dict[str, Callable[[Path, Lines], _Read | None]] = {
    "trn": _read_trn,
    "stm": _read_stm,
    "ctm": _read_ctm,
    "kaldi": _read_kaldi,
}


def _without_alternatives(
    path: Path, entries: Iterable[tuple[int, str, str]]
) -> Iterator[tuple[int, str, str]]:
    for number, name, text in entries:
        if "{" in text and "/" in text:
            raise UserError(
                f"{path}: line {number}: alternatives ({{ a / b }}) are not scored; write the one spoken"
            )
        yield number, name, text


def _by_id(path: Path, entries: Iterable[tuple[int, str, str]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for number, name, text in entries:
        if name in texts:
            raise UserError(f"{path}: line {number}: the id {name!r} occurs a second time")
        texts[name] = text
    return texts


def _read_utt2spk(path: Path) -> dict[str, str]:
    if not is_file(path):
        return {}
    fields = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {words[0]: words[1] for words in fields if len(words) == 2}


def _speaker_of(name: str) -> str:
    match = _SPEAKER.match(name)
    return match[0] if match else name
