"""Training a grapheme-to-phoneme model on a dictionary, and measuring it on the words held out."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from asr.errors import UserError
from asr.g2p.model import G2p, G2pConfig, encode
from asr.g2p.search import nbest
from asr.lexicon import Dictionary, Pronunciation, base_form
from asr.tokenizer import PHONES

_IDS = {phone: number for number, phone in enumerate(PHONES)}


def split_dictionary(dictionary: Dictionary, held_out: float, seed: int) -> tuple[Dictionary, Dictionary]:
    """Divide the words into those to train on and those held out.

    A base word and its inflections (WALK, WALKED, WALKER'S) stay on one side, so that no held-out word is
    answered by a sibling. Words with other characters than A–Z and the apostrophe are left out.

    Raises:
        UserError: fewer than 100 words, too few to learn from.
    """
    families: dict[str, list[str]] = {}
    for word in dictionary:
        if re.fullmatch("[A-Z']+", word):
            families.setdefault(base_form(word, dictionary), []).append(word)
    words = sum(map(len, families.values()))
    if words < 100:
        raise UserError(f"the dictionary has only {words} words of letters A–Z: too few to train on")
    order = sorted(families)
    random.Random(seed).shuffle(order)
    held: Dictionary = {}
    for family in order:
        if len(held) >= held_out * words:
            break
        held |= {word: dictionary[word] for word in families[family]}
    kept = {word: dictionary[word] for family in order for word in families[family] if word not in held}
    return kept, held


def train_g2p(
    train: Dictionary, config: G2pConfig, report: Callable[[int, int, float], None] = lambda *_: None
) -> G2p:
    """Train a model.

    Args:
        train: Words and their pronunciations; each epoch takes one pronunciation of each word at random.
        config: Shape and training.
        report: Called after each epoch with its number, that of all epochs, and the mean loss a word.

    Returns:
        The model with its averaged weights.
    """
    torch.manual_seed(config.training.seed)
    order = random.Random(config.training.seed)
    examples = {word: _trainable(word, pronunciations, config) for word, pronunciations in train.items()}
    examples = {word: targets for word, targets in examples.items() if targets}
    model = G2p(config)
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        model.precision = torch.bfloat16
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.training.average))
    optimizer = torch.optim.AdamW(
        model.parameters(),
        config.training.learning_rate,
        (0.9, 0.98),
        weight_decay=config.training.weight_decay,
    )
    steps = config.training.epochs * -(-len(examples) // config.training.batch_size)
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
        report(epoch, config.training.epochs, total / len(examples))
    best = cast(G2p, averaged.module.eval())
    best.precision = torch.float32
    return best


def _trainable(word: str, pronunciations: Sequence[Pronunciation], config: G2pConfig) -> list[list[int]]:
    """The targets that CTC can fit into the frames of a word: one a phone and one between equal phones."""
    frames = config.frames_per_letter * len(word)
    needed = [len(p) + sum(a == b for a, b in pairwise(p)) for p in pronunciations]
    return [[_IDS[phone] for phone in p] for p, n in zip(pronunciations, needed, strict=True) if n <= frames]


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
        distances = [(_distance(best, reference), len(reference)) for reference in pronunciations]
        distance, length = min(distances)
        errors, phones, wrong = errors + distance, phones + length, wrong + (distance > 0)
    return {
        "phone_error_rate": round(100 * errors / phones, 2),
        "word_error_rate": round(100 * wrong / len(held), 2),
        "words": len(held),
    }


def _distance(first: Pronunciation, second: Pronunciation) -> int:
    """Levenshtein distance."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
