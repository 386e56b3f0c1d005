"""What an amount of energy is in kilowatt-hours, and in greenhouse gases by the carbon intensity of its electricity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

JOULES_PER_KWH = 3.6e6

WORLD_AVERAGE = 445.0
"""Grams of CO2 per kWh of electricity, the world's average of 2024 (IEA, Electricity 2025, chapter "Emissions").

It counts what power stations emit. Figures over the whole life cycle are higher, and grids differ by a factor of 30.
"""

GridFactor = Annotated[float, Field(ge=0, le=2000, allow_inf_nan=False)]
"""Grams of CO2-equivalent per kWh of electricity. Lignite, the worst, stays below 2000."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """An amount of energy; None where it, or its grid, is not known."""

    kwh: float | None
    """Kilowatt-hours."""
    gco2e: float | None
    """Grams of CO2-equivalent."""


def footprint(joules: float | None, gco2e_per_kwh: float | None) -> Footprint:
    """The footprint of some joules of electricity of that carbon intensity. Nothing but the electricity counts."""
    if joules is None:
        return Footprint(None, None)
    kwh = joules / JOULES_PER_KWH
    return Footprint(kwh, None if gco2e_per_kwh is None else kwh * gco2e_per_kwh)
