"""The landscape of checkpoints: rebuilds each model and evaluates it as training did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from cpt_core import data
from cpt_core.checkpoint import describe
from cpt_core.checkpoint.files import MANIFEST
from cpt_core.checkpoint.state import State, load
from cpt_core.events import Checkpoint, Evaluation
from cpt_core.landscape import surface
from cpt_core.landscape.record import Landscape, LandscapeError, Surface
from cpt_core.models import build_model
from cpt_core.quant import BackendError, PrecisionState, quantize_model
from cpt_core.seeding import derive
from cpt_core.spec import JobSpec, TextDatasetSpec
from cpt_core.train.errors import DivergedError, SpecError
from cpt_core.train.evaluation import evaluate
from cpt_core.train.ranks import Ranks, join
from cpt_core.train.tasks import Classification, LanguageModelling, Task


@dataclass(frozen=True, slots=True)
class Probe:
    """A checkpoint's model, ready to be evaluated with other weights."""

    task: Task
    """Its data, the test split cut down to the samples to evaluate on."""
    source: str
    """What messages call the data."""
    model: nn.Module
    precision: PrecisionState
    ranks: Ranks
    bits: int

    def evaluate(self) -> Evaluation:
        """Quality with the weights of now.

        In evaluation mode: batch norm uses the statistics, quantisers the activation ranges, that the checkpoint has.

        Raises:
            DivergedError: the loss is not finite.
        """
        return evaluate(self.task, self.model, self.precision, self.ranks, step=0, bits=self.bits)

    def loss(self) -> float:
        """Mean loss with the weights of now; NaN if it is not finite."""
        try:
            return self.evaluate().loss
        except DivergedError:
            return math.nan


def measure(
    checkpoints: Sequence[Path],
    *,
    data_root: Path,
    points: int,
    radius: float,
    rho: float,
    samples: int | None = None,
    bits: int | None = None,
    seed: int = 0,
    on_point: Callable[[], None] = lambda: None,
) -> Landscape:
    """Measure the loss around the weights of each checkpoint.

    Args:
        checkpoints: their folders.
        data_root: folder below which datasets lie.
        points: places on either axis, odd.
        radius: of the grid; 1 moves each filter by its own norm.
        rho: distance at which the sharpness is taken.
        samples: test samples to evaluate on, the same ones at every point, images chosen at random or the first words
            of a text; None: all.
        bits: of weights and activations; None: those at which the run evaluated, B_max unless its spec says otherwise.
        seed: of the directions and of the choice of samples.
        on_point: called `evaluations(points)` times for each checkpoint.

    Raises:
        LandscapeError: a folder is no checkpoint, or what is asked for cannot be measured.
        CheckpointError: a checkpoint is damaged.
        DataError: its dataset is missing or corrupt.
    """
    places = surface.coordinates(points, radius)
    with _alone() as ranks:
        surfaces = []
        for folder in checkpoints:
            registered, state = read(folder)
            probe = make_probe(state, ranks, data_root, samples=samples, bits=bits, seed=seed)
            surfaces.append(_surface(folder, registered, state, probe, places, rho, seed, on_point))
    return Landscape(seed=seed, coordinates=places, surfaces=surfaces)


def evaluations(points: int) -> int:
    """How often `measure` evaluates a checkpoint."""
    return points**2 + surface.SHARPNESS_DIRECTIONS + 2  # the checkpoint itself, here and for the sharpness


def read(folder: Path) -> tuple[Checkpoint, State]:
    """A checkpoint, verified.

    Raises:
        LandscapeError: the folder is no checkpoint.
        CheckpointError: it is damaged.
    """
    where = folder.resolve()
    if not (where / MANIFEST).is_file():
        inside = sorted(where.glob(f"*/{MANIFEST}"))
        hint = f"its last one is {folder / inside[-1].parent.name}" if inside else "give a folder step-…"
        raise LandscapeError(f"{folder} is no checkpoint, it has no {MANIFEST}: {hint}.")
    registered = describe(str(where.parent), where.name)
    return registered, load(str(where.parent), registered)


def make_probe(
    state: State, ranks: Ranks, data_root: Path, *, samples: int | None, bits: int | None, seed: int
) -> Probe:
    """Rebuild the model of a checkpoint, as the trainer builds it, and load its data.

    Raises:
        LandscapeError: it cannot be evaluated at these bits, or another version made it.
        DataError: its dataset is missing or corrupt.
    """
    spec = state.manifest.spec
    width = _bits(state, bits)
    task, source = _task(spec, ranks, data_root, samples, seed)
    try:
        model = build_model(spec, task.outputs).to(ranks.device)
        model.to(memory_format=torch.channels_last)  # as in training, so that the loss is the same to the last bit
        precision = quantize_model(model, quantizer=spec.precision.quantizer, backend=spec.precision.backend)
    except (SpecError, BackendError) as error:  # a model from outside, or products, that are not here
        raise LandscapeError(str(error)) from error
    try:
        model.load_state_dict(state.exported)
    except RuntimeError as error:
        raise LandscapeError(
            f"The weights of {spec.name!r} fit no {spec.model.name} of this version: {error}"
        ) from error
    return Probe(task, source, model, precision, ranks, width)


def _bits(state: State, wanted: int | None) -> int:
    spec, range_test = state.manifest.spec, state.manifest.range_test
    found = range_test.bounds if range_test else None
    bits = wanted or spec.evaluation.bits or (found or spec.precision).max_bits
    if not (2 <= bits <= 16 or bits == 32):
        raise LandscapeError(f"{bits} bits cannot be evaluated at: use 2 to 16, or 32 for full precision.")
    if bits != 32 == spec.precision.min_bits:
        raise LandscapeError(
            f"{spec.name!r} was trained in full precision and has no ranges to quantise with: use 32 bits."
        )
    return bits


def _task(spec: JobSpec, ranks: Ranks, data_root: Path, samples: int | None, seed: int) -> tuple[Task, str]:
    """The task with only `samples` test samples: images chosen at random, or the first words of a text."""
    dataset = spec.dataset
    if isinstance(dataset, TextDatasetSpec):
        corpus = data.load_text(dataset, data_root).to(ranks.device)
        if samples is not None:
            corpus = replace(corpus, test=corpus.test[: samples + 1])  # the last is only predicted
        return LanguageModelling(spec, corpus, dataset, ranks), corpus.source
    images = data.load(dataset, data_root).to(ranks.device)
    if samples is not None and samples < len(images.test):
        images = replace(images, test=_chosen(images.test, samples, seed))
    return Classification(spec, images, dataset, ranks), images.source


def _chosen(split: data.Split, samples: int, seed: int) -> data.Split:
    """Some samples of a split, in their order."""
    generator = torch.Generator().manual_seed(derive(seed, "samples"))
    chosen = torch.randperm(len(split), generator=generator)[:samples].sort().values.to(split.labels.device)
    return data.Split(split.images[chosen], split.labels[chosen])


def _surface(
    folder: Path,
    registered: Checkpoint,
    state: State,
    probe: Probe,
    places: list[float],
    rho: float,
    seed: int,
    on_point: Callable[[], None],
) -> Surface:
    def loss() -> float:
        on_point()
        return probe.loss()

    on_point()
    try:
        centre = probe.evaluate()
    except DivergedError as error:
        raise LandscapeError(f"The loss of {folder} itself is not finite at {probe.bits} bits.") from error
    spec = state.manifest.spec
    return Surface(
        name=spec.name,
        checkpoint=str(folder),
        sha256=registered.sha256,
        step=registered.step,
        model=spec.model.name,
        dataset=probe.source,
        bits=probe.bits,
        samples=centre.samples,
        loss=centre.loss,
        accuracy=centre.accuracy,
        losses=surface.losses(probe.model, loss, places, seed),
        sharpness=surface.sharpness(probe.model, loss, rho, seed),
    )


@contextmanager
def _alone() -> Iterator[Ranks]:
    """A group of this process alone, on a GPU if there is one."""
    ranks = join("auto")
    try:
        yield ranks
    finally:
        ranks.leave()
