"""The prefixes of a frame: extended, merged where equal, thinned out; compiled."""

import numpy as np
from numpy.typing import NDArray

from asr.decoding.records import (
    Number,
    Record,
    add,
    allocating,
    empty_table,
    internal,
    kth_largest,
    mixed,
)
from asr.tokenizer import BLANK_ID

#: The node of a prefix that is outside the lexicon's tree.
OUTSIDE = -1
#: The logarithm of 0.
NEVER = -np.inf


@internal
def make_start(beam: NDArray, traces: NDArray, has_lexicon: bool) -> None:
    """The prefix before the first frame, and its alignment."""
    traces[0].previous = -1
    traces[0].token = -1
    traces[0].frame = -1
    traces[0].context = 0
    start = beam[0]
    start.context = 0
    start.node = 0 if has_lexicon else OUTSIDE
    start.last = BLANK_ID
    start.trace = 0
    start.fresh = -1
    start.leader = 0
    start.winner = 0
    start.ends_in_blank = 0.0
    start.ends_in_token = NEVER
    start.total = 0.0
    start.bonus = 0.0
    start.score = 0.0
    start.route = 0.0


@internal
def stay(prefix: Record, row: NDArray[np.float32], silence: float, summing: bool) -> None:
    """Take a frame that adds nothing to the prefix: a blank, or its last token once more."""
    if prefix.last == BLANK_ID:
        # Behind a separator, and at the start, further separators are as good as blanks.
        prefix.ends_in_blank = prefix.total + silence
        prefix.ends_in_token = NEVER
        prefix.total = prefix.ends_in_blank
    else:
        prefix.ends_in_blank = prefix.total + row[BLANK_ID]
        prefix.ends_in_token += row[prefix.last]
        prefix.total = add(prefix.ends_in_blank, prefix.ends_in_token, summing)
    prefix.score = prefix.total + prefix.bonus
    prefix.route = prefix.total
    prefix.fresh = -1


@internal
def stay_all(beam: NDArray, count: int, row: NDArray[np.float32], silence: float, summing: bool) -> None:
    """A frame in which no token is worth trying."""
    best = 0
    for number in range(count):
        stay(beam[number], row, silence, summing)
        if beam[number].score > beam[best].score:
            best = number
    _put_first(beam, best)


@internal
def stay_as_candidates(
    beam: NDArray, count: int, candidates: NDArray, row: NDArray[np.float32], silence: float, summing: bool
) -> None:
    """The first candidates of a frame: prefixes to which it adds nothing."""
    for number in range(count):
        candidates[number] = beam[number]
        stay(candidates[number], row, silence, summing)


@internal
def lower_bar(bar: Record, ceiling: float, threshold: float) -> None:
    """Start a frame in which scores will hardly exceed ``ceiling``."""
    counts = bar.counts
    bar.best = NEVER
    bar.lowest = NEVER
    bar.ceiling = ceiling
    bar.width = threshold / len(counts)
    bar.above = 0
    bar.bins = len(counts)
    for position in range(len(counts)):
        counts[position] = 0


@internal
def raise_bar(bar: Record, score: float, is_leader: bool, options: Record) -> None:
    """Take account of a candidate; those that may yet give way to others of their future do not count."""
    if score > bar.best:
        bar.best = score
        bar.lowest = max(bar.lowest, score - options.beam_threshold)
    if not is_leader or score <= bar.ceiling - bar.bins * bar.width:
        return
    counts = bar.counts
    position = np.int64((bar.ceiling - score) / bar.width)
    # The quotient may round beyond the last bin although the score is above its end.
    counts[min(max(position, 0), bar.bins - 1)] += 1
    bar.above += 1
    while bar.bins > 1 and bar.above - counts[bar.bins - 1] >= options.beam_size:
        bar.bins -= 1
        bar.above -= counts[bar.bins]
        bar.lowest = max(bar.lowest, bar.ceiling - bar.bins * bar.width)


@internal
def raise_bar_by_all(bar: Record, candidates: NDArray, count: int, options: Record) -> None:
    """Take account of the first candidates."""
    for number in range(count):
        is_leader = candidates[number].leader == number
        raise_bar(bar, candidates[number].score, is_leader, options)


@internal
def insert(
    candidates: NDArray,
    table: NDArray[np.int32],
    contexts: NDArray,
    count: int,
    bar: Record,
    options: Record,
    context: int,
    node: int,
    last: int,
    mass: float,
    bonus: float,
    trace: int,
    fresh: int,
) -> int:
    """Add alignments to a prefix, a new candidate if it is none yet; returns how many there are then."""
    candidate = candidates[count]
    candidate.context = context
    candidate.node = node
    candidate.last = last
    number = place(candidates, table, contexts, count, options.recombine)
    prefix = candidates[number]
    raise_bar(bar, mass + bonus, number == count and prefix.leader == number, options)
    if number == count:
        prefix.ends_in_blank = NEVER
        prefix.ends_in_token = mass
        prefix.bonus = bonus
        count += 1
    else:
        prefix.ends_in_token = add(prefix.ends_in_token, mass, options.sum_alignments)
        if mass <= prefix.route:
            return count
    prefix.route = mass
    prefix.trace = trace
    prefix.fresh = fresh
    return count


@internal
def place(
    candidates: NDArray, table: NDArray[np.int32], contexts: NDArray, number: int, recombine: bool
) -> Number:
    """Enter a candidate into the hash table; returns the number of the equal one, if there is one."""
    candidate = candidates[number]
    own = contexts[candidate.context]
    state = own.lm_state if recombine else candidate.context
    mask = len(table) - 1
    slot = mixed(candidate.node, candidate.last, state, own.spelling_state) & mask
    candidate.leader = number
    candidate.winner = number
    while table[slot] >= 0:
        other = candidates[table[slot]]
        if other.node == candidate.node and other.last == candidate.last:
            if other.context == candidate.context:
                return np.int64(table[slot])
            if recombine:
                theirs = contexts[other.context]
                if (
                    theirs.lm_state == own.lm_state
                    and theirs.spelling_state == own.spelling_state
                    and theirs.hotword_state == own.hotword_state
                ):
                    candidate.leader = other.leader
        slot = (slot + 1) & mask
    table[slot] = number
    return np.int64(number)


@allocating
def placed_anew(
    candidates: NDArray, contexts: NDArray, count: int, entries: int, recombine: bool
) -> NDArray[np.int32]:
    """A hash table of the candidates with room for so many entries."""
    table = empty_table(entries)
    for number in range(count):
        place(candidates, table, contexts, number, recombine)
    return table


@internal
def score_all(candidates: NDArray, count: int, summing: bool) -> float:
    """Bring totals and scores up to date; returns the best score."""
    best = NEVER
    for number in range(count):
        prefix = candidates[number]
        prefix.total = add(prefix.ends_in_blank, prefix.ends_in_token, summing)
        prefix.score = prefix.total + prefix.bonus
        best = max(best, prefix.score)
    return best


@internal
def recombine(
    candidates: NDArray,
    count: int,
    frame: int,
    traces: NDArray,
    trace_count: int,
    links: NDArray,
    link_count: int,
) -> tuple[int, int]:
    """Take out candidates that another with the same future beats in every respect."""
    for number in range(count):
        first = candidates[candidates[number].leader]
        if candidates[number].score > candidates[first.winner].score:
            first.winner = number
    for number in range(count):
        loser = candidates[number]
        winner = candidates[candidates[loser.leader].winner]
        if loser.context == winner.context or loser.score == NEVER:
            continue
        beaten = loser.last == BLANK_ID or (
            loser.ends_in_blank + loser.bonus <= winner.ends_in_blank + winner.bonus
            and loser.ends_in_token + loser.bonus <= winner.ends_in_token + winner.bonus
        )
        if not beaten:
            continue
        # Alternatives are told apart at the ends of words; inside a word they are soon to meet there.
        if loser.node <= 0:
            trace_count = _trace(winner, frame, traces, trace_count)
            trace_count = _trace(loser, frame, traces, trace_count)
            link = links[link_count]
            link.difference = loser.score - winner.score
            link.winner = winner.trace
            link.loser = loser.trace
            link.frame = frame
            link_count += 1
        loser.score = NEVER
    return link_count, trace_count


@internal
def lowest_score(
    candidates: NDArray, count: int, lowest: float, most: int, scratch: NDArray[np.float64]
) -> float:
    """The score that candidates need to be among the ``most`` best and not below ``lowest``."""
    good = 0
    for number in range(count):
        if candidates[number].score >= lowest:
            scratch[good] = candidates[number].score
            good += 1
    return lowest if good <= most else kth_largest(scratch, good, most)


@internal
def select(
    candidates: NDArray,
    count: int,
    lowest: float,
    most: int,
    beam: NDArray,
    frame: int,
    traces: NDArray,
    trace_count: int,
) -> tuple[int, int]:
    """Copy the best candidates into the beam, the best of all first; of equal ones the first."""
    equal = most
    for number in range(count):
        if candidates[number].score > lowest:
            equal -= 1
    kept = best = 0
    for number in range(count):
        score = candidates[number].score
        # So put that what is not a number never fills the beam beyond its end.
        if not score >= lowest or score == NEVER:
            continue
        if score == lowest:
            if equal <= 0:
                continue
            equal -= 1
        beam[kept] = candidates[number]
        trace_count = _trace(beam[kept], frame, traces, trace_count)
        if score > beam[best].score:
            best = kept
        kept += 1
    _put_first(beam, best)
    return kept, trace_count


@internal
def _trace(prefix: Record, frame: int, traces: NDArray, count: int) -> int:
    """Put the prefix's new token, if any, behind its alignment; returns the number of trace records."""
    if prefix.fresh < 0:
        return count
    trace = traces[count]
    trace.previous = prefix.trace
    trace.token = prefix.fresh
    trace.frame = frame
    trace.context = prefix.context if prefix.node <= 0 else -1
    prefix.trace = count
    prefix.fresh = -1
    return count + 1


@internal
def _put_first(beam: NDArray, number: int) -> None:
    # The search prunes earlier when it sees the best prefix first. The record after the last is free.
    if number > 0:
        spare = len(beam) - 1
        beam[spare] = beam[0]
        beam[0] = beam[number]
        beam[number] = beam[spare]
