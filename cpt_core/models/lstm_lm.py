"""A word-level LSTM language model (Zaremba et al., "Recurrent neural network regularization", 2014: two layers)."""

from __future__ import annotations

from torch import Tensor, nn

from cpt_core.models.registry import register_model

State = tuple[Tensor, Tensor]


@register_model("lstm_lm")
class LstmLM(nn.Module):
    """An embedding, LSTM layers with dropout between, before and after them, and a decoder to the vocabulary.

    Args:
        num_classes: words of the vocabulary.
        hidden_size: units of each layer, and of the embedding. 650 is Zaremba's medium model.
        num_layers: layers.
        dropout: probability of dropping.
    """

    def __init__(self, num_classes: int, hidden_size: int = 650, num_layers: int = 2, dropout: float = 0.5) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, hidden_size)
        self.lstm = nn.LSTM(
            hidden_size, hidden_size, num_layers, batch_first=True, dropout=dropout if num_layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(hidden_size, num_classes)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.05, 0.05)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Tokens (batch, time) to logits (batch, time, vocabulary) and the state, (layers, batch, hidden) twice.

        `state` is the one returned for the preceding stretch of text, detached; None at the start.
        """
        hidden, last = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.decoder(self.dropout(hidden)), last
