"""A package with models of its own, as pip leaves it in a folder."""

from pathlib import Path

CODE = """
import torch
from torch import nn


class TinyNet(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(width, 8, 3))
        self.head = nn.Linear(8, num_classes)

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))


class TinyLM(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.embedding = nn.Embedding(num_classes, width)
        self.rnn = nn.LSTM(width, width, batch_first=True)
        self.hidden = nn.Linear(width, width)
        self.decoder = nn.Linear(width, num_classes)

    def forward(self, tokens, state=None):
        hidden, state = self.rnn(self.embedding(tokens), state)
        return self.decoder(self.hidden(hidden)), state


def no_module(num_classes):
    return "a model"


def fails(num_classes, width):
    raise ZeroDivisionError("no width")
"""

ENTRY_POINTS = """
[cpt_service.models]
acme/tiny_net = acme_models:TinyNet
acme/tiny_lm = acme_models:TinyLM
acme/no_module = acme_models:no_module
acme/fails = acme_models:fails
acme/gone = acme_models.gone:Net
"""


def install(folder: Path, *, name: str = "acme-models", entry_points: str = ENTRY_POINTS) -> Path:
    """Install it into `folder`, which has to be on the path of Python, and return that."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "acme_models.py").write_text(CODE)
    information = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entry_points)
    return folder
