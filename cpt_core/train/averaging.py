"""Stochastic weight averaging: the mean of the weights that training passes through (Izmailov et al. 2018).

The means are of the float32 master weights. Batch norm statistics and running ranges are no means of anything: those of
averaged weights differ from the mean of all weights' own, so they are taken anew, by a pass over training data before
each evaluation, as `torch.optim.swa_utils.update_bn` does for batch norm alone. The pass is a function of the weights
and of the spec, takes the same batches every time and leaves no trace, so a resumed run equals an unbroken one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_swa_multi_avg_fn

from cpt_core.quant import PrecisionState
from cpt_core.seeding import derive
from cpt_core.spec import JobSpec, WeightAveraging
from cpt_core.train.buffers import buffers_kept, persistent_buffers
from cpt_core.train.ranks import Ranks
from cpt_core.train.tasks import Task

STATISTICS_BATCHES = 100
"""Training batches of the pass, from that of step 0 on: of the running ranges they leave 0.9^100 of what was before."""

_update = get_swa_multi_avg_fn()  # type: ignore[no-untyped-call]


class Averaging:
    """The averaged weights of one rank; all ranks have the same."""

    def __init__(self, options: WeightAveraging, spec: JobSpec, model: nn.Module, task: Task, ranks: Ranks) -> None:
        self._options, self._training = options, spec.training
        self._model, self._task, self._ranks = model, task, ranks
        self._weights: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}

    def begun(self, done: int) -> bool:
        """Whether there is an average after `done` steps."""
        return done >= self._options.from_step

    def take(self, done: int) -> None:
        """Let the weights after `done` steps join the average, if it is their turn."""
        taken, left = divmod(done - self._options.from_step, self._options.every_steps)
        if not self.begun(done) or left:
            return
        current = {name: parameter.detach() for name, parameter in self._named_parameters().items()}
        if taken == 0:
            self._weights = {name: parameter.clone() for name, parameter in current.items()}
        else:
            _update(list(self._weights.values()), list(current.values()), taken)
        self._buffers = {}

    @contextmanager
    def applied(self, precision: PrecisionState, bits: int) -> Iterator[None]:
        """Inside, the model has the averaged weights, and the statistics and ranges that go with them at `bits` bits.

        All ranks must enter together; each passes over its own share of the batches.
        """
        last = {name: parameter.detach().clone() for name, parameter in self._model.named_parameters()}
        with buffers_kept(self._model):
            try:
                self._set(self._weights)
                self._take_statistics(precision, bits)
                self._buffers = {name: value.clone() for name, value in persistent_buffers(self._model).items()}
                yield
            finally:
                self._set(last)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the averages by parameter, and after an evaluation of them this rank's buffers."""
        return self._weights | self._buffers

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` returned."""
        parameters = self._named_parameters()
        on_device = {
            name: torch.empty_like(like).copy_(tensors[name])
            for name, like in self._model.state_dict().items()
            if name in tensors
        }
        self._weights = {name: value for name, value in on_device.items() if name in parameters}
        self._buffers = {name: value for name, value in on_device.items() if name not in parameters}

    def _named_parameters(self) -> dict[str, nn.Parameter]:
        """Tied weights by all their names, as in a state dict."""
        return dict(self._model.named_parameters(remove_duplicate=False))

    @torch.no_grad()
    def _set(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self._model.named_parameters():
            parameter.copy_(weights[name])

    @torch.no_grad()
    def _take_statistics(self, precision: PrecisionState, bits: int) -> None:
        carried = self._task.carried()
        norms = {module: module.momentum for module in self._model.modules() if isinstance(module, _BatchNorm)}
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        precision.set(bits, 32)
        for batch in range(STATISTICS_BATCHES):
            torch.manual_seed(derive(self._training.seed, "averaging", batch, self._ranks.rank))  # for dropout
            for part in range(self._training.accumulation):
                self._task.forward(self._model, batch, part)
        for norm, momentum in norms.items():
            norm.momentum = momentum
        self._task.carry_on(carried)
