"""Specs and records for tests of the API."""

from __future__ import annotations

from typing import Any

from cpt_core.events import AnyEvent, Checkpoint, EnergySource, Finished, Result, Started, StepDone
from cpt_core.spec import JobSpec

STEPS = 20


def spec_document(**changes: Any) -> dict[str, Any]:
    """A small valid spec, as JSON."""
    return {
        "model": {"name": "resnet8"},
        "dataset": {"name": "digits"},
        "precision": {"schedule": "cosine", "cycles": 2},
        "training": {"steps": STEPS, "batch_size": 32},
        **changes,
    }


def spec(**changes: Any) -> JobSpec:
    """The same as a model."""
    return JobSpec.model_validate(spec_document(**changes))


def started(resume_step: int = 0, steps: int = STEPS) -> Started:
    return Started(
        resume_step=resume_step,
        steps=steps,
        world_size=1,
        device="cpu",
        parameters=78_000,
        macs=12_000_000,
        energy=EnergySource(source=None, reason="no counter on this machine"),
    )


def step(index: int) -> StepDone:
    return StepDone(
        step=index,
        epoch=0,
        forward_bits=3 + index % 6,
        backward_bits=8,
        loss=2.3 / (index + 1),
        accuracy=0.5,
        lr=0.1,
        samples_per_second=1000.0,
        gbitops=10.0 * (index + 1),
        modelled_joules=0.5 * (index + 1),
    )


def checkpoint(done: int) -> Checkpoint:
    return Checkpoint(step=done, path=f"checkpoints/job/1/step-{done:08d}", sha256="ab" * 32, size=1234)


def succeeded() -> Finished:
    result = Result(
        accuracy=0.97,
        loss=0.1,
        bits=8,
        steps=STEPS,
        samples=640,
        gbitops=200.0,
        gbitops_static=300.0,
        gbitops_fp32=3000.0,
        modelled_joules=10.0,
        samples_per_second=1000.0,
        checkpoint="checkpoints/job/1/step-00000020",
    )
    return Finished(outcome="succeeded", reason="completed", message="trained to the last step", result=result)


def ended(outcome: str, reason: str, message: str = "said so") -> Finished:
    return Finished.model_validate({"outcome": outcome, "reason": reason, "message": message})


def run_to_the_end() -> list[AnyEvent]:
    """All records of an undisturbed attempt."""
    return [started(), *(step(index) for index in range(STEPS)), checkpoint(STEPS), succeeded()]
