"""Flashlight's lexicon decoder as torchaudio wraps it, set to search what our beam search does.

    pip install flashlight-text kenlm      # wheels up to Python 3.12, and a C++ build

What must be said for both to mean the same:

- KenLM gives flashlight logarithms of base 10; ours are natural, hence the factor on the LM weight.
- Flashlight completes a word with the separator and drops every hypothesis that ends inside a word. So each
  utterance gets one more frame that is surely the separator; ours takes it as silence.
- At the root of its tree flashlight repeats only the separator: a unit that ends a word would last a single
  frame. Without separators (phones) it does not search CTC's alignments, and cannot be compared.
- It takes the best alignment of a hypothesis or sums them (``log_add``), as ours with ``sum_alignments``.
- Its beam counts a prefix once with a blank at the end and once without, and every history of words; ours
  counts a prefix once, and histories that the n-gram cannot tell apart once. At equal beam ours sees more.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr.decoding.config import BeamConfig
from asr.manifest import Utterance
from asr.model import Model
from asr.recognition import decode_utterances
from asr.tokenizer import SPACE, Tokenizer

Decode = Callable[[NDArray[np.float32]], tuple[str, float]]


def flashlight_decoder(
    tokenizer: Tokenizer, words: Iterable[str], arpa: Path, config: BeamConfig, folder: Path
) -> Decode:
    """Emissions ``(frames, vocabulary)`` to the best text and its score, by flashlight.

    Args:
        tokenizer: One of characters.
        words: The lexicon, spelled with the tokenizer.
        arpa: The language model.
        config: Settings; those that flashlight has none of must be off.
        folder: Where the lexicon and tokens can be written.
    """
    from torchaudio.models.decoder import ctc_decoder

    separator = SPACE
    lines = (
        f"{word} {' '.join(tokenizer.tokens[token] for token in tokenizer.encode(word))} {separator}\n"
        for word in words
    )
    (folder / "lexicon.txt").write_text("".join(lines))
    decoder = ctc_decoder(
        lexicon=str(folder / "lexicon.txt"),
        tokens=tokenizer.tokens,
        lm=str(arpa),
        beam_size=config.beam_size,
        beam_size_token=config.max_tokens or len(tokenizer.tokens),
        beam_threshold=config.beam_threshold,
        lm_weight=config.lm_weight * math.log(10),
        word_score=config.word_score,
        log_add=config.sum_alignments,
        blank_token=tokenizer.tokens[0],
        sil_token=separator,
        unk_word="<unk>",
    )

    def decode(emissions: NDArray[np.float32]) -> tuple[str, float]:
        found = decoder(torch.from_numpy(emissions)[None])[0]
        return (" ".join(found[0].words), found[0].score) if found else ("", -math.inf)

    return decode


def compute_emissions(
    model: Model, utterances: Sequence[Utterance], head: str
) -> list[tuple[Utterance, NDArray[np.float32]]]:
    """Log-probabilities ``(frames, vocabulary)`` of each utterance that can be read."""
    found = decode_utterances(
        model,
        lambda emissions, frames: [
            np.ascontiguousarray(each[:count]) for each, count in zip(emissions.numpy(), frames, strict=True)
        ],
        utterances,
        head,
    )
    for failure in found.failures:
        print(failure)
    return [
        (each, emissions)
        for each, emissions in zip(utterances, found.results, strict=True)
        if emissions is not None
    ]


def with_separator(emissions: NDArray[np.float32], tokenizer: Tokenizer) -> NDArray[np.float32]:
    """Emissions with one more frame, surely the separator."""
    last = np.full((1, emissions.shape[1]), -100.0, dtype=np.float32)
    last[0, tokenizer.tokens.index(SPACE)] = 0.0
    return np.concatenate([emissions, last])
