"""Contours side by side on one colour scale. The only module that needs matplotlib."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from cpt_core.landscape.record import Landscape, Surface

COLORS = "cividis"
"""Even in lightness, and the same to people who do not tell red from green (Nuñez et al. 2018)."""
COLUMNS = 4
PANEL_INCHES = 2.7
DPI = 300
MOST_LEVELS = 12
SHADES = 128
STEPS = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
"""Round numbers within a decade, from dense to sparse."""

Array = npt.NDArray[np.float64]


def draw(landscape: Landscape, path: Path) -> None:
    """Draw the surfaces to `path`, in the format its ending names: .png, .pdf or .svg.

    Raises:
        OSError: the file cannot be written.
    """
    figure = make_figure(landscape)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")


def make_figure(landscape: Landscape) -> Figure:
    """A panel for each surface. All have the same axes, contour levels and colours, which one bar explains."""
    grids = [np.array(surface.losses, dtype=np.float64) for surface in landscape.surfaces]
    norm = color_scale(grids)
    levels = contour_levels(float(norm.vmin or 0), float(norm.vmax or 1))
    columns = min(len(grids), COLUMNS)
    rows = math.ceil(len(grids) / columns)
    size = (PANEL_INCHES * columns + 1.0, (PANEL_INCHES + 1.0) * rows)
    figure = Figure(figsize=size, layout="compressed")
    FigureCanvasAgg(figure)  # not pyplot: no display, no global state
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(grids) :]:
        axes.set_visible(False)
    for index, (axes, grid, surface) in enumerate(zip(panels.flat, grids, landscape.surfaces, strict=False)):
        filled = _panel(axes, landscape.coordinates, grid, norm, levels)
        _label(axes, surface, left=index % columns == 0, bottom=index + columns >= len(grids))
    bar = figure.colorbar(
        filled, ax=panels, aspect=30, pad=0.02, ticks=FixedLocator(levels), format=FuncFormatter(_short)
    )
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.tick_params(labelsize=7)
    bar.set_label("test loss", fontsize=8)
    return figure


def color_scale(grids: list[Array]) -> LogNorm:
    """The logarithmic scale from the lowest to the highest loss of all grids; at most six decades."""
    every = np.concatenate([grid[np.isfinite(grid)] for grid in grids])
    highest = float(every.max()) or 1.0
    lowest = max(float(every.min()), highest * 1e-6)
    return LogNorm(lowest, highest if highest > lowest else lowest * 1.01)


def contour_levels(lowest: float, highest: float) -> list[float]:
    """Round numbers between two losses, as dense as can still be told apart; evenly spaced ones if these are close."""
    decades = range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)
    for steps in STEPS:
        levels = [step * 10.0**decade for decade in decades for step in steps]
        levels = [level for level in levels if lowest < level < highest]
        if len(levels) <= MOST_LEVELS:
            break
    return levels if len(levels) >= 3 else [float(level) for level in np.linspace(lowest, highest, 7)[1:-1]]


def _panel(axes: Axes, places: list[float], grid: Array, norm: LogNorm, levels: list[float]) -> Any:
    masked = np.ma.masked_invalid(np.clip(grid, norm.vmin, norm.vmax))
    shades = np.geomspace(float(norm.vmin or 0), float(norm.vmax or 1), SHADES)
    filled = axes.contourf(places, places, masked, levels=shades, norm=norm, cmap=COLORS)
    filled.set_edgecolor("face")  # no seams in vector formats
    lines = axes.contour(places, places, masked, levels=levels, colors="white", linewidths=0.6)
    for label in axes.clabel(lines, fmt=_short, fontsize=6):
        label.set_path_effects([withStroke(linewidth=1.2, foreground="black")])
    axes.plot(0, 0, marker="+", color="white", markersize=6, markeredgewidth=1)
    axes.locator_params(nbins=5)
    axes.set_facecolor("0.85")  # where there is no finite loss
    axes.set_aspect("equal")
    axes.tick_params(labelsize=7)
    return filled


def _label(axes: Axes, surface: Surface, *, left: bool, bottom: bool) -> None:
    quality = f"loss {surface.loss:.3g}" if surface.accuracy is None else f"accuracy {surface.accuracy:.1%}"
    sharpness, bits = surface.sharpness, "fp32" if surface.bits == 32 else f"{surface.bits} bits"
    facts = [f"{surface.model}, step {surface.step:,}", f"{bits}, {quality} on {surface.samples:,} samples"]
    if sharpness.mean is not None:
        facts.append(f"sharpness {sharpness.mean:.3g} ± {sharpness.standard_error:.1g} (rho = {sharpness.rho:g})")
    # Names are the user's: a dollar sign in one starts no formula.
    name = textwrap.shorten(surface.name, 40, placeholder="…")
    axes.set_title("\n".join([name, *facts]), fontsize=7.5, parse_math=False)
    if left:
        axes.set_ylabel("direction 2 (filter norms)", fontsize=8)
    if bottom:
        axes.set_xlabel("direction 1 (filter norms)", fontsize=8)


def _short(value: float, _position: int | None = None) -> str:
    return f"{value:.3g}"
