"""The encoder: equal to torch's own layers, blind to the batch, and the same piece by piece."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.encoder import CELLS, SUBSAMPLING, Encoder, EncoderConfig, RecurrentStack
from asr.errors import UserError
from asr.subsampling import STRIDES, build_subsampling

BINS = 10
PEERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def encoder(seed: int = 0, **options: Any) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(EncoderConfig(**{"layers": 2, "hidden_size": 12, "channels": 8} | options), BINS).eval()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def torch_peer(
    stack: RecurrentStack, cell: str, nonlinearity: str, input_size: int, hidden: int
) -> nn.RNNBase:
    """``nn.LSTM`` (GRU, RNN) with the weights of the stack."""
    options = {"nonlinearity": nonlinearity} if cell == "rnn" else {}
    peer = PEERS[cell](
        input_size,
        hidden,
        num_layers=len(stack.layers),
        bidirectional=stack.bidirectional,
        batch_first=True,
        **options,
    )
    for number, layer in enumerate(stack.layers):
        for suffix, direction in (("", layer.forward_pass), ("_reverse", layer.backward_pass)):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if direction is not None else ():
                getattr(peer, f"{name}_l{number}{suffix}").data.copy_(getattr(direction, name).data)
    return peer


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(
    ("cell", "nonlinearity"), [("rnn", "tanh"), ("rnn", "relu"), ("lstm", "tanh"), ("gru", "tanh")]
)
def test_layers_equal_torchs_packed_ones_in_value_and_gradient(
    cell: str, nonlinearity: str, bidirectional: bool
) -> None:
    torch.manual_seed(1)
    config = EncoderConfig(
        cell=cell,
        nonlinearity=nonlinearity,
        bidirectional=bidirectional,
        layers=2,
        hidden_size=16,
        residual=False,
        layer_norm=False,
        dropout=0.0,
    )
    stack = RecurrentStack(config, 12)
    for name, parameter in stack.named_parameters():
        if "bias" in name:
            parameter.data.uniform_(-0.3, 0.3)
    peer = torch_peer(stack, cell, nonlinearity, 12, 16)
    lengths = torch.tensor([3, 17, 1, 11])
    ours, theirs = (random(4, 17, 12).requires_grad_() for _ in range(2))

    outputs, _ = stack(ours, lengths)
    packed, _ = peer(pack_padded_sequence(theirs, lengths, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True, total_length=17)
    valid = (torch.arange(17) < lengths[:, None]).unsqueeze(2)
    torch.testing.assert_close(outputs[-1] * valid, expected, atol=1e-5, rtol=0)

    target = random(*expected.shape, seed=2) * valid
    (outputs[-1] * target).sum().backward()
    (expected * target).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=0)
    for number, layer in enumerate(stack.layers):
        for suffix, direction in (("", layer.forward_pass), ("_reverse", layer.backward_pass)):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if direction is not None else ():
                theirs_ = getattr(peer, f"{name}_l{number}{suffix}").grad
                torch.testing.assert_close(getattr(direction, name).grad, theirs_, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("factor", STRIDES)
@pytest.mark.parametrize("subsampling", SUBSAMPLING)
@pytest.mark.parametrize("cell", CELLS)
def test_an_utterance_is_encoded_alike_alone_and_in_any_batch(
    cell: str, subsampling: str, factor: int, bidirectional: bool
) -> None:
    model = encoder(
        cell=cell, subsampling=subsampling, subsampling_factor=factor, bidirectional=bidirectional
    )
    lengths = [23, 1, 12, 0, 37, 5]
    batch = torch.zeros(len(lengths), 41, BINS)
    for row, length in enumerate(lengths):
        batch[row, :length] = random(length, BINS, seed=row)
    with torch.no_grad():
        outputs, frames = model(batch, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            assert frames[row] == -(-length // factor)
            if length:
                alone, _ = model(batch[row : row + 1, :length], torch.tensor([length]))
                assert alone[-1].shape[1] == frames[row]
                torch.testing.assert_close(outputs[-1][row, : frames[row]], alone[-1][0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", STRIDES)
@pytest.mark.parametrize("subsampling", SUBSAMPLING)
@pytest.mark.parametrize("cell", CELLS)
def test_pieces_of_odd_sizes_are_encoded_as_the_whole(cell: str, subsampling: str, factor: int) -> None:
    model = encoder(cell=cell, subsampling=subsampling, subsampling_factor=factor, bidirectional=False)
    for frames in (1, 2, 7, 30, 31):
        features = random(2, frames, BINS, seed=frames)
        with torch.no_grad():
            whole, _ = model(features, torch.tensor([frames, frames]))
            for sizes in ((1,), (2, 1), (5, 0, 3), (13,), (frames,)):
                pieces, state, start, number = [], None, 0, 0
                while start < frames:
                    size = sizes[number % len(sizes)]
                    number += 1
                    piece = features[:, start : start + size]
                    start += size
                    outputs, state = model.stream(piece, state, final=start >= frames)
                    pieces.append(outputs[-1])
                torch.testing.assert_close(torch.cat(pieces, 1), whole[-1], atol=1e-5, rtol=0)


def test_an_end_without_further_frames_gives_what_was_held_back() -> None:
    for subsampling in SUBSAMPLING:
        model = encoder(subsampling=subsampling, subsampling_factor=4, bidirectional=False)
        features = random(1, 10, BINS)
        with torch.no_grad():
            whole, _ = model(features, torch.tensor([10]))
            first, state = model.stream(features, None)
            last, _ = model.stream(features[:, :0], state, final=True)
            nothing, _ = model.stream(features[:, :0], None, final=True)
        torch.testing.assert_close(torch.cat([first[-1], last[-1]], 1), whole[-1], atol=1e-5, rtol=0)
        assert nothing[-1].shape == (1, 0, model.output_size)


@pytest.mark.parametrize("subsampling", ["conv2d", "conv1d"])
def test_new_blocks_change_nothing(subsampling: str) -> None:
    plain, deeper = (encoder(subsampling=subsampling, blocks=blocks) for blocks in (0, 2))
    deeper.load_state_dict(plain.state_dict(), strict=False)
    features, lengths = random(1, 21, BINS), torch.tensor([21])
    with torch.no_grad():
        assert torch.equal(deeper(features, lengths)[0][-1], plain(features, lengths)[0][-1])


@pytest.mark.parametrize("factor", STRIDES)
@pytest.mark.parametrize("subsampling", ["conv2d", "conv1d"])
def test_blocks_hear_neighbouring_frames_and_no_padding(subsampling: str, factor: int) -> None:
    blocks = build_subsampling(subsampling, BINS, factor, channels=8, blocks=2).eval()
    for name, parameter in blocks.named_parameters():
        if "narrow" in name:
            nn.init.normal_(parameter)
    features = random(2, 43, BINS)
    features[1, 29:] = 0
    with torch.no_grad():
        whole, frames = blocks(features, torch.tensor([43, 29]))
        alone, count = blocks(features[1:, :29], torch.tensor([29]))
        torch.testing.assert_close(whole[1:, : frames[1]], alone, atol=1e-5, rtol=0)
        assert frames[1] == count == alone.shape[1] == -(-29 // factor)
        changed = features.clone()
        changed[:, 20 * factor :] = 0
        differs = (blocks(changed[:1], torch.tensor([43]))[0] != whole[:1]).any(2)[0].nonzero()
        assert differs[0] <= 20 - 2  # each block hears a frame before and one behind
        pieces, state = [], None
        for start in range(0, 43, 5):
            piece, state = blocks.stream(features[:1, start : start + 5], state, start + 5 >= 43)
            pieces.append(piece)
    torch.testing.assert_close(torch.cat(pieces, 1), whole[:1], atol=1e-5, rtol=0)


def test_stacked_frames_have_no_blocks() -> None:
    with pytest.raises(UserError, match=r"encoder\.blocks"):
        encoder(subsampling="stack", blocks=1)


def test_a_bidirectional_encoder_refuses_to_stream() -> None:
    with pytest.raises(UserError, match="bidirectional"):
        encoder(bidirectional=True).stream(random(1, 8, BINS))


def test_projection_sets_the_size_of_every_layer() -> None:
    model = encoder(projection=5, layers=3)
    outputs, _ = model(random(2, 16, BINS), torch.tensor([16, 9]))
    assert [output.shape[2] for output in outputs] == [5, 5, 5]
    assert model.output_size == 5
    assert encoder().output_size == 24
    assert encoder(bidirectional=False).output_size == 12


def test_a_residual_connection_adds_the_input_where_sizes_agree() -> None:
    lengths = torch.tensor([16, 9])
    plain = encoder(residual=False, subsampling="conv1d")
    residual = encoder(residual=True, subsampling="conv1d")
    with torch.no_grad():
        (first, second), _ = plain(random(2, 16, BINS), lengths)
        (first_too, sum_), _ = residual(random(2, 16, BINS), lengths)
    torch.testing.assert_close(first_too, first)  # its input has another size
    torch.testing.assert_close(sum_, first + second)


def test_layer_norm_hides_the_scale_of_a_layers_input() -> None:
    lengths = torch.tensor([16])
    for layer_norm in (True, False):
        stack = encoder(layer_norm=layer_norm, residual=False).recurrent
        x = random(1, 16, 24)
        with torch.no_grad():
            one, many = stack(x, lengths)[0][-1], stack(100 * x, lengths)[0][-1]
        assert torch.allclose(one, many, atol=1e-3) == layer_norm


def test_dropout_draws_one_mask_for_all_frames_and_only_in_training() -> None:
    model = encoder(dropout=0.5, layers=1, residual=False, hidden_size=64)
    x, lengths = random(2, 32, BINS), torch.tensor([32, 32])
    with torch.no_grad():
        clean = model(x, lengths)[0][0]
        torch.testing.assert_close(model(x, lengths)[0][0], clean, atol=0, rtol=0)
        model.train()
        noisy = model(x, lengths)[0][0]
    kept = noisy != 0
    assert (kept.all(1) | ~kept.any(1)).all()
    assert 0.3 < kept.float().mean() < 0.7
    assert not torch.equal(kept[0], kept[1])
    torch.testing.assert_close(noisy[kept], 2 * clean[kept])


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_dropout_leaves_out_what_comes_from_the_frame_before_and_only_in_training(
    cell: str,
) -> None:
    model = encoder(cell=cell, recurrent_dropout=0.5, dropout=0.0, layers=1, bidirectional=False)
    x, lengths = random(2, 32, BINS), torch.tensor([32, 32])
    with torch.no_grad():
        clean = model(x, lengths)[0][0]
        torch.testing.assert_close(model(x, lengths)[0][0], clean, atol=0, rtol=0)
        model.train()
        first, second = model(x, lengths)[0][0], model(x, lengths)[0][0]
    torch.testing.assert_close(first[:, 0], clean[:, 0])
    assert (first[:, 1:] - clean[:, 1:]).abs().max() > 0.01
    assert (first - second).abs().max() > 0.01


def test_gradients_reach_only_the_recurrent_weights_that_dropout_kept() -> None:
    model = encoder(recurrent_dropout=0.5, dropout=0.0, layers=1).train()
    model(random(2, 32, BINS), torch.tensor([32, 32]))[0][0].square().sum().backward()
    for direction in (model.recurrent.layers[0].forward_pass, model.recurrent.layers[0].backward_pass):
        assert 0.35 < (direction.weight_hh.grad == 0).float().mean() < 0.65
        assert (direction.weight_ih.grad != 0).all()


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_of_one_frame_are_those_of_the_kernel(cell: str, nonlinearity: str) -> None:
    torch.manual_seed(0)
    shape = EncoderConfig(cell=cell, nonlinearity=nonlinearity, bidirectional=False, layers=2)
    stack = RecurrentStack(replace(shape, hidden_size=12, projection=8), 8).eval()
    x = random(3, 6, 8)
    with torch.inference_mode():
        expected = stack(x, torch.full((3,), 6))[0][-1]
        state = None
        for frame in range(6):
            y, state = stack.step(x[:, frame], state)
            torch.testing.assert_close(y, expected[:, frame], atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this CPU has no bfloat16 kernels"
)
@pytest.mark.parametrize("subsampling", SUBSAMPLING)
@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_is_close_to_float32(cell: str, subsampling: str) -> None:
    model = encoder(cell=cell, subsampling=subsampling, hidden_size=32)
    x, lengths = random(2, 40, BINS), torch.tensor([40, 23])
    gradients = []
    for precision in (torch.float32, torch.bfloat16):
        model.zero_grad()
        outputs, frames = model(x.to(precision), lengths)
        assert outputs[-1].dtype == precision
        output = outputs[-1].float() * (torch.arange(10) < frames[:, None]).unsqueeze(2)
        output.square().sum().backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
        if precision == torch.float32:
            exact = output.detach()
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert (output - exact).abs().max() < 0.05 * exact.abs().max()
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99


@pytest.mark.parametrize(
    ("option", "value"),
    [("cell", "transformer"), ("nonlinearity", "gelu"), ("subsampling", "pool"), ("subsampling_factor", 5)],
)
def test_a_value_outside_its_choices_is_named(option: str, value: object) -> None:
    with pytest.raises(UserError, match=f"encoder.{option}: {value!r} is not one of "):
        encoder(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("layers", 0), ("hidden_size", 0), ("channels", -1), ("projection", -1), ("blocks", -1)),
        *(("dropout", 1.0), ("recurrent_dropout", -0.1)),
    ],
)
def test_a_number_that_makes_no_encoder_is_named(option: str, value: object) -> None:
    with pytest.raises(UserError, match=f"encoder.{option}: {value!r}"):
        encoder(**{option: value})
