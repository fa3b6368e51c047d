import pytest
import torch

from asr.decoding.greedy import greedy_decode
from asr.decoding.head import choose_head
from asr.decoding.options import DecodingOptions
from asr.errors import UserError
from asr.model import load_network
from asr.tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer()


def emissions_of(*paths: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Emissions whose best paths are the strings, ``_`` being the blank; padding is NaN."""
    lengths = torch.tensor([len(path) for path in paths])
    emissions = torch.full((len(paths), int(lengths.max()), len(TOKENIZER.tokens)), float("nan"))
    for row, path in zip(emissions, paths, strict=True):
        for frame, symbol in enumerate(path):
            logits = torch.zeros(len(TOKENIZER.tokens))
            logits[0 if symbol == "_" else TOKENIZER.tokens.index(symbol)] = 5.0
            row[frame] = logits.log_softmax(-1)
    return emissions, lengths


def test_repeats_merge_unless_a_blank_parts_them():
    (hypothesis,) = greedy_decode(*emissions_of("_HHE_LL_LO_"), TOKENIZER)
    assert hypothesis.text == "HELLO"
    assert hypothesis.frames == (1, 3, 5, 8, 9)
    assert [TOKENIZER.tokens[token] for token in hypothesis.tokens] == list("HELLO")


def test_padding_is_never_used():
    emissions, lengths = emissions_of("A|B", "ABCDEF")
    together = greedy_decode(emissions, lengths, TOKENIZER)
    alone = greedy_decode(emissions[:1, :3], lengths[:1], TOKENIZER)
    assert together[0].text == alone[0].text == "A B"
    assert together[0].score == pytest.approx(alone[0].score)


def test_separators_at_the_ends_leave_no_spaces():
    assert greedy_decode(*emissions_of("|_|A||_|B|"), TOKENIZER)[0].text == "A B"


def test_score_is_the_log_probability_of_the_path():
    emissions, lengths = emissions_of("AB_")
    assert greedy_decode(emissions, lengths, TOKENIZER)[0].score == pytest.approx(
        emissions.max(-1).values.sum().item()
    )


def test_nothing_said_is_empty_text():
    assert greedy_decode(*emissions_of("____"), TOKENIZER)[0].text == ""
    empty = greedy_decode(torch.zeros(2, 0, 29), torch.zeros(2, dtype=torch.long), TOKENIZER)
    assert [hypothesis.text for hypothesis in empty] == ["", ""]


def test_nan_emissions_are_refused():
    emissions, lengths = emissions_of("AB")
    emissions[0, 1, 3] = float("nan")
    with pytest.raises(UserError, match="NaN"):
        greedy_decode(emissions, lengths, TOKENIZER)


def test_greedy_writes_words_where_a_head_can(beam_model):
    model = load_network(beam_model)
    model.config.decoding = {"head": "phones", "decoder": "beam"}
    assert choose_head(model.config, DecodingOptions()) == "phones"
    assert choose_head(model.config, DecodingOptions(decoder="greedy")) == "characters"
    assert choose_head(model.config, DecodingOptions(decoder="greedy", head="phones")) == "phones"
    # It is no different where greedy is what the model is decoded by.
    model.config.decoding = {"head": "phones"}
    assert choose_head(model.config, DecodingOptions()) == "characters"
    assert choose_head(model.config, DecodingOptions(decoder="beam")) == "phones"
