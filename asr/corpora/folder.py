"""Any folder of recordings: a ``.txt`` file beside each, or a table (CSV or TSV) that names them."""

import csv
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

from asr.corpora.preparation import (
    Prepared,
    Problem,
    Progress,
    check_outside,
    is_audio,
    preference,
    prepare_manifest,
    silent_progress,
)
from asr.corpora.text import to_letters
from asr.errors import UserError
from asr.files import check_own_name, exists, is_file, walk
from asr.manifest import Utterance

# Column names in use: NeMo and lhotse, Common Voice, DeepSpeech, Hugging Face's audio folders.
_AUDIO_COLUMNS = ("audio_filepath", "path", "file", "file_name", "filename", "wav_filename", "audio", "wav")
_TEXT_COLUMNS = ("text", "sentence", "transcript", "transcription", "normalized_text")
_ID_COLUMNS = ("id", "utterance_id", "utt_id")
_SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
# A duration says something only beside an offset; else the audio's header knows better, as of the rate.
_NUMBER_COLUMNS, _IGNORED_COLUMNS = ("offset", "duration", "confidence"), ("sample_rate",)

_Read = tuple[list[Utterance], list[Problem]]

# Ids that rows were given, with the rows and their numbers.
_Taken = dict[str, dict[tuple[tuple[str, str], ...], int]]


def prepare_folder(
    root: Path,
    output: Path,
    table: Path | None = None,
    letters: bool = False,
    progress: Progress = silent_progress,
) -> Prepared:
    """Write the manifest ``output`` of the recordings under ``root``.

    Without a table every audio file at any depth is an utterance, its text in the ``.txt`` file of the
    same name beside it, its id its path without suffix. With one, every row is: the header names a
    column for the audio (``path``, ``audio_filepath``, ``file`` …) and one for the text (``sentence``,
    ``text``, ``transcript`` …), may name ``id``, ``speaker`` (``client_id``), ``confidence``, and ``offset``
    with ``duration`` (seconds) where a file holds several utterances; every other column goes into the
    manifest under its name. Paths are relative to ``root``, to the table's folder, or to
    ``clips`` in either.

    Args:
        root: The folder; never written to.
        output: The manifest file.
        table: A CSV or TSV file with a header.
        letters: Bring texts into the form A–Z, apostrophe and space; what cannot be is a problem.
        progress: Shows how many audio headers have been read.

    Raises:
        UserError: the folder or the table cannot be read, or nothing usable is in it.
    """
    if not root.is_dir():
        raise UserError(f"{root}: {'is a file, not a folder' if root.exists() else 'no such folder'}")
    check_outside(output, root)
    check_own_name(output, table)
    if table is None:
        files = sorted(_walk(root))
        if not any(is_audio(path.name) for path in files):
            raise UserError(f"{root}: holds no audio files (flac, wav, opus, ogg, mp3)")
        read = partial(_pair, root, files)
    else:
        rows = _read_table(table, root)
        files = [table, *(Path(row.audio_filepath) for row in rows if isinstance(row, Utterance))]
        read = partial(_check_rows, rows)
    finish = partial(_finish, read, letters)
    settings = (str(table), str(letters))
    return prepare_manifest(output, files, finish, settings, progress)


def _walk(root: Path) -> Iterator[Path]:
    """Audio and text files at any depth, hidden ones and hidden folders left out."""

    def fail(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error

    for folder, folders, names in walk(root, fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and (is_audio(name) or name.lower().endswith(".txt")):
                yield folder / name


def _pair(root: Path, files: list[Path]) -> _Read:
    """Pair audio with the text beside it; durations are left at 0."""
    problems: list[Problem] = []
    texts = {path.with_suffix(""): path for path in files if not is_audio(path.name)}
    audio: dict[Path, Path] = {}
    for path in sorted((path for path in files if is_audio(path.name)), key=preference):
        stem = path.with_suffix("")
        if stem in audio:
            problems.append(Problem("duplicate id", f"{path} (beside {audio[stem]})"))
        else:
            audio[stem] = path
    problems += [Problem("text without audio", str(texts[stem])) for stem in texts.keys() - audio.keys()]
    problems += [Problem("audio without text", str(audio[stem])) for stem in audio.keys() - texts.keys()]
    utterances = []
    for stem in sorted(audio.keys() & texts.keys()):
        try:
            text = texts[stem].read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem("unreadable text", f"{texts[stem]} ({error})"))
            continue
        id = stem.relative_to(root).as_posix()
        utterances.append(Utterance(id=id, audio_filepath=str(audio[stem]), duration=0.0, text=text))
    return utterances, problems


def _read_table(table: Path, root: Path) -> list[Utterance | Problem]:
    """The rows of a table as utterances, unchecked; what a row does not say is empty.

    A row that says more than there are columns has a separator in a text, which would lose its end.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            rows = _split_rows(first, chain([first], stream))
            header = [name.strip() for name in next(rows, [])]
            columns = _find_columns(table, header)
            taken: _Taken = {}
            find = _Finder([root, root / "clips", table.parent, table.parent / "clips"])
            return [
                Problem("more fields than columns (quote texts with separators in them)", f"row {number}")
                if any(row[len(header) :])
                else _row_utterance(dict(zip(header, row, strict=False)), columns, find, number, taken)
                for number, row in enumerate(rows, start=1)
                if any(row)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{table}: cannot read this table ({reason})") from error


def _split_rows(first: str, lines: Iterable[str]) -> Iterator[list[str]]:
    """Rows of a table whose separator is the commonest one of its first line.

    Tab-separated tables have no quoting: in Common Voice a quotation mark is a quotation mark.
    """
    separator = max("\t,;|", key=first.count)
    if separator == "\t":
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    return csv.reader(lines, delimiter=separator, strict=True)


@dataclass(frozen=True)
class _Columns:
    """The names, as the header writes them, of the columns that are understood."""

    audio: str
    text: str
    id: str | None
    speaker: str | None
    offset: str | None
    duration: str | None
    confidence: str | None


def _find_columns(table: Path, header: list[str]) -> _Columns:
    def find(names: Sequence[str]) -> str | None:
        written = {name.lower(): name for name in reversed(header)}
        return next((written[name] for name in names if name in written), None)

    audio, text = find(_AUDIO_COLUMNS), find(_TEXT_COLUMNS)
    if audio is None or text is None:
        missing, names = ("audio", _AUDIO_COLUMNS) if audio is None else ("text", _TEXT_COLUMNS)
        raise UserError(
            f"{table}: no column for the {missing}; its first line has {', '.join(map(repr, header))}, "
            f"and one of {', '.join(names)} is needed"
        )
    numbers = [find((name,)) for name in _NUMBER_COLUMNS]
    return _Columns(audio, text, find(_ID_COLUMNS), find(_SPEAKER_COLUMNS), *numbers)


class _Finder:
    """Finds files that are named relative to one of several folders, the last lucky one first."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)

    def __call__(self, name: str) -> Path:
        for folder in self._folders:
            if exists(folder / name):
                self._folders.remove(folder)
                self._folders.insert(0, folder)
                return folder / name
        return self._folders[0] / name


def _row_utterance(
    row: dict[str, str], columns: _Columns, find: _Finder, number: int, taken: _Taken
) -> Utterance:
    """A row as an utterance; a number that makes no sense becomes NaN.

    Where it has no id, it gets one that no different row has; ``taken`` are those that were given.
    """
    name = row.get(columns.audio, "")
    id = row.get(columns.id, "") if columns.id else ""
    offset = _number(row, columns.offset, 0.0)
    # Not with_suffix, which refuses names like ".".
    stem = os.path.splitext(Path(name))[0] if name else f"row {number}"  # noqa: PTH122
    if not id:
        id = f"{stem}-{offset:.12g}" if columns.offset else stem
        numbers = taken.setdefault(id, {})
        first = numbers.setdefault(tuple(row.items()), number)  # an equal row is the same utterance again
        if columns.offset and first != next(iter(numbers.values())):  # two who speak at once
            id = f"{id}-row{first}"
    known = {*vars(columns).values(), *_IGNORED_COLUMNS}
    return Utterance(
        id=id,
        audio_filepath=str(find(name)) if name else "",
        duration=_length(row, columns.duration) if columns.offset else 0.0,
        text=row.get(columns.text, ""),
        speaker=(row.get(columns.speaker) or None) if columns.speaker else None,
        offset=offset,
        confidence=_number(row, columns.confidence, 1.0),
        extra={key: value for key, value in row.items() if value and key and key not in known},
    )


def _length(row: dict[str, str], column: str | None) -> float:
    """Seconds, or 0.0 where the row does not say how many: up to the end of the file."""
    if not _written(row, column):
        return 0.0
    seconds = _number(row, column, 0.0)
    return seconds if seconds > 0 else math.nan


def _number(row: dict[str, str], column: str | None, default: float) -> float:
    written = _written(row, column)
    try:
        return float(written) if written else default
    except ValueError:
        return math.nan


def _written(row: dict[str, str], column: str | None) -> str:
    return row.get(column, "").strip() if column else ""


def _check_rows(rows: list[Utterance | Problem]) -> _Read:
    """Leave out rows without a file or with an id that was there before."""
    utterances: dict[str, Utterance] = {}
    problems: list[Problem] = []
    for row in rows:
        if isinstance(row, Problem):
            problems.append(row)
        elif not row.audio_filepath:
            problems.append(Problem("text without audio", row.id))
        elif not is_file(row.audio_filepath):
            problems.append(Problem("missing audio", row.audio_filepath))
        elif not (row.offset >= 0 and row.duration >= 0 and 0 <= row.confidence <= 1):
            problems.append(Problem("no offset or duration in seconds, or confidence up to 1", row.id))
        elif row.id in utterances:
            problems.append(Problem("duplicate id", row.id))
        else:
            utterances[row.id] = row
    return list(utterances.values()), problems


def _finish(read: Callable[[], _Read], letters: bool) -> _Read:
    """Bring texts to one line each (and to letters, if wanted); leave out those that have none."""
    utterances, problems = read()
    finished = []
    for utterance in utterances:
        text = " ".join((utterance.text or "").split())
        spelled = to_letters(text) if letters else text
        if spelled is None:
            problems.append(Problem("text with digits or foreign letters", f"{utterance.id} ({text})"))
        elif not spelled:
            problems.append(Problem("empty text", utterance.id))
        else:
            finished.append(replace(utterance, text=spelled))
    return finished, problems
