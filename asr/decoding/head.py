"""Which of a model's CTC heads is decoded."""

from typing import TYPE_CHECKING

from asr.decoding.options import DecodingOptions
from asr.decoding.settings import decoder_name

if TYPE_CHECKING:
    from asr.model import ModelConfig


def choose_head(config: "ModelConfig", options: DecodingOptions) -> str:
    """The head to decode: the default one, but greedily one that writes words, where there is one.

    Raises:
        UserError: the model has no head of that name.
    """
    chosen = config.find_head(options.head)
    if options.head is not None:
        return chosen
    decoder = decoder_name(config.decoding, options.decoder)
    if decoder != "greedy" or config.heads[chosen].units != "phones":
        return chosen
    return next((name for name, head in config.heads.items() if head.units != "phones"), chosen)
