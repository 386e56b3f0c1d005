// What linear layers and convolutions share: codes and their grids, weights as panels of B, and whole products.

#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tiles.h"

namespace cpt {

// Products of numbers up to a_max and b_max that an int32 can sum: 65,793 of 8-bit codes, 257 with 16-bit numbers.
inline int64_t terms(int64_t a_max, int64_t b_max) { return INT32_MAX / (a_max * b_max); }

constexpr int64_t WIDE_MAX = 32767;  // of 16-bit fixed point
constexpr int64_t NARROW_MAX = 127;  // of 8-bit fixed point
constexpr float SMALLEST = std::numeric_limits<float>::min();

inline int64_t ceil_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
inline int64_t panels(int64_t n) { return (n + NR - 1) / NR; }

// How codes become numbers: code * scale + zero_point.
struct Grid {
    float scale, zero_point;

    Grid(float low, float span, int32_t levels) : scale(span / static_cast<float>(levels)), zero_point(low) {
        scale = scale < 1e-8F ? 1e-8F : scale;
    }

    // Of `count` numbers whose codes sum to `codes`: a small difference of large terms.
    float sum(int64_t codes, int64_t count) const {
        return static_cast<float>(static_cast<double>(scale) * static_cast<double>(codes) +
                                  static_cast<double>(zero_point) * static_cast<double>(count));
    }
};

// What to subtract from codes to have them around zero.
inline int32_t centre(int32_t levels) { return (levels + 1) / 2; }

int32_t total(const uint8_t* from, int64_t n);
// Codes as elements of A.
void spread(const uint8_t* from, int16_t* to, int64_t n);
void spread(const uint8_t* from, uint8_t* to, int64_t n);
// Elements of K rows of codes as neighbours, to[i * K + j] = from[j][i]: as elements of A, and around zero as those of
// B.
void interleave(const uint8_t* const* from, int16_t* to, int64_t n);
void interleave(const uint8_t* const* from, uint8_t* to, int64_t n);
void interleave_centred(const uint8_t* const* from, int16_t* to, int64_t n, int32_t centre_code);
void interleave_centred(const uint8_t* const* from, int8_t* to, int64_t n, int32_t centre_code);
// As they are.
void interleave(const int16_t* const* from, int16_t* to, int64_t n);
void interleave(const int8_t* const* from, int8_t* to, int64_t n);
// to[i] += from[i]
void add_to(const uint8_t* from, int32_t* to, int64_t n);
void add_to(const int32_t* from, int64_t* to, int64_t n);
void add_to(const int64_t* from, int64_t* to, int64_t n);
// Codes around zero, step after step: those of step i go to to[i * distance].
void spread_centred(const uint8_t* from, int16_t* to, int64_t n, int64_t distance, int32_t centre_code);
void spread_centred(const uint8_t* from, int8_t* to, int64_t n, int64_t distance, int32_t centre_code);
// to[i] += the sum of the elements of step i: two of Pairs, four of Quads
void add_steps(const int16_t* from, int32_t* to, int64_t n);
void add_steps(const uint8_t* from, int32_t* to, int64_t n);
void add_steps(const int8_t* from, int32_t* to, int64_t n);

// What becomes of the sums of a row: out = scale * column_scale * sum + term * column_factor + add, each for a column.
struct Columns {
    int64_t n;
    const float* scale;
    const float* factor;  // or null, and then rows have no term
};

// Rows of A and where they go. What differs from row to row is found by an offset, or a step that may be 0.
template <class Layout>
struct Rows {
    int64_t count;
    const typename Layout::A* a;
    const int64_t* a_at;
    float* out;
    const int64_t* out_at;
    const float* scale;
    int64_t scale_step;
    const float* term;  // or null
    const float* add;
    const int64_t* add_at;  // or null: the same for all
};

// The sums of a tile become part of the result. The first sums of a product begin it, others are added.
struct Part {
    const int32_t* sums;
    int64_t rows, first_column;
    bool begin;
};
void finish(const Part& part, const Columns& columns, float* out, const int64_t* out_at, const float* scale,
            int64_t scale_step, const float* term, const float* add, const int64_t* add_at);

// The runs of a product, and the sums into which they are cut so that none overflows: sum i ends before run ends[i].
template <class Layout>
struct Plan {
    std::vector<Run> runs;
    std::vector<int64_t> ends;
    int64_t panel;  // elements of B for NR columns
    int64_t burst;

    // Taps of k elements each, one after the other in B, and beginning in A at `taps`.
    Plan(const std::vector<int64_t>& taps, int64_t k, int64_t a_max, int64_t b_max)
        : panel(static_cast<int64_t>(taps.size()) * k * NR), burst(Kernel<Layout>::burst(a_max, b_max)) {
        const int64_t most = terms(a_max, b_max) / Layout::K, steps = k / Layout::K;
        int64_t sum = 0;
        for (size_t tap = 0; tap < taps.size(); ++tap)
            for (int64_t at = 0; at < steps;) {
                if (sum == most) {
                    ends.push_back(static_cast<int64_t>(runs.size()));
                    sum = 0;
                }
                const int64_t here = std::min(steps - at, most - sum);
                const int64_t a = taps[tap] + at * Layout::K;
                const int64_t b = (static_cast<int64_t>(tap) * steps + at) * Layout::K * NR;
                // Neighbours in a row of pixels are one run, where no sum ends between them.
                if (sum > 0 && runs.back().a + runs.back().steps * Layout::K == a)
                    runs.back().steps += here;
                else
                    runs.push_back({a, b, here});
                at += here;
                sum += here;
            }
        ends.push_back(static_cast<int64_t>(runs.size()));
    }
};

// All rows by columns of the panels first_panel to last_panel - 1.
template <class Layout>
void multiply(const Kernel<Layout>& kernel, const Plan<Layout>& plan, const Rows<Layout>& rows,
              const typename Layout::B* b, const Columns& columns, int64_t first_panel, int64_t last_panel) {
    alignas(64) int32_t sums[MAX_SUMS];
    const typename Layout::A* tile_rows[MAX_MR];
    const Steps steps{Layout::K, Layout::K * NR, plan.panel};
    int64_t together;
    for (int64_t panel = first_panel; panel < last_panel; panel += together) {
        together = kernel.panels(last_panel - panel);
        for (int64_t first = 0; first < rows.count; first += kernel.rows) {
            const int64_t here = std::min(kernel.rows, rows.count - first);
            for (int64_t r = 0; r < kernel.rows; ++r) tile_rows[r] = rows.a + rows.a_at[first + std::min(r, here - 1)];
            int64_t from = 0;
            for (const int64_t end : plan.ends) {
                kernel.of(together)(tile_rows, plan.runs.data() + from, plan.runs.data() + end, steps,
                                    b + panel * plan.panel, plan.burst, sums);
                for (int64_t i = 0; i < together; ++i)
                    finish({sums + i * kernel.rows * NR, here, (panel + i) * NR, from == 0}, columns, rows.out,
                           rows.out_at + first, rows.scale + first * rows.scale_step, rows.scale_step,
                           rows.term ? rows.term + first : nullptr, rows.add,
                           rows.add_at ? rows.add_at + first : nullptr);
                from = end;
            }
        }
    }
}

// A weight (n, taps, k), each of the n with a range of its own. Its numbers are code * scale[n] + zero_point[n], with
// codes around zero.
struct Weight {
    const uint8_t* codes;
    int64_t n, taps, k;
    int32_t levels, centre_code;
    std::vector<float> scale, zero_point;

    Weight(const uint8_t* codes, const float* low, const float* span, int32_t levels, int64_t n, int64_t taps,
           int64_t k);

    // Sum over k of the codes of a tap.
    int32_t code_sum(int64_t i, int64_t tap) const {
        return total(codes + (i * taps + tap) * k, k) - static_cast<int32_t>(k) * centre_code;
    }
};

// Panels of B for y = x w: columns n; k, padded to whole steps, within taps.
template <class Layout>
std::vector<typename Layout::B> forward_panels(const Weight& w) {
    const int64_t k = ceil_to(w.k, Layout::K);
    std::vector<typename Layout::B> b(panels(w.n) * w.taps * k * NR);
#pragma omp parallel for
    for (int64_t panel = 0; panel < panels(w.n); ++panel)
        for (int64_t n = panel * NR; n < std::min(w.n, (panel + 1) * NR); ++n)
            for (int64_t tap = 0; tap < w.taps; ++tap) {
                auto* to = b.data() + (panel * w.taps + tap) * k * NR + (n - panel * NR) * Layout::K;
                spread_centred(w.codes + (n * w.taps + tap) * w.k, to, w.k, Layout::K * NR, w.centre_code);
            }
    return b;
}

// Panels of B for dx = dy w, in fixed point, since the scales of a weight differ along the sum: columns k; n, padded to
// whole steps, within the taps chosen. In 16 bits all columns have the same scale, and the error of a number is at most
// half of it, 1/65,534 of the largest; if `fast` in 8 bits, each on the scale of its column, at most 1/254 of the
// largest of the column. `sums` are those over n of a tap's numbers as they were rounded, (taps chosen, k).
template <class Layout>
struct Transposed {
    std::vector<float> scale;
    std::vector<typename Layout::B> b;
    std::vector<float> sums;

    Transposed(const Weight& w, const std::vector<int64_t>& taps, bool fast);
};

// Whether instructions multiply 8-bit fixed point with codes in four at a time.
inline bool fast_in_quads() { return instructions().quads.takes(255, NARROW_MAX); }

}  // namespace cpt
