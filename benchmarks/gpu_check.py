"""Check and time everything that runs on an NVIDIA GPU: `make gpu-check`, which prints JSON.

It needs a GPU of compute capability 8.0 or more, torch built for CUDA, and Triton; for energy nvidia-ml-py. Exit codes:
0, all checks passed; 1, one did not; 2, wrong usage; 3, there is no such GPU, and nothing was run.

`--device cpu` makes the checks of numbers alone, of the same kernels in Triton's interpreter: it shows that this script
works, times nothing, and says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from cpt_core.quant.integer.native_products import Geometry

NO_GPU = 3
EXACT, FIXED_POINT = 1e-5, 1e-4
"""Largest relative errors against float64: of sums of codes, and where 16-bit fixed point takes part."""
SIDE, SMALL_SIDE = 4096, 40
"""Of the matrices that are timed, and of those that are checked."""
E4M3 = 2.0**-4
"""Largest relative error of codes above 5 bits as 8-bit floats, of any one of them."""
FP8_SUMS = 1e-3
"""Of sums of exact codes as 8-bit floats: Hopper's tensor cores add them up with fewer bits than float32."""
ROUNDS, STEPS = 9, 30
Check = dict[str, Any]


def missing() -> str | None:
    """What this machine lacks; None if it has a GPU to check."""
    import torch

    from cpt_core.quant import gpu

    if torch.version.cuda is None:
        return "this torch was built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no NVIDIA GPU here, or no driver for it"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if not gpu.takes(torch.device("cuda")):
        return f"compute capability {torch.cuda.get_device_capability()} is below {gpu.MIN_CAPABILITY}"
    return None


def check(name: str, error: float, limit: float) -> Check:
    # NaN passes no comparison, and is no JSON.
    return {"check": name, "error": error if error == error else None, "limit": limit, "passed": error <= limit}


def quantisers(device: str) -> Iterator[Check]:
    """Each function of the SBM quantiser, at each width, on the device and by PyTorch on the CPU: bit for bit."""
    import torch

    from cpt_core.quant import native, sbm
    from cpt_core.quant.bit_widths import levels_tensor

    generator, seed = torch.Generator().manual_seed(0), torch.tensor(-0x123456789ABCDEF)
    for shape in ((500,), (6, 4, 3, 3), (3, 4, 50)):
        x = torch.randn(shape, generator=generator)
        for bits in range(2, 17):
            functions: dict[str, Callable[[Tensor], Tensor]] = {
                "weight": lambda t, bits=bits: sbm.quantize_weight(t, bits),
                "activation": lambda t, bits=bits: sbm.quantize_activation(t, bits),
                "error": lambda t, bits=bits: sbm.gradient(t, levels_tensor(bits, t), seed.to(t.device)),
            }
            for name, function in functions.items():
                mine = function(x.to(device)).cpu()
                with native.disabled():
                    different = float((mine != function(x)).double().mean())
                yield check(f"{name} {tuple(shape)}, {bits} bits: share of values that differ", different, 0.0)


def products(device: str) -> Iterator[Check]:
    """Each product of codes at each width against float64."""
    from cpt_core.quant.integer.native_products import Geometry

    shapes = {
        "linear": Geometry(SMALL_SIDE, 30, 1, 1, 20, 1, 1, 0),
        "convolution 3x3": Geometry(2, 6, 6, 6, 5, 3, 1, 1),
        "convolution 3x3, stride 2": Geometry(2, 6, 7, 7, 5, 3, 2, 1),
        "convolution 1x1": Geometry(2, 6, 6, 6, 5, 1, 1, 0),
    }
    for name, geometry in shapes.items():
        for bits in range(2, 9):
            for product, (error, limit) in _errors(geometry, bits, device).items():
                yield check(f"{name}, {bits} bits: {product}", error, limit)


def _errors(geometry: Geometry, bits: int, device: str) -> dict[str, tuple[float, float]]:
    import torch
    import torch.nn.functional as F

    from cpt_core.quant.integer import triton_products
    from cpt_core.quant.integer.codes import Codes, code_error, code_tensor, code_weight
    from cpt_core.quant.ranges import tensor_range

    def random(*shape: int) -> Tensor:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(device)
        return x.contiguous(memory_format=torch.channels_last)

    def numbers(codes: Codes) -> Tensor:
        low, scale = (part.double().view(-1, 1, 1, 1) for part in (codes.low, codes.scale))
        return codes.codes.double() * scale + low

    batch, channels, height, width, out_channels, kernel, stride, padding = geometry
    levels = torch.tensor(2**bits - 1, dtype=torch.int32, device=device)
    image = random(batch, channels, height, width)
    x, w = (
        code_tensor(image, *tensor_range(image), levels),
        code_weight(random(out_channels, channels, kernel, kernel), levels),
    )
    g = code_error(random(*geometry.output_shape()), levels, torch.tensor(7, device=device), None)
    y = triton_products.convolution(geometry, x, w, None)
    dx, dw, dbias = triton_products.convolution_backward(geometry, g, x, w, (True, True, True))
    inputs, weights = numbers(x).requires_grad_(), numbers(w).requires_grad_()
    exact = F.conv2d(inputs, weights, None, stride, padding)
    exact.backward(numbers(g))  # type: ignore[no-untyped-call]
    pairs = {
        "output": (y, exact.detach(), EXACT),
        "gradient of the weight": (dw, weights.grad, EXACT),
        "gradient of the bias": (dbias, numbers(g).sum((0, 2, 3)), EXACT),
        "gradient of the input": (dx, inputs.grad, FIXED_POINT),
    }
    return {
        name: (float((mine.double() - other).norm() / other.norm()), limit)  # type: ignore[union-attr,operator]
        for name, (mine, other, limit) in pairs.items()
    }


def fp8_products(device: str) -> Iterator[Check]:
    """The product of codes as 8-bit floats at each width against float64; none where the device has no FP8."""
    import torch

    from cpt_core.quant.integer import fp8_products
    from cpt_core.quant.integer.codes import code_tensor, code_weight
    from cpt_core.quant.ranges import tensor_range

    if fp8_products.lacking(torch.device(device)):
        return
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator).to(device) for shape in ((SMALL_SIDE, 300), (20, 300)))
    for bits in range(2, 9):
        levels = torch.tensor(2**bits - 1, dtype=torch.int32, device=device)
        x, w = code_tensor(a, *tensor_range(a), levels), code_weight(b, levels)
        inputs = x.codes.double() * x.scale + x.low
        weights = w.codes.double() * w.scale[:, None] + w.low[:, None]
        exact = inputs @ weights.t()
        error = float((fp8_products.linear(x, w, None).double() - exact).norm() / exact.norm())
        yield check(f"linear in FP8, {bits} bits: output", error, FP8_SUMS if bits <= 5 else E4M3)


def replays() -> Iterator[Check]:
    """Weights after steps in full precision, simulated and on integers, with and without CUDA graphs: bit for bit."""
    import torch

    from cpt_core.bench.workloads import Images, Text, Workload
    from cpt_core.quant import quantize_model
    from cpt_core.train.graphs import GraphedForward

    def trained(workload: Workload, *, graphed: bool) -> Tensor:
        torch.manual_seed(0)
        model = workload.build().cuda()
        precision = quantize_model(model, backend="int8")
        if graphed:
            GraphedForward(model, precision.mode)
        with torch.device("cuda"):
            step = workload.step(model)
        for number, bits in enumerate((32, 12, 8, 3, 8, 32)):
            precision.set(bits, 8)
            precision.reseed(number)
            step()
        return torch.cat([tensor.detach().flatten().double() for tensor in model.state_dict().values()])

    torch.use_deterministic_algorithms(True, warn_only=True)
    small = (
        Images("resnet8", batch_size=16),
        Text("transformer_lm", 4, 32, {"d_model": 64, "num_heads": 2, "num_layers": 2}),
        Text("lstm_lm", 4, 16, {"hidden_size": 64}),
    )
    for workload in small:
        different = (trained(workload, graphed=True) != trained(workload, graphed=False)).double().mean()
        yield check(f"{workload.model}, six steps with CUDA graphs: share of values that differ", float(different), 0.0)
    torch.use_deterministic_algorithms(False)


def trainings() -> Iterator[Check]:
    """Final loss of a job that asks for CUDA graphs and of one that does not, by `cpt train`: the same."""
    losses = []
    with tempfile.TemporaryDirectory() as temporary:
        for graphed in (True, False):
            spec = {
                "model": {"name": "resnet8"},
                "dataset": {"name": "digits"},
                "precision": {"schedule": "cosine", "min_bits": 3, "max_bits": 12, "cycles": 2, "backend": "int8"},
                "training": {"steps": 40, "batch_size": 64},
                "resources": {"device": "cuda", "cuda_graphs": graphed},
            }
            path = Path(temporary) / "job.json"
            path.write_text(json.dumps(spec))
            losses.append(_trained(path, Path(temporary))["loss"])
    yield check("a training with CUDA graphs: difference of the test loss", abs(losses[0] - losses[1]), 0.0)


def _trained(spec: Path, folder: Path) -> dict[str, Any]:
    """The result of a job, by `cpt train`; its data and checkpoints lie in `folder`."""
    from kept import ROOT

    train = (sys.executable, "-m", "cpt_client", "train", str(spec), "--json")
    places = ("--data-root", str(folder), "--storage", str(folder / f"storage-{spec.stem}"))
    output = subprocess.run([*train, *places], stdout=subprocess.PIPE, cwd=ROOT, check=True).stdout
    (run,) = json.loads(output)["runs"]
    result: dict[str, Any] = run["end"]["result"]
    return result


def flatness() -> dict[str, float]:
    """Seconds of one product of 4096 x 4096 codes at each width, also as FP8, and of torch's in fp32 and TF32."""
    import torch

    from cpt_core.bench.machine import shortest
    from cpt_core.quant.integer import fp8_products, triton_products
    from cpt_core.quant.integer.codes import code_tensor, code_weight
    from cpt_core.quant.ranges import tensor_range

    a, b = (torch.randn(SIDE, SIDE, device="cuda") for _ in range(2))
    seconds = {"fp32": shortest(lambda: a @ b.t(), "cuda")}
    torch.backends.cuda.matmul.allow_tf32 = True
    seconds["tf32"] = shortest(lambda: a @ b.t(), "cuda")
    torch.backends.cuda.matmul.allow_tf32 = False
    for bits in range(2, 9):
        levels = torch.tensor(2**bits - 1, dtype=torch.int32, device="cuda")
        x, w = code_tensor(a, *tensor_range(a), levels), code_weight(b, levels)
        seconds[f"{bits} bits"] = shortest(lambda x=x, w=w: triton_products.linear(x, w, None), "cuda")
    if fp8_products.lacking(a.device) is None:
        seconds["8 bits in FP8"] = shortest(lambda: fp8_products.linear(x, w, None), "cuda")
    return seconds


def steps() -> dict[str, Any]:
    """Training steps of published sizes, every form: `cpt bench --device cuda`, with the joules of a step."""
    from cpt_core import energy
    from cpt_core.bench import forms
    from cpt_core.bench.joules import measure_joules
    from cpt_core.bench.machine import measure_machine
    from cpt_core.bench.measure import measure
    from cpt_core.bench.workloads import WORKLOADS

    machine = measure_machine(device="cuda")
    meter = energy.open_meter("cuda")
    extra = {"int8, 3 bits forward", "fp8"} & set(forms.available("cuda"))
    wanted = [*forms.defaults("cuda"), *sorted(extra)]
    made = {name: measure(load, wanted, machine, rounds=ROUNDS, device="cuda") for name, load in WORKLOADS.items()}
    joules = {name: measure_joules(load, wanted, meter, device="cuda") for name, load in WORKLOADS.items()}
    return {
        "workloads": [benchmark.model_dump() for benchmark in made.values()],
        "energy": {"source": meter.source.model_dump(), "joules_of_a_step": joules},
    }


def scaling() -> dict[int, float]:
    """Samples a second of the published ResNet-38 on 1, 2, ... all GPUs, 128 images each, by DDP and NCCL."""
    import torch
    from trainings import shortened, write_images

    rates = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        count = torch.cuda.device_count()
        write_images(folder, train=128 * count * STEPS, test=128)
        for ranks in range(1, count + 1):
            resources = {"devices": ranks, "device": "cuda"}
            spec = shortened(
                "cifar10/resnet38-static-8", STEPS, training={"batch_size": 128 * ranks}, resources=resources
            )
            path = folder / f"{ranks}.json"
            path.write_text(spec.model_dump_json())
            rates[ranks] = _trained(path, folder)["samples_per_second"]
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(description="Check and time what runs on an NVIDIA GPU.", epilog=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: numbers only, interpreted")
    device = parser.parse_args().device
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"  # before torch loads Triton
        if importlib.util.find_spec("triton") is None:
            parser.error("triton is not installed")
    elif lacking := missing():
        print(
            f"gpu-check: {lacking}. It needs an NVIDIA GPU of compute capability 8.0 or more, torch built for CUDA and "
            "Triton. Nothing was run. (--device cpu checks the kernels' numbers in Triton's interpreter.)",
            file=sys.stderr,
        )
        return NO_GPU
    checks = [*quantisers(device), *products(device), *fp8_products(device)]
    report: dict[str, Any] = {"device": "cpu, interpreted: nothing was timed", "checks": checks}
    if device == "cuda":
        import torch

        checks += [*replays(), *trainings()]
        report |= {"device": torch.cuda.get_device_name(), "seconds_of_a_product": flatness(), "steps": steps()}
        report["samples_per_second"] = scaling()
    print(json.dumps(report, indent=1))
    failed = [made["check"] for made in checks if not made["passed"]]
    print(f"gpu-check: {len(checks) - len(failed)} of {len(checks)} checks passed {failed or ''}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
