"""Ranges over all ranks: two ranks with half a batch each round as one rank with the whole batch does."""

import multiprocessing
import os

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn

from cpt_core.quant import quantize_model
from cpt_core.quant.layers import share_ranges
from cpt_core.quant.ranges import over_ranks, tensor_range

RANKS = 2


def batch():
    """Its halves have other ranges than the whole, or than each other."""
    x = torch.randn(8, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return x * torch.linspace(1, 3, 8, dtype=torch.float64).view(-1, 1, 1, 1)


class LstmOnRows(nn.Module):
    """An LSTM that reads an image row by row."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(18, 5, batch_first=True)
        self.decoder = nn.Linear(5, 2)

    def forward(self, x):
        return self.decoder(self.lstm(x.transpose(1, 2).flatten(2))[0])


def make(kind):
    torch.manual_seed(0)
    if kind == "lstm":
        return LstmOnRows().double()
    flat = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*flat, nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)).double()


def forward_and_backward(kind, quantizer, x, group=None):
    """Every rounded input and error, in order, the ranges observed and the output."""
    model = make(kind)
    state = quantize_model(model, quantizer=quantizer, stochastic=False)
    if group is not None:
        share_ranges(model, group)
    seen = {}

    def keep(name, value):
        seen[f"{name} {len(seen):03d}"] = value.detach().clone().contiguous()

    def capture(name, layer):
        rounding, rounding_error = layer.quantize_input, layer.quantize_output_gradient

        def quantize_input(x, *args):
            keep(f"input of {name}", rounded := rounding(x, *args))
            return rounded

        def quantize_output_gradient(y, *args):
            y.register_hook(lambda g: keep(f"error of {name}", g))
            return rounding_error(y, *args)

        layer.quantize_input, layer.quantize_output_gradient = quantize_input, quantize_output_gradient

    for name in state.layers:
        capture(name, model.get_submodule(name))
    state.set(5, 6)
    y = model(x)
    y.square().sum().backward()
    observed = {f"observed {name}": value.clone() for name, value in model.state_dict().items() if "running" in name}
    return seen | observed | {"output": y.detach()}


def be_a_rank(rank, port, kind, quantizer, path):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.TCPStore("localhost", port)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    group = dist.new_group()
    if kind == "broken":
        # A rank that has met NaN must not have it hidden by the others' numbers.
        x = torch.tensor([float("nan") if rank else 1.0, 0.0])
        found = dict(zip(("low", "span"), tensor_range(x, over_ranks(group)), strict=True))
    else:
        found = forward_and_backward(kind, quantizer, batch().chunk(RANKS)[rank], group)
    save_file(found, path)
    dist.destroy_process_group()


@pytest.fixture
def ranks(tmp_path):
    """Runs real ranks, and returns what each has found."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cpt_core.quant"])

    def ranks(kind, quantizer="sbm"):
        store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        paths = [tmp_path / f"{rank}.safetensors" for rank in range(RANKS)]
        processes = [
            context.Process(target=be_a_rank, args=(rank, store.port, kind, quantizer, path))
            for rank, path in enumerate(paths)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=120)
        assert [process.exitcode for process in processes] == [0] * RANKS
        return [load_file(path) for path in paths]

    return ranks


@pytest.mark.parametrize(("kind", "quantizer"), [("cnn", "sbm"), ("cnn", "wageubn"), ("lstm", "sbm")])
def test_two_ranks_round_inputs_and_errors_as_one_rank_with_the_whole_batch_does(ranks, kind, quantizer):
    first, second = ranks(kind, quantizer)
    whole = forward_and_backward(kind, quantizer, batch())
    assert first.keys() == second.keys() == whole.keys()
    assert len(whole) > 10
    for name, expected in whole.items():
        if name.startswith("observed"):
            assert torch.equal(first[name], second[name])
            torch.testing.assert_close(first[name], expected, rtol=1e-12, atol=0)
        else:
            rows = 0 if first[name].shape[0] != expected.shape[0] else 1  # an LSTM's are (time, batch, features)
            torch.testing.assert_close(torch.cat([first[name], second[name]], rows), expected, rtol=1e-12, atol=1e-12)
    entered = next(name for name in whole if name.startswith("input"))
    assert torch.equal(first[entered], whole[entered].chunk(RANKS, 0 if kind == "cnn" else 1)[0])


def test_without_sharing_the_halves_are_rounded_otherwise():
    half, whole = (forward_and_backward("cnn", "sbm", x) for x in (batch().chunk(RANKS)[0], batch()))
    for name in ("input of 0 000", "observed 0.running_range"):
        assert not torch.equal(half[name], whole[name][: len(half[name])] if half[name].dim() else whole[name])


def test_nan_on_one_rank_breaks_the_range_of_all(ranks):
    assert [bool(found["span"].isfinite()) for found in ranks("broken")] == [False, False]


def test_full_precision_and_evaluation_share_nothing():
    model = make("cnn")
    state = quantize_model(model)
    state.set(8, 8)
    model(batch())

    def refuse(_low, _high):
        raise AssertionError("shared")

    for name in state.layers:
        model.get_submodule(name).share = refuse
    state.set(32, 32)
    model(batch()).sum().backward()
    state.set(8, 8)
    model.eval()
    with torch.no_grad():
        model(batch())
    model.train()
    with pytest.raises(AssertionError, match="shared"):
        model(batch())
