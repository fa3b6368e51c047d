"""Prefixes that become a token longer, or come to an end; compiled.

Inside a word they are candidates at once. Those that complete a word or leave the lexicon's tree are
*pending*: records of what is to be looked up, left out where no context could bring them into the beam.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decoding.candidates import NEVER, OUTSIDE, insert
from asr.decoding.contexts import UNKNOWN_END
from asr.decoding.records import Number, Record, internal
from asr.decoding.search_model import SearchModel
from asr.tokenizer import BLANK_ID


class Frame(NamedTuple):
    """What is heard in a frame.

    Attributes:
        emissions: Log-probabilities (vocabulary).
        tokens: int32: the tokens that are worth trying.
        allowed: bool (vocabulary): whether each is one of them.
    """

    emissions: NDArray[np.float32]
    tokens: NDArray[np.int32]
    allowed: NDArray[np.bool_]


@internal
def room(prefix: Record, model: SearchModel) -> int:
    """The most that one prefix can become in a frame."""
    options, nodes = model.options[0], model.nodes
    children = 0
    if prefix.node >= 0:
        children = nodes[prefix.node + 1].first_child - nodes[prefix.node].first_child
    return children + options.tokens + options.most_completed


@internal
def extend(
    beam: NDArray,
    first: Number,
    beam_count: Number,
    frame: Frame,
    model: SearchModel,
    contexts: NDArray,
    candidates: NDArray,
    table: NDArray[np.int32],
    count: Number,
    bar: Record,
    pending: NDArray,
    pending_count: Number,
) -> tuple[Number, Number, Number]:
    """Add all that the beam's prefixes from ``first`` on become, as long as there is room for it.

    Returns:
        The first prefix that finds no room, or ``beam_count``; the new numbers of candidates and pending
        prefixes.
    """
    for number in range(first, beam_count):
        more = room(beam[number], model)
        if (
            count + more > len(candidates)
            or pending_count + more > len(pending)
            or 2 * (count + more) > len(table)
        ):
            return np.int64(number), count, pending_count
        count, pending_count = _extend(
            beam[number], frame, model, contexts, candidates, table, count, bar, pending, pending_count
        )
    return np.int64(beam_count), count, pending_count


@internal
def _extend(
    prefix: Record,
    frame: Frame,
    model: SearchModel,
    contexts: NDArray,
    candidates: NDArray,
    table: NDArray[np.int32],
    count: int,
    bar: Record,
    pending: NDArray,
    pending_count: int,
) -> tuple[int, int]:
    """Add all prefixes that are one token longer; returns the new numbers of candidates and pending ones."""
    options, nodes, endings = model.options[0], model.nodes, model.endings
    row, kept, allowed = frame
    node, separator = np.int64(prefix.node), options.separator
    said = contexts[prefix.context].score
    begin = end = np.int64(0)
    if node >= 0:
        begin, end = np.int64(nodes[node].first_child), np.int64(nodes[node + 1].first_child)
        # Go through the children or through the tokens, whichever are fewer.
        by_children = end - begin <= len(kept)
        for position in range(end - begin if by_children else len(kept)):
            if by_children:
                child = begin + position
                if not allowed[nodes[child].token]:
                    continue
            else:
                child = _child(nodes, begin, end, np.int64(kept[position]))
                if child < 0:
                    continue
            token = np.int64(nodes[child].token)
            mass = _mass(prefix, token, row)
            if mass == NEVER:
                continue
            first, last = nodes[child].first_word, nodes[child + 1].first_word
            goes_on = nodes[child + 1].first_child > nodes[child].first_child
            bonus = said + model.look_ahead[child]
            stays = goes_on or (separator >= 0 and last > first)
            if stays and mass + bonus >= bar.lowest:
                count = insert(
                    candidates, table, contexts, count, bar, options, prefix.context, child, token,
                    mass, bonus, prefix.trace, token,
                )  # fmt: skip
            if separator < 0:
                for ending in range(first, last):
                    word = endings[ending]
                    if mass + said + model.most_gained[word] >= bar.lowest:
                        _put_off(pending[pending_count], prefix, -1, word, 0, token, token, mass)
                        pending_count += 1
        if separator >= 0 and allowed[separator]:
            mass = prefix.total + row[separator]
            for ending in range(nodes[node].first_word, nodes[node + 1].first_word):
                word = endings[ending]
                if mass + said + model.most_gained[word] >= bar.lowest:
                    _put_off(pending[pending_count], prefix, -1, word, 0, BLANK_ID, separator, mass)
                    pending_count += 1
        if not options.open_vocabulary:
            return count, pending_count
    for position in range(len(kept)):
        token = np.int64(kept[position])
        ends = token == separator
        if node >= 0:
            # Words of the lexicon, and beginnings of them, are not spelled besides.
            known = nodes[node + 1].first_word > nodes[node].first_word
            if (ends and (node == 0 or known)) or (not ends and _child(nodes, begin, end, token) >= 0):
                continue
        elif ends and prefix.last == BLANK_ID:
            continue
        mass = _mass(prefix, token, row)
        if mass == NEVER:
            continue
        last = np.int64(BLANK_ID) if ends else token
        if ends and options.has_lexicon:
            _put_off(pending[pending_count], prefix, node, UNKNOWN_END, 0, last, token, mass)
        else:
            _put_off(pending[pending_count], prefix, node, options.words + token, OUTSIDE, last, token, mass)
        pending_count += 1
    return count, pending_count


@internal
def _mass(prefix: Record, token: int, row: NDArray[np.float32]) -> float:
    # The same token again is another one only behind a blank.
    return (prefix.ends_in_blank if token == prefix.last else prefix.total) + row[token]


@internal
def _child(nodes: NDArray, low: Number, high: Number, token: Number) -> Number:
    while low < high:
        middle = (low + high) >> 1
        if nodes[middle].token == token:
            return middle
        if nodes[middle].token < token:
            low = middle + 1
        else:
            high = middle
    return np.int64(-1)


@internal
def _put_off(
    pending: Record, prefix: Record, leaving: int, symbol: int, node: int, last: int, fresh: int, mass: float
) -> None:
    pending.context = prefix.context
    pending.exit = leaving
    pending.symbol = symbol
    pending.node = node
    pending.last = last
    pending.trace = prefix.trace
    pending.fresh = fresh
    pending.mass = mass


@internal
def endings_of(
    beam: NDArray,
    beam_count: int,
    model: SearchModel,
    contexts: NDArray,
    pending: NDArray,
    complete: bool,
) -> int:
    """What the prefixes can end as; those inside a word only if it is then ``complete``, or without it.

    Pending records with the symbol -1 end in their context; returns how many records there are.
    """
    options, nodes, endings = model.options[0], model.nodes, model.endings
    count = 0
    for number in range(beam_count):
        prefix = beam[number]
        node = np.int64(prefix.node)
        if not complete or node == 0 or not options.has_lexicon:
            _put_off(pending[count], prefix, -1, -1, 0, BLANK_ID, -1, prefix.total)
            # A separator at the end is as good as none.
            context = contexts[prefix.context]
            if not options.has_lexicon and prefix.last == BLANK_ID and prefix.context > 0:
                pending[count].context = context.parent
            count += 1
            continue
        if options.separator < 0:
            continue
        first = count
        if node > 0:
            for ending in range(nodes[node].first_word, nodes[node + 1].first_word):
                _put_off(pending[count], prefix, -1, endings[ending], 0, BLANK_ID, -1, prefix.total)
                count += 1
        if count == first and options.open_vocabulary:
            _put_off(pending[count], prefix, node, UNKNOWN_END, 0, BLANK_ID, -1, prefix.total)
            count += 1
    return count
