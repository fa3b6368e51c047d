"""Minimum word error rate training (Prabhavalkar et al. 2018, after Kaiser et al. 2000).

CTC and CTC-CRF make the whole target likely. What is counted in the end is wrong words in what a search with
a lexicon and a language model finds: here such a search goes along in training, and the readings it finds
are made likelier the fewer wrong words they have beside the others.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.beam import NBest
from asr.decoding.loading import load_beam_parts
from asr.decoding.options import NONE, DecodingOptions
from asr.decoding.settings import beam_config, rescoring_config
from asr.errors import UserError
from asr.loss import ctc_loss
from asr.model import Model, find_model, read_config
from asr.padding import padded
from asr.scoring.alignment import number_words
from asr.scoring.edit_distance import edit_distances
from asr.training.config import WordErrorsConfig

# A reading whose likelihood changes the expected number of errors by less is not worth its sum of paths.
_LEAST_SLOPE = 1e-3


class WordErrors:
    """The expected number of wrong words among the readings that a search finds.

    Args:
        config: Whose language model, lexicon and decoding weights search, and how widely.
        model: The network that is trained; its default head is searched.

    Raises:
        UserError: the model directory is none, what it searches with does not fit the head, or it has no
            recurrent language model to score anew with.
    """

    def __init__(self, config: WordErrorsConfig, model: Model) -> None:
        folder = find_model(config.model)
        recurrent = folder / "rescoring_lm"
        if config.rescore and not ((folder / "lm").exists() and recurrent.exists()):
            raise UserError(f"loss.word_errors.rescore: {folder} must have an lm and a rescoring_lm")
        options = DecodingOptions(
            "beam",
            model.default_head,
            rescore=str(recurrent) if config.rescore else NONE,
            nbest=config.nbest,
            settings={"beam_size": config.beam_size},
        )
        parts, defaults = load_beam_parts(folder, model, options), read_config(folder).decoding
        self._decoder = parts.decoder(beam_config(defaults, options))
        self._rescorer = parts.rescorer(self._decoder.config.lm_weight, rescoring_config(defaults))
        self._scale = config.posterior_scale

    def __call__(self, logits: Tensor, lengths: Tensor, references: Sequence[str]) -> Tensor:
        """Expected word errors of each utterance.

        A reading's probability is its share in those of its list, as the search or the recurrent language
        model scores them; only what the network says of it, the likelihood of its tokens, has a gradient.

        Args:
            logits: float32 ``(batch, frames, tokens)``, not normalised; token 0 is the blank.
            lengths: int64 ``(batch,)``, valid frames.
            references: What was said, words with single spaces between.

        Returns:
            float32 ``(batch,)``.
        """
        emissions = logits.detach().log_softmax(-1).cpu()
        lists = self._decoder.search_batch(emissions, lengths.cpu())
        scores = self._scores(lists)
        said = [reference for reference, found in zip(references, lists, strict=True) for _ in found.texts]
        (wanted, read), words = number_words(said, [text for found in lists for text in found.texts])
        wrong = np.split(
            edit_distances(wanted, read, len(words)), np.cumsum([len(found.texts) for found in lists])[:-1]
        )
        expected, rows, slopes, tokens = [], [], [], []
        for row, (found, score, errors) in enumerate(zip(lists, scores, wrong, strict=True)):
            share = np.exp(score - np.logaddexp.reduce(score))
            expected.append(float(share @ errors))
            for reading, slope in enumerate(self._scale * share * (errors - expected[-1])):
                if abs(slope) > _LEAST_SLOPE:
                    rows.append(row)
                    slopes.append(slope)
                    tokens.append(torch.from_numpy(found.tokens(reading)).long())
        values = torch.tensor(expected, dtype=torch.float32, device=logits.device)
        if not rows:
            return values + 0.0 * logits.sum((1, 2))
        taken = torch.tensor(rows, device=logits.device)
        targets, counts = (each.to(logits.device) for each in padded(tokens))
        losses = ctc_loss(logits[taken], lengths[taken], targets, counts)
        weighted = losses * torch.tensor(slopes, dtype=torch.float32, device=logits.device)
        downhill = torch.zeros_like(values).index_add(0, taken, weighted.masked_fill(losses.isinf(), 0.0))
        return values - downhill + downhill.detach()

    def _scores(self, lists: Sequence[NBest]) -> list[NDArray[np.float64]]:
        """Logarithms of the readings' probabilities in each list, up to a constant: ``(readings,)``."""
        found = [each.scores for each in lists] if self._rescorer is None else self._rescorer.scores(lists)
        return [self._scale * np.asarray(scores) for scores in found]
