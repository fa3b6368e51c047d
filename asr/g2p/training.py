"""Training a grapheme-to-phoneme model on a dictionary, and measuring it on the words held out."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import cast
from zlib import crc32

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from asr.errors import UserError
from asr.g2p.model import G2p, G2pConfig, encode
from asr.g2p.search import nbest
from asr.lexicon import Dictionary, Pronunciation
from asr.loss import frames_needed
from asr.precision import fast_bfloat16
from asr.scoring.edit_distance import edit_distance
from asr.tokenizer import PHONES

#: Over-eager on purpose: words joined for nothing (BROTH, BROTHER) do the split no harm.
_ENDINGS = "S|E|D|ED|ER|EST|Y|LY|I|ING?|NESS|LESS|FUL|MENT|ABLE|ABL|AL|IC|ION|IST|ISM|(?<=(.))\\2"
_IDS = {phone: number for number, phone in enumerate(PHONES)}


def split_dictionary(dictionary: Dictionary, held_out: float, seed: int) -> tuple[Dictionary, Dictionary]:
    """Divide the words into those to train on and those held out, about a share of ``held_out``.

    A hash of the stem decides, so a word and its inflections (WALK, WALKED, WALKER'S) stay on one side: no
    held-out word is answered by a sibling, and words added to a dictionary move no other. Words with other
    characters than A–Z and the apostrophe are left out.

    Raises:
        UserError: fewer than 100 words, too few to learn from, or none held out.
    """
    words = {word: phones for word, phones in dictionary.items() if re.fullmatch("[A-Z']+", word)}
    if len(words) < 100:
        raise UserError(f"the dictionary has only {len(words)} words of letters A–Z: too few to train on")
    held = {word for word in words if crc32(f"{seed} {_stem(word)}".encode()) < held_out * 2**32}
    if not held:
        raise UserError(f"training.held_out: {held_out:g} of {len(words)} words is none to measure with")
    return (
        {word: phones for word, phones in words.items() if word not in held},
        {word: phones for word, phones in words.items() if word in held},
    )


def _stem(word: str) -> str:
    """What is left of a word without apostrophes, inflections and common suffixes; three letters at least."""
    return re.sub(rf"(?<=...)({_ENDINGS})+$", "", word.replace("'", ""))


def train_g2p(
    train: Dictionary, config: G2pConfig, report: Callable[[int, float, G2p], None] = lambda *_: None
) -> G2p:
    """Train a model.

    Args:
        train: Words and their pronunciations; each epoch takes one pronunciation of each word at random.
        config: Shape and training.
        report: Called after each epoch with its number, the mean loss a word, and the averaged model.

    Returns:
        The model with its averaged weights.

    Raises:
        UserError: there is nothing to learn from.
    """
    torch.manual_seed(config.training.seed)
    order = random.Random(config.training.seed)
    examples = {word: _trainable(word, pronunciations, config) for word, pronunciations in train.items()}
    examples = {word: targets for word, targets in examples.items() if targets}
    if not examples:
        raise UserError("no pronunciation fits into its word's frames; raise frames_per_letter")
    model = G2p(config)
    if fast_bfloat16():
        model.precision = torch.bfloat16
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.training.average))
    best = cast(G2p, averaged.module.eval())
    best.precision = torch.float32
    optimizer = torch.optim.AdamW(
        model.parameters(),
        config.training.learning_rate,
        (0.9, 0.98),
        weight_decay=config.training.weight_decay,
    )
    # Of ten steps the rise would end where it begins, and be divided by nothing.
    steps = max(11, config.training.epochs * -(-len(examples) // config.training.batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.training.learning_rate, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    for epoch in range(1, config.training.epochs + 1):
        model.train()
        total = 0.0
        for words, targets in _batches(examples, config.training.batch_size, order):
            loss = _loss(model, words, targets)
            optimizer.zero_grad(set_to_none=True)
            (loss / len(words)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(model)
            total += loss.item()
        report(epoch, total / len(examples), best)
    return best


def _trainable(word: str, pronunciations: Sequence[Pronunciation], config: G2pConfig) -> list[list[int]]:
    """The targets that CTC can fit into the frames of a word: one a phone and one between equal phones."""
    frames = config.frames_per_letter * len(word)
    targets = ([_IDS[phone] for phone in phones] for phones in pronunciations)
    return [target for target in targets if frames_needed(target) <= frames]


def _batches(
    examples: dict[str, list[list[int]]], size: int, order: random.Random
) -> Iterator[tuple[list[str], list[list[int]]]]:
    """Words of like length together, in random order, each with one of its pronunciations."""
    words = list(examples)
    order.shuffle(words)
    words.sort(key=len)
    starts = list(range(0, len(words), size))
    order.shuffle(starts)
    for start in starts:
        batch = words[start : start + size]
        yield batch, [order.choice(examples[word]) for word in batch]


def _loss(model: G2p, words: list[str], targets: list[list[int]]) -> Tensor:
    """CTC loss, summed over the words."""
    emissions, frames = model(*encode(words))
    labels = torch.nn.utils.rnn.pad_sequence([torch.tensor(target) for target in targets], batch_first=True)
    lengths = torch.tensor([len(target) for target in targets])
    return functional.ctc_loss(emissions.transpose(0, 1), labels, frames, lengths, reduction="sum")


def measure_g2p(model: G2p, held: Dictionary) -> dict[str, float]:
    """Phone and word error rates in percent, against the nearest of each word's pronunciations."""
    hypotheses = nbest(model, held)
    errors = phones = wrong = 0
    for word, pronunciations in held.items():
        best = hypotheses[word][0][0] if hypotheses[word] else ()
        distances = [(edit_distance(reference, best), len(reference)) for reference in pronunciations]
        distance, length = min(distances)
        errors, phones, wrong = errors + distance, phones + length, wrong + (distance > 0)
    return {
        "phone_error_rate": round(100 * errors / phones, 2),
        "word_error_rate": round(100 * wrong / len(held), 2),
        "words": len(held),
    }
