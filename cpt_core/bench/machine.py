"""What the machine is and what it can do at most, by which a step's time can be judged."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict

_VECTOR_INSTRUCTIONS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
"""As Linux calls them, of x86-64 and Arm: those that decide how fast fp32, bf16 and int8 products are."""

SIDE = 2048
"""Of the square matrices whose product gives the peak: large enough to reach it, small enough for a second."""

TRIAD_ELEMENTS = 2**26
"""Of each array whose sum gives the bandwidth: 256 MiB, more than caches hold."""


class Machine(BaseModel):
    """A processor or a GPU, and its measured peaks with the threads that were used."""

    model_config = ConfigDict(frozen=True)

    cpu: str
    """Its name."""
    instructions: list[str]
    """Which of the vector instruction sets that matter here it has, as Linux calls them; of a GPU its compute
    capability."""
    threads: int
    """Threads used."""
    torch: str
    """Version of PyTorch."""
    fp32_macs: float
    """Peak of fp32 multiply-accumulates a second: the faster of torch's matrix product and a 1x1 convolution, which
    come from different libraries, of 2048 x 2048 matrices."""
    bandwidth: float
    """Peak of bytes moved to and from memory a second: `b = a + 2 b` over arrays of 256 MiB, two reads and a write."""


def measure_machine(*, side: int = SIDE, elements: int = TRIAD_ELEMENTS, device: str = "cpu") -> Machine:
    """Describe this machine's device of a kind, "cpu" or "cuda", and measure its peaks, which takes seconds."""
    name, instructions = _gpu() if device == "cuda" else _processor()
    return Machine(
        cpu=name,
        instructions=instructions,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        fp32_macs=_fp32_macs(side, device),
        bandwidth=_bandwidth(elements, device),
    )


def finish(device: str) -> None:
    """Wait until a device of this kind has done what it was told to; a CPU has when it returns."""
    if device == "cuda":
        torch.cuda.synchronize()


def _gpu() -> tuple[str, list[str]]:
    major, minor = torch.cuda.get_device_capability()
    return torch.cuda.get_device_name(), [f"compute capability {major}.{minor}"]


def _processor() -> tuple[str, list[str]]:
    """Name and known instruction sets of the first core, from Linux; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = {key.strip(): value.strip() for key, _, value in reversed([line.partition(":") for line in lines])}
    flags = fields.get("flags") or fields.get("Features") or ""
    name, having = fields.get("model name") or platform.machine(), flags.split()
    return name, [known for known in _VECTOR_INSTRUCTIONS if known in having]


@torch.no_grad()
def _fp32_macs(side: int, device: str) -> float:
    a, b, product = (torch.randn(side, side, device=device) for _ in range(3))
    pixels = a.t().contiguous().view(1, side, side // 32, 32).contiguous(memory_format=torch.channels_last)
    kernel = b.view(side, side, 1, 1).contiguous(memory_format=torch.channels_last)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        products = (lambda: torch.mm(a, b, out=product)), (lambda: F.conv2d(pixels, kernel))
        return side**3 / min(shortest(made, device) for made in products)


def _bandwidth(elements: int, device: str) -> float:
    a, b = (torch.zeros(elements, device=device) for _ in range(2))
    return 3 * a.nbytes / shortest(lambda: torch.add(a, b, alpha=2, out=b), device)


def shortest(function: Callable[[], object], device: str, repeats: int = 10) -> float:
    """Seconds of the shortest call, after one that does not count: a peak is what no one disturbed."""
    function()
    seconds = []
    for _ in range(repeats):
        finish(device)
        began = time.perf_counter()
        function()
        finish(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)
