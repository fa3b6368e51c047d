"""The likeliest pronunciations of words under a grapheme-to-phoneme model."""

import math
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache

import torch

from asr.errors import UserError
from asr.g2p.model import LETTERS, G2p, encode, load_g2p
from asr.lexicon.files import Pronunciation
from asr.tokenizer import PHONES

#: Phones less likely than this in a frame are not followed.
_NEGLIGIBLE = 1e-4
#: Prefixes kept from frame to frame, and words that the network reads at once.
_BEAM_SIZE, _BATCH_SIZE = 8, 512


def nbest(
    model: G2p,
    words: Iterable[str],
    n: int = 1,
    report: Callable[[int], None] = lambda _: None,
) -> dict[str, list[tuple[Pronunciation, float]]]:
    """The ``n`` best pronunciations of each word, best first, with their log-probabilities.

    Args:
        model: The network.
        words: Upper-case words of letters A–Z and apostrophes.
        n: How many; fewer come back where the beam holds fewer.
        report: Called after each batch with the number of words done in it.

    Raises:
        UserError: a word has another character, or no letter.
    """
    # Words of like length together, so that little of a batch is padding.
    todo = sorted(dict.fromkeys(words), key=len)
    for word in todo:
        _check(word)
    found: dict[str, list[tuple[Pronunciation, float]]] = {}
    for start in range(0, len(todo), _BATCH_SIZE):
        batch = todo[start : start + _BATCH_SIZE]
        with torch.inference_mode():
            emissions, lengths = model(*encode(batch))
        for word, frames, length in zip(batch, emissions.exp().tolist(), lengths.tolist(), strict=True):
            found[word] = _prefix_search(frames[:length], _BEAM_SIZE)[:n]
        report(len(batch))
    return found


def pronounce(word: str, n: int = 1, model: str = "en") -> list[Pronunciation]:
    """The ``n`` best pronunciations of a word or name as it is written, by a model that ships or a directory.

    Accents are dropped (``Zoë`` is read as ``ZOE``).

    Raises:
        UserError: the word has a character that is no Latin letter, or no letter at all.
    """
    return [phones for phones, _ in nbest(_load_once(model), [plain(word)], n)[plain(word)]]


def plain(word: str) -> str:
    """A word in capital letters A–Z and straight apostrophes, where it can be written so."""
    decomposed = unicodedata.normalize("NFKD", word.upper().replace("’", "'"))
    return "".join(symbol for symbol in decomposed if not unicodedata.combining(symbol))


@cache
def _load_once(model: str) -> G2p:
    return load_g2p(model)


def _check(word: str) -> None:
    if not set(word) <= set(LETTERS) or not word.strip("'"):
        raise UserError(f"{word!r} cannot be pronounced: write it with the letters A–Z and apostrophes")


def _prefix_search(frames: list[list[float]], beam_size: int) -> list[tuple[Pronunciation, float]]:
    """CTC prefix beam search over the probabilities of one word, ``frames`` × ``phones``.

    A prefix has two probabilities: of the paths that end in a blank, and of those that end in its last phone.
    """
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (1.0, 0.0)}
    for probabilities in frames:
        blank = probabilities[0]
        likely = [(k, p) for k, p in enumerate(probabilities) if k and p > _NEGLIGIBLE]
        grown: dict[tuple[int, ...], tuple[float, float]] = {}
        for prefix, (after_blank, after_phone) in beam.items():
            last = prefix[-1] if prefix else 0
            total = after_blank + after_phone
            old = grown.get(prefix, (0.0, 0.0))
            grown[prefix] = (old[0] + total * blank, old[1] + after_phone * probabilities[last])
            for phone, p in likely:
                longer = (*prefix, phone)
                old = grown.get(longer, (0.0, 0.0))
                # A phone straight after itself is the same phone: only paths over a blank repeat it.
                grown[longer] = (old[0], old[1] + p * (after_blank if phone == last else total))
        best = sorted(grown.items(), key=lambda item: (-sum(item[1]), item[0]))[:beam_size]
        beam = dict(best)
    return [
        (tuple(PHONES[phone] for phone in prefix), math.log(sum(mass)))
        for prefix, mass in beam.items()
        if prefix and sum(mass) > 0
    ]
