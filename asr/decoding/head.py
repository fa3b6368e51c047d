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
    if options.head is not None:
        return config.check_head(options.head)
    default = config.default_head
    decoder = decoder_name(config.decoding, options.decoder)
    if decoder != "greedy" or config.heads[default].units != "phones":
        return default
    return next((name for name, head in config.heads.items() if head.units != "phones"), default)
