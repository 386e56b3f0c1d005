#include "products.h"

namespace cpt {
namespace {

// Numbers of a tap of one n in fixed point, and their sum with those of the n before.
VECTORISED void fix(const uint8_t* __restrict codes, int64_t n, int32_t centre_code, float factor, float term,
                    int16_t* __restrict to, int32_t* __restrict sums) {
    for (int64_t i = 0; i < n; ++i) {
        const float number = static_cast<float>(codes[i] - centre_code) * factor + term;
        const int32_t fixed = static_cast<int32_t>((number + ROUNDER) - ROUNDER);
        to[i] = static_cast<int16_t>(fixed);
        sums[i] += fixed;
    }
}

INLINED void finish_row(int64_t n, const int32_t* __restrict sums, float by, const float* __restrict scale, bool begin,
                        float times, const float* __restrict factor, const float* __restrict plus,
                        float* __restrict to) {
    if (!begin) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) to[i] += by * scale[i] * static_cast<float>(sums[i]);
    } else if (factor) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i)
            to[i] = by * scale[i] * static_cast<float>(sums[i]) + times * factor[i] + plus[i];
    } else {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) to[i] = by * scale[i] * static_cast<float>(sums[i]) + plus[i];
    }
}

}  // namespace

VECTORISED int32_t total(const uint8_t* from, int64_t n) {
    int32_t sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += from[i];
    return sum;
}

VECTORISED void spread(const uint8_t* __restrict from, int16_t* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

VECTORISED void spread(const uint8_t* __restrict from, uint8_t* __restrict to, int64_t n) { std::copy_n(from, n, to); }

VECTORISED void interleave(const int16_t* const* from, int16_t* __restrict to, int64_t n) {
    const int16_t* __restrict a = from[0];
    const int16_t* __restrict b = from[1];
    for (int64_t i = 0; i < n; ++i) {
        to[2 * i] = a[i];
        to[2 * i + 1] = b[i];
    }
}

VECTORISED void interleave_centred(const uint8_t* const* from, int16_t* __restrict to, int64_t n, int32_t centre_code) {
    const uint8_t* __restrict a = from[0];
    const uint8_t* __restrict b = from[1];
    const int16_t centre = static_cast<int16_t>(centre_code);
    for (int64_t i = 0; i < n; ++i) {
        to[2 * i] = static_cast<int16_t>(a[i] - centre);
        to[2 * i + 1] = static_cast<int16_t>(b[i] - centre);
    }
}

VECTORISED void interleave_centred(const uint8_t* const* from, int8_t* __restrict to, int64_t n, int32_t centre_code) {
    const uint8_t* __restrict a = from[0];
    const uint8_t* __restrict b = from[1];
    const uint8_t* __restrict c = from[2];
    const uint8_t* __restrict d = from[3];
    const uint8_t centre = static_cast<uint8_t>(centre_code);
    for (int64_t i = 0; i < n; ++i) {
        to[4 * i] = static_cast<int8_t>(a[i] - centre);
        to[4 * i + 1] = static_cast<int8_t>(b[i] - centre);
        to[4 * i + 2] = static_cast<int8_t>(c[i] - centre);
        to[4 * i + 3] = static_cast<int8_t>(d[i] - centre);
    }
}

VECTORISED void interleave(const uint8_t* const* from, int16_t* __restrict to, int64_t n) {
    const uint8_t* __restrict a = from[0];
    const uint8_t* __restrict b = from[1];
    for (int64_t i = 0; i < n; ++i) {
        to[2 * i] = a[i];
        to[2 * i + 1] = b[i];
    }
}

VECTORISED void interleave(const uint8_t* const* from, uint8_t* __restrict to, int64_t n) {
    const uint8_t* __restrict a = from[0];
    const uint8_t* __restrict b = from[1];
    const uint8_t* __restrict c = from[2];
    const uint8_t* __restrict d = from[3];
    for (int64_t i = 0; i < n; ++i) {
        to[4 * i] = a[i];
        to[4 * i + 1] = b[i];
        to[4 * i + 2] = c[i];
        to[4 * i + 3] = d[i];
    }
}

VECTORISED void add_to(const uint8_t* __restrict from, int32_t* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

VECTORISED void add_to(const int32_t* __restrict from, int64_t* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

VECTORISED void add_steps(const int16_t* __restrict from, int32_t* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[2 * i] + from[2 * i + 1];
}

VECTORISED void add_steps(const uint8_t* __restrict from, int32_t* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[4 * i] + from[4 * i + 1] + from[4 * i + 2] + from[4 * i + 3];
}

VECTORISED void add_steps(const int8_t* __restrict from, int32_t* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[4 * i] + from[4 * i + 1] + from[4 * i + 2] + from[4 * i + 3];
}

VECTORISED void finish(const Part& part, const Columns& columns, float* out, const int64_t* out_at, const float* scale,
                       int64_t scale_step, const float* term, const float* add, const int64_t* add_at) {
    const int64_t first = part.first_column, width = std::min(NR, columns.n - first);
    const float* factor = columns.factor ? columns.factor + first : nullptr;
    for (int64_t r = 0; r < part.rows; ++r) {
        float* to = out + out_at[r] + first;
        const int32_t* sums = part.sums + r * NR;
        const float by = scale[r * scale_step], times = factor ? term[r] : 0.0F;
        const float* plus = add + (add_at ? add_at[r] : 0) + first;
        // With a number of columns that the compiler knows a row is a few instructions.
        if (width == NR)
            finish_row(NR, sums, by, columns.scale + first, part.begin, times, factor, plus, to);
        else
            finish_row(width, sums, by, columns.scale + first, part.begin, times, factor, plus, to);
    }
}

Weight::Weight(const uint8_t* codes_, const float* low, const float* span, int32_t levels_, int64_t n_, int64_t taps_,
               int64_t k_)
    : codes(codes_),
      n(n_),
      taps(taps_),
      k(k_),
      levels(levels_),
      centre_code(centre(levels_)),
      scale(n_),
      zero_point(n_) {
    for (int64_t i = 0; i < n; ++i) {
        const Grid grid(low[i], span[i], levels);
        scale[i] = grid.scale;
        zero_point[i] = grid.zero_point + static_cast<float>(centre_code) * grid.scale;
    }
}

Transposed::Transposed(const Weight& w, const std::vector<int64_t>& taps) : scale(0.0F) {
    for (int64_t i = 0; i < w.n; ++i) {
        const float low = w.zero_point[i] - static_cast<float>(w.centre_code) * w.scale[i];
        const float high = w.zero_point[i] + static_cast<float>(w.levels - w.centre_code) * w.scale[i];
        scale = std::max({scale, std::fabs(low), std::fabs(high)});
    }
    scale = std::max(scale / static_cast<float>(WIDE_MAX), SMALLEST);
    const int64_t n = ceil_to(w.n, Pairs::K), count = static_cast<int64_t>(taps.size());
    b.resize(panels(w.k) * count * n * NR);
    sums.resize(count * w.k);
    std::vector<int64_t> code_sums(sums.size());
#pragma omp parallel
    {
        std::vector<int16_t> fixed(Pairs::K * panels(w.k) * NR), pairs(fixed.size());
        int16_t* const halves[Pairs::K] = {fixed.data(), fixed.data() + fixed.size() / 2};
        std::vector<int32_t> two_sums(w.k);
        std::vector<int64_t> my_sums(sums.size());
#pragma omp for
        for (int64_t step = 0; step < count * (n / Pairs::K); ++step) {
            const int64_t tap = step / (n / Pairs::K), i = step % (n / Pairs::K) * Pairs::K;
            std::fill(fixed.begin(), fixed.end(), 0);
            std::fill(two_sums.begin(), two_sums.end(), 0);
            for (int64_t half = 0; half < Pairs::K && i + half < w.n; ++half)
                fix(w.codes + ((i + half) * w.taps + taps[tap]) * w.k, w.k, w.centre_code, w.scale[i + half] / scale,
                    w.zero_point[i + half] / scale, halves[half], two_sums.data());
            for (int64_t j = 0; j < w.k; ++j) my_sums[tap * w.k + j] += two_sums[j];
            interleave(halves, pairs.data(), panels(w.k) * NR);
            for (int64_t panel = 0; panel < panels(w.k); ++panel)
                std::copy_n(pairs.data() + panel * NR * Pairs::K, NR * Pairs::K,
                            b.data() + ((panel * count + tap) * n + i) * NR);
        }
#pragma omp critical
        for (size_t i = 0; i < sums.size(); ++i) code_sums[i] += my_sums[i];
    }
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = static_cast<float>(scale * static_cast<double>(code_sums[i]));
}

}  // namespace cpt
