"""Lexicon, language models and hotwords made ready for the search."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from asr.decoding.config import BeamConfig
from asr.decoding.hotwords import START, hotword_automaton
from asr.decoding.search_model import OPTIONS, SearchModel
from asr.decoding.trie import LexiconTrie, Pronunciation, look_ahead
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.lm.query import EMPTY_STATE, NGramArrays, advance
from asr.lm.table import SPECIAL_WORDS, UNKNOWN_ID, Level, NGramTable
from asr.tokenizer import SPACE, PhoneTokenizer, Tokenizer, UnknownSymbol

_CONFIGURED = (
    "beam_size",
    "beam_threshold",
    "token_threshold",
    "max_tokens",
    "lm_weight",
    "word_score",
    "unknown_score",
    "spelling_score",
    "open_vocabulary",
    "sum_alignments",
    "recombine",
)

# Far above what sums of single precision differ by, far below what matters.
_ROUNDING = 1e-3

#: Pronunciations of a word that the lexicon lacks.
Pronounce = Callable[[str], Iterable[Pronunciation]]


def make_search_model(
    tokenizer: Tokenizer,
    config: BeamConfig,
    lm: NGram | None,
    lexicon: LexiconTrie | None,
    token_lm: NGram | None,
    hotwords: Mapping[str, float],
    pronounce: Pronounce | None,
) -> tuple[SearchModel, list[str]]:
    """What the search takes, and its words (none without a lexicon); see :class:`BeamDecoder`.

    Raises:
        UserError: parts that do not fit together or to the units.
    """
    separator = tokenizer.tokens.index(SPACE) if tokenizer.units == "characters" else -1
    if config.open_vocabulary and separator < 0:
        raise UserError(
            f"an open vocabulary needs a model of characters, and this one has {tokenizer.units}; "
            "leave decoding.open_vocabulary off"
        )
    for phrase, score in hotwords.items():
        if not phrase.split() or not math.isfinite(score):
            raise UserError(f"the hotword {phrase!r} with a score of {score} makes no sense")
    if lexicon is None and lm is not None:
        lexicon = _trie_of_lm(lm, tokenizer)
    if lexicon is not None:
        trie = _with_hotwords(lexicon, hotwords, tokenizer, pronounce)
        numbers = {word: number for number, word in enumerate(trie.words)} if hotwords else {}
        phrases = [([numbers[word] for word in phrase.split()], score) for phrase, score in hotwords.items()]
    else:
        trie = LexiconTrie.empty()
        phrases = [(_spelled(phrase, tokenizer, separator), score) for phrase, score in hotwords.items()]
    states, edges = hotword_automaton(phrases)
    lm_ids, lm_arrays = _ids(trie.words, lm, "words")
    spelling_ids, spelling_arrays = _ids(tokenizer.tokens, token_lm, "tokens")
    # An utterance starts as if behind a separator, which opens every hotword over tokens.
    hotword_state = 1 if lexicon is None and separator >= 0 and phrases else START
    values = {
        **{name: getattr(config, name) for name in _CONFIGURED},
        "has_lexicon": lexicon is not None,
        "has_lm": lm is not None,
        "has_spelling_lm": token_lm is not None,
        "has_hotwords": bool(phrases),
        "separator": separator,
        "words": len(trie.words),
        "tokens": len(tokenizer.tokens),
        "lm_state": lm.begin_state if lm else EMPTY_STATE,
        "spelling_state": _spelling_state(token_lm, spelling_ids, separator if lexicon else -1),
        "hotword_state": hotword_state,
        "hotword_score": states[hotword_state]["advance"],
        "most_gained": _most_gained(config, states),
        "most_completed": _most_completed(trie, separator >= 0),
    }
    options = np.zeros(1, OPTIONS)
    options[0] = tuple(values[name] for name in OPTIONS.names or ())
    model = SearchModel(
        options=options,
        nodes=trie.nodes,
        endings=trie.endings,
        look_ahead=_look_ahead(trie, config, lm, lm_ids, states, edges),
        lm_ids=lm_ids,
        most_gained=_most_gained_by_words(config, lm, lm_ids, states),
        lm=lm_arrays,
        spelling_ids=spelling_ids,
        spelling_lm=spelling_arrays,
        hotword_states=states,
        hotword_edges=edges,
    )
    return model, trie.words


def _trie_of_lm(lm: NGram, tokenizer: Tokenizer) -> LexiconTrie:
    if tokenizer.units == "phones":
        raise UserError("a phone model decodes words with a lexicon only; give one (`asr lexicon build`)")
    return LexiconTrie.from_words(lm.words, tokenizer)


def _with_hotwords(
    lexicon: LexiconTrie, hotwords: Mapping[str, float], tokenizer: Tokenizer, pronounce: Pronounce | None
) -> LexiconTrie:
    """The lexicon with those words of the hotwords that it lacks."""
    wanted = dict.fromkeys(word for phrase in hotwords for word in phrase.split())
    known = set(lexicon.words) if wanted else set()
    entries = [
        (word, pronunciation)
        for word in wanted
        if word not in known
        for pronunciation in _pronunciations(word, tokenizer, pronounce)
    ]
    return lexicon.extended(LexiconTrie.build(entries, tokenizer.tokens)) if entries else lexicon


def _pronunciations(word: str, tokenizer: Tokenizer, pronounce: Pronounce | None) -> Iterable[Pronunciation]:
    if not isinstance(tokenizer, PhoneTokenizer):
        return [[tokenizer.tokens[token] for token in _encoded(word, tokenizer)]]
    if pronounce is None:
        raise UserError(f"the hotword {word!r} is not in the lexicon; add it there with its pronunciation")
    return [tokenizer.spelled(phones) for phones in pronounce(word)]


def _spelled(phrase: str, tokenizer: Tokenizer, separator: int) -> list[int]:
    if tokenizer.units == "phones":
        raise UserError("hotwords of a phone model need a lexicon")
    tokens = _encoded(phrase, tokenizer)
    # Whole words only: a phrase stands between separators.
    return [separator, *tokens, separator] if separator >= 0 else tokens


def _encoded(phrase: str, tokenizer: Tokenizer) -> list[int]:
    try:
        return tokenizer.encode(phrase)
    except UnknownSymbol as error:
        raise UserError(
            f"the hotword {phrase!r} cannot be written with the model's tokens: {error}"
        ) from None


def _ids(names: Sequence[str], lm: NGram | None, kind: str) -> tuple[NDArray[np.int32], NGramArrays]:
    """The ids of words or tokens in a language model, and its arrays; stand-ins where there is none."""
    if lm is None:
        return np.zeros(len(names), dtype=np.int32), _no_lm().arrays
    ids = np.fromiter(map(lm.word_ids.get, names, repeat(UNKNOWN_ID)), dtype=np.int32, count=len(names))
    if not ids.any() or (kind == "words" and lm.unit != kind and any(len(name) > 1 for name in names)):
        examples = ", ".join(lm.words[3:6])
        raise UserError(f"the language model is not of these {kind}: it is one of {lm.unit} ({examples} …)")
    return ids, lm.arrays


def _no_lm() -> NGram:
    level = Level(
        context=np.zeros(3, np.int64),
        word=np.arange(3, dtype=np.uint32),
        log_probability=np.zeros(3, np.float32),
        backoff=np.zeros(3, np.float32),
    )
    return NGram.from_table(NGramTable(list(SPECIAL_WORDS), [level]))


def _spelling_state(token_lm: NGram | None, ids: NDArray[np.int32], separator: int) -> int:
    """Where the token model begins: behind ``separator`` if words of the lexicon may come before."""
    if token_lm is None:
        return EMPTY_STATE
    if separator < 0:
        return token_lm.begin_state
    return int(advance(token_lm.arrays, EMPTY_STATE, int(ids[separator]))[1])


def _look_ahead(
    trie: LexiconTrie,
    config: BeamConfig,
    lm: NGram | None,
    lm_ids: NDArray[np.int32],
    states: NDArray,
    edges: NDArray,
) -> NDArray[np.float32]:
    """For every node the best that a word below it adds to a score by itself: float32 (nodes)."""
    scores = np.zeros(len(trie.words))
    if lm is not None:
        scores += config.lm_weight * lm.unigram_scores(lm_ids) + config.expected_gain
        scores[lm_ids == UNKNOWN_ID] += config.unknown_score
    if trie.words:
        first = edges[: states[1]["first_edge"]]
        opened = states[first["target"]]
        scores[first["symbol"]] += opened["advance"] + opened["complete"]
    return look_ahead(trie.nodes, trie.endings, scores)


def _most_gained_by_words(
    config: BeamConfig, lm: NGram | None, lm_ids: NDArray[np.int32], states: NDArray
) -> NDArray[np.float64]:
    """For every word the most that it can add to a score, or is taken to: float64 (words)."""
    gained = np.full(len(lm_ids), config.word_score + _most_of_hotwords(states) + _ROUNDING)
    if lm is not None:
        if config.most_gain == math.inf:
            gained += config.lm_weight * lm.highest_scores()[lm_ids]
        else:
            gained += config.lm_weight * lm.unigram_scores(lm_ids) + config.most_gain
        gained[lm_ids == UNKNOWN_ID] += config.unknown_score
    return gained


def _most_gained(config: BeamConfig, states: NDArray) -> float:
    if config.spelling_score > 0:
        # The beginning of an unknown word may bring any number of tokens at once.
        return float("inf")
    gained = max(config.word_score, 0.0) + max(config.unknown_score, 0.0)
    return gained + _most_of_hotwords(states)


def _most_of_hotwords(states: NDArray) -> float:
    return max(0.0, float((states["advance"] + states["complete"]).max()))


def _most_completed(trie: LexiconTrie, has_separator: bool) -> int:
    if not trie.words:
        return 0
    words = np.diff(trie.nodes["first_word"])
    if has_separator:
        return int(words.max())
    return int(np.bincount(trie.nodes["parent"][1:-1], weights=words[1:]).max())
