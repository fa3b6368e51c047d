"""What a search goes by, as arrays: settings, the lexicon's tree, language models, hotwords."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.lm.query import NGramArrays

#: Numbers that steer the search; those not explained here are as in :class:`BeamConfig`. ``separator``: the
#: token between words, -1 where the units have none. ``words``, ``tokens``: how many there are.
#: ``has_lexicon``: words are looked up in a tree; else tokens follow each other freely. ``has_lm``: there is
#: a language model of words; ``has_spelling_lm``: one of tokens. ``…_state``: states at the start (and, of
#: the token model, at the start of every spelled word), where hotwords begun have ``hotword_score``.
#: ``most_gained``: an upper bound of what a pending prefix's context adds to its score, where it is not a
#: word of the lexicon. ``most_completed``: the most words that one token can complete.
OPTIONS = np.dtype(
    [
        ("beam_size", np.int64),
        ("beam_threshold", np.float64),
        ("token_threshold", np.float64),
        ("max_tokens", np.int64),
        ("lm_weight", np.float64),
        ("word_score", np.float64),
        ("unknown_score", np.float64),
        ("spelling_score", np.float64),
        ("open_vocabulary", np.bool_),
        ("sum_alignments", np.bool_),
        ("recombine", np.bool_),
        ("has_lexicon", np.bool_),
        ("has_lm", np.bool_),
        ("has_spelling_lm", np.bool_),
        ("has_hotwords", np.bool_),
        ("separator", np.int64),
        ("words", np.int64),
        ("tokens", np.int64),
        ("lm_state", np.int64),
        ("spelling_state", np.int64),
        ("hotword_state", np.int64),
        ("hotword_score", np.float64),
        ("most_gained", np.float64),
        ("most_completed", np.int64),
    ],
    align=True,
)


class SearchModel(NamedTuple):
    """What stays the same from utterance to utterance.

    Attributes:
        options: One record of ``OPTIONS``.
        nodes, endings: The lexicon's tree.
        look_ahead: float32 (nodes): the best that a word below the node scores by itself.
        lm_ids: int32 (words): ids of the lexicon's words in the language model.
        most_gained: float64 (words): an upper bound of what each word adds to a score.
        lm: The language model of words.
        spelling_ids: int32 (vocabulary): ids of the tokens in the token model.
        spelling_lm: The language model of tokens.
        hotword_states, hotword_edges: Automaton over words, or over tokens where there is no lexicon.
    """

    options: NDArray
    nodes: NDArray
    endings: NDArray[np.int32]
    look_ahead: NDArray[np.float32]
    lm_ids: NDArray[np.int32]
    most_gained: NDArray[np.float64]
    lm: NGramArrays
    spelling_ids: NDArray[np.int32]
    spelling_lm: NGramArrays
    hotword_states: NDArray
    hotword_edges: NDArray
