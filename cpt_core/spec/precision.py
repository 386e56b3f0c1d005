"""Bit widths over the training."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from cpt_core.range_test import Bounds
from cpt_core.schedules import CyclicName, Period, Schedule, make, piecewise
from cpt_core.spec.base import Bits, SpecModel, field_error


class Cycle(SpecModel):
    """A bit width that cycles between two bounds."""

    pointer: ClassVar[str]
    """Where in a spec it stands."""

    schedule: CyclicName
    """`cosine` is CPT (Fu et al. 2021); the others are its follow-up's."""
    min_bits: Bits = 3
    """B_min: where each cycle starts (for `cosine`)."""
    max_bits: Bits = 8
    """B_max. In a cycle that ends at 32, steps of more than 16 bits are in full precision, and count 32."""
    cycles: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    """N, the number of cycles over the whole training; 32 in the paper."""
    period: Period = "floor"
    """Steps of a cycle: int(steps / cycles), or one more, as the follow-up's CIFAR loops have it."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_bits > self.max_bits:
            raise field_error(
                f"{self.pointer}/min_bits",
                f"min_bits ({self.min_bits}) must not be above max_bits ({self.max_bits}): lower it or raise max_bits",
            )
        return self

    def check_length(self, steps: int) -> None:
        """Raises an error that names `cycles` unless they fit in a training of `steps` steps."""
        if self.cycles > steps:
            raise field_error(
                f"{self.pointer}/cycles",
                f"{self.cycles} cycles do not fit in {steps} steps: "
                "a cycle needs at least one step; lower cycles or raise training.steps",
            )

    def over(self, steps: int) -> Schedule:
        """The bit widths of `steps` steps."""
        cycles = make(
            self.schedule,
            steps=steps,
            cycles=self.cycles,
            min_bits=self.min_bits,
            max_bits=self.max_bits,
            period=self.period,
        )
        if self.max_bits <= 16:
            return cycles
        # float32 has 24 significant bits: rounding to more than 16 would change next to nothing and cost full price.
        return replace(cycles, profile=lambda step: 32.0 if cycles.bits(step) > 16 else cycles.profile(step))


class GradientCycle(Cycle):
    """Gradient bits that cycle by the same formulas, with bounds and cycles of their own."""

    pointer: ClassVar[str] = "/precision/gradient_bits"


def _gradient_kind(value: Any) -> str:
    return "cycling" if isinstance(value, dict | GradientCycle) else "constant"


GradientBits = Annotated[
    Annotated[Bits, Tag("constant")] | Annotated[GradientCycle, Tag("cycling")], Discriminator(_gradient_kind)
]


class PrecisionBase(SpecModel):
    """What every precision schedule has in common."""

    gradient_bits: GradientBits = 8
    """Bit width of the errors (gradients at layer outputs) in the backward pass: a number, constant, where 32 is not
    quantised; or a cycle of its own."""
    quantizer: Literal["sbm", "dorefa", "wageubn"] = "sbm"
    """The quantiser: `sbm` (Banner et al. 2018), affine min/max with stochastic rounding of the errors; `dorefa` (Zhou
    et al. 2016); `wageubn` (Yang et al. 2020)."""
    backend: Literal["simulated", "int8", "fp8", "auto"] = "simulated"
    """What quantised products are computed in: `simulated`, floating point; `int8`, integers in each layer that can,
    while its widths are 8 bits or less, which needs the quantiser `sbm`; `auto`, integers where that is expected to be
    faster. Integers give what is simulated up to the rounding of floats. `fp8`, for GPUs since Ada and Hopper, has
    linear layers and 1x1 convolutions multiply 8-bit floats (e4m3) for their outputs, and integers for their gradients:
    exact up to 5 bits, while 6 to 8 bits are rounded once more, to four significant ones, which is another quantiser.
    The event `started` says which layers do."""
    input_gradient: Literal["exact", "fast"] = "exact"
    """How integer products make the gradient of their input: `exact`, from the weight in 16-bit fixed point, up to 5e-5
    of the gradient; `fast`, in 8-bit, which adds an error of about 0.7 % and halves the products where instructions
    multiply bytes (AVX512-VNNI, GPUs). Simulated products are always exact."""
    sync_ranges: bool = False
    """Whether inputs, and errors with one range for a whole tensor, are quantised on their range over all devices, as
    one device with the whole batch would; else on that of each device's own part, which needs no waiting."""

    @property
    def max_gradient_bits(self) -> int:
        """The highest bit width of the errors."""
        return self.gradient_bits if isinstance(self.gradient_bits, int) else self.gradient_bits.max_bits

    @abstractmethod
    def forward_schedule(self, steps: int) -> Schedule:
        """Bit widths of weights and activations over `steps` steps."""

    def backward_schedule(self, steps: int) -> Schedule:
        """Bit widths of the errors over `steps` steps. Full precision forward is full precision throughout."""
        forward = self.forward_schedule(steps)
        if isinstance(self.gradient_bits, int):
            backward = make("static", steps=steps, max_bits=self.gradient_bits)
        else:
            backward = self.gradient_bits.over(steps)
        return Schedule(
            backward.name,
            steps,
            lambda step: 32 if forward.bits(step) == 32 else backward.profile(step),
            lambda step: min(forward.turn(step), backward.turn(step)),
        )

    def check_length(self, steps: int) -> None:
        """Raises an error that names the field unless the schedule can be that of a training of `steps` steps."""
        if isinstance(self.gradient_bits, GradientCycle):
            self.gradient_bits.check_length(steps)


class StaticPrecision(PrecisionBase):
    """The same bit width in every step; 32 is plain fp32 training."""

    schedule: Literal["static"]
    bits: Bits = 8
    """Bit width of weights and activations."""

    @property
    def min_bits(self) -> int:
        """The lowest bit width of the schedule."""
        return self.bits

    @property
    def max_bits(self) -> int:
        """The highest bit width of the schedule."""
        return self.bits

    def forward_schedule(self, steps: int) -> Schedule:
        """Bit widths of weights and activations over `steps` steps."""
        return make("static", steps=steps, max_bits=self.bits)


class CyclicPrecision(PrecisionBase, Cycle):
    """A bit width that cycles between two bounds: `cosine` is CPT (Fu et al. 2021), the others its follow-up's."""

    pointer: ClassVar[str] = "/precision"

    def check_length(self, steps: int) -> None:
        """Raises an error that names the field unless the schedule can be that of a training of `steps` steps."""
        PrecisionBase.check_length(self, steps)
        Cycle.check_length(self, steps)

    def forward_schedule(self, steps: int) -> Schedule:
        """Bit widths of weights and activations over `steps` steps."""
        return self.over(steps)


class Piece(SpecModel):
    """A bit width from a step on."""

    from_step: Annotated[int, Field(ge=0, le=10_000_000)]
    """The first step, 0-based."""
    bits: Bits
    """Bit width of weights and activations."""


class PiecewisePrecision(PrecisionBase):
    """Bit widths that the spec lists, each until the next one begins."""

    schedule: Literal["piecewise"]
    pieces: Annotated[list[Piece], Field(min_length=1, max_length=1000)]
    """The pieces in order, the first from step 0."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.pieces[0].from_step:
            raise field_error("/precision/pieces/0/from_step", "the first piece must begin at step 0")
        for index, (earlier, later) in enumerate(itertools.pairwise(self.pieces), start=1):
            if later.from_step <= earlier.from_step:
                raise field_error(
                    f"/precision/pieces/{index}/from_step", f"must be above the piece before it ({earlier.from_step})"
                )
        return self

    def check_length(self, steps: int) -> None:
        """Raises an error that names the first piece that would begin after a training of `steps` steps."""
        super().check_length(steps)
        for index, piece in enumerate(self.pieces):
            if piece.from_step >= steps:
                raise field_error(
                    f"/precision/pieces/{index}/from_step", f"must be below training.steps ({steps}), or it never comes"
                )

    @property
    def min_bits(self) -> int:
        """The lowest bit width of the schedule."""
        return min(piece.bits for piece in self.pieces)

    @property
    def max_bits(self) -> int:
        """The highest bit width of the schedule."""
        return max(piece.bits for piece in self.pieces)

    def forward_schedule(self, steps: int) -> Schedule:
        """Bit widths of weights and activations over `steps` steps."""
        return piecewise([(piece.from_step, piece.bits) for piece in self.pieces], steps=steps)


class AutoPrecision(PrecisionBase):
    """CPT between bounds that a precision range test finds in the first steps, see `cpt_core.range_test`."""

    schedule: Literal["auto"]
    min_bits: Annotated[int, Field(ge=2, le=16)] = 2
    """The lowest bit width that is tried."""
    max_bits: Annotated[int, Field(ge=2, le=16)] = 8
    """The highest bit width that is tried, with which the others are compared."""
    steps_per_bits: Annotated[int, Field(ge=2, le=100_000)] = 200
    """Steps at each bit width; the default takes 3.6 epochs of CIFAR in batches of 128."""
    window: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Consecutive steps at the end of each width over which its score is averaged: training accuracy, for language
    models exp(-loss). Null: all steps of the width, which counts how fast it learns too and is the least noisy."""
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """B_min is the lowest width whose score gains at least this part of what the highest gains."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """B_max is the lowest width whose last score is at most this part below the highest's."""
    cycles: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    """N, the number of cosine cycles over the steps that are left."""
    period: Period = "floor"
    """Steps of a cycle: int(steps left / cycles), or one more."""

    @model_validator(mode="after")
    def _testable(self) -> Self:
        if self.min_bits > self.max_bits:
            raise field_error(
                "/precision/min_bits", f"min_bits ({self.min_bits}) must not be above max_bits ({self.max_bits})"
            )
        if self.averaged_steps > self.steps_per_bits:
            raise field_error("/precision/window", f"must not be above steps_per_bits ({self.steps_per_bits})")
        if not isinstance(self.gradient_bits, int):
            raise field_error(
                "/precision/gradient_bits", "must be a number: in the range test only one bit width may change"
            )
        return self

    @property
    def averaged_steps(self) -> int:
        """Steps of each width over which scores are averaged."""
        return self.window or self.steps_per_bits

    @property
    def test_steps(self) -> int:
        """Steps of the range test."""
        return (self.max_bits - self.min_bits + 1) * self.steps_per_bits

    def check_length(self, steps: int) -> None:
        """Raises an error that names the field unless test and cycles fit in a training of `steps` steps."""
        if steps < self.test_steps + self.cycles:
            raise field_error(
                "/precision/steps_per_bits",
                f"the range test takes {self.test_steps} steps and {self.cycles} cycles at least as many, which do not "
                f"fit in {steps}: lower steps_per_bits or cycles, or raise training.steps",
            )

    def forward_schedule(self, steps: int, bounds: Bounds | None = None) -> Schedule:
        """Bit widths of weights and activations: the test, then cosine cycles within the bounds.

        Args:
            steps: of all that, or of the test alone.
            bounds: what the test found; by default all widths that are tried.
        """
        widths, tested = range(self.min_bits, self.max_bits + 1), self.test_steps
        test = piecewise([(i * self.steps_per_bits, bits) for i, bits in enumerate(widths)], steps=tested)
        if steps == tested:
            return test
        low, high = (bounds.min_bits, bounds.max_bits) if bounds else (self.min_bits, self.max_bits)
        cycles = make(
            "cosine", steps=steps - tested, cycles=self.cycles, min_bits=low, max_bits=high, period=self.period
        )
        return Schedule(
            "auto",
            steps,
            lambda step: test.profile(step) if step < tested else cycles.profile(step - tested),
            lambda step: test.turn(step) if step < tested else tested + cycles.turn(step - tested),
        )


PrecisionSpec = Annotated[
    StaticPrecision | CyclicPrecision | PiecewisePrecision | AutoPrecision, Field(discriminator="schedule")
]
