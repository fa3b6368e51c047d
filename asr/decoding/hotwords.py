"""Hotwords: words and phrases that score extra, found while the search goes (Aho & Corasick 1975).

A phrase adds its whole score when its last symbol has come. Until then it has added the part that its
symbols so far are of all of them, which is taken back when the phrase breaks off: so that a phrase is not
pruned before it is complete, and what did not come about has changed nothing.
"""

import math
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.decoding.records import Number, internal
from asr.errors import UserError

START = 0


#: A state of the automaton; state 0 is its start. Its edges are those from ``first_edge`` to the next
#: state's; ``fallback`` is the state of its longest proper suffix; ``advance`` is what the phrases begun in
#: it have added so far, ``complete`` the scores of all phrases that end in it. One more record closes the
#: array.
STATE = np.dtype(
    [("advance", np.float64), ("complete", np.float64), ("first_edge", np.int32), ("fallback", np.int32)],
    align=True,
)

#: An edge, labelled with a symbol: a word's number, or a token. A state's edges are sorted by symbol.
EDGE = np.dtype([("symbol", np.int32), ("target", np.int32)], align=True)


def hotword_automaton(phrases: Iterable[tuple[Sequence[int], float]]) -> tuple[NDArray, NDArray]:
    """The states and edges of the automaton of phrases (symbols, score)."""
    edges: list[dict[int, int]] = [{}]
    advance, complete = [0.0], [0.0]
    for symbols, score in phrases:
        state = START
        for position, symbol in enumerate(symbols, start=1):
            if symbol not in edges[state]:
                edges[state][symbol] = len(edges)
                edges.append({})
                advance.append(0.0)
                complete.append(0.0)
            state = edges[state][symbol]
            if position < len(symbols):
                advance[state] = max(advance[state], score * position / len(symbols))
        complete[state] += score
    fallback = [START] * len(edges)
    waiting = deque(edges[START].values())
    while waiting:
        state = waiting.popleft()
        for symbol, target in edges[state].items():
            suffix = fallback[state]
            while suffix != START and symbol not in edges[suffix]:
                suffix = fallback[suffix]
            fallback[target] = edges[suffix].get(symbol, START)
            complete[target] += complete[fallback[target]]
            waiting.append(target)
    outgoing = [sorted(targets.items()) for targets in edges]
    states = np.zeros(len(edges) + 1, STATE)
    states["advance"][:-1], states["complete"][:-1] = advance, complete
    states["fallback"][:-1] = fallback
    states["first_edge"] = np.cumsum([0, *(len(targets) for targets in outgoing)])
    return states, np.array([edge for targets in outgoing for edge in targets], dtype=EDGE)


@internal
def follow(states: Any, edges: NDArray, state: Number, symbol: Number) -> tuple[float, Number]:
    """What ``symbol`` adds after ``state`` (or takes back), and the state after it."""
    following = np.int64(state)
    target = _target(states, edges, following, symbol)
    while target < 0 and following != START:
        following = np.int64(states[following].fallback)
        target = _target(states, edges, following, symbol)
    following = np.int64(max(target, START))
    return states[following].advance - states[state].advance + states[following].complete, following


@internal
def _target(states: Any, edges: NDArray, state: Number, symbol: Number) -> Number:
    low, high = np.int64(states[state].first_edge), np.int64(states[state + 1].first_edge)
    while low < high:
        middle = (low + high) >> 1
        if edges[middle].symbol == symbol:
            return np.int64(edges[middle].target)
        if edges[middle].symbol < symbol:
            low = middle + 1
        else:
            high = middle
    return np.int64(-1)


def read_hotwords(path: str | os.PathLike[str], default_score: float) -> dict[str, float]:
    """Read a file of hotwords: a word or phrase a line, a tab and its score where it has its own.

    Words are put into upper case, as the models write them; ``#`` opens a comment line.

    Raises:
        UserError: the file cannot be read, or a score is no number (the line is named).
    """
    hotwords: dict[str, float] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read these hotwords ({error})") from error
    for number, line in enumerate(lines, start=1):
        phrase, _, score = line.partition("\t")
        phrase = " ".join(phrase.upper().split())
        if not phrase or phrase.startswith("#"):
            continue
        try:
            hotwords[phrase] = float(score) if score.strip() else default_score
            if not math.isfinite(hotwords[phrase]):
                raise ValueError
        except ValueError:
            raise UserError(
                f"{path}: line {number}: {score.strip()!r} is not a score; write 'PHRASE<tab>5.0'"
            ) from None
    return hotwords
