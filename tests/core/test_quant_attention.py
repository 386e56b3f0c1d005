"""Quantised attention and transformer layers: torch's, with quantised projections."""

import pytest
import torch
from torch import nn

from cpt_core.quant import QuantMultiheadAttention, quantize_model

T, B, E = 6, 3, 8


def pair(**options) -> tuple[QuantMultiheadAttention, nn.MultiheadAttention]:
    torch.manual_seed(0)
    layer = QuantMultiheadAttention(E, 2, dtype=torch.float64, **options)
    expected = nn.MultiheadAttention(E, 2, dtype=torch.float64, **options)
    expected.load_state_dict(layer.state_dict(), strict=False)
    layer.bit_widths.set(16, 16)
    return layer, expected


def tokens(batch_first: bool = False, features: int = E, time: int = T) -> torch.Tensor:
    shape = (B, time, features) if batch_first else (time, B, features)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(features + time))


CAUSAL = nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64)
PADDING = torch.arange(T) >= torch.tensor([[6], [4], [5]])
CALLS = [
    {},
    {"need_weights": False},
    {"average_attn_weights": False},
    {"attn_mask": CAUSAL},
    {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False},
    {"attn_mask": CAUSAL < 0},
    {"key_padding_mask": PADDING},
    {"key_padding_mask": PADDING, "attn_mask": CAUSAL < 0, "is_causal": True},
    {"attn_mask": CAUSAL.repeat(2 * B, 1, 1)},
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_at_16_bits_it_agrees_with_torch_in_results_and_gradients(call, batch_first):
    layer, expected = pair(batch_first=batch_first)
    x, y = (tokens(batch_first).requires_grad_() for _ in range(2))
    got, want = layer(x, x, x, **call), expected(y, y, y, **call)
    got[0].square().sum().backward()
    want[0].square().sum().backward()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-3)
    torch.testing.assert_close(x.grad, y.grad, rtol=0, atol=1e-2)
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(layer.get_parameter(name).grad, parameter.grad, rtol=0, atol=2e-2)


def test_keys_and_values_may_have_other_sizes_and_lengths():
    layer, expected = pair(kdim=5, vdim=7)
    args = tokens(), tokens(features=5, time=9), tokens(features=7, time=9)
    torch.testing.assert_close(layer(*args), expected(*args), rtol=0, atol=1e-3)


def test_it_works_without_a_batch():
    layer, expected = pair()
    x = tokens()[:, 0]
    torch.testing.assert_close(layer(x, x, x), expected(x, x, x), rtol=0, atol=1e-3)


def test_in_full_precision_it_is_torchs():
    layer, expected = pair()
    layer.bit_widths.set(32, 32)
    x = tokens()
    torch.testing.assert_close(layer(x, x, x), expected(x, x, x), rtol=0, atol=0)


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_options_that_are_not_supported_are_refused(option):
    with pytest.raises(ValueError, match="skip it"):
        quantize_model(nn.Sequential(nn.MultiheadAttention(8, 2, **{option: True})))


def encoder(**options) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(E, 2, 16, dropout=0.0, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 2)


def test_a_transformer_encoder_quantises_its_attention_and_feed_forward_layers():
    state = quantize_model(encoder(), skip=[])
    assert state.layers == [
        f"layers.{index}.{name}" for index in (0, 1) for name in ("self_attn", "linear1", "linear2")
    ]


@pytest.mark.parametrize("call", [{}, {"src_key_padding_mask": PADDING}])
def test_evaluation_of_a_transformer_encoder_is_quantised_too(call):
    plain, model = encoder(), encoder()
    state = quantize_model(model, skip=[])
    x = tokens(batch_first=True).float()
    with torch.no_grad():
        for bits in (8, 2):
            state.set(bits, 8)
            model.train()
            for _ in range(40):
                model(x, **call)
            got, want = model.eval()(x, **call), plain.train()(x, **call)
            close = torch.allclose(got, want, atol=0.3)
            assert close == (bits == 8)
            assert not torch.equal(got, want)


def test_embeddings_and_norms_are_left_alone():
    model = nn.Sequential(nn.Embedding(10, E), nn.LayerNorm(E), nn.Linear(E, E), nn.Linear(E, 10))
    assert quantize_model(model).layers == ["2"]
    assert type(model[0]) is nn.Embedding
