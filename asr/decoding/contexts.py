"""What has been said and what it scores: words, letters of unknown words, tokens; compiled.

Everything that asks a language model is here. A context's symbol is one number: words of the lexicon
first, then tokens, then the nodes where an unknown word leaves the lexicon's tree.
"""

import numpy as np
from numpy.typing import NDArray

from asr.decoding.hotwords import follow
from asr.decoding.records import Number, Record, allocating, empty_table, internal, mixed
from asr.decoding.search_model import SearchModel
from asr.lm.query import advance
from asr.lm.table import END_ID, UNKNOWN_ID

#: The symbol that ends a word outside the lexicon.
UNKNOWN_END = -2


@internal
def make_first_context(contexts: NDArray, options: Record) -> None:
    """Context 0: nothing has been said."""
    context = contexts[0]
    context.score = options.hotword_score
    context.parent = -1
    context.symbol = -1
    context.lm_state = options.lm_state
    context.spelling_state = options.spelling_state
    context.hotword_state = options.hotword_state


@internal
def resolve(
    prefix: Record,
    contexts: NDArray,
    table: NDArray[np.int32],
    context_count: int,
    model: SearchModel,
) -> int:
    """Give a pending prefix its context; returns the new number of contexts."""
    options, nodes = model.options[0], model.nodes
    leaves = prefix.exit >= 0
    for step in range(2 if leaves else 1):
        symbol = np.int64(prefix.symbol)
        if leaves and step == 0:
            symbol = options.words + options.tokens + prefix.exit
        number = _interned(contexts, table, context_count, np.int64(prefix.context), symbol)
        prefix.context = number
        if number < context_count:
            continue
        context_count += 1
        context = contexts[number]
        parent = contexts[context.parent]
        word, token, heeded = np.int64(-1), np.int64(-1), np.int64(-2)
        if symbol == UNKNOWN_END:
            token = options.separator
            context.score += options.word_score
        elif symbol < options.words:
            word, heeded = np.int64(model.lm_ids[symbol]), symbol
            context.score += options.word_score
        elif symbol < options.words + options.tokens:
            token = symbol - options.words
            context.score += options.spelling_score
            if not options.has_lexicon:
                heeded = token
        else:
            # An unknown word breaks off every phrase of hotwords: -1 is no symbol of theirs.
            word, heeded = np.int64(UNKNOWN_ID), np.int64(-1)
            context.score += options.unknown_score
        if options.has_lm and word >= 0:
            score, state = advance(model.lm, np.int64(parent.lm_state), word)
            context.lm_state = state
            context.score += options.lm_weight * score
            if symbol < options.words and word == UNKNOWN_ID:
                context.score += options.unknown_score
        if options.has_hotwords and heeded > -2:
            gain, state = follow(
                model.hotword_states, model.hotword_edges, np.int64(parent.hotword_state), heeded
            )
            context.hotword_state = state
            context.score += gain
        if symbol >= options.words + options.tokens:
            # The tokens so far, from the root down: each time the one below the last.
            last, node = np.int64(0), np.int64(prefix.exit)
            while last != node:
                below = node
                while nodes[below].parent != last:
                    below = np.int64(nodes[below].parent)
                last = below
                context.score += options.spelling_score
                if options.has_spelling_lm:
                    spelled = np.int64(model.spelling_ids[nodes[below].token])
                    score, state = advance(model.spelling_lm, np.int64(context.spelling_state), spelled)
                    context.spelling_state = state
                    context.score += options.lm_weight * score
        elif options.has_spelling_lm and token >= 0:
            spelled = np.int64(model.spelling_ids[token])
            score, state = advance(model.spelling_lm, np.int64(context.spelling_state), spelled)
            context.spelling_state = options.spelling_state if symbol == UNKNOWN_END else state
            context.score += options.lm_weight * score
    return context_count


@internal
def add_final_scores(
    scores: NDArray[np.float64],
    numbers: NDArray[np.int32],
    count: int,
    contexts: NDArray,
    model: SearchModel,
) -> None:
    """Add to ``scores`` those of the contexts in ``numbers``, and of the utterance's end after them."""
    options = model.options[0]
    for position in range(count):
        context = contexts[numbers[position]]
        score = context.score
        if options.has_lm:
            score += options.lm_weight * advance(model.lm, np.int64(context.lm_state), np.int64(END_ID))[0]
        elif options.has_spelling_lm and not options.has_lexicon:
            state = np.int64(context.spelling_state)
            score += options.lm_weight * advance(model.spelling_lm, state, np.int64(END_ID))[0]
        if options.has_hotwords:
            state = np.int64(context.hotword_state)
            if not options.has_lexicon and options.separator >= 0:
                gain, state = follow(model.hotword_states, model.hotword_edges, state, options.separator)
                score += gain
            score -= model.hotword_states[state].advance
        scores[position] += score


@allocating
def rehashed(contexts: NDArray, count: int, entries: int) -> NDArray[np.int32]:
    """A hash table of the contexts with room for so many entries."""
    table = empty_table(entries)
    size = len(table)
    for number in range(1, count):
        slot = mixed(contexts[number].parent, contexts[number].symbol, 0, 0) & (size - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = number
    return table


@internal
def _interned(
    contexts: NDArray, table: NDArray[np.int32], count: int, parent: Number, symbol: Number
) -> Number:
    """The number of the context that follows ``parent`` with ``symbol``; a new one is ``count``."""
    mask = len(table) - 1
    slot = mixed(parent, symbol, 0, 0) & mask
    while table[slot] >= 0:
        number = np.int64(table[slot])
        if contexts[number].parent == parent and contexts[number].symbol == symbol:
            return number
        slot = (slot + 1) & mask
    table[slot] = count
    contexts[count] = contexts[parent]
    contexts[count].parent = parent
    contexts[count].symbol = symbol
    return count
