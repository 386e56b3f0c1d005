// The SBM quantiser's two passes over the float32 elements of a tensor in the order of memory: range and rounding.
//
// Equal to sbm.py and noise.py bit for bit: the same operations in the same order, compiled without contraction. These
// are plain C functions, called through ctypes, so that building them needs neither torch nor Python's headers.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "range.h"
#include "vectorised.h"

// As many running minima and maxima as fill the vector registers: one alone would wait for itself.
static constexpr int LANES = 32;

VECTORISED Range range_of(const float* x, int64_t n) {
    float low[LANES], high[LANES];
    int32_t nan[LANES] = {};
    std::fill(low, low + LANES, std::numeric_limits<float>::infinity());
    std::fill(high, high + LANES, -std::numeric_limits<float>::infinity());
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; ++j) {
            const float value = x[i + j];
            low[j] = value < low[j] ? value : low[j];
            high[j] = value > high[j] ? value : high[j];
            nan[j] |= value != value;
        }
    for (int j = 0; i < n; ++i, ++j) {
        low[j] = x[i] < low[j] ? x[i] : low[j];
        high[j] = x[i] > high[j] ? x[i] : high[j];
        nan[j] |= x[i] != x[i];
    }
    Range seen;
    for (int j = 0; j < LANES; ++j) seen = wider(seen, {low[j], high[j], nan[j] != 0});
    return seen;
}

namespace {

// Elements that a thread takes at a time: 256 KiB, which stay in the caches of one core.
constexpr int64_t CHUNK = 1 << 16;
constexpr float MIN_SCALE = 1e-8F;

struct Grid {
    float zero_point;
    float scale;
    float levels;

    Grid(float low, float span, int32_t steps) : zero_point(low), levels(static_cast<float>(steps)) {
        scale = span / levels;
        scale = scale < MIN_SCALE ? MIN_SCALE : scale;
    }
};

struct Noise {
    bool wanted;
    uint32_t key_low;
    uint32_t key_high;

    explicit Noise(const int64_t* seed)
        : wanted(seed != nullptr),
          key_low(seed ? static_cast<uint32_t>(*seed) : 0),
          key_high(seed ? static_cast<uint32_t>(*seed >> 32) : 0) {}
};

// The shifts of noise.py are arithmetic.
INLINED uint32_t shifted(uint32_t x, int by) { return static_cast<uint32_t>(static_cast<int32_t>(x) >> by); }

INLINED float uniform(uint32_t index, uint32_t key_low, uint32_t key_high) {
    uint32_t x = (index + key_low) * 0x7FEB352DU;
    x = (x ^ shifted(x, 15) ^ key_high) * 0x846CA68BU;
    x = (x ^ shifted(x, 13)) * 0x9E3779B1U;
    return static_cast<float>(static_cast<int32_t>(x)) * 0x1p-32F;
}

// NaN fails both comparisons and stays.
INLINED float on_grid(float code, float zero_point, float scale, float levels) {
    code = code < 0.0F ? 0.0F : code;
    code = code > levels ? levels : code;
    return ((code + ROUNDER) - ROUNDER) * scale + zero_point;
}

// As on_grid, the code alone. That of NaN is some code: NaN is in the scale.
INLINED uint8_t code_of(float code, float levels) {
    code = code > 0.0F ? code : 0.0F;
    code = code > levels ? levels : code;
    return static_cast<uint8_t>(static_cast<int32_t>((code + ROUNDER) - ROUNDER));
}

VECTORISED void nearest(const float* __restrict x, float* __restrict y, int32_t n, Grid grid) {
    const float zero_point = grid.zero_point, scale = grid.scale, levels = grid.levels;
    for (int32_t i = 0; i < n; ++i) y[i] = on_grid((x[i] - zero_point) / scale, zero_point, scale, levels);
}

VECTORISED void stochastic(const float* __restrict x, float* __restrict y, int32_t n, Grid grid, uint32_t first,
                           uint32_t key_low, uint32_t key_high) {
    const float zero_point = grid.zero_point, scale = grid.scale, levels = grid.levels;
    for (int32_t i = 0; i < n; ++i) {
        const float noise = uniform(first + static_cast<uint32_t>(i), key_low, key_high);
        y[i] = on_grid((x[i] - zero_point) / scale + noise, zero_point, scale, levels);
    }
}

VECTORISED void nearest_codes(const float* __restrict x, uint8_t* __restrict codes, int32_t n, Grid grid) {
    const float zero_point = grid.zero_point, scale = grid.scale, levels = grid.levels;
    for (int32_t i = 0; i < n; ++i) codes[i] = code_of((x[i] - zero_point) / scale, levels);
}

VECTORISED void stochastic_codes(const float* __restrict x, uint8_t* __restrict codes, int32_t n, Grid grid,
                                 uint32_t first, uint32_t key_low, uint32_t key_high) {
    const float zero_point = grid.zero_point, scale = grid.scale, levels = grid.levels;
    for (int32_t i = 0; i < n; ++i) {
        const float noise = uniform(first + static_cast<uint32_t>(i), key_low, key_high);
        codes[i] = code_of((x[i] - zero_point) / scale + noise, levels);
    }
}

// y (columns, rows) = x (rows, columns) transposed, `height` by `width` elements of it from both corners given.
INLINED void transpose_elements(const float* x, float* y, int64_t rows, int64_t columns, int64_t height,
                                int64_t width) {
    for (int64_t c = 0; c < width; ++c)
        for (int64_t r = 0; r < height; ++r) y[c * rows + r] = x[r * columns + c];
}

#if defined(__GNUC__) && !defined(__clang__)
// Eight by eight elements in registers: each time pairs of rows change places of half as many elements.
INLINED void transpose_eight(const float* x, float* y, int64_t rows, int64_t columns) {
    typedef float Row __attribute__((vector_size(32)));
    typedef int32_t Places __attribute__((vector_size(32)));
    Row a[8], b[8];
    for (int i = 0; i < 8; ++i) std::memcpy(&a[i], x + i * columns, sizeof(Row));
    for (int i = 0; i < 4; ++i) {
        b[i] = __builtin_shuffle(a[i], a[i + 4], Places{0, 1, 2, 3, 8, 9, 10, 11});
        b[i + 4] = __builtin_shuffle(a[i], a[i + 4], Places{4, 5, 6, 7, 12, 13, 14, 15});
    }
    for (int i : {0, 1, 4, 5}) {
        a[i] = __builtin_shuffle(b[i], b[i + 2], Places{0, 1, 8, 9, 4, 5, 12, 13});
        a[i + 2] = __builtin_shuffle(b[i], b[i + 2], Places{2, 3, 10, 11, 6, 7, 14, 15});
    }
    for (int i : {0, 2, 4, 6}) {
        b[i] = __builtin_shuffle(a[i], a[i + 1], Places{0, 8, 2, 10, 4, 12, 6, 14});
        b[i + 1] = __builtin_shuffle(a[i], a[i + 1], Places{1, 9, 3, 11, 5, 13, 7, 15});
    }
    for (int i = 0; i < 8; ++i) std::memcpy(y + i * rows, &b[i], sizeof(Row));
}
#else
INLINED void transpose_eight(const float* x, float* y, int64_t rows, int64_t columns) {
    transpose_elements(x, y, rows, columns, 8, 8);
}
#endif

VECTORISED void transpose_block(const float* x, float* y, int64_t rows, int64_t columns, int64_t height,
                                int64_t width) {
    int64_t r = 0;
    for (; r + 8 <= height; r += 8) {
        int64_t c = 0;
        for (; c + 8 <= width; c += 8) transpose_eight(x + r * columns + c, y + c * rows + r, rows, columns);
        transpose_elements(x + r * columns + c, y + c * rows + r, rows, columns, 8, width - c);
    }
    transpose_elements(x + r * columns, y + r, rows, columns, height - r, width);
}

// Calls `work(begin, size)` for the chunks of n elements.
template <typename Work>
INLINED void each_chunk(int64_t n, Work work) {
    for (int64_t begin = 0; begin < n; begin += CHUNK) work(begin, static_cast<int32_t>(std::min(CHUNK, n - begin)));
}

// Elements first, first + 1, … of a tensor, which begins at x.
void round_part(const float* x, float* y, int64_t first, int32_t n, Grid grid, Noise noise) {
    if (noise.wanted)
        stochastic(x + first, y + first, n, grid, static_cast<uint32_t>(first), noise.key_low, noise.key_high);
    else
        nearest(x + first, y + first, n, grid);
}

// Calls `work(group, first, size)` for the chunks of (outer, groups, columns) elements, no chunk in two groups.
template <typename Work>
INLINED void each_group_chunk(int64_t outer, int64_t groups, int64_t columns, Work work) {
    const int64_t chunks = (columns + CHUNK - 1) / CHUNK, rows = outer * groups;
#pragma omp parallel for if (rows * columns > CHUNK)
    for (int64_t i = 0; i < rows * chunks; ++i) {
        const int64_t row = i / chunks, begin = i % chunks * CHUNK;
        work(row % groups, row * columns + begin, static_cast<int32_t>(std::min(CHUNK, columns - begin)));
    }
}

}  // namespace

extern "C" {

// Minimum of the n elements of x, and maximum - minimum; NaN if there is a NaN.
void cpt_range(const float* x, int64_t n, float* low, float* span) {
    Range seen;
#pragma omp parallel for reduction(wider : seen) if (n > CHUNK)
    for (int64_t begin = 0; begin < n; begin += CHUNK)
        seen = wider(seen, range_of(x + begin, std::min(CHUNK, n - begin)));
    *low = seen.minimum();
    *span = seen.span();
}

// As cpt_range, over dimensions 0 and 2 of x (outer, groups, columns): one of each for a group.
void cpt_group_ranges(const float* x, int64_t outer, int64_t groups, int64_t columns, float* low, float* span) {
#pragma omp parallel for if (outer * groups * columns > CHUNK)
    for (int64_t group = 0; group < groups; ++group) {
        Range seen;
        for (int64_t i = 0; i < outer; ++i) {
            const float* row = x + (i * groups + group) * columns;
            each_chunk(columns, [&](int64_t at, int32_t size) { seen = wider(seen, range_of(row + at, size)); });
        }
        low[group] = seen.minimum();
        span[group] = seen.span();
    }
}

// y (columns, rows) = x (rows, columns) transposed.
void cpt_transpose(const float* x, float* y, int64_t rows, int64_t columns) {
    constexpr int64_t BLOCK = 64;  // rows and columns that stay in a core's first cache
    const int64_t across = (columns + BLOCK - 1) / BLOCK, down = (rows + BLOCK - 1) / BLOCK;
#pragma omp parallel for if (rows * columns > CHUNK)
    for (int64_t i = 0; i < down * across; ++i) {
        const int64_t r = i % down * BLOCK, c = i / down * BLOCK;
        transpose_block(x + r * columns + c, y + c * rows + r, rows, columns, std::min(BLOCK, rows - r),
                        std::min(BLOCK, columns - c));
    }
}

// Moves two running numbers towards those observed.
void cpt_observe(float* running_low, float* running_span, const float* low, const float* span, float kept,
                 float taken) {
    *running_low = *running_low * kept + *low * taken;
    *running_span = *running_span * kept + *span * taken;
}

// x (outer, groups, columns) rounded to grids of `levels` steps from `low` to `low` + `span`, one for a group, into y;
// stochastically if there is a seed.
void cpt_round(const float* x, float* y, int64_t outer, int64_t groups, int64_t columns, const float* low,
               const float* span, const int32_t* levels, const int64_t* seed) {
    const Noise noise(seed);
    each_group_chunk(outer, groups, columns, [&](int64_t group, int64_t first, int32_t size) {
        round_part(x, y, first, size, Grid(low[group], span[group], *levels), noise);
    });
}

// As cpt_round, the codes of at most 8 bits instead of the numbers.
void cpt_codes(const float* x, uint8_t* codes, int64_t outer, int64_t groups, int64_t columns, const float* low,
               const float* span, const int32_t* levels, const int64_t* seed) {
    const Noise noise(seed);
    each_group_chunk(outer, groups, columns, [&](int64_t group, int64_t first, int32_t size) {
        const Grid grid(low[group], span[group], *levels);
        if (noise.wanted)
            stochastic_codes(x + first, codes + first, size, grid, static_cast<uint32_t>(first), noise.key_low,
                             noise.key_high);
        else
            nearest_codes(x + first, codes + first, size, grid);
    });
}

// The rows of x, `columns` long, rounded each on its own range.
void cpt_round_rows(const float* x, float* y, int64_t rows, int64_t columns, const int32_t* levels,
                    const int64_t* seed) {
    const Noise noise(seed);
#pragma omp parallel for if (rows * columns > CHUNK)
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t first = row * columns;
        Range seen;
        each_chunk(columns, [&](int64_t at, int32_t size) { seen = wider(seen, range_of(x + first + at, size)); });
        const Grid grid(seen.minimum(), seen.span(), *levels);
        each_chunk(columns, [&](int64_t at, int32_t size) { round_part(x, y, first + at, size, grid, noise); });
    }
}
}
