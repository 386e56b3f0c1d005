"""What a training costs, from its spec and its model's size alone: the sums that the run reports. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from cpt_core import cost
from cpt_core.range_test import Bounds
from cpt_core.schedules import Run, Schedule, runs
from cpt_core.spec import AutoPrecision, JobSpec
from cpt_core.spent import Spent


class Forecast(BaseModel):
    """What the whole training costs, beside static training at the highest bits and full precision."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    mean_forward_bits: float
    """Bit width of weights and activations, averaged over the steps."""
    mean_backward_bits: float
    """Bit width of the errors, averaged over the steps."""
    gbitops: float
    """GBitOPs."""
    gbitops_static: float
    """The same steps at the schedules' highest bits, forward and backward."""
    gbitops_fp32: float
    """The same steps in full precision."""
    saved_vs_static: float
    """1 - gbitops / gbitops_static."""
    saved_vs_fp32: float
    """1 - gbitops / gbitops_fp32."""
    modelled_joules: float
    """Energy by the per-operation model."""
    modelled_joules_static: float
    """The same steps at the highest bits."""
    modelled_joules_fp32: float
    """The same steps in full precision."""


def schedules(spec: JobSpec) -> list[Schedule]:
    """The bit widths of weights and activations over the steps.

    Where a precision range test has yet to find the bounds there are two: after the test the lowest width throughout,
    and the highest.
    """
    precision, steps = spec.precision, spec.steps
    if isinstance(precision, AutoPrecision) and spec.type == "training":
        extremes = (Bounds(min_bits=bits, max_bits=bits) for bits in (precision.min_bits, precision.max_bits))
        return [precision.forward_schedule(steps, bounds) for bounds in extremes]
    return [precision.forward_schedule(steps)]


def forecasts(spec: JobSpec, profile: cost.Profile) -> list[Forecast]:
    """The forecast for each of `schedules`."""
    backward = spec.precision.backward_schedule(spec.steps)
    return [forecast(spec, profile, list(runs(forward, backward, spec.steps))) for forward in schedules(spec)]


def forecast(spec: JobSpec, profile: cost.Profile, planned: Sequence[Run]) -> Forecast:
    """What a training of these runs costs, with a model whose work on a sample is `profile`."""
    steps, precision = spec.steps, spec.precision

    def spent(counted: Iterable[Run]) -> Spent:
        total = Spent(profile, spec.samples_per_step)
        total.add_all(counted)
        return total

    total = spent(planned)
    static = spent([Run(0, steps, precision.max_bits, precision.max_gradient_bits)])
    full = spent([Run(0, steps, 32, 32)])
    compared = cost.compare(
        total.gbitops, profile.macs, steps * spec.samples_per_step, precision.max_bits, precision.max_gradient_bits
    )
    return Forecast(
        mean_forward_bits=sum(run.forward_bits * (run.stop - run.start) for run in planned) / steps,
        mean_backward_bits=sum(run.backward_bits * (run.stop - run.start) for run in planned) / steps,
        gbitops=compared.gbitops,
        gbitops_static=compared.gbitops_static,
        gbitops_fp32=compared.gbitops_fp32,
        saved_vs_static=compared.saved_vs_static,
        saved_vs_fp32=compared.saved_vs_fp32,
        modelled_joules=total.modelled_joules,
        modelled_joules_static=static.modelled_joules,
        modelled_joules_fp32=full.modelled_joules,
    )
