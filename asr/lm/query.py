"""Looking up n-gram probabilities, compiled: a function that decoders call for every word they try.

An n-gram model is a set of *n-grams* and a set of *contexts*. N-grams are numbered order by order:
first the words in the order of their ids, then the bigrams sorted by (context, word), and so on; the
n-grams that continue one context are neighbours. A context is an n-gram after which something is known
(a longer n-gram or a back-off weight); contexts are numbered in the order of their n-grams, behind
context 0, the empty one. A decoder's state is the number of a context: always the longest known one.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

EMPTY_STATE = 0

Number: TypeAlias = int | np.integer

#: Decorates what is called for every word, and makes no arrays: numba counts no references to those that it
#: takes (NRT), and inlines it, since an array is seven arguments. Both took longer than the query.
called = njit(cache=True, nogil=True, _nrt=False, forceinline=True)


class NGramArrays(NamedTuple):
    """A model as arrays, all read-only; the types never vary, so that compiled code serves every model.

    Codes and word ids are split into a low part and a high part; the high part has length 0 where the
    model does not need it.

    Attributes:
        word_low: uint16 (n-grams from order 2 up): the last word's id, its lower 16 bits.
        word_high: uint8, likewise or empty: the upper 8 bits.
        probability_low: uint8 (n-grams): index into the codebook, lower 8 bits.
        probability_high: uint8 (n-grams) or empty: upper 8 bits.
        probability_codebook: float32 (order, 256 or 65536): natural log-probabilities.
        context_bits: uint64: one bit an n-gram below the highest order, set where it is a context.
        context_ranks: uint32: number of bits set before each of the words of ``context_bits``.
        children: uint32 (contexts + 1): the first n-gram that continues each context.
        suffix: uint32 (contexts): the longest context that the context ends with, itself excluded.
        backoff_low: uint8 (contexts): index into the codebook, lower 8 bits.
        backoff_high: uint8 (contexts) or empty: upper 8 bits.
        backoff_codebook: float32 (order, 256 or 65536), row 0 for the empty context.
        first_ngram: int64 (order + 1): the first n-gram of each order; the number of all at the end.
        first_context: int64 (order + 1): the first context of each length; the number of all at the end.
    """

    word_low: NDArray[np.uint16]
    word_high: NDArray[np.uint8]
    probability_low: NDArray[np.uint8]
    probability_high: NDArray[np.uint8]
    probability_codebook: NDArray[np.float32]
    context_bits: NDArray[np.uint64]
    context_ranks: NDArray[np.uint32]
    children: NDArray[np.uint32]
    suffix: NDArray[np.uint32]
    backoff_low: NDArray[np.uint8]
    backoff_high: NDArray[np.uint8]
    backoff_codebook: NDArray[np.float32]
    first_ngram: NDArray[np.int64]
    first_context: NDArray[np.int64]


@called
def advance(arrays: NGramArrays, state: Number, word: Number) -> tuple[np.float32, Number]:
    """Score ``word`` after the context ``state``.

    Args:
        arrays: The model.
        state: A context, as this function or ``NGram.begin_state`` gave it, or ``EMPTY_STATE``.
        word: Id of the word; 0 for an unknown one.

    Returns:
        The natural log-probability and the context for the word after.
    """
    score = np.float32(0.0)
    scored = False
    while True:
        ngram = word if state == EMPTY_STATE else find_ngram(arrays, state, word)
        if ngram >= 0:
            if not scored:
                score += log_probability(arrays, ngram)
                scored = True
            context = context_of(arrays, ngram)
            if context != EMPTY_STATE or state == EMPTY_STATE:
                return score, context
        elif not scored:
            score += backoff(arrays, state)
        state = np.int64(arrays.suffix[state])


@called
def find_ngram(arrays: NGramArrays, context: Number, word: Number) -> Number:
    """The number of the n-gram that continues ``context`` (not the empty one) with ``word``, or -1."""
    words = arrays.first_ngram[1]
    low = np.int64(arrays.children[context])
    end = np.int64(arrays.children[context + 1])
    high = end
    wide = len(arrays.word_high) > 0
    while low < high:
        middle = (low + high) >> 1
        value = np.int64(arrays.word_low[middle - words])
        if wide:
            value |= np.int64(arrays.word_high[middle - words]) << 16
        if value == word:
            return middle
        if value < word:
            low = middle + 1
        else:
            high = middle
    return -1


@called
def log_probability(arrays: NGramArrays, ngram: Number) -> np.float32:
    """The natural log-probability of an n-gram's last word after the others."""
    order = 0
    while ngram >= arrays.first_ngram[order + 1]:
        order += 1
    code = np.int64(arrays.probability_low[ngram])
    if len(arrays.probability_high) > 0:
        code |= np.int64(arrays.probability_high[ngram]) << 8
    return arrays.probability_codebook[order, code]


@called
def backoff(arrays: NGramArrays, context: Number) -> np.float32:
    """The natural logarithm of a context's back-off weight."""
    length = 0
    while context >= arrays.first_context[length + 1]:
        length += 1
    code = np.int64(arrays.backoff_low[context])
    if len(arrays.backoff_high) > 0:
        code |= np.int64(arrays.backoff_high[context]) << 8
    return arrays.backoff_codebook[length, code]


@called
def context_of(arrays: NGramArrays, ngram: Number) -> Number:
    """The context that an n-gram is, or 0 where nothing is known after it."""
    cell = ngram >> 6
    if cell >= len(arrays.context_bits):
        return EMPTY_STATE
    bits = arrays.context_bits[cell]
    position = np.uint64(ngram & 63)
    one = np.uint64(1)
    if not (bits >> position) & one:
        return EMPTY_STATE
    return np.int64(arrays.context_ranks[cell]) + _count_bits(bits & ((one << position) - one)) + 1


@called
def _count_bits(bits: np.uint64) -> np.int64:
    # The idiom LLVM knows as the population count.
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def score_words(
    arrays: NGramArrays, state: Number, begin_state: Number, begin_word: Number, words: NDArray[np.uint32]
) -> NDArray[np.float32]:
    """Score each of a sequence of words, starting in ``state``.

    ``begin_word`` (the id of ``<s>``) is not scored (its score is 0) but leads to ``begin_state``.
    """
    scores = np.zeros(len(words), dtype=np.float32)
    for position in range(len(words)):
        word = np.int64(words[position])
        if word == begin_word:
            state = begin_state
        else:
            scores[position], state = advance(arrays, state, word)
    return scores


@njit(cache=True, nogil=True)
def advance_each(
    arrays: NGramArrays, states: NDArray[np.uint32], words: NDArray[np.uint32]
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """:func:`advance` for many (state, word) pairs at once."""
    scores = np.empty(len(words), dtype=np.float32)
    following = np.empty(len(words), dtype=np.uint32)
    for position in range(len(words)):
        score, state = advance(arrays, np.int64(states[position]), np.int64(words[position]))
        scores[position] = score
        following[position] = state
    return scores, following
