"""The kernels compile to machine code of the GPUs they are for, which needs none of these, only NVIDIA's assembler."""

import os

import pytest

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)
pytest.importorskip("triton", reason="there is no triton for this machine")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from cpt_core.quant import triton_passes
from cpt_core.quant.integer import triton_output, triton_planes, triton_tuning, triton_weight

SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024}
"""Bytes that a program can have, by compute capability (Ampere, Hopper)."""
INTEGERS = {"seed_at": "*i64"} | dict.fromkeys((f"{of}levels_at" for of in ("", "a_", "b_", "g_", "x_")), "*i32")


def compiled(kernel, capability: int, pointers: dict[str, str], constants: dict, options: dict | None = None):
    """The kernel for arguments named *_at of the given types, else float32, and for int32 sizes."""
    signature = {
        name: "constexpr" if name in constants else pointers.get(name, "*fp32" if name.endswith("_at") else "i32")
        for name in kernel.arg_names
    }
    source = ASTSource(kernel, signature, constants)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options or {})


@pytest.mark.parametrize("codes", [True, False])
def test_rounding_divides_exactly_and_fuses_no_addition(codes):
    types = INTEGERS | {"y_at": "*u8" if codes else "*fp32"}
    constants = {"STOCHASTIC": True, "CODES": codes, "BLOCK": triton_passes.BLOCK}
    ptx = compiled(triton_passes._on_grids, 80, types, constants, {"enable_fp_fusion": False}).asm["ptx"]
    assert "div.rn.f32" in ptx
    assert "fma" not in ptx


def test_codes_become_bytes():
    tile = {"ROWS": triton_planes.ROWS, "COLUMNS": triton_planes.COLUMNS}
    types = INTEGERS | {"codes_at": "*u8", "a_sums_at": "*i32"}
    types |= dict.fromkeys(("bytes_at", "high_bytes_at", "low_bytes_at"), "*i8")
    for kernel, sums in (
        (triton_planes._signed_rows, "*i32"),
        (triton_planes._turned, "*i64"),
        (triton_planes._wide_turned, "*i64"),
        (triton_planes._column_sums, "*i64"),
    ):
        assert compiled(kernel, 80, types | {"sums_at": sums}, tile).asm["cubin"]
    assert compiled(triton_planes._wide_scale, 80, {}, {"BLOCK": triton_planes.COLUMNS}).asm["cubin"]


def on_tensor_cores(kernel, capability: int, types: dict[str, str], constants: dict) -> None:
    m, n, k, warps = triton_tuning.GPU_TILES[0]  # the largest
    constants |= {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": k}
    made = compiled(kernel, capability, INTEGERS | types, constants, {"num_warps": warps, "num_stages": 3})
    assert ("wgmma.mma_async" if capability == 90 else "mma.sync") in made.asm["ptx"]
    assert ".s32.s8.s8" in made.asm["ptx"]
    assert made.metadata.shared <= SHARED_MEMORY[capability]


@pytest.mark.parametrize("pointwise", [False, True])
@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_input_gradients_are_multiplied_on_tensor_cores(capability, pointwise):
    types = dict.fromkeys(("a_at", "b_at", "b_rest_at"), "*i8") | {"a_sums_at": "*i32"}
    on_tensor_cores(
        triton_output._gathered.fn, capability, types, {"BACKWARD": True, "BIAS": False, "POINTWISE": pointwise}
    )


@pytest.mark.parametrize("pointwise", [False, True])
@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_weight_gradients_are_multiplied_on_tensor_cores(capability, pointwise):
    types = dict.fromkeys(("g_at", "g_rest_at", "x_at"), "*i8")
    types |= dict.fromkeys(("g_sums_at", "x_sums_at", "terms_at"), "*i64")
    on_tensor_cores(triton_weight._over_pixels, capability, types, {"WIDE": True, "POINTWISE": pointwise})
