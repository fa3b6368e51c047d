"""Best-path decoding: the likeliest token of every frame, repeats merged, blanks removed.

Graves et al. 2006, "Connectionist Temporal Classification", section 3.2.
"""

import math
from typing import TYPE_CHECKING

from asr.errors import UserError
from asr.tokenizer import BLANK_ID
from asr.transcript import Hypothesis

if TYPE_CHECKING:
    import torch

    from asr.tokenizer import Tokenizer


def greedy_decode(
    emissions: "torch.Tensor", lengths: "torch.Tensor", tokenizer: "Tokenizer"
) -> list[Hypothesis]:
    """The best path of every utterance.

    Args:
        emissions: Log-probabilities, (batch, frames, vocabulary); what lies beyond an utterance's length
            is never used.
        lengths: Frames of each utterance, (batch,).
        tokenizer: Turns token ids into text.

    Returns:
        One hypothesis an utterance: its score is the path's log-probability, its frames are those where
        each token begins.

    Raises:
        UserError: an utterance's emissions hold NaN.
    """
    batch, frames, _ = emissions.shape
    if not frames:
        return [Hypothesis("")] * batch
    scores, path = emissions.float().max(dim=-1)
    inside = path.new_tensor(range(frames)) < lengths.to(path.device)[:, None]
    totals = scores.masked_fill(~inside, 0.0).sum(dim=1).tolist()
    starts = inside & (path != BLANK_ID)
    starts[:, 1:] &= path[:, 1:] != path[:, :-1]
    hypotheses = []
    for number, total in enumerate(totals):
        if math.isnan(total):
            raise UserError(f"utterance {number + 1} of the batch: emissions hold NaN; the model is broken")
        where = starts[number].nonzero()[:, 0]
        tokens = path[number, where].tolist()
        hypotheses.append(Hypothesis(tokenizer.decode(tokens), total, tuple(tokens), tuple(where.tolist())))
    return hypotheses
