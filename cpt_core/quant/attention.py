"""The quantised multi-head attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core.quant.layers import QuantizedLayer


class QuantMultiheadAttention(nn.MultiheadAttention, QuantizedLayer):
    """`torch.nn.MultiheadAttention` with its four projections quantised; same arguments, parameters and shapes.

    The products of activations with each other (scores, and weights times values) and the softmax are in full
    precision. `add_bias_kv` and `add_zero_attn` are not supported.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.init_quantization()

    def quantized_inputs(self) -> Sequence[str]:
        """Those of the three input projections, and that of the output projection."""
        return ("_q", "_k", "_v", "_out")

    def quantized_weights(self) -> Sequence[Tensor]:
        """Those of the projections of query, key, value and output."""
        inputs = (
            self.in_proj_weight.chunk(3)
            if self._qkv_same_embed_dim
            else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        )
        return [*inputs, self.out_proj.weight]

    def init_quantization(self, *args: Any, **kwargs: Any) -> None:
        """As for every quantised layer.

        Raises:
            ValueError: the layer has an option that is not supported.
        """
        if self.bias_k is not None or self.add_zero_attn:
            raise ValueError("attention with add_bias_kv or add_zero_attn cannot be quantised: skip it")
        super().init_quantization(*args, **kwargs)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `torch.nn.MultiheadAttention`, with the same masks and results."""
        if not self.bit_widths.quantize_forward:
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        batched = query.dim() == 3
        batch_dim = 0 if self.batch_first else 1
        if not batched:
            query, key, value = _unsqueeze_all(query, key, value, batch_dim)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        q, k, v = (self._heads(x) for x in self._project_inputs(query, key, value))
        mask = self._mask(q, k, attn_mask, key_padding_mask, is_causal, need_weights)
        context, weights = self._attend(q, k, v, mask, need_weights, is_causal)
        context = context.transpose(1, 2).flatten(2)
        context = context if self.batch_first else context.transpose(0, 1)
        y = self.linear(context, self.out_proj.weight, self.out_proj.bias, "_out", 3)
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            y, weights = y.squeeze(batch_dim), None if weights is None else weights.squeeze(0)
        return y, weights

    def _project_inputs(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """The projections, in the layout of the inputs. A tensor that comes in twice is rounded once."""
        inputs = {"_q": query, "_k": key, "_v": value}
        first = {name: next(other for other in inputs if inputs[other] is x) for name, x in inputs.items()}
        distinct = dict.fromkeys(first.values())
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        weights = self.quantized_weights()[:3]
        if self.on_codes(query):
            codes = {name: self.code_input(inputs[name].contiguous(), name) for name in distinct}
            return [
                self.linear_of_codes(x, codes[first[name]], weight, bias, product)
                for product, ((name, x), weight, bias) in enumerate(zip(inputs.items(), weights, biases, strict=True))
            ]
        rounded = {name: self.quantize_input(inputs[name], name) for name in distinct}
        return [
            self.quantize_output_gradient(F.linear(rounded[first[name]], self.quantize_weight(weight), bias), product)
            for product, (name, weight, bias) in enumerate(zip(inputs, weights, biases, strict=True))
        ]

    def _heads(self, x: Tensor) -> Tensor:
        """(batch, heads, time, head_dim) from the layout of the inputs."""
        x = x if self.batch_first else x.transpose(0, 1)
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(
        self,
        q: Tensor,
        k: Tensor,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
        is_causal: bool,
        need_weights: bool,
    ) -> Tensor | None:
        """Both masks as one that is added to the scores; None where there is none, or `is_causal` alone says it all."""
        if attn_mask is None and is_causal:
            raise ValueError("is_causal is a hint about attn_mask, which must be given too")
        if is_causal and key_padding_mask is None and not need_weights:
            return None
        merged = None
        if attn_mask is not None:
            merged = _additive(attn_mask, q.dtype)
            if merged.dim() == 3:  # (batch x heads, target, source)
                merged = merged.reshape(q.shape[0], self.num_heads, *merged.shape[1:])
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q.dtype).view(q.shape[0], 1, 1, k.shape[2])
            merged = padding if merged is None else merged + padding
        return merged

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool, is_causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            causal = is_causal and mask is None
            return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal), None
        scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5
        weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
        weights = F.dropout(weights, dropout)
        return weights @ v, weights


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask, true where there is no attention, as one to add."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))


def _unsqueeze_all(query: Tensor, key: Tensor, value: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """All unsqueezed; what was one tensor stays one tensor."""
    q = query.unsqueeze(dim)
    k = q if key is query else key.unsqueeze(dim)
    v = q if value is query else k if value is key else value.unsqueeze(dim)
    return q, k, v


def use_slow_paths(model: nn.Module) -> None:
    """Keep torch's transformer layers from their inference kernels, which would read the weights past our layers.

    torch.nn.TransformerEncoderLayer takes its fused path only for activations it has a number for, and
    torch.nn.TransformerEncoder makes nested tensors only for that path.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
