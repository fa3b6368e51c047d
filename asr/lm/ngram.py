"""An n-gram language model ready to be asked, in memory or mapped from its directory."""

import gzip
import os
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from asr.errors import UserError
from asr.files import (
    BROKEN_DATA,
    atomic_write,
    atomic_write_compressed,
    decompressed,
    find_compressed,
    is_file,
)
from asr.lm import query
from asr.lm.quantization import codebook, encode
from asr.lm.query import EMPTY_STATE, NGramArrays
from asr.lm.table import BEGIN, BEGIN_ID, END, SPECIAL_WORDS, UNKNOWN_ID, Level, NGramTable, check_vocabulary

#: Name of the file of words in a model's directory, before it was compressed.
WORDS = "words.txt"
PARTS = ("*.npy", f"{WORDS}*")
"""Patterns of what a directory holds beside its description."""

_FORMAT = 1
DESCRIPTION = "lm.yaml"
"""The file of a directory that says what its arrays are."""
_NPY_HEADER = 128
_DESCRIPTION_ROOM = 2048


class NGram:
    """A back-off n-gram model.

    Attributes:
        arrays: What compiled code takes: ``query.advance(lm.arrays, state, word)``.
        order: The longest n-gram's length.
        counts: Number of n-grams of each order.
        unit: "words" or "characters".
        provenance: Where the model comes from.
        begin_state: The state at the begin of a sentence.
    """

    def __init__(
        self,
        arrays: NGramArrays,
        words: list[str] | Path,
        unit: str = "words",
        provenance: dict[str, object] | None = None,
    ) -> None:
        self.arrays = _frozen(arrays)
        self._words = words
        self.unit = unit
        self.provenance = provenance or {}
        self.order = len(arrays.first_ngram) - 1
        self.counts = [int(count) for count in np.diff(arrays.first_ngram)]
        self.begin_state = _begin_state(self.arrays)

    @cached_property
    def words(self) -> list[str]:
        """The vocabulary in the order of the ids; the first three are ``<unk>``, ``<s>``, ``</s>``."""
        if isinstance(self._words, list):
            return self._words
        try:
            with self._words.open("rb") as raw, decompressed(raw, self._words) as stream:
                words = stream.read().decode().split("\n")[:-1]
        except (*BROKEN_DATA, UnicodeDecodeError) as error:
            raise UserError(f"{self._words}: cannot be read ({error})") from error
        if len(words) != self.counts[0]:
            raise UserError(
                f"{self._words}: {len(words)} words, but the model has {self.counts[0]}; build it anew"
            )
        return words

    @cached_property
    def word_ids(self) -> dict[str, int]:
        """The id of every word."""
        return dict(zip(self.words, range(len(self.words)), strict=True))

    def ids(self, words: Sequence[str]) -> NDArray[np.uint32]:
        """The ids of words, 0 for unknown ones."""
        known = self.word_ids
        return np.array([known.get(word, UNKNOWN_ID) for word in words], dtype=np.uint32)

    def unigram_scores(self, ids: NDArray[np.integer]) -> NDArray[np.float32]:
        """Natural log-probabilities of words after nothing that is known, of the shape of ``ids``."""
        arrays, words = self.arrays, self.counts[0]
        codes = _join(arrays.probability_low[:words], arrays.probability_high[:words], 8)
        return arrays.probability_codebook[0, codes[ids]]

    def highest_scores(self) -> NDArray[np.float64]:
        """An upper bound of each word's natural log-probability in any context: float64 (words)."""
        arrays, size = self.arrays, self.counts[0]
        last_words = _join(arrays.word_low, arrays.word_high, 16)
        probability_codes = _join(arrays.probability_low, arrays.probability_high, 8)
        backoff_codes = _join(arrays.backoff_low, arrays.backoff_high, 8)
        highest = np.full(size, -np.inf)
        backed_off = 0.0  # what the way down from longer contexts adds where weights exceed 1
        for order in range(self.order, 1, -1):
            begin, end = arrays.first_ngram[order - 1 : order + 1]
            # Codebooks ascend: the highest code is the highest score.
            codes = np.full(size, -1, dtype=np.int32)
            found = probability_codes[begin:end].astype(np.int32)
            np.maximum.at(codes, last_words[begin - size : end - size], found)
            scores = np.where(codes < 0, -np.inf, arrays.probability_codebook[order - 1, codes])
            highest = np.maximum(highest, scores + backed_off)
            first, last = arrays.first_context[order - 1 : order + 1]
            weights = arrays.backoff_codebook[order - 1, backoff_codes[first:last]]
            backed_off += float(weights.max(initial=0.0))
        return np.maximum(highest, self.unigram_scores(np.arange(size)) + backed_off)

    def word_scores(self, words: Sequence[str]) -> NDArray[np.float32]:
        """Natural log-probabilities of a sentence's words and its end: float32 (len(words) + 1,)."""
        return self.scores_of([words])

    def scores_of(self, sentences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """As :meth:`word_scores`, of several sentences one after the other."""
        ids = self.ids([word for words in sentences for word in (BEGIN, *words, END)])
        scores = query.score_words(self.arrays, self.begin_state, self.begin_state, BEGIN_ID, ids)
        begins = np.cumsum([0, *(len(words) + 2 for words in sentences)], dtype=np.int64)[:-1]
        return np.delete(scores, begins)

    def sentence_score(self, words: Sequence[str]) -> float:
        """Natural log-probability of a sentence, its end included."""
        return float(self.word_scores(words).sum(dtype=np.float64))

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "NGram":
        """Map a model's directory into memory.

        Raises:
            UserError: not such a directory, or files of it are missing or do not fit together.
        """
        directory = Path(directory)
        description = _read_description(directory)
        try:
            arrays = NGramArrays._make(
                np.load(directory / f"{name}.npy", mmap_mode="r") for name in NGramArrays._fields
            )
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{directory}: a file of this language model cannot be read ({error})") from error
        _check(arrays, description, directory)
        words = find_compressed(directory / WORDS)
        if not is_file(words):
            raise UserError(f"{directory}: {WORDS}.gz of this language model is missing")
        return cls(
            arrays,
            words,
            description.get("unit", "words"),
            description.get("provenance"),
        )

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write ``lm.yaml``, ``words.txt.gz`` and an .npy file an array into a directory."""
        directory = Path(directory)
        for name, array in self.arrays._asdict().items():
            with atomic_write(directory / f"{name}.npy", "wb") as stream:
                np.save(stream, array)
        with atomic_write_compressed(directory / f"{WORDS}.gz") as stream:
            stream.write(_lines(self.words))
        (directory / WORDS).unlink(missing_ok=True)  # of a model that was there before
        description = {
            "format": _FORMAT,
            "order": self.order,
            "unit": self.unit,
            "vocabulary_size": len(self.words),
            "counts": self.counts,
            "special_words": list(SPECIAL_WORDS),
            "provenance": self.provenance,
        }
        with atomic_write(directory / DESCRIPTION) as stream:
            yaml.safe_dump(description, stream, sort_keys=False, allow_unicode=True)

    @classmethod
    def from_table(cls, table: NGramTable, bits: int = 8) -> "NGram":
        """Pack a table, its probabilities and back-offs quantised to ``bits`` (8 or 16) for each order."""
        check_vocabulary(table.words)
        levels = table.levels
        is_context = [_continued(level, above) for level, above in pairwise(levels)]
        flags = np.concatenate(is_context) if is_context else np.zeros(0, dtype=bool)
        words = np.concatenate([level.word for level in levels[1:]] or [np.zeros(0, dtype=np.uint32)])
        probabilities = [level.log_probability for level in levels]
        backoffs = [np.zeros(1, dtype=np.float32)]
        backoffs += [level.backoff[kept] for level, kept in zip(levels, is_context, strict=False)]
        probability_codes, probability_codebook = _quantise(probabilities, bits)
        backoff_codes, backoff_codebook = _quantise(backoffs, bits)
        context_bits, context_ranks = _bit_map(flags)
        arrays = NGramArrays(
            word_low=(words & 0xFFFF).astype(np.uint16),
            word_high=_high_part(words, 16),
            probability_low=(probability_codes & 0xFF).astype(np.uint8),
            probability_high=_high_part(probability_codes, 8),
            probability_codebook=probability_codebook,
            context_bits=context_bits,
            context_ranks=context_ranks,
            children=_children(levels, is_context),
            suffix=np.zeros(len(backoff_codes), dtype=np.uint32),
            backoff_low=(backoff_codes & 0xFF).astype(np.uint8),
            backoff_high=_high_part(backoff_codes, 8),
            backoff_codebook=backoff_codebook,
            first_ngram=_cumulative([len(level) for level in levels]),
            first_context=_cumulative([len(values) for values in backoffs]),
        )
        arrays = arrays._replace(suffix=_suffixes(arrays, levels, is_context))
        return cls(arrays, table.words, table.unit, table.provenance)

    def to_table(self) -> NGramTable:
        """Unpack into columns, the inverse of :meth:`from_table` but for what quantisation took."""
        arrays = self.arrays
        total = int(arrays.first_ngram[-1])
        probability_codes = _join(arrays.probability_low, arrays.probability_high, 8)
        backoff_codes = _join(arrays.backoff_low, arrays.backoff_high, 8)
        flags = np.unpackbits(arrays.context_bits.view(np.uint8), bitorder="little")
        context_ngrams = np.flatnonzero(flags)
        parents = np.repeat(np.arange(len(arrays.suffix)), np.diff(arrays.children))
        ids = np.concatenate(
            [np.arange(self.counts[0], dtype=np.uint32), _join(arrays.word_low, arrays.word_high, 16)]
        )
        backoffs = np.zeros(total, dtype=np.float32)
        for length in range(1, self.order):
            begin, end = arrays.first_context[length : length + 2]
            weights = arrays.backoff_codebook[length, backoff_codes[begin:end]]
            backoffs[context_ngrams[begin - 1 : end - 1]] = weights
        levels = []
        for order in range(1, self.order + 1):
            begin, end = arrays.first_ngram[order - 1 : order + 1]
            context = np.zeros(end - begin, dtype=np.uint32)
            if order > 1:
                below = context_ngrams - arrays.first_ngram[order - 2]
                context = below[parents[begin:end] - 1].astype(np.uint32)
            levels.append(
                Level(
                    context=context,
                    word=ids[begin:end],
                    log_probability=arrays.probability_codebook[order - 1, probability_codes[begin:end]],
                    backoff=backoffs[begin:end],
                )
            )
        return NGramTable(self.words, levels, self.unit, self.provenance)


def spelled_size(words: Sequence[str]) -> int:
    """Bytes that the words of a saved model take."""
    return len(gzip.compress(_lines(words), 9, mtime=0))


def packed_size(spelled: int, counts: Sequence[int], contexts: int, wide: bool, bits: int) -> int:
    """Bytes that a saved model takes.

    Args:
        spelled: Those of its words, by :func:`spelled_size`.
        counts: N-grams of each order.
        contexts: Number of contexts, the empty one included.
        wide: Whether a word id above 65,535 ends an n-gram of order 2 or more.
        bits: Of a quantised value.
    """
    total, code = sum(counts), bits // 8
    files = len(NGramArrays._fields) * _NPY_HEADER + _DESCRIPTION_ROOM
    codebooks = 2 * len(counts) * 4 << bits
    ngrams = total * code + (total - counts[0]) * (3 if wide else 2)
    bit_map = -(-(total - counts[-1]) // 64) * 12
    return files + codebooks + spelled + ngrams + bit_map + contexts * (8 + code) + 4


def _lines(words: Sequence[str]) -> bytes:
    return "".join(f"{word}\n" for word in words).encode()


def _frozen(arrays: NGramArrays) -> NGramArrays:
    # Read-only and plain (not np.memmap), so that compiled code sees one type for every model.
    plain = NGramArrays._make(np.asarray(array).view() for array in arrays)
    for array in plain:
        array.setflags(write=False)
    return plain


def _begin_state(arrays: NGramArrays) -> int:
    # As query.context_of says it; in plain Python, since loading compiled code takes longer than the model.
    bits = int(arrays.context_bits[0]) if len(arrays.context_bits) else 0
    is_context = bits >> BEGIN_ID & 1
    return 1 + (bits & ((1 << BEGIN_ID) - 1)).bit_count() if is_context else EMPTY_STATE


def _read_description(directory: Path) -> dict:
    path = directory / DESCRIPTION
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        if is_file(directory):
            how = f"is a file, not a language model's directory; `asr lm build {directory} -o lm` makes one"
        else:
            how = "no language model here (lm.yaml is missing); make one with `asr lm build`"
        raise UserError(f"{directory}: {how}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise UserError(f"{path}: not an n-gram model of this version; build it anew with `asr lm build`")
    return description


def _check(arrays: NGramArrays, description: dict, directory: Path) -> None:
    ngrams, contexts = int(arrays.first_ngram[-1]), int(arrays.first_context[-1])
    words = ngrams - int(arrays.first_ngram[1])
    fits = (
        np.diff(arrays.first_ngram).tolist() == description.get("counts")
        and len(arrays.word_low) == words
        and len(arrays.word_high) in (0, words)
        and len(arrays.probability_low) == ngrams
        and len(arrays.probability_high) in (0, ngrams)
        and len(arrays.children) == contexts + 1
        and len(arrays.suffix) == len(arrays.backoff_low) == contexts
        and len(arrays.backoff_high) in (0, contexts)
        and len(arrays.context_bits) == len(arrays.context_ranks)
        and int(arrays.children[-1]) == ngrams
    )
    if not fits:
        raise UserError(f"{directory}: files that do not belong together; build this language model anew")


def _continued(level: Level, above: Level) -> NDArray[np.bool_]:
    flags = level.backoff != 0
    flags[above.context] = True
    return flags


def _quantise(values: list[NDArray[np.float32]], bits: int) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    centres = np.stack([codebook(part, 1 << bits) for part in values])
    codes = [encode(part, row) for part, row in zip(values, centres, strict=True)]
    return np.concatenate(codes).astype(np.uint16), centres


def _high_part(values: NDArray[np.integer], shift: int) -> NDArray[np.uint8]:
    high = values >> shift
    return high.astype(np.uint8) if high.any() else np.zeros(0, dtype=np.uint8)


def _join(low: NDArray[np.integer], high: NDArray[np.uint8], shift: int) -> NDArray[np.integer]:
    return low.astype(np.uint32) | (high.astype(np.uint32) << np.uint32(shift)) if len(high) else low


def _bit_map(flags: NDArray[np.bool_]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    padded = np.pad(flags, (0, -len(flags) % 64))
    counts = padded.reshape(-1, 64).sum(axis=1)
    ranks = np.cumsum(counts) - counts
    return np.packbits(padded, bitorder="little").view(np.uint64), ranks.astype(np.uint32)


def _children(levels: list[Level], is_context: list[NDArray[np.bool_]]) -> NDArray[np.uint32]:
    counts = [np.array([len(levels[0])])]
    for above, kept in zip(levels[1:], is_context, strict=True):
        counts.append(np.bincount(above.context, minlength=len(kept))[kept])
    return np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.uint32)


def _suffixes(
    arrays: NGramArrays, levels: list[Level], is_context: list[NDArray[np.bool_]]
) -> NDArray[np.uint32]:
    """The longest context that each context ends with: where its suffix leads when its last word follows."""
    suffix = np.zeros(len(arrays.suffix), dtype=np.uint32)
    for length in range(2, len(levels)):
        level, kept = levels[length - 1], is_context[length - 1]
        numbers = np.cumsum(is_context[length - 2]) - 1 + arrays.first_context[length - 1]
        parents = numbers[level.context[kept]]
        known = _frozen(arrays._replace(suffix=suffix))
        _, following = query.advance_each(known, suffix[parents], level.word[kept])
        suffix[arrays.first_context[length] : arrays.first_context[length + 1]] = following
    return suffix


def _cumulative(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
