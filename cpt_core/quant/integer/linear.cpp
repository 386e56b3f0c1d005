// The products of a linear layer.

#include <omp.h>

#include <memory>

#include "products.h"

namespace cpt {
namespace {

// Rows at a time: with 512 inputs 48 KiB of A, which stay in the caches of one core.
constexpr int64_t ROWS_AT_ONCE = 48;
// Rows over which the gradient of a weight is summed at a time.
constexpr int64_t ERRORS_AT_ONCE = 512;

// The rounded error of a linear layer, of which each group of rows has a range of its own.
struct Error {
    const uint8_t* codes;
    int64_t rows, n, groups, group_rows;  // groups take turns, group_rows rows each
    int32_t levels;
    std::vector<Grid> grids;
    bool wide;                // several ranges, which only 16-bit fixed point brings together
    float scale, zero_point;  // of the numbers that its rows become together

    Error(const uint8_t* codes_, const float* low, const float* span, int32_t levels_, int64_t rows_, int64_t n_,
          int64_t groups_, int64_t group_rows_)
        : codes(codes_),
          rows(rows_),
          n(n_),
          groups(groups_),
          group_rows(group_rows_),
          levels(levels_),
          wide(groups_ > 1) {
        float most = 0.0F;
        for (int64_t group = 0; group < groups; ++group) {
            grids.emplace_back(low[group], span[group], levels);
            most = std::max({most, std::fabs(low[group]), std::fabs(low[group] + span[group])});
        }
        scale = wide ? std::max(most / static_cast<float>(WIDE_MAX), SMALLEST) : grids[0].scale;
        zero_point = wide ? 0.0F : grids[0].zero_point;
    }

    const Grid& grid(int64_t row) const { return grids[row / group_rows % groups]; }
};

VECTORISED void fix(const uint8_t* __restrict from, int16_t* __restrict to, int64_t n, float factor, float term) {
    for (int64_t i = 0; i < n; ++i)
        to[i] = static_cast<int16_t>(
            static_cast<int32_t>((static_cast<float>(from[i]) * factor + term + ROUNDER) - ROUNDER));
}

// K rows of the error together as elements of A: codes, or fixed point. A row below 0 is not there.
void rows_of(const Error& error, const uint8_t* const* codes, const int64_t* rows, int16_t* scratch, int16_t* to) {
    if (!error.wide) return interleave(codes, to, error.n);
    const int16_t* const halves[Pairs::K] = {scratch, scratch + error.n};
    for (int64_t i = 0; i < Pairs::K; ++i) {
        if (rows[i] < 0) {
            std::fill_n(scratch + i * error.n, error.n, 0);
            continue;
        }
        const Grid& grid = error.grid(rows[i]);
        fix(codes[i], scratch + i * error.n, error.n, grid.scale / error.scale, grid.zero_point / error.scale);
    }
    interleave(halves, to, error.n);
}
void rows_of(const Error& error, const uint8_t* const* codes, const int64_t* /*rows*/, uint8_t* /*scratch*/,
             uint8_t* to) {
    interleave(codes, to, error.n);
}

struct Input {
    const uint8_t* codes;
    Grid grid;
    int32_t levels;
    int64_t rows, k;
};

// Rows at a time, and panels at a time: all of them, unless there are too few rows for all threads.
struct Blocks {
    int64_t rows, panels;

    Blocks(int64_t count, int64_t panel_count) : rows(ROWS_AT_ONCE), panels(panel_count) {
        const int64_t threads = omp_get_max_threads(), blocks = (count + rows - 1) / rows;
        if (blocks < threads) panels = std::max<int64_t>(1, (panel_count * blocks + threads - 1) / threads);
    }
};

// A weight laid out for y = x w + bias.
template <class Layout>
struct Forward {
    const Kernel<Layout>& kernel;
    Weight w;
    std::vector<typename Layout::B> b;
    std::vector<int32_t> code_sums;

    Forward(const Kernel<Layout>& kernel_, const Weight& w_)
        : kernel(kernel_), w(w_), b(forward_panels<Layout>(w_)), code_sums(w_.n) {
        for (int64_t n = 0; n < w.n; ++n) code_sums[n] = w.code_sum(n, 0);
        w.codes = nullptr;  // all of them are in b
    }

    void multiply(const Input& x, const float* bias, float* y) const {
        const int64_t k = ceil_to(x.k, Layout::K);
        const Plan<Layout> plan({0}, k, x.levels, w.centre_code);
        std::vector<float> add(w.n);
        for (int64_t n = 0; n < w.n; ++n)
            add[n] = x.grid.zero_point * w.scale[n] * static_cast<float>(code_sums[n]) + (bias ? bias[n] : 0.0F);
        const Columns columns{w.n, w.scale.data(), w.zero_point.data()};
        const Blocks blocks(x.rows, panels(w.n));
#pragma omp parallel
        {
            std::vector<typename Layout::A> a(ROWS_AT_ONCE * k);
            int64_t a_at[ROWS_AT_ONCE], out_at[ROWS_AT_ONCE];
            float term[ROWS_AT_ONCE];
#pragma omp for collapse(2)
            for (int64_t first = 0; first < x.rows; first += ROWS_AT_ONCE)
                for (int64_t panel = 0; panel < panels(w.n); panel += blocks.panels) {
                    const int64_t count = std::min(ROWS_AT_ONCE, x.rows - first);
                    for (int64_t r = 0; r < count; ++r) {
                        const uint8_t* from = x.codes + (first + r) * x.k;
                        a_at[r] = r * k;
                        out_at[r] = (first + r) * w.n;
                        spread(from, a.data() + a_at[r], x.k);
                        term[r] = x.grid.sum(total(from, x.k), x.k);
                    }
                    cpt::multiply<Layout>(
                        kernel, plan, {count, a.data(), a_at, y, out_at, &x.grid.scale, 0, term, add.data(), nullptr},
                        b.data(), columns, panel, std::min(panels(w.n), panel + blocks.panels));
                }
        }
    }
};

// A weight laid out for dx = dy w.
template <class Layout>
struct Backward {
    const Kernel<Layout>& kernel;
    int64_t k, most;  // the largest number of its fixed point
    Transposed<Layout> transposed;

    Backward(const Kernel<Layout>& kernel_, const Weight& w, bool fast)
        : kernel(kernel_), k(w.k), most(fast ? NARROW_MAX : WIDE_MAX), transposed(w, {0}, fast) {}

    void multiply(const Error& error, float* dx) const {
        const int64_t n = ceil_to(error.n, Layout::K);
        const Plan<Layout> plan({0}, n, error.levels, most);
        const std::vector<float> nothing(k, 0.0F);
        const Columns columns{k, transposed.scale.data(), transposed.sums.data()};
        const Blocks blocks(error.rows, panels(k));
#pragma omp parallel
        {
            std::vector<typename Layout::A> a(ROWS_AT_ONCE * n);
            int64_t a_at[ROWS_AT_ONCE], out_at[ROWS_AT_ONCE];
            float row_scale[ROWS_AT_ONCE], term[ROWS_AT_ONCE];
#pragma omp for collapse(2)
            for (int64_t first = 0; first < error.rows; first += ROWS_AT_ONCE)
                for (int64_t panel = 0; panel < panels(k); panel += blocks.panels) {
                    const int64_t count = std::min(ROWS_AT_ONCE, error.rows - first);
                    for (int64_t r = 0; r < count; ++r) {
                        const Grid& grid = error.grid(first + r);
                        a_at[r] = r * n;
                        out_at[r] = (first + r) * k;
                        row_scale[r] = grid.scale;
                        term[r] = grid.zero_point;
                        spread(error.codes + (first + r) * error.n, a.data() + a_at[r], error.n);
                    }
                    cpt::multiply<Layout>(
                        kernel, plan, {count, a.data(), a_at, dx, out_at, row_scale, 1, term, nothing.data(), nullptr},
                        transposed.b.data(), columns, panel, std::min(panels(k), panel + blocks.panels));
                }
        }
    }
};

// A weight laid out once for many products.
struct Kept {
    std::unique_ptr<Forward<Quads>> quads;
    std::unique_ptr<Forward<Pairs>> pairs;
    std::unique_ptr<Backward<Pairs>> backward;
    std::unique_ptr<Backward<Quads>> fast_backward;
};

// dw[n, k] = sum over rows of error[row, n] * x[row, k]: the rows are the k of this product, the outputs its rows.
template <class Layout>
void weight_gradient(const Kernel<Layout>& kernel, const Error& error, const Input& x, float* dw) {
    using A = typename Layout::A;
    using B = typename Layout::B;
    constexpr int64_t K = Layout::K;
    const int64_t n = error.n, k = x.k, height = ceil_to(n, kernel.rows), width = panels(k) * NR;
    const int32_t centre_code = centre(x.levels);
    const float zero_point = x.grid.zero_point + static_cast<float>(centre_code) * x.grid.scale;
    std::vector<A> a(height * ERRORS_AT_ONCE);
    std::vector<B> b(width * ERRORS_AT_ONCE);
    std::vector<int64_t> error_sums(n), input_sums(k);
    // Codes of rows that are not there, where their number is no multiple of K.
    const std::vector<uint8_t> no_error(n), no_input(k, static_cast<uint8_t>(centre_code));
    const int64_t most = terms(error.wide ? WIDE_MAX : error.levels, centre_code) / K;
    const int64_t burst = Kernel<Layout>::burst(error.levels, centre_code);
    const float unit = error.scale * x.grid.scale;
    const std::vector<float> units(k, unit), nothing(k);
    const float one = 1.0F;
#pragma omp parallel
    {
        std::vector<A> a_step(K * height), scratch(K * n);
        std::vector<B> b_step(K * width);
        std::vector<int32_t> my_error_sums(n), my_input_sums(k);  // of a block, which cannot overflow
        std::vector<int64_t> my_errors(n), my_inputs(k);
        alignas(64) int32_t sums[MAX_SUMS];
        const A* tile_rows[MAX_MR];
        int64_t out_at[MAX_MR];
        for (int64_t first = 0; first < x.rows; first += ERRORS_AT_ONCE) {
            const int64_t count = std::min(ERRORS_AT_ONCE, x.rows - first), steps = (count + K - 1) / K;
#pragma omp for
            for (int64_t step = 0; step < steps; ++step) {
                const uint8_t *inputs[K], *errors[K];
                int64_t at[K];
                for (int64_t i = 0; i < K; ++i) {
                    const bool there = step * K + i < count;
                    at[i] = there ? first + step * K + i : -1;
                    inputs[i] = there ? x.codes + at[i] * k : no_input.data();
                    errors[i] = there ? error.codes + at[i] * n : no_error.data();
                }
                rows_of(error, errors, at, scratch.data(), a_step.data());
                add_steps(a_step.data(), my_error_sums.data(), n);
                for (int64_t row = 0; row < height; row += kernel.rows)
                    std::copy_n(a_step.data() + row * K, kernel.rows * K,
                                a.data() + (row * steps + step * kernel.rows) * K);
                interleave_centred(inputs, b_step.data(), k, centre_code);
                add_steps(b_step.data(), my_input_sums.data(), k);
                for (int64_t panel = 0; panel < panels(k); ++panel)
                    std::copy_n(b_step.data() + panel * NR * K, NR * K, b.data() + (panel * steps + step) * NR * K);
            }
            add_to(my_error_sums.data(), my_errors.data(), n);
            add_to(my_input_sums.data(), my_inputs.data(), k);
            std::fill(my_error_sums.begin(), my_error_sums.end(), 0);
            std::fill(my_input_sums.begin(), my_input_sums.end(), 0);
#pragma omp for
            for (int64_t row = 0; row < height; row += kernel.rows)
                for (int64_t panel = 0, together; panel < panels(k); panel += together) {
                    together = kernel.panels(panels(k) - panel);
                    for (int64_t r = 0; r < kernel.rows; ++r) {
                        tile_rows[r] = a.data() + (row * steps + r) * K;
                        out_at[r] = (row + r) * k;
                    }
                    const int64_t here = std::min(kernel.rows, n - row);
                    for (int64_t from = 0; from < steps; from += most) {
                        const Run run{from * kernel.rows * K, from * NR * K, std::min(most, steps - from)};
                        kernel.of(together)(tile_rows, &run, &run + 1, {kernel.rows * K, NR * K, steps * NR * K},
                                            b.data() + panel * steps * NR * K, burst, sums);
                        const bool begin = first == 0 && from == 0;
                        for (int64_t i = 0; i < together; ++i)
                            finish({sums + i * kernel.rows * NR, here, (panel + i) * NR, begin},
                                   {k, units.data(), nullptr}, dw, out_at, &one, 0, nullptr, nothing.data(), nullptr);
                    }
                }
        }
#pragma omp critical
        {
            for (int64_t j = 0; j < n; ++j) error_sums[j] += my_errors[j];
            for (int64_t i = 0; i < k; ++i) input_sums[i] += my_inputs[i];
        }
#pragma omp barrier
#pragma omp for
        for (int64_t j = 0; j < n; ++j) {
            const float error_sum = static_cast<float>(error.scale * static_cast<double>(error_sums[j]) +
                                                       static_cast<double>(x.rows) * error.zero_point);
            for (int64_t i = 0; i < k; ++i)
                dw[j * k + i] +=
                    zero_point * error_sum + error.zero_point * x.grid.scale * static_cast<float>(input_sums[i]);
        }
    }
}

// dbias[n] = sum over rows of the error, in the order of the rows.
void bias_gradient(const Error& error, float* dbias) {
    constexpr int64_t COLUMNS = 64;
#pragma omp parallel for
    for (int64_t first = 0; first < error.n; first += COLUMNS) {
        const int64_t count = std::min(COLUMNS, error.n - first);
        double sums[COLUMNS] = {};
        for (int64_t row = 0; row < error.rows; ++row) {
            const Grid& grid = error.grid(row);
            const uint8_t* from = error.codes + row * error.n + first;
            for (int64_t n = 0; n < count; ++n)
                sums[n] += static_cast<double>(static_cast<float>(from[n]) * grid.scale + grid.zero_point);
        }
        for (int64_t n = 0; n < count; ++n) dbias[first + n] = static_cast<float>(sums[n]);
    }
}

}  // namespace
}  // namespace cpt

using namespace cpt;

extern "C" {

// y = x w + bias: x (rows, k), w (n, k) with a range for each of the n, y (rows, n). `bias` may be null.
void cpt_linear(const uint8_t* x_codes, const float* x_low, const float* x_span, const uint8_t* w_codes,
                const float* w_low, const float* w_span, const int32_t* levels, const float* bias, float* y,
                int64_t rows, int64_t k, int64_t n) {
    const Input x{x_codes, Grid(*x_low, *x_span, *levels), *levels, rows, k};
    const Weight w(w_codes, w_low, w_span, *levels, n, 1, k);
    if (instructions().quads.takes(*levels, w.centre_code))
        Forward<Quads>(instructions().quads, w).multiply(x, bias, y);
    else
        Forward<Pairs>(instructions().pairs, w).multiply(x, bias, y);
}

// A weight (n, k) laid out for many products: with inputs, or with errors if `backward`, and then in 8 bits if `fast`.
// To be freed by cpt_free_weight.
void* cpt_keep_weight(const uint8_t* codes, const float* low, const float* span, const int32_t* levels, int64_t n,
                      int64_t k, int32_t backward, int32_t fast) {
    auto kept = std::make_unique<Kept>();
    const Weight w(codes, low, span, *levels, n, 1, k);
    if (backward && fast && fast_in_quads())
        kept->fast_backward = std::make_unique<Backward<Quads>>(instructions().quads, w, true);
    else if (backward)
        kept->backward = std::make_unique<Backward<Pairs>>(instructions().pairs, w, fast);
    else if (instructions().quads.takes(*levels, w.centre_code))
        kept->quads = std::make_unique<Forward<Quads>>(instructions().quads, w);
    else
        kept->pairs = std::make_unique<Forward<Pairs>>(instructions().pairs, w);
    return kept.release();
}

void cpt_free_weight(void* kept) { delete static_cast<Kept*>(kept); }

// As cpt_linear, without bias and with a weight kept for it.
void cpt_linear_kept(const void* kept, const uint8_t* x_codes, const float* x_low, const float* x_span,
                     const int32_t* levels, float* y, int64_t rows, int64_t k) {
    const Input x{x_codes, Grid(*x_low, *x_span, *levels), *levels, rows, k};
    const Kept& weight = *static_cast<const Kept*>(kept);
    weight.quads ? weight.quads->multiply(x, nullptr, y) : weight.pairs->multiply(x, nullptr, y);
}

// As the gradient of the input of cpt_linear_backward, with a weight kept for it; each row of the error has a range.
void cpt_input_gradient_kept(const void* kept, const uint8_t* error, const float* low, const float* span,
                             const int32_t* levels, float* dx, int64_t rows, int64_t n) {
    const Kept& weight = *static_cast<const Kept*>(kept);
    const Error errors(error, low, span, *levels, rows, n, rows, 1);
    weight.backward ? weight.backward->multiply(errors, dx) : weight.fast_backward->multiply(errors, dx);
}

// Gradients of cpt_linear from the rounded error's codes (rows, n), of which `groups` groups of rows, which take turns
// with group_rows each, have a range each. Those that are null are not computed; dx takes 8-bit weights if `fast`.
void cpt_linear_backward(const uint8_t* error_codes, const float* error_low, const float* error_span,
                         const int32_t* error_levels, int64_t groups, int64_t group_rows, const uint8_t* x_codes,
                         const float* x_low, const float* x_span, const uint8_t* w_codes, const float* w_low,
                         const float* w_span, const int32_t* levels, int32_t fast, float* dx, float* dw, float* dbias,
                         int64_t rows, int64_t k, int64_t n) {
    const Error error(error_codes, error_low, error_span, *error_levels, rows, n, groups, group_rows);
    if (dx) {
        const Weight w(w_codes, w_low, w_span, *levels, n, 1, k);
        if (fast && fast_in_quads())
            Backward<Quads>(instructions().quads, w, true).multiply(error, dx);
        else
            Backward<Pairs>(instructions().pairs, w, fast).multiply(error, dx);
    }
    if (dw) {
        const Input x{x_codes, Grid(*x_low, *x_span, *levels), *levels, rows, k};
        if (!error.wide && instructions().quads.takes(error.levels, centre(*levels)))
            weight_gradient(instructions().quads, error, x, dw);
        else
            weight_gradient(instructions().pairs, error, x, dw);
    }
    if (dbias) bias_gradient(error, dbias);
}
}
