"""The counter-based noise: uniform, independent, and a pure function of seed and index."""

import math

import pytest
import torch

from cpt_core.quant import noise

N = 1 << 18
SEEDS = [0, 1, 2, 1 << 32, 0x0123456789ABCDEF, -1]


def draw(seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return noise.uniform(torch.empty(N, dtype=dtype), torch.tensor(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_uniform(seed):
    counts = torch.histc(draw(seed), bins=256, min=-0.5, max=0.5)
    chi_square = ((counts - N / 256) ** 2 / (N / 256)).sum().item()
    assert counts.sum() == N
    assert abs(chi_square - 255) < 5 * math.sqrt(2 * 255)


@pytest.mark.parametrize("lag", [1, 2, 3, 16, 32, 64, 512, 1024, 65536])
def test_elements_are_independent_of_their_neighbours(lag):
    u = draw(12345)
    correlation = 12 * (u[:-lag] * u[lag:]).mean().item()
    assert abs(correlation) < 5 / math.sqrt(N)


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 1 << 32), (5, 6), (7, -7)])
def test_seeds_are_independent_of_each_other(one, other):
    correlation = 12 * (draw(one) * draw(other)).mean().item()
    assert abs(correlation) < 5 / math.sqrt(N)


def test_it_depends_on_nothing_but_seed_and_index():
    expected = draw(3)
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert torch.equal(draw(3), expected)
    finally:
        torch.set_num_threads(threads)
    assert torch.allclose(draw(3, torch.float32).double(), expected, atol=2**-25, rtol=0)


def test_it_has_the_shape_and_memory_format_of_its_tensor():
    like = torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    u = noise.uniform(like, torch.tensor(1))
    assert u.shape == like.shape
    assert u.stride() == like.stride()
