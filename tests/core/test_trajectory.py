"""Training ResNet [1,1,1] on the digits for 60 steps, against the reference's losses."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpt_core import cost, schedules
from cpt_core.models import create_model
from cpt_core.quant import PrecisionState, quantize_model
from tests.core import golden

STEPS, CYCLES = 60, 4


def t(key: str) -> Tensor:
    return golden.tensor("trajectory", key)


def digits(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    pixels = ((t("digits/images_uint8").to(dtype) / 16) ** 2 - 0.25) / 0.5
    enlarged = torch.kron(pixels, torch.ones(4, 4, dtype=dtype))
    return enlarged.unsqueeze(1).repeat(1, 3, 1, 1), t("digits/labels").long()


def initial_model(dtype: torch.dtype) -> nn.Module:
    model = create_model("resnet8", num_classes=10)
    reference = {
        re.sub(r"group(\d)_layer(\d)", r"layer\1.\2", key.removeprefix("init/")): t(key)
        for key in golden.load("trajectory")
        if key.startswith("init/") and "quantize_input" not in key
    }
    model.load_state_dict(reference)
    return model.to(dtype)


class Training:
    """The reference's training loop on our parts."""

    def __init__(
        self,
        dtype: torch.dtype,
        backward_bits: int,
        *,
        forward: schedules.Schedule,
        stochastic: bool,
        backend: str = "simulated",
    ):
        self.model = initial_model(dtype)
        self.state: PrecisionState = quantize_model(self.model, stochastic=stochastic, backend=backend)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        self.images, self.labels = digits(dtype)
        self.forward, self.backward_bits = forward, backward_bits

    def run(self, steps: int, seed: int = 0, batches: Tensor | None = None) -> Tensor:
        batches = t("digits/batch_index").long() if batches is None else batches
        losses = []
        for step in range(steps):
            self.state.set(self.forward.bits(step), self.backward_bits)
            self.state.reseed(hash((seed, step)))
            batch = batches[step]
            loss = F.cross_entropy(self.model(self.images[batch]), self.labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    @torch.no_grad()
    def test_loss_and_accuracy(self, bits: int) -> tuple[float, float]:
        """Mean loss and accuracy in percent on the test images."""
        self.state.set(bits, self.backward_bits)
        index = t("digits/test_index").long()
        logits = self.model.eval()(self.images[index])
        hits = (logits.argmax(1) == self.labels[index]).double().mean()
        return F.cross_entropy(logits, self.labels[index]).item(), 100 * hits.item()


CPT = schedules.make("cosine", steps=STEPS, cycles=CYCLES, min_bits=3, max_bits=8)
FP32 = schedules.make("static", steps=STEPS, max_bits=32)


@pytest.mark.parametrize(
    ("run", "forward", "backward_bits", "steps", "tolerance"),
    [
        ("cpt_3_8_g0", CPT, 0, 60, 1e-9),
        ("fp32", FP32, 32, 20, 1e-9),
        # Gradients rounded to nearest: chaotic after a few steps.
        ("cpt_3_8", CPT, 8, 9, 1e-7),
    ],
)
def test_losses_in_float64_equal_the_reference(run, forward, backward_bits, steps, tolerance):
    training = Training(torch.float64, backward_bits, forward=forward, stochastic=False)
    losses = training.run(steps)
    torch.testing.assert_close(losses, t(f"{run}/f64/loss")[:steps], rtol=0, atol=tolerance)
    if steps == STEPS:
        by_bits = {int(row[0]): row[1:] for row in golden.load("trajectory")[f"{run}/f64/final_eval_at_bits"]}
        for bits in (0, 3, 8):
            accuracy, loss = by_bits[bits]
            assert training.test_loss_and_accuracy(bits) == pytest.approx((loss, accuracy), rel=1e-6)


def test_bits_and_cost_of_every_step_equal_the_reference():
    bits = golden.load("trajectory")["cpt_3_8/f32/bits"]
    assert CPT.all().tolist() == bits[:, 0].tolist()
    ours = [cost.relative_cost(CPT.bits(step), 8) for step in range(STEPS)]
    assert ours == golden.load("trajectory")["cpt_3_8/f32/cr"].tolist()


def test_stochastic_rounding_in_float32_ends_where_the_reference_does_over_seeds():
    reference = golden.load("trajectory")["cpt_3_8/f32/stochastic_loss_6seeds"][:, -10:].mean(1)
    ours = np.array(
        [
            Training(torch.float32, 8, forward=CPT, stochastic=True).run(STEPS, seed)[-10:].mean().item()
            for seed in range(len(reference))
        ]
    )
    # Which way a single training goes depends on how the processor rounds.
    error = np.sqrt((reference.var(ddof=1) + ours.var(ddof=1)) / len(reference))
    assert error < 0.04  # a twentieth of the loss
    assert abs(ours.mean() - reference.mean()) < 3 * error


CURVE_STEPS, CURVE_SEEDS, WINDOW = 200, 5, 50


def curve(backend: str, seed: int) -> Tensor:
    """Losses of a training of 200 steps in float32 from the reference's weights, on batches of 16 of the seed's."""
    forward = schedules.make("cosine", steps=CURVE_STEPS, cycles=CYCLES, min_bits=3, max_bits=8)
    training = Training(torch.float32, 8, forward=forward, stochastic=True, backend=backend)
    training.model.to(memory_format=torch.channels_last)
    batches = torch.randint(len(training.labels), (CURVE_STEPS, 16), generator=torch.Generator().manual_seed(seed))
    return training.run(CURVE_STEPS, seed, batches)


def test_the_loss_curves_in_integers_are_the_simulated_ones_within_the_noise_of_seeds():
    simulated, integers = (
        torch.stack([curve(backend, seed) for seed in range(CURVE_SEEDS)]) for backend in ("simulated", "int8")
    )
    assert not torch.equal(simulated, integers)
    windows = [losses.view(CURVE_SEEDS, -1, WINDOW).mean(2) for losses in (simulated, integers)]
    noise = sum(losses.var(0) for losses in windows).div(CURVE_SEEDS).sqrt()
    assert ((windows[0].mean(0) - windows[1].mean(0)).abs() < 3 * noise).all()
    assert (windows[0].mean(0)[0] - windows[0].mean(0)[-1]) > 10 * noise.max()  # they have learned far more than that
