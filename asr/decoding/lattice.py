"""What the search leaves behind, read backwards: alignments, n-best readings, posteriors of words.

The search's links (a prefix that gave way to another with the same future) make a lattice:
whoever went through the winner could as well have gone through the loser, at the difference of their scores.
"""

import heapq
import math
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.decoding.search import SearchResult

_NO_FRAME = 1 << 30
#: Records less probable than this are not asked whether they agree.
_NEGLIGIBLE = 1e-5


class Alignment(NamedTuple):
    """Tokens of a reading in their order; token -1 ends a word without a token.

    Attributes:
        tokens: int32 (n).
        frames: int32 (n).
        contexts: int32 (n): the context that the token completed, or -1.
        records: int32 (n): the trace records.
    """

    tokens: NDArray[np.int32]
    frames: NDArray[np.int32]
    contexts: NDArray[np.int32]
    records: NDArray[np.int32]


class Reading(NamedTuple):
    """A reading's score and alignment."""

    score: float
    alignment: Alignment


@njit(cache=True, nogil=True)
def _spliced(
    traces: NDArray,
    last: int,
    winner: Alignment,
    position: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], int]:
    """The alignment that ends with record ``last``, and goes on as another one does from a token on.

    Returns:
        The fields of :class:`Alignment`, and how many tokens come before the other's.
    """
    own, trace = 0, last
    while trace > 0:
        own += 1
        trace = traces[trace].previous
    shared = len(winner.tokens) - position
    tokens, frames = np.empty(own + shared, np.int32), np.empty(own + shared, np.int32)
    contexts, records = np.empty(own + shared, np.int32), np.empty(own + shared, np.int32)
    tokens[own:], frames[own:] = winner.tokens[position:], winner.frames[position:]
    contexts[own:], records[own:] = winner.contexts[position:], winner.records[position:]
    trace = last
    for place in range(own - 1, -1, -1):
        tokens[place] = traces[trace].token
        frames[place] = traces[trace].frame
        contexts[place] = traces[trace].context
        records[place] = trace
        trace = traces[trace].previous
    return tokens, frames, contexts, records, own


def no_alignment() -> Alignment:
    """That of a reading without tokens."""
    return Alignment(*(np.empty(0, np.int32) for _ in Alignment._fields))


def readings(result: SearchResult, within: float = math.inf) -> Iterator[Reading]:
    """The readings of the lattice, best first; some differ in their alignment only.

    The score of a reading that gave way on its way is estimated: as far behind as it was when it did.

    Args:
        result: What the search found.
        within: How far behind the best one a reading may be.
    """
    order = count()
    nothing = no_alignment()
    # What is told of a reading before it is put together: its cost, the record where it gave way, the
    # reading to which it did, and from which of that one's tokens on they are the same.
    waiting: list[tuple[float, int, int, Alignment, int]] = [
        (-score, next(order), int(trace), nothing, 0)
        for score, trace in zip(result.final_scores.tolist(), result.final_traces.tolist(), strict=True)
    ]
    heapq.heapify(waiting)
    by_winner: NDArray | None = None
    highest = waiting[0][0] + within if waiting else within
    while waiting:
        cost, _, trace, winner, position = heapq.heappop(waiting)
        if cost > highest:
            return
        *fields, length = _spliced(result.traces, trace, winner, position)
        reading = Alignment(*fields)
        yield Reading(-cost, reading)
        # Whoever wants the best reading only is spared this.
        if by_winner is None:
            by_winner = result.links[np.argsort(result.links["winner"], kind="stable")]
        told = _gave_way(by_winner, reading.records, reading.frames, length, cost - highest)
        for place, difference, loser in zip(*(each.tolist() for each in told), strict=True):
            heapq.heappush(waiting, (cost - difference, next(order), loser, reading, place))


@njit(cache=True, nogil=True)
def _gave_way(
    by_winner: NDArray, records: NDArray[np.int32], frames: NDArray[np.int32], length: int, lowest: float
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
    """What gave way to the first tokens of a reading: after how many of them, how far behind, record.

    Args:
        by_winner: Links in the order of their winners.
        records, frames: Of all of the reading's tokens.
        length: How many tokens it has for itself.
        lowest: How far behind is no longer told: a number below 0.
    """
    winners = by_winner["winner"]
    own = np.zeros(length + 1, np.int32)
    own[1:] = records[:length]
    first, last = np.searchsorted(winners, own, "left"), np.searchsorted(winners, own, "right")
    most = (last - first).sum()
    places, losers = np.empty(most, np.int32), np.empty(most, np.int32)
    differences = np.empty(most, np.float64)
    count = 0
    for place in range(length + 1):
        # Others gave way to this reading while it waited: between one token and the next.
        following = frames[place] if place < len(frames) else _NO_FRAME
        for link in range(first[place], last[place]):
            if by_winner[link].frame < following and by_winner[link].difference >= lowest:
                places[count] = place
                differences[count], losers[count] = by_winner[link].difference, by_winner[link].loser
                count += 1
    return places[:count], differences[:count], losers[:count]


def trace_posteriors(result: SearchResult, scale: float) -> NDArray[np.float64]:
    """The probability that a reading drawn from the lattice goes through each trace record.

    Args:
        result: What the search found.
        scale: Factor of the scores; below 1, since acoustic scores of neighbouring frames, which the search
            adds as if they were independent, are not.
    """
    return _posteriors(result.traces, result.links, result.final_traces, result.final_scores, scale)


def agreement(
    result: SearchResult, posteriors: NDArray[np.float64], alignment: Alignment
) -> NDArray[np.float64]:
    """How sure each token of a reading is: float64 (n), 1 where it completes no context.

    The posterior of all records that say the same there: the same word, ending at nearly the same time
    (Wessel et al. 2001, "Confidence measures for large vocabulary continuous speech recognition").
    """
    return _agreeing(result.contexts, result.traces, posteriors, alignment.frames, alignment.contexts)


@njit(cache=True, nogil=True)
def _posteriors(
    traces: NDArray,
    links: NDArray,
    final_traces: NDArray[np.int32],
    final_scores: NDArray[np.float64],
    scale: float,
) -> NDArray[np.float64]:
    """By one walk back through time: float64 (records)."""
    passed = np.zeros(len(traces))
    best, total = -np.inf, 0.0
    for score in final_scores:
        best = max(best, score)
    for score in final_scores:
        total += np.exp(scale * (score - best))
    for position in range(len(final_traces)):
        passed[final_traces[position]] += np.exp(scale * (final_scores[position] - best)) / total
    shares, before = np.ones(len(traces)), np.zeros(len(traces))
    link = len(links)
    for record in range(len(traces) - 1, -1, -1):
        # Until its frame a reading was with the previous record; who gave way to that since has a share.
        while link > 0 and links[link - 1].frame >= traces[record].frame:
            frame, first = links[link - 1].frame, link
            while first > 0 and links[first - 1].frame == frame:
                first -= 1
                winner = links[first].winner
                before[winner] = passed[winner]
                shares[winner] += np.exp(scale * links[first].difference)
            for position in range(first, link):
                winner, loser = links[position].winner, links[position].loser
                moved = before[winner] * np.exp(scale * links[position].difference) / shares[winner]
                passed[winner] -= moved
                passed[loser] += moved
            for position in range(first, link):
                shares[links[position].winner] = 1.0
            link = first
        if record > 0:
            passed[traces[record].previous] += passed[record]
    return passed


@njit(cache=True, nogil=True)
def _agreeing(
    contexts: NDArray,
    traces: NDArray,
    posteriors: NDArray[np.float64],
    frames: NDArray[np.int32],
    path: NDArray[np.int32],
) -> NDArray[np.float64]:
    likely, count = np.empty(len(traces), np.int32), 0
    for record in range(len(traces)):
        if posteriors[record] > _NEGLIGIBLE and traces[record].context >= 0:
            likely[count] = record
            count += 1
    agreeing = np.ones(len(path))
    begin = -1
    for position in range(len(path)):
        if path[position] < 0:
            continue
        symbol, end = contexts[path[position]].symbol, frames[position]
        slack = max(1, (end - begin) // 2)
        total = 0.0
        for place in range(count):
            record = traces[likely[place]]
            if contexts[record.context].symbol == symbol and abs(record.frame - end) <= slack:
                total += posteriors[likely[place]]
        agreeing[position] = min(total, 1.0)
        begin = end
    return agreeing
