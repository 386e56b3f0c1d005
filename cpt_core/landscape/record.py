"""What was measured, as it is written to a file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Loss = float | None
"""Mean loss; null where it is NaN or infinite."""


class LandscapeError(Exception):
    """A landscape cannot be measured. The message says what to do."""


class RecordModel(BaseModel):
    """Base of the parts of the record."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Sharpness(RecordModel):
    """How much the loss rises, on average, when the weights move by a given share of themselves.

    S(rho) = E_d[L(w + rho d)] - L(w), over random filter-normalised directions d: the average-case adaptive sharpness
    of Andriushchenko et al. (2023, arXiv 2302.07011), which adapts to the size of the weights, with the size taken
    filter by filter as in Li et al. (2018, arXiv 1712.09913). Smaller is flatter; in the unit of the loss.
    """

    rho: Annotated[float, Field(gt=0)]
    """Distance from the weights, as a share of each filter's norm."""
    directions: Annotated[int, Field(ge=2)]
    """Directions averaged over."""
    mean: Loss
    """S(rho); null if the loss is not finite in some direction."""
    standard_error: Loss
    """Of the mean, over the directions; null as the mean is."""


class Surface(RecordModel):
    """The loss around the weights of one checkpoint."""

    name: str
    """The spec's name."""
    checkpoint: str
    """The checkpoint's folder, as it was given."""
    sha256: str
    """Digest of the checkpoint's manifest, which has the digests of its files."""
    step: int
    """Steps trained."""
    model: str
    """The model's name."""
    dataset: str
    """The dataset's name or folder."""
    bits: int
    """Bit width of weights and activations in evaluation; 32 is full precision."""
    samples: int
    """Test samples evaluated on."""
    loss: float
    """Mean loss of the checkpoint itself: the centre of the grid."""
    accuracy: float | None
    """Top-1 accuracy of the checkpoint itself; null for language models."""
    sharpness: Sharpness
    """Of the checkpoint's minimum."""
    losses: list[list[Loss]]
    """Mean loss at w + x d_1 + y d_2: one row for each y, one column for each x, both as in `coordinates`."""


class Landscape(RecordModel):
    """The loss around one or more checkpoints, on the same grid and the same random draw."""

    format: Literal[1] = 1
    """Version of this layout."""
    seed: int
    """Seed of the directions and of the choice of samples."""
    coordinates: list[float]
    """Where on either axis the loss was taken; 1 moves each filter by its own norm."""
    surfaces: Annotated[list[Surface], Field(min_length=1)]
    """One for each checkpoint."""
