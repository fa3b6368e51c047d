"""From a model directory and a user's wishes to a decoder.

A model directory's ``config.yaml`` may hold under ``decoding`` the head, the decoder and its tuned
weights, and the directory an ``lm/``, a ``lexicon.txt`` and a ``rescoring_lm/``; what the user gives
replaces them, and ``none`` switches each off.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.decoding.config import BeamConfig
from asr.decoding.head import choose_head
from asr.decoding.options import NONE, Decoder, DecodingOptions
from asr.decoding.phrases import PhraseDecoder
from asr.decoding.rescoring import Rescorer, RescoringConfig, reorder
from asr.decoding.settings import (
    beam_config,
    check_settings,
    config_for_rescoring,
    decoder_name,
    phrase_pause,
    rescoring_config,
)
from asr.decoding.speech_gate import GatedDecoder, load_gate
from asr.errors import UserError
from asr.files import exists, is_file
from asr.transcript import Hypothesis

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

    from asr.decoding.beam import BeamDecoder
    from asr.decoding.trie import LexiconTrie
    from asr.lm.ngram import NGram
    from asr.lm.rnn import RNNLM
    from asr.model import AcousticModel
    from asr.tokenizer import Tokenizer


class GreedyDecoder:
    """The likeliest token of every frame."""

    def __init__(self, model: "AcousticModel", head: str) -> None:
        self._tokenizer = model.tokenizers[head]

    def decode(self, emissions: "Tensor", lengths: "Tensor") -> list[list[Hypothesis]]:
        """One hypothesis for each utterance of ``(batch, frames, vocabulary)`` log-probabilities."""
        from asr.decoding.greedy import greedy_decode

        return [[best] for best in greedy_decode(emissions, lengths, self._tokenizer)]


class BeamSearch:
    """Prefix beam search over batches."""

    def __init__(self, decoder: "BeamDecoder") -> None:
        self._decoder = decoder

    def decode(self, emissions: "Tensor", lengths: "Tensor") -> list[list[Hypothesis]]:
        """The n-best list of each utterance of ``(batch, frames, vocabulary)`` log-probabilities."""
        return self._decoder.decode_batch(emissions, lengths)


# What a search found is kept until it is scored anew: some megabytes an utterance.
_RESCORED_TOGETHER = 16


class RescoredBeamSearch:
    """Beam search whose n-best lists a recurrent language model scores anew."""

    def __init__(self, decoder: "BeamDecoder", rescorer: Rescorer, nbest: int) -> None:
        self._decoder, self._rescorer, self._nbest = decoder, rescorer, nbest

    def decode(self, emissions: "Tensor", lengths: "Tensor") -> list[list[Hypothesis]]:
        """The n-best list of each utterance of ``(batch, frames, vocabulary)`` log-probabilities."""
        parts = zip(emissions.split(_RESCORED_TOGETHER), lengths.split(_RESCORED_TOGETHER), strict=True)
        return [nbest for part in parts for nbest in self._decode(*part)]

    def _decode(self, emissions: "Tensor", lengths: "Tensor") -> list[list[Hypothesis]]:
        found = self._decoder.search_batch(emissions, lengths)
        return [
            reorder(each, scores, self._nbest)
            for each, scores in zip(found, self._rescorer.scores(found), strict=True)
        ]


@dataclass(frozen=True)
class BeamParts:
    """What beam decoders of a model directory are made of, read once for all settings.

    Attributes:
        tokenizer: Of the head that is decoded.
        frame_shift: Seconds from one encoder frame to the next.
        lm: Language model of words.
        lexicon: Words and their tokens.
        hotwords: File of words to favour.
        prior: Mean posterior of each token ``(vocabulary,)``.
        rnn: Recurrent language model that scores n-best lists anew.
    """

    tokenizer: "Tokenizer"
    frame_shift: float
    lm: "NGram | None"
    lexicon: "LexiconTrie | None"
    hotwords: Path | None
    prior: "ArrayLike | None"
    rnn: "RNNLM | None"

    def decoder(self, config: BeamConfig) -> "BeamDecoder":
        """A beam decoder with such settings.

        Raises:
            UserError: the parts do not fit together or to the settings.
        """
        from asr.decoding.beam import BeamDecoder
        from asr.decoding.hotwords import read_hotwords

        hotwords = read_hotwords(self.hotwords, config.hotword_score) if self.hotwords else None
        return BeamDecoder(
            self.tokenizer,
            config,
            lm=self.lm,
            lexicon=self.lexicon,
            hotwords=hotwords,
            pronounce=_pronounce if hotwords and self.tokenizer.units == "phones" else None,
            prior=self.prior,
            frame_shift=self.frame_shift,
        )

    def rescorer(self, searched_weight: float, config: RescoringConfig) -> Rescorer | None:
        """What scores the lists of a search anew, in which the n-gram has such a weight, if anything."""
        if self.rnn is None or self.lm is None:
            return None
        return Rescorer(self.rnn, self.lm, searched_weight, config)


def load_beam_parts(folder: Path, model: "AcousticModel", options: DecodingOptions) -> BeamParts:
    """Read what a model directory's beam search needs, or what the user gives instead.

    Raises:
        UserError: one of them is missing or does not fit, a phone model has no lexicon, or a recurrent
            language model no n-gram beside it.
    """
    from asr.decoding.cache import load_lexicon_trie
    from asr.lexicon import find_lexicon
    from asr.lm.ngram import NGram
    from asr.lm.rnn import load_rnn_lm
    from asr.precision import fast_eight_bits

    head = choose_head(model.config, options)
    tokenizer = model.tokenizers[head]
    lm = _resource(options.lm, folder / "lm")
    # The directory's lexicon is written in the tokens of its default head.
    own = find_lexicon(folder) if head == model.default_head else None
    lexicon = _resource(options.lexicon, own)
    if tokenizer.units == "phones" and lexicon is None:
        raise UserError("a phone model is decoded with a lexicon: --lexicon FILE, or --decoder greedy")
    rnn = _rescoring_lm(folder, model.config.decoding, options)
    if rnn is not None and lm is None:
        raise UserError("--rescore: needs the n-gram of the first pass; give --lm")
    return BeamParts(
        tokenizer,
        model.frame_shift,
        None if lm is None else NGram.load(lm),
        None if lexicon is None else load_lexicon_trie(lexicon, tokenizer),
        options.hotwords,
        read_prior(folder, head),
        None if rnn is None else load_rnn_lm(rnn, fast_eight_bits()),
    )


def _pronounce(word: str) -> "list[tuple[str, ...]]":
    """Pronunciations of a hotword that the lexicon lacks."""
    from asr.g2p import pronounce

    return pronounce(word, 2)


def load_decoder(folder: Path, model: "AcousticModel", options: DecodingOptions) -> Decoder:
    """The decoder of a model directory, behind its speech gate where it has one.

    Raises:
        UserError: an unknown decoder, head or setting, a missing LM or lexicon, or a phone model without
            lexicon.
    """
    check_settings(model.config.decoding, model.config.heads)
    gate = load_gate(model, choose_head(model.config, options), options)
    decoder = _ungated_decoder(folder, model, options)
    return decoder if gate is None else GatedDecoder(decoder, gate)


def _ungated_decoder(folder: Path, model: "AcousticModel", options: DecodingOptions) -> Decoder:
    defaults = model.config.decoding
    if decoder_name(defaults, options.decoder) == "greedy":
        _refuse_beam_options(options)
        return GreedyDecoder(model, choose_head(model.config, options))

    config = beam_config(defaults, options)
    decoder = _beam_search(folder, model, options, config)
    pause = phrase_pause(defaults, options)
    if not pause:
        return decoder
    from asr.pauses import pause_tokens

    tokens = pause_tokens(model.tokenizers[choose_head(model.config, options)])
    return PhraseDecoder(decoder, pause, model.frame_shift, tokens, config.nbest)


def _beam_search(
    folder: Path, model: "AcousticModel", options: DecodingOptions, config: BeamConfig
) -> Decoder:
    parts, defaults = load_beam_parts(folder, model, options), model.config.decoding
    if "lm_weight" in options.settings and parts.lm is None:
        raise UserError("--lm-weight: needs a language model; give --lm")
    rescoring = rescoring_config(defaults)
    rescorer = parts.rescorer(config.lm_weight, rescoring)
    searched = config if rescorer is None else config_for_rescoring(config, rescoring)
    search = parts.decoder(searched)
    if "word_score" in options.settings and not search.words:
        raise UserError("--word-score: needs words, of a language model or a lexicon; give one")
    return BeamSearch(search) if rescorer is None else RescoredBeamSearch(search, rescorer, config.nbest)


def _rescoring_lm(folder: Path, defaults: dict[str, Any], options: DecodingOptions) -> Path | None:
    """The recurrent LM to use: the user's, or the directory's if its configuration has a ``rescoring``.

    The directory's is to be mixed with an n-gram: ``--lm none`` does without both.
    """
    own = folder / "rescoring_lm" if defaults.get("rescoring") and options.lm != NONE else None
    return _resource(options.rescore, own)


def _resource(given: str | None, default: Path | None) -> Path | None:
    """A file or folder that the user named, else the model directory's where it has one."""
    if given == NONE:
        return None
    if given is not None:
        if not exists(given):
            raise UserError(f"{given}: no such file or folder")
        return Path(given)
    return default if default is not None and exists(default) else None


def prior_file(head: str) -> str:
    """Where a model directory keeps the mean posterior of each token of a head."""
    return f"prior.{head}.txt"


def read_prior(folder: Path, head: str) -> list[float] | None:
    """Mean posterior of each token, one a line, where the directory has them."""
    path = folder / prior_file(head)
    if not is_file(path):
        return None
    try:
        return [float(line) for line in path.read_text().split()]
    except ValueError as error:
        raise UserError(f"{path}: must hold one number a line ({error})") from error


def write_prior(folder: Path, head: str, prior: "ArrayLike") -> None:
    """Keep the mean posterior of each token ``(vocabulary,)`` in a model directory."""
    import numpy as np

    from asr.files import atomic_write

    with atomic_write(folder / prior_file(head)) as stream:
        stream.writelines(f"{value:.8g}\n" for value in np.asarray(prior).tolist())


def _refuse_beam_options(options: DecodingOptions) -> None:
    """A flag that would change nothing is a mistake, not a wish to be ignored."""
    given = {
        "--lm": options.lm not in (None, NONE),
        "--lexicon": options.lexicon not in (None, NONE),
        "--hotwords": options.hotwords is not None,
        "--rescore": options.rescore not in (None, NONE),
        "--nbest": options.nbest not in (None, 1),
        "--pause": options.pause is not None,
        **{f"--{key.replace('_', '-')}": True for key in options.settings},
    }
    unused = [flag for flag, present in given.items() if present]
    if unused:
        raise UserError(f"{', '.join(unused)}: only with --decoder beam")
