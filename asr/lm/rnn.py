"""Recurrent language models (Mikolov et al. 2010): the next word from all the words before it.

An n-gram sees two or three words back; a recurrent network carries the whole sentence in its hidden state.
It is too slow to search with, so it rescores the n-best list of the beam search.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from asr.eight_bits import EightBitMatrix, put_eight_bits, step_in_eight_bits
from asr.encoder import EncoderConfig, RecurrentStack, State, linear
from asr.errors import UserError
from asr.files import atomic_write
from asr.lm.perplexity import Perplexity
from asr.lm.prefix_tree import PrefixTree
from asr.lm.table import BEGIN_ID, END_ID, SPECIAL_WORDS, UNKNOWN_ID
from asr.lm.text import PathLike, read_lines
from asr.packing import pack, unpack
from asr.padding import padded

_ASKED = 1024  # beginnings whose next words are asked for at once
# Beginnings heard together. In floating point always so many, with unused ones among them, since for other
# numbers of rows matrix products round in other ways, and a text would depend on what it is scored with.
_BLOCK = 64
_ROWS = 256  # of a softmax that are worked on at once: about half a megabyte
CONFIG, WEIGHTS, WORDS = "rnn.yaml", "model.safetensors", "words.txt"


@dataclass
class RNNLMConfig:
    """Shape of the network.

    Attributes:
        cell: ``rnn``, ``lstm`` or ``gru``.
        layers, hidden_size: Recurrent layers and their units.
        embedding_size: Size of a word's vector, and of what each layer hands on.
        dropout: Probability; one mask for a whole sentence.
        cutoffs: Ranks at which the adaptive softmax starts a cheaper cluster (Grave et al. 2017).
    """

    cell: str = "lstm"
    layers: int = 1
    hidden_size: int = 512
    embedding_size: int = 128
    dropout: float = 0.1
    cutoffs: list[int] = field(default_factory=lambda: [2000, 10000])


class RNNLM(nn.Module):
    """A word language model: embedding, recurrent layers, adaptive softmax.

    Attributes:
        words: Vocabulary, the most frequent first behind ``<unk>``, ``<s>``, ``</s>``.
        precision: dtype in which the recurrent layers and the softmax's products are trained.
        eight_bits: Whether sentences are scored in 8 bits.
    """

    def __init__(self, config: RNNLMConfig, words: Sequence[str]) -> None:
        super().__init__()
        self.config, self.words = config, list(words)
        self.word_ids = {word: number for number, word in enumerate(self.words)}
        self.precision = torch.float32
        self.eight_bits = False
        # Vectors of length 1 on average. Not of a normal distribution: on the device "meta", where models
        # are made that are read, it would load sympy.
        vectors = torch.empty(len(self.words), config.embedding_size)
        bound = (3 / config.embedding_size) ** 0.5
        self.embedding = nn.Embedding.from_pretrained(vectors.uniform_(-bound, bound), freeze=False)
        shape = EncoderConfig(
            cell=config.cell,
            bidirectional=False,
            layers=config.layers,
            hidden_size=config.hidden_size,
            projection=config.embedding_size,
            dropout=config.dropout,
        )
        self.recurrent = RecurrentStack(shape, config.embedding_size)
        self.norm = nn.LayerNorm(self.recurrent.output_size)
        cutoffs = [cutoff for cutoff in config.cutoffs if cutoff < len(self.words)]
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(
            self.recurrent.output_size, len(self.words), cutoffs or [len(self.words) - 1], div_value=2.0
        )

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities of the words of sentences.

        Args:
            ids: int64 ``(batch, words + 1)``, from ``<s>`` to ``</s>``, padded with anything valid.
            lengths: int64 ``(batch,)``, words to predict in each: those after ``<s>``.

        Returns:
            float32 ``(words in all,)``: of each word after ``<s>``, sentence after sentence.
        """
        outputs, _ = self.recurrent(self.embedding(ids[:, :-1]).to(self.precision), lengths)
        valid = torch.arange(ids.shape[1] - 1, device=ids.device) < lengths.unsqueeze(1)
        return self._log_probabilities(self.norm(outputs[-1][valid].float()), ids[:, 1:][valid])

    def _log_probabilities(self, hidden: Tensor, words: Tensor) -> Tensor:
        """What ``self.softmax`` says of words, with its matrix products in ``self.precision``.

        Args:
            hidden: float32 ``(words, output_size)``.
            words: int64 ``(words,)``.
        """
        softmax, hidden = self.softmax, hidden.to(self.precision)
        # In the head a cluster of rarer words counts as one word.
        cluster = torch.bucketize(words, words.new_tensor(softmax.cutoffs), right=True)
        in_head = torch.where(cluster == 0, words, softmax.shortlist_size + cluster - 1)
        scores = _log_probability(hidden, softmax.head, in_head)
        tails: Iterable[Any] = softmax.tail  # pairs of linear layers
        for number, (narrow, choose) in enumerate(tails):
            rows = (cluster == number + 1).nonzero().squeeze(1)
            inside = words[rows] - softmax.cutoffs[number]
            found = _log_probability(linear(hidden[rows], narrow), choose, inside)
            scores = scores.index_add(0, rows, found)
        return scores

    def use_eight_bits(self) -> None:
        """Score in 8 bits from now on (:mod:`asr.eight_bits`); learn and save no more."""
        step_in_eight_bits(self.recurrent)
        tails: Iterable[Any] = self.softmax.tail
        for layer in (self.softmax.head, *(layer for tail in tails for layer in tail)):
            put_eight_bits(layer)
        self.eight_bits = True

    def encode(self, words: Sequence[str]) -> list[int]:
        """Ids of a sentence with its begin and end."""
        return [BEGIN_ID, *(self.word_ids.get(word, UNKNOWN_ID) for word in words), END_ID]

    def word_scores(self, sentences: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
        """Natural log-probabilities of each sentence's words and its end: float32 ``(words + 1,)``.

        What sentences begin with alike is heard once.
        """
        return self.nbest_scores([sentences])[0]

    def nbest_scores(
        self, nbests: Sequence[Sequence[Sequence[str]]], context: int = 0
    ) -> list[list[NDArray[np.float32]]]:
        """As :meth:`word_scores`, for the sentences of n-best lists.

        Args:
            nbests: The sentences of each list, best first.
            context: A word of a list's sentences is scored once behind so many equal words, at the same
                place: in the better sentence (Liu et al. 2016, "Two efficient lattice rescoring methods using
                recurrent neural network language models"). 0: behind the same beginning only.
        """
        encoded = [[self.encode(words) for words in sentences] for sentences in nbests]
        scores = iter(self._scores(PrefixTree(encoded, context)))
        return [list(islice(scores, len(sentences))) for sentences in nbests]

    @torch.inference_mode()
    def _scores(self, tree: "PrefixTree") -> list[NDArray[np.float32]]:
        hidden = torch.empty(len(tree.words), self.recurrent.output_size)
        states: State | None = None
        for nodes, parents in tree.levels:
            blocks = []
            for first in range(0, len(nodes), _BLOCK):
                block = nodes[first : first + _BLOCK]
                unused = [] if self.eight_bits else [0] * (_BLOCK - len(block))
                inputs = self.embedding(torch.tensor([tree.words[node] for node in block + unused]))
                before = torch.tensor(parents[first : first + _BLOCK] + unused)
                after = None if states is None else [[part[before] for part in state] for state in states]
                outputs, after = self.recurrent.step(inputs, after)
                hidden[block] = self.norm(outputs[: len(block)])
                blocks.append(after)
            # Of each layer the parts of its state, for the beginnings of all blocks one after the other.
            states = [
                [torch.cat(parts) for parts in zip(*layer, strict=True)]
                for layer in zip(*blocks, strict=True)
            ]
        # In parts, since each takes a probability of every frequent word.
        asked = zip(hidden[tree.parents].split(_ASKED), torch.tensor(tree.words).split(_ASKED), strict=True)
        scores = torch.cat([self._log_probabilities(*part) for part in asked])
        return [scores[path].numpy() for path in tree.paths]


class _LogProbability(torch.autograd.Function):
    """Log-softmax of a product, asked for one entry of each row.

    Rows go through it a few at a time, so that they stay in the cache, and the gradient is written over
    what was saved: half the time of log-softmax and selection with ``autograd``.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, chosen: Tensor) -> Tensor:
        logits = hidden @ weight.t()
        total = torch.cat([part.float().logsumexp(1) for part in logits.split(_ROWS)])
        ctx.save_for_backward(hidden, weight, chosen, logits, total)
        return logits.gather(1, chosen.unsqueeze(1)).squeeze(1).float() - total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden, weight, chosen, logits, total = ctx.saved_tensors
        parts = (values.split(_ROWS) for values in (logits, total, chosen, gradient))
        for part, sums, columns, factors in zip(*parts, strict=True):
            change = part.float().sub_(sums.unsqueeze(1)).exp_().mul_(-factors.unsqueeze(1))
            change.scatter_add_(1, columns.unsqueeze(1), factors.unsqueeze(1))
            part.copy_(change)
        return logits @ weight, logits.t() @ hidden, None


def _log_probability(hidden: Tensor, layer: nn.Linear, chosen: Tensor) -> Tensor:
    """Of one output of a layer without bias for each row, float32 ``(rows,)``."""
    if isinstance(layer.weight, EightBitMatrix):
        return layer.weight.log_probabilities(hidden, chosen)
    scores: Tensor = _LogProbability.apply(hidden, layer.weight.to(hidden.dtype), chosen)
    return scores


def pad_sentences(sentences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids of sentences to ``(batch, longest)`` and the number of words to predict in each ``(batch,)``."""
    rows = [torch.tensor(sentence, dtype=torch.int64) for sentence in sentences]
    batch, lengths = padded(rows)
    return batch, lengths - 1


def measure_rnn_perplexity(model: RNNLM, paths: Sequence[PathLike]) -> Perplexity:
    """Score texts, a sentence a line, each by itself.

    Raises:
        UserError: a text cannot be read or there is no word in them.
    """
    total = Perplexity()
    for path in paths:
        # A word that is not UTF-8 is as unknown as any other.
        lines = (line.decode(errors="replace").split() for line in read_lines(path))
        while batch := list(islice((words for words in lines if words), 64)):
            for words, scores in zip(batch, model.word_scores(batch), strict=True):
                known = np.array(
                    [model.word_ids.get(word, UNKNOWN_ID) != UNKNOWN_ID for word in words] + [True]
                )
                total.sentences += 1
                total.words += len(scores)
                total.unknown += int((~known).sum())
                total.log_probability += float(scores.sum(dtype=np.float64))
                total.log_probability_known += float(scores[known].sum(dtype=np.float64))
    if not total.words:
        raise UserError(f"{', '.join(str(path) for path in paths)}: no words in the text")
    return total


def save_rnn_lm(folder: str | os.PathLike[str], model: RNNLM) -> None:
    """Write a model directory: configuration, vocabulary, weights in 6 bits (see :mod:`asr.packing`).

    They change the perplexity in its fourth digit.
    """
    assert not model.eight_bits
    folder = Path(folder)
    with atomic_write(folder / WORDS) as stream:
        stream.writelines(f"{word}\n" for word in model.words)
    with atomic_write(folder / WEIGHTS, "wb") as stream:
        stream.write(save(pack(model.named_parameters(), "int6")))
    with atomic_write(folder / CONFIG) as stream:
        yaml.safe_dump(asdict(model.config), stream, sort_keys=False)


def load_rnn_lm(folder: str | os.PathLike[str], eight_bits: bool = False) -> RNNLM:
    """Read a recurrent language model, to compute in 8 bits where :func:`asr.precision.fast_eight_bits`.

    Raises:
        UserError: a file is missing, or they do not fit together.
    """
    folder = Path(folder)
    try:
        content = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RNNLMConfig), content))
        assert isinstance(config, RNNLMConfig)
        words = (folder / WORDS).read_text(encoding="utf-8").split("\n")[:-1]
        if tuple(words[: len(SPECIAL_WORDS)]) != SPECIAL_WORDS:
            raise UserError(f"{folder / WORDS}: must begin with {', '.join(SPECIAL_WORDS)}")
        # Random weights that are replaced at once would take longer than reading the real ones.
        with torch.device("meta"):
            model = RNNLM(config, words)
        model.load_state_dict(unpack(load_file(folder / WEIGHTS)), assign=True)
    except (
        *(OSError, ValueError, RuntimeError),
        *(SafetensorError, OmegaConfBaseException, yaml.YAMLError),
    ) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}: no recurrent language model can be read here ({reason})") from error
    if eight_bits:
        model.use_eight_bits()
    return model.eval()
