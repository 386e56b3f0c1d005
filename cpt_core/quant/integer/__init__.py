"""The `int8` backend: products of 8-bit codes in integers, equal to simulated ones up to the rounding of floats.

A tensor is kept as its codes, a byte each, with the range that makes numbers of them. Sums of products of codes are
exact; what the zero points add follows from sums of the codes themselves. Exact too is the gradient of a weight, whose
operands are the rounded error and the saved input. Only the scales of a weight differ along the sum that makes the
gradient of an input, so that the weight goes into it in 16-bit fixed point, as does an error whose rows have ranges of
their own into the gradient of a weight: an error of up to 1/65,534 of the largest weight, 3e-5 to 5e-5 of the result.
The `fast` gradient of an input takes it in 8 bits instead, on a scale for each input channel: up to 1/254 of the
channel's largest weight, 0.7 % of the result where weights are normally distributed.

The sums are computed by C++ on a CPU (`tiles.h` and what includes it; AVX512-VNNI, AVX512 or AVX2, found out at run
time), by Triton's kernels on a GPU, and where there are neither, for linear layers alone, by `torch._int_mm`. The `fp8`
backend differs in one of them, the output of linear layers (`fp8_products`).
"""

from cpt_core.quant.integer.choice import Backend, InputGradient, choose
from cpt_core.quant.integer.codes import Codes, code_error, code_tensor
from cpt_core.quant.integer.functions import ErrorRounding, convolution, linear, made_again, recipe
from cpt_core.quant.integer.products import has_convolutions, has_recurrences, instructions

__all__ = [
    "Backend",
    "Codes",
    "ErrorRounding",
    "InputGradient",
    "choose",
    "code_error",
    "code_tensor",
    "convolution",
    "has_convolutions",
    "has_recurrences",
    "instructions",
    "linear",
    "made_again",
    "recipe",
]
