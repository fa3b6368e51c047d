"""The beginnings that sentences share, so that a recurrent language model hears each of them once."""

from collections.abc import Sequence

from asr.lm.table import BEGIN_ID, END_ID


class PrefixTree:
    """The beginnings of sentences, each different one once.

    Attributes:
        words, parents: Last word of each beginning, and the beginning without it; the first one is ``<s>``.
        levels: For each length the beginnings that go on, and where among those of the level before the
            beginnings without their last words stand.
        paths: For each sentence its beginnings with one word, two words ... and its end.
    """

    def __init__(self, lists: Sequence[Sequence[Sequence[int]]], context: int = 0) -> None:
        """Take sentences, in lists; see :meth:`RNNLM.nbest_scores` for the context."""
        self.words, self.parents = [BEGIN_ID], [0]
        self.levels: list[tuple[list[int], list[int]]] = [([0], [0])]
        self.paths: list[list[int]] = []
        known: dict[tuple[int, ...], int] = {}
        places = [0]  # of each beginning in its level
        for number, sentences in enumerate(lists, start=1):
            for sentence in sentences:
                node, path = 0, []
                for length, word in enumerate(sentence[1:], start=1):
                    # What words are alike only in their context is alike only in their own list.
                    key: tuple[int, ...] = (node, word)
                    if length > context + 1 > 1:
                        key = (number, length, *sentence[length - context : length + 1])
                    parent, node = node, known.setdefault(key, len(self.words))
                    if node == len(self.words):
                        self._add(parent, length, word, places)
                    path.append(node)
                self.paths.append(path)
        self.levels = [level for level in self.levels if level[0]]

    def _add(self, parent: int, length: int, word: int, places: list[int]) -> None:
        node = len(self.words)
        self.words.append(word)
        self.parents.append(parent)
        if length == len(self.levels):
            self.levels.append(([], []))
        nodes, parents = self.levels[length]
        places.append(len(nodes))
        if word != END_ID:  # after which nothing is asked
            nodes.append(node)
            parents.append(places[parent])
