// One time step of an LSTM between its products, each way, over float32 in the order of memory.
//
// The gates of a batch row lie side by side: input, forget, cell and output gate, `units` long each. Elements do not
// depend on each other, so the results do not depend on the number of threads, and code without contraction gives the
// same on every instruction set. The way back equals recurrence.py bit for bit; on the way forward exp and tanh are
// polynomials, within a few units in the last place of torch's.

#include <cstdint>
#include <cstring>

#include "vectorised.h"

namespace {

// Cells of one time step from which on several threads are worth waking.
constexpr int64_t MANY_CELLS = 1 << 14;
// Beyond these the functions do not change any more: sigmoid by less than 2e-38, tanh not at all.
constexpr float SIGMOID_LIMIT = 87.0F;
constexpr float TANH_LIMIT = 10.0F;
constexpr float LOG2_E = 1.44269504F;
// ln 2 in two parts, of which the first times an integer is exact.
constexpr float LN2_HIGH = 0.693359375F;
constexpr float LN2_LOW = -2.12194440e-4F;

INLINED float bits_as_float(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

INLINED uint32_t float_as_bits(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

// e^x for |x| <= SIGMOID_LIMIT, with the coefficients of Cephes' expf. NaN stays.
INLINED float exponential(float x) {
    // x = n ln 2 + r; n is left in the low bits of the shifted number.
    const float shifted = x * LOG2_E + ROUNDER;
    const float n = shifted - ROUNDER;
    const float r = (x - n * LN2_HIGH) - n * LN2_LOW;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    const float power_of_two = bits_as_float((float_as_bits(shifted) << 23) + 0x3F800000U);
    return ((p * (r * r) + r) + 1.0F) * power_of_two;
}

// Near zero the odd polynomial of Cephes' tanhf, elsewhere 1 - 2 / (e^2|x| + 1) with the sign of x.
INLINED float hyperbolic_tangent(float x) {
    const uint32_t sign = float_as_bits(x) & 0x80000000U;
    const float size = bits_as_float(float_as_bits(x) ^ sign);
    const float square = x * x;
    float p = -5.70498872745e-3F;
    p = p * square + 2.06390887954e-2F;
    p = p * square - 5.37397155531e-2F;
    p = p * square + 1.33314422036e-1F;
    p = p * square - 3.33332819422e-1F;
    const uint32_t near = float_as_bits(p * square * x + x);
    const uint32_t far = float_as_bits(1.0F - 2.0F / (exponential(2.0F * size) + 1.0F)) | sign;
    // Chosen by a mask, as a vector does it: for `?:` the compiler branches.
    const uint32_t is_near = size < 0.625F ? 0xFFFFFFFFU : 0;
    return bits_as_float((near & is_near) | (far & ~is_near));
}

// NaN fails both comparisons and stays.
INLINED float clamped(float x, float limit) {
    x = x < -limit ? -limit : x;
    return x > limit ? limit : x;
}

// Clamping is in other loops than the functions: in one, the compiler branches for what is constant beyond the limits,
// and there are no vectors.
VECTORISED void add_clamped(const float* __restrict x, const float* __restrict y, float* __restrict sum, int64_t n,
                            float limit) {
    for (int64_t j = 0; j < n; ++j) sum[j] = clamped(x[j] + y[j], limit);
}

VECTORISED void sigmoid(float* x, int64_t n) {
    for (int64_t j = 0; j < n; ++j) x[j] = 1.0F / (1.0F + exponential(-x[j]));
}

VECTORISED void hyperbolic_tangent(float* x, int64_t n) {
    for (int64_t j = 0; j < n; ++j) x[j] = hyperbolic_tangent(x[j]);
}

VECTORISED void new_cell(const float* __restrict gates, const float* __restrict before, float* __restrict cell,
                         float* __restrict cell_clamped, int64_t units) {
    const float *i = gates, *f = i + units, *g = f + units;
    for (int64_t j = 0; j < units; ++j) {
        cell[j] = f[j] * before[j] + i[j] * g[j];
        cell_clamped[j] = clamped(cell[j], TANH_LIMIT);
    }
}

VECTORISED void multiply(const float* __restrict x, const float* __restrict y, float* __restrict product, int64_t n) {
    for (int64_t j = 0; j < n; ++j) product[j] = x[j] * y[j];
}

VECTORISED void errors_of_row(float* __restrict errors, const float* __restrict gates,
                              const float* __restrict cell_before, const float* __restrict squashed,
                              const float* __restrict d_hidden, float* __restrict d_cell, int64_t units) {
    const float *i = gates, *f = i + units, *g = f + units, *o = g + units;
    float *d_i = errors, *d_f = d_i + units, *d_g = d_f + units, *d_o = d_g + units;
    for (int64_t j = 0; j < units; ++j) {
        const float d_c = d_cell[j] + d_hidden[j] * o[j] * (1.0F - squashed[j] * squashed[j]);
        d_i[j] = d_c * g[j] * i[j] * (1.0F - i[j]);
        d_f[j] = d_c * cell_before[j] * f[j] * (1.0F - f[j]);
        d_g[j] = d_c * i[j] * (1.0F - g[j] * g[j]);
        d_o[j] = d_hidden[j] * squashed[j] * o[j] * (1.0F - o[j]);
        d_cell[j] = d_c * f[j];
    }
}

}  // namespace

extern "C" {

// From the product with the hidden state and what the input gives, (batch, 4 x units), to the gates, as many, and to
// the new cell state, its tanh and the new hidden state, (batch, units).
void cpt_lstm_step(const float* product, const float* from_input, float* gates, const float* cell_before, float* cell,
                   float* squashed, float* hidden, int64_t batch, int64_t units) {
#pragma omp parallel for if (batch * units > MANY_CELLS)
    for (int64_t row = 0; row < batch; ++row) {
        const int64_t at = row * units;
        const float *x = product + 4 * at, *y = from_input + 4 * at;
        float *i = gates + 4 * at, *g = i + 2 * units, *o = g + units;
        add_clamped(x, y, i, 2 * units, SIGMOID_LIMIT);
        add_clamped(x + 2 * units, y + 2 * units, g, units, TANH_LIMIT);
        add_clamped(x + 3 * units, y + 3 * units, o, units, SIGMOID_LIMIT);
        sigmoid(i, 2 * units);
        hyperbolic_tangent(g, units);
        sigmoid(o, units);
        new_cell(i, cell_before + at, cell + at, squashed + at, units);
        hyperbolic_tangent(squashed + at, units);
        multiply(o, squashed + at, hidden + at, units);
    }
}

// The errors of the gates of a time step, (batch, 4 x units), from those of its hidden and cell state, (batch, units);
// `d_cell` becomes that of the cell state before.
void cpt_lstm_step_back(float* errors, const float* gates, const float* cell_before, const float* squashed,
                        const float* d_hidden, float* d_cell, int64_t batch, int64_t units) {
#pragma omp parallel for if (batch * units > MANY_CELLS)
    for (int64_t row = 0; row < batch; ++row) {
        const int64_t at = row * units;
        errors_of_row(errors + 4 * at, gates + 4 * at, cell_before + at, squashed + at, d_hidden + at, d_cell + at,
                      units);
    }
}
}
