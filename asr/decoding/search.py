"""CTC prefix beam search over one utterance, compiled.

A prefix carries the log-probabilities of all its alignments that end in a blank and of those that end in
its last token (Graves & Jaitly 2014, "Towards end-to-end speech recognition with recurrent neural
networks"; Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using
bi-directional recurrent DNNs"). What a prefix has said is a *context*: words of the lexicon, letters of
words outside it, or tokens where there is no lexicon. Equal contexts are one record, so that alignments and
pronunciations that say the same meet again and are summed. A prefix inside a word stands at a node of the
lexicon's tree and is scored with the best unigram below it until the word is complete (look-ahead).

Of two prefixes whose futures are equal (same node, same states of language models and hotwords) the one
that is behind in every respect is taken out; a link remembers it for n-best lists and confidences.

Numba keeps what it compiled until this file changes: whoever changes one of the others whose functions are
compiled into it must remove ``__pycache__``.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.decoding.candidates import (
    NEVER,
    insert,
    lower_bar,
    lowest_score,
    make_start,
    placed_anew,
    raise_bar_by_all,
    recombine,
    score_all,
    select,
    stay_all,
    stay_as_candidates,
)
from asr.decoding.contexts import add_final_scores, make_first_context, rehashed, resolve
from asr.decoding.extension import Frame, endings_of, extend, room
from asr.decoding.records import (
    BAR,
    CONTEXT,
    LINK,
    PENDING,
    PREFIX,
    TRACE,
    Number,
    Record,
    add,
    allocating,
    empty_table,
    grown,
    internal,
    kth_largest,
)
from asr.decoding.search_model import SearchModel
from asr.tokenizer import BLANK_ID


class SearchResult(NamedTuple):
    """What the search found.

    Attributes:
        contexts: Records of ``CONTEXT``.
        traces: Records of ``TRACE``.
        links: Records of ``LINK``, in the order of their frames.
        final_contexts: int32 (readings): the contexts that the utterance may end with. If all prefixes are
            inside words at the end, these words are left out.
        final_scores: float64 (readings).
        final_traces: int32 (readings): the last record of each best alignment.
    """

    contexts: NDArray
    traces: NDArray
    links: NDArray
    final_contexts: NDArray[np.int32]
    final_scores: NDArray[np.float64]
    final_traces: NDArray[np.int32]


@njit(cache=True, nogil=True, error_model="numpy")
def search(
    model: SearchModel, emissions: NDArray[np.float32]
) -> tuple[NDArray, NDArray, NDArray, NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
    """Search the best readings of one utterance.

    Args:
        model: What the search goes by.
        emissions: Log-probabilities (frames, vocabulary), C-contiguous, without NaN.

    Returns:
        The fields of :class:`SearchResult`.
    """
    options = model.options[0]
    summing, recombining = options.sum_alignments, options.recombine
    frames, vocabulary = emissions.shape
    contexts, context_count = np.empty(1024, CONTEXT), np.int64(1)
    context_table = empty_table(2048)
    make_first_context(contexts, options)
    traces, trace_count = np.empty(1024, TRACE), np.int64(1)
    links, link_count = np.empty(256, LINK), np.int64(0)
    candidates, table = np.empty(1024, PREFIX), empty_table(512)
    beam, beam_count = np.empty(256, PREFIX), np.int64(1)
    bars = np.empty(1, BAR)
    pending = np.empty(256, PENDING)
    scratch = np.empty(max(1024, vocabulary), np.float64)
    kept = np.empty(vocabulary, np.int32)
    allowed = np.zeros(vocabulary, np.bool_)
    make_start(beam, traces, options.has_lexicon)

    for frame in range(frames):
        row = emissions[frame]
        kept_count = _choose_tokens(row, options, kept, allowed, scratch)
        # A record does not keep its array: this one lives as long as it is asked for.
        bar = bars[0]
        lower_bar(bar, beam[0].score + row.max(), options.beam_threshold)
        silence = np.float64(row[BLANK_ID])
        if options.separator >= 0:
            silence = add(silence, np.float64(row[options.separator]), summing)
        if kept_count == 0:
            stay_all(beam, beam_count, row, silence, summing)
            continue

        # Prefixes that stay as they are.
        candidates = grown(candidates, beam_count)
        stay_as_candidates(beam, beam_count, candidates, row, silence, summing)
        table = placed_anew(candidates, contexts, beam_count, 2 * beam_count, recombining)
        raise_bar_by_all(bar, candidates, beam_count, options)

        heard = Frame(row, kept[:kept_count], allowed)
        # Prefixes that are a token longer: inside a word at once, others when their contexts are known.
        count, pending_count, reached = beam_count, np.int64(0), np.int64(0)
        while True:
            reached, count, pending_count = extend(
                beam, reached, beam_count, heard, model, contexts, candidates, table, count, bar, pending,
                pending_count,
            )  # fmt: skip
            if reached == beam_count:
                break
            more = room(beam[reached], model)
            candidates = grown(candidates, count + more)
            pending = grown(pending, pending_count + more)
            if 2 * (count + more) > len(table):
                table = placed_anew(candidates, contexts, count, 2 * (count + more), recombining)
        contexts = grown(contexts, context_count + 2 * pending_count)
        if 2 * (context_count + 2 * pending_count) > len(context_table):
            context_table = rehashed(contexts, context_count, 2 * (context_count + 2 * pending_count))
        candidates = grown(candidates, count + pending_count)
        if 2 * (count + pending_count) > len(table):
            table = placed_anew(candidates, contexts, count, 2 * (count + pending_count), recombining)
        count, context_count = _complete(
            pending, pending_count, contexts, context_table, context_count, candidates, table, count, bar,
            model,
        )  # fmt: skip

        # The best of them all.
        traces = grown(traces, trace_count + 2 * count)
        links = grown(links, link_count + count)
        best = score_all(candidates, count, summing)
        if recombining:
            link_count, trace_count = recombine(
                candidates, count, frame, traces, trace_count, links, link_count
            )
        if count > len(scratch):
            scratch = np.empty(2 * count, np.float64)
        lowest = lowest_score(candidates, count, best - options.beam_threshold, options.beam_size, scratch)
        if min(count, options.beam_size) >= len(beam):
            beam = np.empty(2 * min(count, options.beam_size), PREFIX)
        beam_count, trace_count = select(
            candidates, count, lowest, options.beam_size, beam, frame, traces, trace_count
        )

    # The last words are complete without a separator.
    pending = np.empty(beam_count * (1 + options.most_completed), PENDING)
    pending_count = endings_of(beam, beam_count, model, contexts, pending, True)
    if pending_count == 0:
        pending_count = endings_of(beam, beam_count, model, contexts, pending, False)
    contexts = grown(contexts, context_count + 2 * pending_count)
    context_table = rehashed(contexts, context_count, context_count + 2 * pending_count)
    for number in range(pending_count):
        if pending[number].symbol != -1:
            context_count = resolve(pending[number], contexts, context_table, context_count, model)
    traces = grown(traces, trace_count + pending_count)
    final_contexts, final_traces = np.empty(pending_count, np.int32), np.empty(pending_count, np.int32)
    final_scores = np.empty(pending_count, np.float64)
    count, trace_count = _merge(
        pending, pending_count, context_count, traces, trace_count, frames, summing,
        final_contexts, final_scores, final_traces,
    )  # fmt: skip
    add_final_scores(final_scores, final_contexts, count, contexts, model)
    return (
        contexts[:context_count],
        traces[:trace_count],
        links[:link_count],
        final_contexts[:count],
        final_scores[:count],
        final_traces[:count],
    )


@internal
def _choose_tokens(
    row: NDArray[np.float32],
    options: Record,
    kept: NDArray[np.int32],
    allowed: NDArray[np.bool_],
    scratch: NDArray[np.float64],
) -> int:
    """Fill ``kept`` with the tokens worth trying in a frame, and ``allowed``; return how many they are."""
    best = row[BLANK_ID]
    for token in range(1, len(row)):
        best = max(best, row[token])
    lowest = best - options.token_threshold
    if 0 < options.max_tokens < len(row) - 1:
        for token in range(1, len(row)):
            scratch[token - 1] = row[token]
        lowest = max(lowest, kth_largest(scratch, len(row) - 1, options.max_tokens))
    count = 0
    for token in range(1, len(row)):
        allowed[token] = row[token] >= lowest and row[token] > NEVER
        if allowed[token]:
            kept[count] = token
            count += 1
    return count


@internal
def _complete(
    pending: NDArray,
    pending_count: Number,
    contexts: NDArray,
    context_table: NDArray[np.int32],
    context_count: Number,
    candidates: NDArray,
    table: NDArray[np.int32],
    count: Number,
    bar: Record,
    model: SearchModel,
) -> tuple[Number, Number]:
    """Make candidates of the pending prefixes; returns the new numbers of candidates and contexts."""
    options = model.options[0]
    for number in range(pending_count):
        prefix = pending[number]
        is_word = 0 <= prefix.symbol < options.words
        gained = model.most_gained[prefix.symbol] if is_word else options.most_gained
        # The bar has risen since; asking the language model takes most of the time.
        if prefix.mass + contexts[prefix.context].score + gained < bar.lowest:
            continue
        context_count = resolve(prefix, contexts, context_table, context_count, model)
        bonus = contexts[prefix.context].score
        if prefix.mass + bonus >= bar.lowest:
            count = insert(
                candidates, table, contexts, count, bar, options, prefix.context, prefix.node,
                prefix.last, prefix.mass, bonus, prefix.trace, prefix.fresh,
            )  # fmt: skip
    return count, context_count


@allocating
def _merge(
    pending: NDArray,
    pending_count: int,
    context_count: int,
    traces: NDArray,
    trace_count: int,
    frames: int,
    summing: bool,
    final_contexts: NDArray[np.int32],
    final_masses: NDArray[np.float64],
    final_traces: NDArray[np.int32],
) -> tuple[int, int]:
    """Sum the endings of equal contexts; fills the three arrays, returns their length and the traces'."""
    places = empty_table(context_count)
    routes = np.empty(pending_count, np.float64)
    count = 0
    for number in range(pending_count):
        ending = pending[number]
        trace = np.int64(ending.trace)
        if ending.symbol != -1:
            traces[trace_count].previous = trace
            traces[trace_count].token = -1
            traces[trace_count].frame = frames
            traces[trace_count].context = ending.context
            trace = np.int64(trace_count)
            trace_count += 1
        place = np.int64(places[ending.context])
        if place < 0:
            place = np.int64(count)
            places[ending.context] = place
            final_contexts[place] = ending.context
            final_masses[place] = NEVER
            routes[place] = NEVER
            count += 1
        if ending.mass > routes[place] or routes[place] == NEVER:
            routes[place] = ending.mass
            final_traces[place] = trace
        final_masses[place] = add(final_masses[place], ending.mass, summing)
    return count, trace_count
