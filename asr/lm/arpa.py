"""ARPA files, the exchange format of n-gram models (plain or gzip)."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError
from asr.files import atomic_write_compressed
from asr.lm.ngram import NGram
from asr.lm.table import BEGIN_ID, SPECIAL_WORDS, UNKNOWN, UNKNOWN_ID, Level, NGramTable, check_vocabulary
from asr.lm.text import read_lines

_BATCH = 100_000
_LN10 = float(np.log(10.0))
# The probability of what is never predicted, as SRILM writes it; less is read as this much.
_NEVER = -99.0


def read_arpa(path: str | os.PathLike[str]) -> NGram:
    """Read an ARPA file into a model of 16-bit weights.

    Raises:
        UserError: no ARPA file, cut short, counts that do not hold, a word or a context that is missing.
    """
    return NGram.from_table(read_arpa_table(path), bits=16)


def read_arpa_table(path: str | os.PathLike[str]) -> NGramTable:
    """Read an ARPA file into columns; raises as :func:`read_arpa`.

    A model whose words are single characters is one of characters.
    """
    try:
        return _Reader(read_lines(path), Path(path)).read()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error})") from error


class _Reader:
    def __init__(self, lines: Iterator[bytes], path: Path) -> None:
        self._lines = lines
        self._path = path

    def read(self) -> NGramTable:
        counts = self._counts()
        words, levels = self._unigrams(counts)
        ids = {word.encode(): number for number, word in enumerate(words)}
        for order in range(2, len(counts) + 1):
            levels.append(self._level(order, counts, ids, levels))
        self._expect(b"\\end\\")
        single = all(len(word) == 1 for word in words if word not in SPECIAL_WORDS)
        unit = "characters" if single else "words"
        return NGramTable(words, levels, unit, {"source": self._path.name})

    def _counts(self) -> list[int]:
        for line in self._lines:
            if line.strip() == b"\\data\\":
                break
        else:
            raise UserError(f"{self._path}: not an ARPA file (it has no \\data\\ line)")
        counts: list[int] = []
        for line in self._lines:
            if not line.strip():
                break
            name, _, number = line.partition(b"=")
            if name.split() != [b"ngram", b"%d" % (len(counts) + 1)] or not number.strip().isdigit():
                raise UserError(f"{self._path}: {_shown(line)} is no line of an ARPA file's \\data\\ section")
            counts.append(int(number))
        if not counts:
            raise UserError(f"{self._path}: an ARPA file without n-grams")
        return counts

    def _unigrams(self, counts: list[int]) -> tuple[list[str], list[Level]]:
        names, log10, backoff10 = self._section(1, counts)
        words = [row[0].decode() for row in names]
        if UNKNOWN not in words:
            words.append(UNKNOWN)
            log10 = np.append(log10, _NEVER)
            backoff10 = np.append(backoff10, 0.0)
        check_vocabulary(words)
        if len(set(words)) != len(words):
            raise UserError(f"{self._path}: a word occurs twice among the 1-grams")
        missing = [word for word in SPECIAL_WORDS if word not in words]
        if missing:
            raise UserError(f"{self._path}: {' and '.join(missing)} missing from the 1-grams")
        special = [words.index(word) for word in SPECIAL_WORDS]
        chosen = np.ones(len(words), dtype=bool)
        chosen[special] = False
        order = np.concatenate([special, np.flatnonzero(chosen)])
        # <s> is never predicted: 0 and -99, as tools write it, would only spoil the quantiser's codebook.
        log10[special[BEGIN_ID]] = log10[special[UNKNOWN_ID]]
        level = Level(
            context=np.zeros(len(words), dtype=np.uint32),
            word=np.arange(len(words), dtype=np.uint32),
            log_probability=_natural(log10[order]),
            backoff=_natural(backoff10[order]),
        )
        return [words[number] for number in order], [level]

    def _level(self, order: int, counts: list[int], ids: dict[bytes, int], levels: list[Level]) -> Level:
        names, log10, backoff10 = self._section(order, counts)
        try:
            words = np.array([[ids[word] for word in row] for row in names], dtype=np.int64)
        except KeyError as error:
            word = _shown(error.args[0])
            raise UserError(f"{self._path}: {word} in a {order}-gram is not a 1-gram") from error
        words = words.reshape(-1, order)
        context = words[:, 0]
        for length, level in enumerate(levels[1:], start=2):
            context = self._find(level, context, words[:, length - 1], names)
        keys = _keys(context, words[:, -1])
        ordered = np.argsort(keys, kind="stable")
        if (np.diff(keys[ordered]) == 0).any():
            raise UserError(f"{self._path}: a {order}-gram occurs twice")
        return Level(
            context=context[ordered].astype(np.uint32),
            word=words[ordered, -1].astype(np.uint32),
            log_probability=_natural(log10[ordered]),
            backoff=_natural(backoff10[ordered]),
        )

    def _find(
        self, level: Level, context: NDArray[np.int64], word: NDArray[np.int64], names: list[list[bytes]]
    ) -> NDArray[np.int64]:
        known, wanted = _keys(level.context, level.word), _keys(context, word)
        found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        missing = np.flatnonzero(known[found] != wanted) if len(known) else np.arange(len(wanted))
        if len(missing):
            ngram = _shown(b" ".join(names[missing[0]]))
            raise UserError(f"{self._path}: the {len(names[0])}-gram {ngram} has no context in the file")
        return found

    def _section(
        self, order: int, counts: list[int]
    ) -> tuple[list[list[bytes]], NDArray[np.float64], NDArray[np.float64]]:
        self._expect(b"\\%d-grams:" % order)
        count = counts[order - 1]
        names: list[list[bytes]] = []
        log10: list[float] = []
        backoff10: list[float] = []
        while len(names) < count:
            batch = list(islice(self._lines, min(_BATCH, count - len(names))))
            if not batch:
                raise UserError(f"{self._path}: cut short: it has {len(names)} of {count} {order}-grams")
            rows = [line.split() for line in batch]
            for line, row in zip(batch, rows, strict=True):
                if len(row) not in (order + 1, order + 2):
                    raise UserError(f"{self._path}: {_shown(line)} is not one of {count} {order}-grams")
            try:
                log10 += [float(row[0]) for row in rows]
                backoff10 += [float(row[order + 1]) if len(row) > order + 1 else 0.0 for row in rows]
            except ValueError as error:
                raise UserError(f"{self._path}: a {order}-gram's number cannot be read ({error})") from error
            names += [row[1 : order + 1] for row in rows]
        values, weights = np.array(log10), np.array(backoff10)
        wrong = np.flatnonzero(~(values <= 0) | ~np.isfinite(weights))
        if len(wrong):
            raise UserError(
                f"{self._path}: no probability or back-off: {log10[wrong[0]]} {backoff10[wrong[0]]} of "
                f"the {order}-gram {_shown(b' '.join(names[wrong[0]]))}"
            )
        return names, np.maximum(values, _NEVER), weights

    def _expect(self, heading: bytes) -> None:
        for line in self._lines:
            if line.strip():
                if line.strip() == heading:
                    return
                raise UserError(
                    f"{self._path}: {_shown(line)} where {_shown(heading)} should be "
                    "(more n-grams than the header says?)"
                )
        raise UserError(f"{self._path}: cut short: {_shown(heading)} is missing")


def write_arpa(path: str | os.PathLike[str], table: NGramTable) -> None:
    """Write an ARPA file, compressed where its name ends in ``.gz``.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_write_compressed(path) as stream:
        _write(stream, table)


def _write(stream: IO[bytes], table: NGramTable) -> None:
    lines = [f"ngram {order}={count}\n" for order, count in enumerate(table.counts, start=1)]
    stream.write(f"\\data\\\n{''.join(lines)}".encode())
    words = table.words
    histories = [""]
    for order, level in enumerate(table.levels, start=1):
        stream.write(f"\n\\{order}-grams:\n".encode())
        names = [
            f"{histories[context]}{words[word]}"
            for context, word in zip(level.context.tolist(), level.word.tolist(), strict=True)
        ]
        log10 = (level.log_probability / _LN10).tolist()
        if order == 1:
            log10[BEGIN_ID] = _NEVER
        if order == table.order:
            rows = [f"{value:.7g}\t{name}\n" for value, name in zip(log10, names, strict=True)]
        else:
            backoff10 = (level.backoff / _LN10).tolist()
            rows = [
                f"{value:.7g}\t{name}\t{weight:.7g}\n"
                for value, name, weight in zip(log10, names, backoff10, strict=True)
            ]
        stream.write("".join(rows).encode())
        histories = [f"{name} " for name in names]
    stream.write(b"\n\\end\\\n")


def _natural(log10: NDArray[np.float64]) -> NDArray[np.float32]:
    return (log10 * _LN10).astype(np.float32)


def _keys(context: NDArray[np.integer], word: NDArray[np.integer]) -> NDArray[np.int64]:
    return (context.astype(np.int64) << 24) | word.astype(np.int64)


def _shown(line: bytes) -> str:
    return repr(line.decode(errors="replace").strip()[:80])
