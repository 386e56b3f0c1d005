"""The training loop of one rank."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from cpt_core import cost, onednn, tracing
from cpt_core.checkpoint.files import folder_of, prune
from cpt_core.checkpoint.state import load, save
from cpt_core.events import Best, BestCheckpoint, Checkpoint, Evaluation, Finished, Result, Started, StepDone
from cpt_core.lifecycle import Reason
from cpt_core.model_limits import ModelLimits
from cpt_core.models import build_model, sample_of
from cpt_core.models.measure import measure
from cpt_core.quant import BackendError, integer, quantize_model
from cpt_core.quant.layers import share_ranges
from cpt_core.run import Run
from cpt_core.schedules import runs
from cpt_core.seeding import derive
from cpt_core.spec import AutoPrecision
from cpt_core.spent import Spent
from cpt_core.train.account import Account
from cpt_core.train.averaging import Averaging
from cpt_core.train.buffers import buffers_kept, overwrite, pack, persistent_buffers, unpack
from cpt_core.train.errors import DivergedError, SpecError
from cpt_core.train.evaluation import better, evaluate
from cpt_core.train.graphs import GraphedForward
from cpt_core.train.optimizer import learning_rate, make_optimizer, restore, state_tensors
from cpt_core.train.range_test import RangeTest
from cpt_core.train.ranks import Ranks
from cpt_core.train.recorder import Emit
from cpt_core.train.tasks import load_task


class Trainer:
    """Everything a rank trains with, made ready by the constructor."""

    def __init__(self, run: Run, ranks: Ranks, emit: Emit, stop_requested: Callable[[], bool]) -> None:
        """Load the data, build the model, and load the state to resume from.

        Args:
            run: what to train.
            ranks: this rank and the others.
            emit: takes the events; every rank calls it, rank 0's are the run's.
            stop_requested: asked once a step; if any rank's says yes, all stop after that step.

        Raises:
            SpecError: this spec cannot be trained here, or cannot go on from that checkpoint.
            DataError: the dataset is missing, corrupt or too small.
            CheckpointError: the state to resume from cannot be read.
        """
        self.run, self.spec, self.ranks = run, run.spec, ranks
        self.emit, self.stop_requested = emit, stop_requested
        spec, training, precision = run.spec, run.spec.training, run.spec.precision
        if ranks.world_size not in [spec.resources.devices * nodes for nodes in spec.node_counts]:
            wanted = f"resources.devices is {spec.resources.devices}"
            wanted += f" on each of {spec.resources.nodes} nodes" if spec.resources.nodes > 1 else ""
            raise SpecError(f"{wanted}, but {ranks.world_size} rank(s) are here.")
        self.steps = spec.steps
        self.forward_bits = precision.forward_schedule(self.steps)
        self.backward_bits = precision.backward_schedule(self.steps)
        self.evaluation_bits = spec.evaluation.bits or precision.max_bits

        with tracing.span("data"):
            self.task = load_task(run, ranks)
        self._check_size()
        torch.manual_seed(derive(training.seed, "initial weights"))
        self.model = build_model(spec, self.task.outputs).to(ranks.device)
        self.model.to(memory_format=torch.channels_last)  # a quarter faster on a CPU
        self.profile = cost.profile(self.model, *sample_of(spec))
        try:
            self.precision = quantize_model(
                self.model,
                quantizer=precision.quantizer,
                backend=precision.backend,
                input_gradient=precision.input_gradient,
            )
        except BackendError as error:  # what this device has only now is known
            raise SpecError(f"precision.backend: {error}.") from error
        if precision.sync_ranges and ranks.world_size > 1:
            share_ranges(self.model, ranks.new_group())
        self.optimizer = make_optimizer(spec.optimizer, self.model)
        self.ddp: nn.Module
        if spec.resources.cuda_graphs and ranks.device.type == "cuda":
            # What DDP holds on to while it waits for gradients breaks a capture, and one rank has nothing to average.
            GraphedForward(self.model, self.precision.mode)
            self.ddp = self.model
        else:
            # Buffers stay each rank's own: running statistics and ranges are those of the rank's batches.
            self.ddp = DistributedDataParallel(self.model, forward_sync_buffers=False, gradient_as_bucket_view=True)
        if ranks.world_size > 2:
            self._settle_buckets()
        self.best: Best | None = None
        self.range_test = None
        if isinstance(precision, AutoPrecision):
            self.range_test = RangeTest(precision, self.model, self.optimizer)
        self.averaging = None
        if training.averaging is not None:
            self.averaging = Averaging(training.averaging, spec, self.model, self.task, ranks)
        self.first_step = 0 if run.resume is None else self._resume(run.resume)
        spent = Spent(self.profile, spec.samples_per_step)
        spent.add_all(runs(self.forward_bits, self.backward_bits, self.first_step))
        self.account = Account(run, ranks, self.profile, spent)

    def _check_size(self) -> None:
        limits = self.run.model_limits
        if limits == ModelLimits():
            return
        parameters, profile = measure(self.spec, self.task.outputs)
        if (reason := limits.exceeded(parameters, profile.macs)) is not None:
            raise SpecError(reason)

    def train(self) -> Finished:
        """Train to the last step, or until asked to stop, and say how it ended.

        Raises:
            SpecError: the precision range test found that no bit width learns.
            DivergedError: NaN or infinity in training or evaluation.
            CheckpointError: the storage cannot be written.
        """
        self._emit_started()
        evaluation, saved = None, self.run.resume.path if self.run.resume else ""
        test_alone = self.spec.type == "range_test"
        for step in range(self.first_step, self.steps):
            stop = self.step(step)
            done = step + 1
            last = done == self.steps
            throwaway = test_alone or (self.range_test is not None and self.range_test.covers(done))  # of the weights
            if not throwaway and (last or _due(done, self.spec.evaluation.every_steps)):
                evaluation = self.evaluate(done)
                self._keep_best(evaluation)
                self.emit(evaluation)
            if not test_alone if last else stop or _due(done, self.spec.checkpoint.every_steps):
                saved = self.save(done)
            if stop and not last:
                message = f"Stopped on request after {done} of {self.steps} steps; a checkpoint was made."
                return Finished(outcome="preempted", reason=Reason.PREEMPTED, message=message)
        if test_alone and self.range_test:
            return self._tested(self.range_test)
        # An attempt that was lost after its final checkpoint has recorded its evaluation: it is only needed again.
        return self._trained(evaluation or self.evaluate(self.steps), saved)

    def step(self, step: int) -> bool:
        """One optimiser step, from top to bottom. Returns whether the ranks agreed to stop after it."""
        self.account.begin_step()
        spec, samples = self.spec, self.spec.samples_per_step
        position = self.range_test.begin(step) if self.range_test else step
        lr = learning_rate(spec.lr_schedule, spec.optimizer.lr, position, spec.training.steps)
        self.precision.set(self.forward_bits.bits(step), self.backward_bits.bits(step))
        self.optimizer.zero_grad()
        loss, correct = self._gradients(position)

        # All that the ranks tell each other besides gradients, in one message: it settles for all of them whether the
        # step is sound and whether it is the last, and that they are at the same step and bits.
        mark = step * 4096 + self.precision.forward_bits * 64 + self.precision.backward_bits
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        norm = get_total_norm(gradients)
        loss_sum, correct_sum, norms, stops, marks = self.ranks.sum([loss, correct, norm, self.stop_requested(), mark])
        if marks != mark * self.ranks.world_size:
            raise RuntimeError(f"the ranks are at different steps or bit widths; rank {self.ranks.rank} is at {step}")
        if not math.isfinite(loss_sum + norms):
            raise DivergedError(self._divergence(step, "gradient" if math.isfinite(loss_sum) else "loss"))

        if spec.training.clip_norm is not None:
            clip_grads_with_norm_(self.model.parameters(), spec.training.clip_norm, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        if self.averaging:
            self.averaging.take(step + 1)

        widths = self.precision.forward_bits, self.precision.backward_bits
        self.emit(
            StepDone(
                step=step,
                epoch=self.task.epoch(position),
                forward_bits=widths[0],
                backward_bits=widths[1],
                loss=loss_sum / samples,
                accuracy=correct_sum / samples if self.task.reports_accuracy else None,
                lr=lr,
                **self.account.end_step(*widths),
            )
        )
        if self.range_test and self.range_test.covers(step):
            score = correct_sum / samples if self.task.reports_accuracy else math.exp(-loss_sum / samples)
            if outcome := self.range_test.end(step, score):
                self.emit(outcome)
                self._follow(self.range_test)
        return stops > 0

    def _follow(self, test: RangeTest) -> None:
        """Cycle within the bounds that the precision range test found."""
        bounds = test.bounds
        self.forward_bits = test.options.forward_schedule(self.steps, bounds)
        self.evaluation_bits = self.spec.evaluation.bits or bounds.max_bits

    def _gradients(self, step: int) -> tuple[Tensor, Tensor]:
        """Leave the batch's mean gradient in the parameters. Returns the sum of its losses and how many were right."""
        accumulation = self.spec.training.accumulation
        loss_sum = correct = torch.zeros((), device=self.ranks.device)
        for part in range(accumulation):
            noise = derive(self.spec.training.seed, "noise", step * accumulation + part, self.ranks.rank)
            torch.manual_seed(noise)
            self.precision.reseed(noise)
            with self._averaged(last=part == accumulation - 1), onednn.linear_layers():
                loss, right, samples = self.task.forward(self.ddp, step, part)
                (loss / accumulation).backward()  # type: ignore[no-untyped-call]
            loss_sum = loss_sum + loss.detach() * samples
            correct = correct + right
        return loss_sum, correct

    def _averaged(self, *, last: bool) -> AbstractContextManager[None]:
        """What the part of a batch is taken in: DDP averages gradients over the ranks in the last backward pass."""
        if last or not isinstance(self.ddp, DistributedDataParallel):
            return nullcontext()
        return self.ddp.no_sync()

    def evaluate(self, done: int) -> Evaluation:
        """Quality after `done` steps, of the averaged weights if there are any."""
        averaging = self.averaging if self.averaging and self.averaging.begun(done) else None
        bits = self.evaluation_bits
        weights = averaging.applied(self.precision, bits) if averaging else nullcontext()
        with tracing.span("evaluation", step=done), weights, onednn.linear_layers():
            return evaluate(
                self.task, self.model, self.precision, self.ranks, step=done, bits=bits, averaged=averaging is not None
            )

    def save(self, done: int) -> str:
        """Make a checkpoint after `done` steps. Returns its folder, relative to the storage root."""
        checkpoint = self._publish(self.run.checkpoints, done)
        if checkpoint is not None:
            self.emit(checkpoint)
        return folder_of(self.run.checkpoints, done)

    def _keep_best(self, evaluation: Evaluation) -> None:
        """Take note of an evaluation, and make a checkpoint if it is the best so far and the spec wants that kept."""
        former = self.best.checkpoint if self.best else None
        self.best = better(evaluation, self.best)
        if not self.spec.checkpoint.keep_best or self.best.step != evaluation.step:
            return
        mine = folder_of(self.run.best, evaluation.step)
        self.best = self.best.model_copy(update={"checkpoint": mine})
        # Its event is another one, so nothing resumes from it. The former one goes only when this one is complete.
        kept = self._publish(self.run.best, evaluation.step)
        if kept is not None:
            self.emit(BestCheckpoint(**kept.model_dump(exclude={"type"})))
            if former and former != mine:
                prune(self.run.storage, [former])

    def _publish(self, folder: str, done: int) -> Checkpoint | None:
        """Write a checkpoint below `folder`. All ranks call it; rank 0 alone gets to know it."""
        with tracing.span("checkpoint", step=done):
            return self._write(folder, done)

    def _write(self, folder: str, done: int) -> Checkpoint | None:
        buffers = persistent_buffers(self.model)
        packed = self.ranks.gather(pack(buffers))
        carried = {name: torch.stack(self.ranks.gather(mine)) for name, mine in self.task.carried().items()}
        if self.ranks.rank > 0:  # rank 0 alone touches the storage, so that it alone can fail at it
            return None
        return save(
            self.run.storage,
            folder,
            step=done,
            spec=self.spec,
            model=self.model.state_dict(),
            optimizer=state_tensors(self.optimizer, self.model),
            ranks=[unpack(other, buffers) for other in packed[1:]],
            carried=carried,
            averaged=self.averaging.tensors() if self.averaging else {},
            best=self.best,
            range_test=self.range_test.progress if self.range_test else None,
        )

    def _settle_buckets(self) -> None:
        """Let DDP order its gradient buckets, which it does after its first backward pass, and change nothing else.

        The order decides in which order three ranks or more are summed. A run would begin with another one than it
        goes on with, and so would a resumed run, but at another step.
        """
        with buffers_kept(self.model):
            self.task.forward(self.ddp, 0, 0).loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.zero_grad()

    def _resume(self, registered: Checkpoint) -> int:
        """Load a checkpoint. Returns the steps it has completed."""
        with tracing.span("load checkpoint", step=registered.step):
            state = load(self.run.storage, registered, rank=self.ranks.rank)
        manifest = state.manifest
        same_size = manifest.world_size == self.ranks.world_size
        if not same_size and self.spec.resources.min_nodes is None:
            raise SpecError(
                f"{registered.path} was made by {manifest.world_size} rank(s) and can only be resumed by as many, "
                f"not by {self.ranks.world_size}: set resources.devices to {manifest.world_size}, or min_nodes."
            )
        for part in ("type", "model", "dataset", "precision", "optimizer", "lr_schedule", "training"):
            if getattr(manifest.spec, part) != getattr(self.spec, part):
                raise SpecError(
                    f"{registered.path} was made with another {part}, and resuming must equal an unbroken run: "
                    f"set {part} as it is in the checkpoint's manifest, or start anew."
                )
        self.model.load_state_dict(state.model)
        if self.ranks.rank > 0 and state.buffers:  # a rank that the checkpoint does not know begins with rank 0's
            overwrite(persistent_buffers(self.model), state.buffers)
        restore(self.optimizer, self.model, state.optimizer)
        if same_size:  # what ranks carried belongs to streams that are now laid out anew
            self.task.carry_on(state.carried)
        if self.averaging:
            self.averaging.restore(state.averaged)
        self.best = manifest.best
        if self.range_test and manifest.range_test:
            self.range_test.progress = manifest.range_test
            if not self.range_test.covers(manifest.step):
                self._follow(self.range_test)
        return manifest.step

    def _divergence(self, step: int, what: str) -> str:
        """What to say about NaN or infinity at `step`; any rank may have met it."""
        name = torch.zeros(256, dtype=torch.uint8, device=self.ranks.device)
        seen = (self.precision.first_nonfinite() or "").encode()[: len(name)]
        name[: len(seen)] = torch.tensor(list(seen), dtype=torch.uint8)
        names = [bytes(other.tolist()).rstrip(b"\0").decode() for other in self.ranks.gather(name)]
        bits = self.precision.forward_bits
        if any(names):
            where = f", first in layer {next(filter(None, names))}"
        else:  # full precision observes no layers
            where = "" if bits == 32 else f", first after layer {self.precision.layers[-1]}"
        return (
            f"Training diverged: the {what} of step {step}, at {bits} bits, is not finite{where}. "
            "Lower optimizer.lr, or raise precision.min_bits or precision.gradient_bits."
        )

    def _emit_started(self) -> None:
        device = self.ranks.device
        self.emit(
            Started(
                resume_step=self.first_step,
                steps=self.steps,
                world_size=self.ranks.world_size,
                device="cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
                parameters=sum(parameter.numel() for parameter in self.model.parameters()),
                macs=self.profile.macs,
                energy=self.account.energy_source,
                grid_gco2e_per_kwh=self.run.grid_gco2e_per_kwh,
                backends=self.precision.backends,
                environment={
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "cpt-service": version("cpt-service"),
                    "integer instructions": integer.instructions(device),
                },
            )
        )

    def _trained(self, evaluation: Evaluation, saved: str) -> Finished:
        quality = evaluation.model_dump(include={"accuracy", "top5_accuracy", "perplexity", "loss", "bits", "averaged"})
        best = better(evaluation, self.best)
        if evaluation.accuracy is None:
            perplexity = "" if evaluation.perplexity is None else f", perplexity {evaluation.perplexity:,.2f},"
            told = f"test loss {evaluation.loss:.4f}{perplexity} over {evaluation.samples} words"
        else:
            told = f"{evaluation.accuracy:.2%} of {evaluation.samples} test samples right"
        return self._succeeded(f"Trained {self.steps} steps: {told}.", **quality, best=best, checkpoint=saved)

    def _tested(self, test: RangeTest) -> Finished:
        tried, bounds = test.options, test.bounds
        message = (
            f"Tried {tried.min_bits} to {tried.max_bits} bits in {self.steps} steps: "
            f"set precision.min_bits to {bounds.min_bits} and precision.max_bits to {bounds.max_bits}."
        )
        return self._succeeded(message)

    def _succeeded(self, message: str, **quality: Any) -> Finished:
        """The end, with what every job's result says, and `quality`, what only some say."""
        bounds = self.range_test.bounds if self.range_test else None
        result = Result(**quality, bounds=bounds, steps=self.steps, **self.account.total())
        return Finished(outcome="succeeded", reason=Reason.COMPLETED, message=message, result=result)


def _due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0
