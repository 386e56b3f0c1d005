"""The loss at points around the weights of any module."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cpt_core.landscape.directions import Direction, filter_normalized
from cpt_core.landscape.record import LandscapeError, Loss, Sharpness

Measure = Callable[[], float]
"""The loss of the module as it is now; NaN or infinite where it has none."""

SHARPNESS_DIRECTIONS = 20
"""Directions that the sharpness is averaged over."""


def coordinates(points: int, radius: float) -> list[float]:
    """`points` places from -radius to radius, evenly spaced, the middle one exactly 0.

    Raises:
        LandscapeError: an even number or fewer than 3, or no positive radius.
    """
    if points < 3 or points % 2 == 0:
        raise LandscapeError(
            f"A grid of {points} points has none in its centre, where the checkpoint is: use 3, 5, 7, …"
        )
    if not (radius > 0 and math.isfinite(radius)):
        raise LandscapeError(f"The radius must be above 0, not {radius}.")
    half = points // 2
    return [radius * index / half for index in range(-half, half + 1)]


def losses(model: nn.Module, measure: Measure, places: list[float], seed: int) -> list[list[Loss]]:
    """The loss at w + x d_1 + y d_2, a row for each y in `places`, a column for each x.

    The model ends with the weights it had, to the last bit.

    Args:
        model: any module.
        measure: takes its loss.
        places: coordinates on either axis.
        seed: of the two directions.
    """
    with _weights(model) as (weights, move):
        across, up = (filter_normalized(weights, seed, "axis", axis) for axis in (0, 1))

        def at(x: float, y: float) -> Loss:
            move((x, across), (y, up))
            return _finite(measure())

        return [[at(x, y) for x in places] for y in places]


def sharpness(
    model: nn.Module, measure: Measure, rho: float, seed: int, directions: int = SHARPNESS_DIRECTIONS
) -> Sharpness:
    """The average-case adaptive sharpness of the model's weights; see `Sharpness` for its definition and source.

    The model ends with the weights it had, to the last bit.

    Args:
        model: any module.
        measure: takes its loss.
        rho: distance, as a share of each filter's norm.
        seed: of the directions, which are others than those of the plane.
        directions: how many to average over, 2 or more.

    Raises:
        LandscapeError: no positive `rho`.
    """
    if not (rho > 0 and math.isfinite(rho)):
        raise LandscapeError(f"rho must be above 0, not {rho}.")
    with _weights(model) as (weights, move):
        base, rises = measure(), list[float]()
        for index in range(directions):
            move((rho, filter_normalized(weights, seed, "sharpness", index)))
            rises.append(measure() - base)
    mean = error = None
    if all(map(math.isfinite, rises)):
        mean = statistics.fmean(rises)
        error = statistics.stdev(rises) / math.sqrt(directions)
    return Sharpness(rho=rho, directions=directions, mean=mean, standard_error=error)


def _finite(value: float) -> Loss:
    return value if math.isfinite(value) else None


@contextmanager
def _weights(model: nn.Module) -> Iterator[tuple[dict[str, Tensor], Callable[..., None]]]:
    """The model's weights, and a function that moves it to the weights plus some (distance, direction)s."""
    parameters = dict(model.named_parameters())
    weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def move(*terms: tuple[float, Direction]) -> None:
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
            for distance, direction in terms:
                parameter.add_(direction[name], alpha=distance)

    try:
        yield weights, move
    finally:
        move()
