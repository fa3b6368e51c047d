"""The lexicon as a tree of tokens: what the search walks along instead of trying every word."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import numpy as np
import yaml
from numba import njit
from numpy.typing import NDArray

from asr.errors import UserError
from asr.files import atomic_write
from asr.lm.table import SPECIAL_WORDS
from asr.tokenizer import Tokenizer, UnknownSymbol

Pronunciation: TypeAlias = Sequence[str]

_FORMAT = 1
_ARRAYS = ("nodes", "endings")


#: A node of the tree. Nodes are in breadth-first order, so that children are neighbours, sorted by token;
#: a node's are those from ``first_child`` to the next node's, and likewise the words that end in it. Node 0
#: is the root; one more record closes the array. ``token`` leads from ``parent`` to the node.
NODE = np.dtype(
    [("first_child", np.int32), ("first_word", np.int32), ("parent", np.int32), ("token", np.int32)]
)


class LexiconTrie:
    """Words and their pronunciations as a token tree.

    Attributes:
        words: The words; a word's number is its index.
        nodes: The tree (nodes + 1).
        endings: int32 (pronunciations): numbers of the words that end in each node, ascending (those of one
            node are homophones).
    """

    def __init__(self, words: list[str], nodes: NDArray, endings: NDArray[np.int32]) -> None:
        self.words = words
        # Read-only and plain (not np.memmap), so that compiled code sees one type for every tree.
        self.nodes, self.endings = np.asarray(nodes).view(), np.asarray(endings).view()
        self.nodes.setflags(write=False)
        self.endings.setflags(write=False)

    @classmethod
    def empty(cls) -> "LexiconTrie":
        """A root without words."""
        return cls([], np.array([(1, 0, 0, 0), (1, 0, 0, 0)], NODE), np.zeros(0, np.int32))

    @classmethod
    def build(cls, entries: Iterable[tuple[str, Pronunciation]], tokens: Sequence[str]) -> "LexiconTrie":
        """The tree of a lexicon's lines (word, its tokens); a word may have several lines.

        Args:
            entries: Words with their tokens' names.
            tokens: The model's tokens; index 0 is the blank.

        Raises:
            UserError: there are no entries, or one is empty or has a token that the model lacks.
        """
        ids = {token: number for number, token in enumerate(tokens) if number}
        spellings: list[list[int]] = []
        numbers: dict[str, int] = {}
        which: list[int] = []
        for word, pronunciation in entries:
            try:
                spellings.append([ids[token] for token in pronunciation])
            except KeyError as error:
                raise UserError(
                    f"the lexicon's word {word!r} has {error.args[0]!r}, which is not among the model's "
                    "tokens; is it a lexicon for other units?"
                ) from None
            if not pronunciation:
                raise UserError(f"the lexicon's word {word!r} has no pronunciation")
            which.append(numbers.setdefault(word, len(numbers)))
        if not numbers:
            raise UserError("the lexicon is empty")
        return cls(list(numbers), *_tree(np.array(which, dtype=np.int32), _matrix(spellings)))

    @classmethod
    def from_words(cls, words: Iterable[str], tokenizer: Tokenizer) -> "LexiconTrie":
        """The tree of words as the tokenizer spells them; those that it cannot spell are left out.

        Raises:
            UserError: not one word can be spelled.
        """
        spellings: dict[str, list[int]] = {}
        for word in words:
            if word not in SPECIAL_WORDS:
                with suppress(UnknownSymbol):
                    spellings[word] = tokenizer.encode(word)
        if not spellings:
            raise UserError(
                f"none of the words can be spelled with the model's {tokenizer.units}; "
                "give a lexicon, or words of the model's language"
            )
        numbers = np.arange(len(spellings), dtype=np.int32)
        return cls(list(spellings), *_tree(numbers, _matrix(list(spellings.values()))))

    def extended(self, other: "LexiconTrie") -> "LexiconTrie":
        """This tree and another in one; this one's words keep their numbers."""
        numbers = {word: number for number, word in enumerate(self.words)}
        renumbered = np.array(
            [numbers.setdefault(word, len(numbers)) for word in other.words], dtype=np.int32
        )
        ours, theirs = _spellings(self.nodes), _spellings(other.nodes)
        width = max(ours.shape[1], theirs.shape[1])
        matrix = np.concatenate(
            [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (ours, theirs)]
        )
        which = np.concatenate([self.endings, renumbered[other.endings]])
        return LexiconTrie(list(numbers), *_tree(which, matrix))

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "LexiconTrie":
        """Map a saved tree into memory.

        Raises:
            UserError: there is none, or of another version.
        """
        directory = Path(directory)
        try:
            description = yaml.safe_load((directory / "trie.yaml").read_text(encoding="utf-8"))
            words = (directory / "words.txt").read_text(encoding="utf-8").split("\n")[:-1]
            nodes, endings = (np.load(directory / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
        except (OSError, ValueError, EOFError, yaml.YAMLError) as error:
            raise UserError(f"{directory}: no lexicon tree can be read here ({error})") from error
        expected = {"format": _FORMAT, "words": len(words), "nodes": len(nodes)}
        if not isinstance(description, dict) or any(
            description.get(key) != value for key, value in expected.items()
        ):
            raise UserError(f"{directory}: a lexicon tree of another version; delete it to have it made anew")
        return cls(words, nodes, endings)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the tree as .npy files with ``words.txt`` and ``trie.yaml`` into a directory."""
        directory = Path(directory)
        for name, array in zip(_ARRAYS, (self.nodes, self.endings), strict=True):
            with atomic_write(directory / f"{name}.npy", "wb") as stream:
                np.save(stream, array)
        with atomic_write(directory / "words.txt") as stream:
            stream.writelines(f"{word}\n" for word in self.words)
        with atomic_write(directory / "trie.yaml") as stream:
            yaml.safe_dump({"format": _FORMAT, "words": len(self.words), "nodes": len(self.nodes)}, stream)


@njit(cache=True, nogil=True)
def look_ahead(
    nodes: NDArray, endings: NDArray[np.int32], scores: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The best score among the words in and below each node: float32 (nodes); 0 at the root.

    Args:
        nodes: Nodes of a tree.
        endings: Its words.
        scores: A score a word (words).
    """
    best = np.full(len(nodes) - 1, -np.inf, dtype=np.float32)
    for node in range(len(best) - 1, 0, -1):
        for position in range(nodes[node].first_word, nodes[node + 1].first_word):
            best[node] = max(best[node], np.float32(scores[endings[position]]))
        parent = nodes[node].parent
        best[parent] = max(best[parent], best[node])
    best[0] = 0.0
    return best


def _matrix(spellings: list[list[int]]) -> NDArray[np.int32]:
    """Token ids (pronunciations, longest), padded with 0."""
    lengths = np.array([len(spelling) for spelling in spellings])
    matrix = np.zeros((len(spellings), lengths.max()), dtype=np.int32)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = np.fromiter(
        chain.from_iterable(spellings), dtype=np.int32, count=lengths.sum()
    )
    return matrix


def _tree(words: NDArray[np.int32], spellings: NDArray[np.int32]) -> tuple[NDArray, NDArray[np.int32]]:
    """Nodes and endings of word numbers (n,) and padded token ids (n, longest), one level at a time."""
    # Big-endian rows sort as byte strings do: shorter before longer, tokens in the order of their ids.
    keys = np.ascontiguousarray(spellings.astype(">u4")).view(f"S{4 * spellings.shape[1]}")[:, 0]
    order = np.lexsort((words, keys))
    words, spellings = words[order], spellings[order]
    at = np.zeros(len(words), dtype=np.int32)
    differs = np.zeros(len(words), dtype=bool)
    differs[0] = True
    parents, tokens = [np.zeros(1, dtype=np.int32)], [np.zeros(1, dtype=np.int32)]
    count = 1
    for column in spellings.T:
        differs[1:] |= column[1:] != column[:-1]
        alive = column > 0
        new = differs & alive
        parents.append(at[new])
        tokens.append(column[new])
        at = np.where(alive, count - 1 + np.cumsum(new, dtype=np.int32), at)
        count += int(new.sum())
    ends = np.unique(np.stack([at, words], axis=1), axis=0)
    nodes = np.zeros(count + 1, NODE)
    nodes["parent"][:-1], nodes["token"][:-1] = np.concatenate(parents), np.concatenate(tokens)
    nodes["first_child"] = 1 + _before(nodes["parent"][1:-1], count)
    nodes["first_word"] = _before(ends[:, 0], count)
    return nodes, np.ascontiguousarray(ends[:, 1])


def _before(owners: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """How many of the owners' things come before each of ``count`` owners, and in all (count + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))])


def _spellings(nodes: NDArray) -> NDArray[np.int32]:
    """The padded token ids (pronunciations, longest) of every ending."""
    at = np.repeat(np.arange(len(nodes) - 1), np.diff(nodes["first_word"]))
    columns = []
    while at.any():
        columns.append(nodes["token"][at])
        at = nodes["parent"][at]
    backward = np.stack(columns[::-1], axis=1)
    lengths = (backward > 0).sum(axis=1)
    matrix = np.zeros_like(backward)
    matrix[np.arange(backward.shape[1]) < lengths[:, None]] = backward[backward > 0]
    return matrix
