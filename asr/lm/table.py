"""An n-gram model as plain columns: what is estimated, pruned and written to ARPA files."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asr.errors import UserError

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SPECIAL_WORDS = (UNKNOWN, BEGIN, END)
UNKNOWN_ID, BEGIN_ID, END_ID = 0, 1, 2


@dataclass
class Level:
    """All n-grams of one order, sorted by (context, word).

    Attributes:
        context: uint32 (n,): index of the n-gram without its last word in the level below (0 at order 1).
        word: uint32 (n,): id of the last word.
        log_probability: float32 (n,): natural logarithm of P(word | context).
        backoff: float32 (n,): natural logarithm of the back-off weight; 0 where nothing follows.
        count: uint32 (n,): occurrences in the text, where they are known.
        suffix: uint32 (n,): index of the n-gram without its first word in the level below, where known.
    """

    context: NDArray[np.uint32]
    word: NDArray[np.uint32]
    log_probability: NDArray[np.float32]
    backoff: NDArray[np.float32]
    count: NDArray[np.uint32] | None = None
    suffix: NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return len(self.word)

    def select(self, keep: NDArray[np.bool_]) -> "Level":
        """The n-grams where ``keep`` is true; contexts and suffixes keep their old numbers."""
        return Level(
            self.context[keep],
            self.word[keep],
            self.log_probability[keep],
            self.backoff[keep],
            None if self.count is None else self.count[keep],
            None if self.suffix is None else self.suffix[keep],
        )


LARGEST_VOCABULARY = 2**24


def check_vocabulary(words: Sequence[str]) -> None:
    """Raise :class:`UserError` for more words than an n-gram's 24 bits can tell apart."""
    if len(words) > LARGEST_VOCABULARY:
        raise UserError(
            f"the vocabulary has {len(words):,} words, more than {LARGEST_VOCABULARY:,}: "
            "keep the most frequent ones with --vocabulary N"
        )


@dataclass
class NGramTable:
    """A back-off model: its words (ids 0, 1, 2 are ``<unk>``, ``<s>``, ``</s>``) and a level an order.

    Level 1 holds every word in the order of the ids.

    Attributes:
        unit: "words" or "characters".
        provenance: Where the model comes from: text, options, counts; anything YAML can hold.
    """

    words: list[str]
    levels: list[Level]
    unit: str = "words"
    provenance: dict[str, object] = field(default_factory=dict)

    @property
    def order(self) -> int:
        """The longest n-gram's length."""
        return len(self.levels)

    @property
    def counts(self) -> list[int]:
        """Number of n-grams of each order."""
        return [len(level) for level in self.levels]
