#include "products.h"

#include <cstring>

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

// As fix, on the grid of each column, of which `inverse` is 1 / scale.
template <class Number>
INLINED void fix_columns(const uint8_t* __restrict codes, int64_t n, int32_t centre_code, float factor, float term,
                         const float* __restrict inverse, Number* __restrict to, int32_t* __restrict sums) {
    for (int64_t i = 0; i < n; ++i) {
        const float number = (static_cast<float>(codes[i] - centre_code) * factor + term) * inverse[i];
        const int32_t fixed = static_cast<int32_t>((number + ROUNDER) - ROUNDER);
        to[i] = static_cast<Number>(fixed);
        sums[i] += fixed;
    }
}
VECTORISED void fix_narrow(const uint8_t* codes, int64_t n, int32_t centre_code, float factor, float term,
                           const float* inverse, int16_t* to, int32_t* sums) {
    fix_columns(codes, n, centre_code, factor, term, inverse, to, sums);
}
VECTORISED void fix_narrow(const uint8_t* codes, int64_t n, int32_t centre_code, float factor, float term,
                           const float* inverse, int8_t* to, int32_t* sums) {
    fix_columns(codes, n, centre_code, factor, term, inverse, to, sums);
}

// most[i] becomes the magnitude of the number, where that is larger.
VECTORISED void largest(const uint8_t* __restrict codes, int64_t n, int32_t centre_code, float factor, float term,
                        float* __restrict most) {
    for (int64_t i = 0; i < n; ++i) {
        const float number = static_cast<float>(codes[i] - centre_code) * factor + term;
        const float magnitude = number < 0.0F ? -number : number;
        most[i] = magnitude > most[i] ? magnitude : most[i];
    }
}

float largest(const Weight& w) {
    float most = 0.0F;
    for (int64_t i = 0; i < w.n; ++i) {
        const float low = w.zero_point[i] - static_cast<float>(w.centre_code) * w.scale[i];
        const float high = w.zero_point[i] + static_cast<float>(w.levels - w.centre_code) * w.scale[i];
        most = std::max({most, std::fabs(low), std::fabs(high)});
    }
    return most;
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

VECTORISED void interleave(const int8_t* const* from, int8_t* __restrict to, int64_t n) {
    const int8_t* __restrict a = from[0];
    const int8_t* __restrict b = from[1];
    const int8_t* __restrict c = from[2];
    const int8_t* __restrict d = from[3];
    for (int64_t i = 0; i < n; ++i) {
        to[4 * i] = a[i];
        to[4 * i + 1] = b[i];
        to[4 * i + 2] = c[i];
        to[4 * i + 3] = d[i];
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

VECTORISED void add_to(const int64_t* __restrict from, int64_t* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

void spread_centred(const uint8_t* from, int16_t* to, int64_t n, int64_t distance, int32_t centre_code) {
    for (int64_t i = 0; i < n; ++i)
        to[i / Pairs::K * distance + i % Pairs::K] = static_cast<int16_t>(from[i] - centre_code);
}

void spread_centred(const uint8_t* from, int8_t* to, int64_t n, int64_t distance, int32_t centre_code) {
    constexpr uint32_t HIGHEST = 0x80808080U, EACH = 0x01010101U;
    // Bytes less `centre_code`, four at once: the highest bits are set before, so that nothing is borrowed.
    const uint32_t less = static_cast<uint32_t>(centre_code) * EACH;
    int64_t i = 0;
    for (; i + Quads::K <= n; i += Quads::K, to += distance) {
        uint32_t four;
        std::memcpy(&four, from + i, sizeof four);
        four = ((four | HIGHEST) - (less & ~HIGHEST)) ^ ((four ^ ~less) & HIGHEST);
        std::memcpy(to, &four, sizeof four);
    }
    for (int64_t j = 0; i < n; ++i, ++j) to[j] = static_cast<int8_t>(from[i] - centre_code);
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

template <class Layout>
Transposed<Layout>::Transposed(const Weight& w, const std::vector<int64_t>& taps, bool fast) : scale(w.k) {
    using Number = typename Layout::B;
    constexpr int64_t K = Layout::K;
    if (fast) {
        for (int64_t i = 0; i < w.n; ++i)
            for (const int64_t tap : taps)
                largest(w.codes + (i * w.taps + tap) * w.k, w.k, w.centre_code, w.scale[i], w.zero_point[i],
                        scale.data());
        for (float& one : scale) one = std::max(one / static_cast<float>(NARROW_MAX), SMALLEST);
    } else {
        std::fill(scale.begin(), scale.end(), std::max(largest(w) / static_cast<float>(WIDE_MAX), SMALLEST));
    }
    std::vector<float> inverse(w.k);
    for (int64_t j = 0; j < w.k; ++j) inverse[j] = 1.0F / scale[j];
    const int64_t n = ceil_to(w.n, K), count = static_cast<int64_t>(taps.size());
    b.resize(panels(w.k) * count * n * NR);
    sums.resize(count * w.k);
    std::vector<int64_t> code_sums(sums.size());
#pragma omp parallel
    {
        std::vector<Number> fixed(K * panels(w.k) * NR), step_of_b(fixed.size());
        Number* rows[K];
        for (int64_t i = 0; i < K; ++i) rows[i] = fixed.data() + i * panels(w.k) * NR;
        std::vector<int32_t> step_sums(w.k);
        std::vector<int64_t> my_sums(sums.size());
#pragma omp for
        for (int64_t step = 0; step < count * (n / K); ++step) {
            const int64_t tap = step / (n / K), i = step % (n / K) * K;
            std::fill(fixed.begin(), fixed.end(), 0);
            std::fill(step_sums.begin(), step_sums.end(), 0);
            for (int64_t row = 0; row < K && i + row < w.n; ++row) {
                const uint8_t* from = w.codes + ((i + row) * w.taps + taps[tap]) * w.k;
                const float factor = w.scale[i + row], term = w.zero_point[i + row];
                if constexpr (K == Pairs::K)
                    if (!fast) {
                        fix(from, w.k, w.centre_code, factor / scale[0], term / scale[0], rows[row], step_sums.data());
                        continue;
                    }
                fix_narrow(from, w.k, w.centre_code, factor, term, inverse.data(), rows[row], step_sums.data());
            }
            for (int64_t j = 0; j < w.k; ++j) my_sums[tap * w.k + j] += step_sums[j];
            interleave(rows, step_of_b.data(), panels(w.k) * NR);
            for (int64_t panel = 0; panel < panels(w.k); ++panel)
                std::copy_n(step_of_b.data() + panel * NR * K, NR * K, b.data() + ((panel * count + tap) * n + i) * NR);
        }
#pragma omp critical
        for (size_t i = 0; i < sums.size(); ++i) code_sums[i] += my_sums[i];
    }
    for (size_t i = 0; i < sums.size(); ++i)
        sums[i] = static_cast<float>(scale[i % w.k] * static_cast<double>(code_sums[i]));
}

template struct Transposed<Pairs>;
template struct Transposed<Quads>;

}  // namespace cpt
