"""Curves of a job as a picture.

Drawn with matplotlib, which notebooks, scripts and papers take alike, and which `cpt landscape` draws with too; the
interactive charts are the dashboard's.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from cpt_client.errors import MissingPartError

try:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise MissingPartError("matplotlib", extra="plot") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cpt_client.metrics import Sampled
    from cpt_client.models import Job

KEYS = ("loss", "accuracy", "forward_bits", "backward_bits")
"""What is drawn unless something else is asked for."""

LABELS = {"forward_bits": "bits", "backward_bits": "bits", "accuracy": "training accuracy"}
"""Names of the axes of metrics that are not called so; those with the same name share one."""

WIDTH, HEIGHT = 8.0, 1.8
"""Size of an axis in inches."""


class Picture(Figure):
    """A matplotlib figure that shows itself in a notebook, whatever its backend."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def draw(job: Job, sampled: Sampled) -> Picture:
    """The curves one below the other on a shared axis of steps; metrics without a value are left out."""
    series = {key: points for key, points in sampled.series.items() if points}
    panels: dict[str, list[str]] = {}
    for key in series:
        panels.setdefault(LABELS.get(key, key.replace("_", " ")), []).append(key)
    picture = Picture(figsize=(WIDTH, HEIGHT * max(1, len(panels)) + 0.6), layout="constrained")
    axes = picture.subplots(max(1, len(panels)), sharex=True, squeeze=False)[:, 0]
    for axis, (label, keys) in zip(axes, panels.items(), strict=False):
        _panel(axis, label, {key: series[key] for key in keys})
    axes[-1].set_xlabel("step")
    # A name is the user's: dollar signs in it are no formula.
    picture.suptitle(f"{job.name} ({job.id}, {job.state})", fontsize="medium", parse_math=False)
    return picture


def _panel(axis: Axes, label: str, curves: dict[str, list[tuple[int, float]]]) -> None:
    for key, points in curves.items():
        steps, values = zip(*points, strict=True)
        is_bits = key.endswith("_bits")
        axis.plot(steps, values, linewidth=1.2, drawstyle="steps-post" if is_bits else "default", label=key)
        if is_bits:
            axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylabel(label)
    axis.grid(alpha=0.3)
    if len(curves) > 1:
        axis.legend(loc="best", fontsize="small")
