"""A decoder-only transformer language model (Vaswani et al. 2017; layer norm first, learned positions)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cpt_core.models.registry import register_model


@register_model("transformer_lm")
class TransformerLM(nn.Module):
    """Embeddings of tokens and positions, causal transformer layers, and a decoder to the vocabulary.

    Args:
        num_classes: words of the vocabulary.
        d_model: width of the residual stream.
        num_layers: layers.
        num_heads: attention heads of a layer.
        feed_forward: width of a layer's hidden part.
        max_length: longest sequence.
        dropout: probability of dropping.
    """

    def __init__(
        self,
        num_classes: int,
        d_model: int = 512,
        num_layers: int = 6,
        num_heads: int = 8,
        feed_forward: int = 2048,
        max_length: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, d_model)
        self.position = nn.Embedding(max_length, d_model)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                d_model, num_heads, feed_forward, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.decoder = nn.Linear(d_model, num_classes)
        for embedding in (self.embedding, self.position):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (batch, time) to logits (batch, time, vocabulary); a position sees itself and what is before it."""
        length = tokens.shape[1]
        x = self.dropout(self.embedding(tokens) + self.position(torch.arange(length, device=tokens.device)))
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=x.device, dtype=x.dtype)
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        logits: Tensor = self.decoder(self.norm(x))
        return logits
