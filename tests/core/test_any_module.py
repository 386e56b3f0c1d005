"""quantize_model and the cost count on modules that are built in other ways than ours."""

import torch
import torch.nn.functional as F
from torch import nn

from cpt_core import cost
from cpt_core.quant import quantize_model


def convolutional(*, inplace: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Hardswish(inplace=inplace),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def test_an_activation_in_place_right_after_a_quantised_layer_changes_nothing():
    gradients = []
    for inplace in (True, False):
        model = convolutional(inplace=inplace)
        state = quantize_model(model)
        state.set(4, 6)
        state.reseed(3)
        model(torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


class Bypassing(nn.Module):
    """Holds a layer for its weight, as the attention of some vision transformers does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.held, self.last = nn.Linear(4, 6), nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.linear(input=self.first(x), weight=self.held.weight))


def test_a_weight_used_past_its_layer_is_counted_once_and_so_is_a_layer_that_is_called():
    assert cost.macs(Bypassing(), (4,)) == 4 * 6 + 6 * 8 + 8 * 2


def test_layers_named_as_bypassed_are_left_alone_and_no_longer_claimed():
    model = Bypassing()
    model.bypassed_layers = ("held",)
    assert quantize_model(model).layers == ["first"]
    assert type(model.held) is nn.Linear


class Peeking(nn.Module):
    """Looks at values, which the meta device does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x if x.sum() == 0 else x[:0])


def test_a_model_that_looks_at_values_is_counted_too():
    assert cost.macs(Peeking(), (4,)) == 4 * 3


class Words(nn.Module):
    """Tokens in, though its first layer is no embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout, self.embedding, self.decoder = nn.Dropout(), nn.Embedding(10, 4), nn.Linear(4, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.dropout(self.embedding(tokens)))


def test_a_sample_of_one_dimension_is_tokens_where_there_is_an_embedding():
    assert cost.macs(Words(), (3,)) == 3 * 4 * 10


def test_attention_called_by_keyword_is_counted():
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(query=x, key=x, value=x, need_weights=False)[0]

    assert cost.macs(Attending(), (5, 8)) == 4 * 5 * 8 * 8
