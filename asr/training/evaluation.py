"""Error rates of a network on a development set, shared among the processes."""

from collections.abc import Iterator, Mapping, Sequence

import torch

from asr.batching import Item, pack
from asr.decoding.greedy import greedy_decode
from asr.decoding.unit_search import best_paths
from asr.denominator import UnitNgram
from asr.errors import UserError
from asr.manifest import Utterance
from asr.model import Model
from asr.padding import padded
from asr.scoring import Score, score
from asr.tokenizer import Tokenizer, UnknownSymbol
from asr.training.data import AudioStore, encode_utterance
from asr.training.distributed import Ranks


def check_spelling(utterances: Sequence[Utterance], model: Model) -> None:
    """Whether the default head can be measured on a development set at all.

    Raises:
        UserError: it cannot write a single text, so that nothing could be wrong.
    """
    if utterances and not _writable(utterances, model.tokenizers[model.default_head]):
        example = utterances[0].text or ""
        raise UserError(
            f"data.dev: head {model.default_head} can write none of its texts, such as {example!r}: "
            "letters or words that it does not know"
        )


def unwritable(utterances: Sequence[Utterance], model: Model) -> Iterator[str]:
    """Lines that say what of a development set the error rate of a head leaves out."""
    for name, tokenizer in model.tokenizers.items():
        texts = len(utterances)
        if missing := texts - len(_writable(utterances, tokenizer)):
            yield f"data.dev: {missing} of {texts} texts do not count: head {name} cannot write them"


class DevelopmentSet:
    """Utterances with their audio, decoded by every head without lexicon or language model.

    Greedily, and by the denominator's n-gram where a head is trained against one. A head's error rate counts
    what it writes: words where its tokens make words, phones otherwise.

    Attributes:
        utterances, audio: The utterances and their waveforms, as they are (``asr evaluate`` evens levels).
        batches: The utterances in batches of like length.
    """

    def __init__(self, utterances: Sequence[Utterance], sample_rate: int, cache: str, seconds: float) -> None:
        self.utterances = utterances
        self.audio = AudioStore(utterances, sample_rate, cache)
        items = [Item(index, 0, 1.0, utterance.duration) for index, utterance in enumerate(utterances)]
        self.batches = pack(sorted(items, key=lambda item: item.duration), seconds)

    @torch.inference_mode()
    def evaluate(
        self, model: Model, ranks: Ranks, denominators: Mapping[str, UnitNgram]
    ) -> tuple[dict[str, Score], dict[str, str]]:
        """Score of each head, and one example hypothesis of each; the same on every process."""
        model.eval()
        found: dict[str, dict[str, str]] = {name: {} for name in model.heads}
        for batch in self.batches[ranks.rank :: ranks.processes]:
            waveforms, lengths = padded([self.audio[item.index] for item in batch])
            features, frames = model.frontend(waveforms.to(ranks.device), lengths.to(ranks.device))
            logits, frames = model.logits(features, frames, list(model.heads))
            for name, scores in zip(model.heads, logits, strict=True):
                emissions, tokenizer = scores.log_softmax(-1).cpu(), model.tokenizers[name]
                if name in denominators:
                    hypotheses = best_paths(emissions, frames.cpu(), tokenizer, denominators[name])
                else:
                    hypotheses = greedy_decode(emissions, frames.cpu(), tokenizer)
                for item, hypothesis in zip(batch, hypotheses, strict=True):
                    found[name][self.utterances[item.index].id] = hypothesis.text
        model.train()
        return self._scores(model, ranks.gather(found))

    def _scores(
        self, model: Model, parts: list[dict[str, dict[str, str]]]
    ) -> tuple[dict[str, Score], dict[str, str]]:
        scores, examples = {}, {}
        for name, tokenizer in model.tokenizers.items():
            hypotheses = {key: text for part in parts for key, text in part[name].items()}
            references = _writable(self.utterances, tokenizer)
            scores[name] = score(references, {key: hypotheses[key] for key in references})
            examples[name] = hypotheses[self.utterances[len(self.utterances) // 2].id]
        return scores, examples


def _writable(utterances: Sequence[Utterance], tokenizer: Tokenizer) -> dict[str, str]:
    """The texts that a head can write, as it would, by utterance id."""
    references = {}
    for utterance in utterances:
        try:
            written = tokenizer.decode(encode_utterance(utterance, tokenizer))
        except UnknownSymbol:
            continue
        references[utterance.id] = written if tokenizer.units == "phones" else utterance.text or ""
    return references
