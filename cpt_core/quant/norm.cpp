// Batch norm of channels-last images in training, with an addition and a ReLU after it, and ReLU alone.
//
// Kept for the backward pass are the input, as it is or in 16-bit fixed point, on a grid for each channel, and which
// outputs the ReLU let through: where nothing is added in between the input tells that, else there is a bit for each.
//
// What a quantised layer wants to know of its input or error, the lowest and the highest number, is found on the way.
//
// Sums are taken in parts, and other passes in chunks that stay in a core's first cache while several go over them.
// Neither depends on the number of threads, and sums are added up in their order, so the result does not either.
//
// Loops go over channels, which lie side by side, so that memory is read in its own order. Those that add up take eight
// rows at once, for which what belongs to a channel stays in registers.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

#include "range.h"
#include "vectorised.h"

namespace {

constexpr int64_t CHUNK = 4096;     // elements: 16 KiB
constexpr int64_t PARTS = 64;       // of a tensor, at most
constexpr int64_t FLOAT_ROWS = 64;  // whose sums are kept in floats before they join those in doubles
constexpr int64_t FOLDED = 64;      // channels side by side that are enough for a loop
constexpr int32_t CODES = 1 << 16;

// Sums of a part in a channel.
struct Sums {
    double *sum, *square;  // of differences from `shift`
    float *low, *high;
};

// What the forward pass takes for each channel.
struct Grids {
    std::vector<float> scale, shift;          // y = x * scale + shift
    std::vector<float> anchor, steps, first;  // code = round((x - anchor) * steps + first)
};

// The input as the backward pass has it: for each channel what it takes to tell of an element whether it passed the
// ReLU, and its normalised number.
struct Codes {
    const uint16_t* kept;
    const int32_t* threshold;    // codes from the threshold on passed
    const float *scale, *shift;  // normalised = code * scale + shift
    using Number = int32_t;

    struct Channel {
        int32_t threshold;
        float scale, shift;

        INLINED bool passed(int32_t code) const { return code >= threshold; }
        INLINED float normalised(int32_t code) const { return static_cast<float>(code) * scale + shift; }
    };
    INLINED Channel channel(int64_t c) const { return {threshold[c], scale[c], shift[c]}; }
    Codes from(int64_t at) const { return {kept + at, threshold, scale, shift}; }
};

struct Floats {
    const float* kept;
    const float *scale, *shift;   // those of the forward pass, so that the same elements pass
    const float *mean, *inverse;  // normalised = (x - mean) * inverse
    using Number = float;

    struct Channel {
        float scale, shift, mean, inverse;

        INLINED bool passed(float x) const { return !(x * scale + shift <= 0.0F); }
        INLINED float normalised(float x) const { return (x - mean) * inverse; }
    };
    INLINED Channel channel(int64_t c) const { return {scale[c], shift[c], mean[c], inverse[c]}; }
    Floats from(int64_t at) const { return {kept + at, scale, shift, mean, inverse}; }
};

// What the forward pass tells of the codes.
struct Kept {
    std::vector<int32_t> threshold;
    std::vector<float> code_scale, code_shift;
};

// Without a branch, which would often be mispredicted, or a load that depends on one.
INLINED float only_if(bool wanted, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits &= 0U - static_cast<uint32_t>(wanted);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <int ROWS>
INLINED void sums_of_rows(const float* __restrict x, int64_t channels, const float* __restrict shift,
                          float* __restrict sum, float* __restrict square, float* __restrict low,
                          float* __restrict high) {
    for (int64_t c = 0; c < channels; ++c) {
        const float from = shift[c];
        float total = sum[c], squares = square[c], least = low[c], most = high[c];
        for (int row = 0; row < ROWS; ++row) {
            const float value = x[row * channels + c], difference = value - from;
            total += difference;
            squares += difference * difference;
            least = value < least ? value : least;
            most = value > most ? value : most;
        }
        sum[c] = total;
        square[c] = squares;
        low[c] = least;
        high[c] = most;
    }
}

// Moves sums to those in doubles.
INLINED void join(float* __restrict from, double* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        to[i] += static_cast<double>(from[i]);
        from[i] = 0.0F;
    }
}

// At most FLOAT_ROWS rows; `few`, of zeros, has room for two numbers a channel.
VECTORISED void sums_of(const float* x, int64_t rows, int64_t channels, const float* shift, float* few, Sums to) {
    int64_t row = 0;
    for (; row + 8 <= rows; row += 8)
        sums_of_rows<8>(x + row * channels, channels, shift, few, few + channels, to.low, to.high);
    for (; row < rows; ++row)
        sums_of_rows<1>(x + row * channels, channels, shift, few, few + channels, to.low, to.high);
    join(few, to.sum, channels);
    join(few + channels, to.square, channels);
}

// Adding ROUNDER leaves an integer in the lowest bits, half to even.
INLINED uint16_t rounded(float value) {
    value += ROUNDER;
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<uint16_t>(bits);
}

// The output, rectified if `RECTIFIED` (NaN is no number up to 0 and passes), and if `KEPT` the codes, of which NaN's
// is some code: NaN is in the grid.
template <bool RECTIFIED, bool KEPT>
INLINED void normalise_rows(const float* x, float* y, uint16_t* codes, int64_t rows, int64_t channels,
                            const Grids& of) {
    const float *scale = of.scale.data(), *shift = of.shift.data(), *anchor = of.anchor.data(),
                *steps = of.steps.data(), *first = of.first.data();
    for (int64_t at = 0; at < rows * channels; at += channels) {
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; ++c) {
            const float value = x[at + c], normalised = value * scale[c] + shift[c];
            y[at + c] = RECTIFIED && normalised <= 0.0F ? 0.0F : normalised;
            if (KEPT) codes[at + c] = rounded((value - anchor[c]) * steps[c] + first[c]);
        }
    }
}

VECTORISED void normalise(const float* x, float* y, uint16_t* codes, bool rectified, int64_t rows, int64_t channels,
                          const Grids& of) {
    if (rectified && codes)
        normalise_rows<true, true>(x, y, codes, rows, channels, of);
    else if (rectified)
        normalise_rows<true, false>(x, y, codes, rows, channels, of);
    else if (codes)
        normalise_rows<false, true>(x, y, codes, rows, channels, of);
    else
        normalise_rows<false, false>(x, y, codes, rows, channels, of);
}

VECTORISED void add(const float* __restrict x, float* __restrict y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

#if defined(__x86_64__) && defined(__GNUC__)
// As rectify, of as many elements as it says: a comparison makes bits of sixteen at once.
__attribute__((noinline, target("avx512f"))) int64_t rectify_sixteens(const float* x, float* y, uint8_t* bits,
                                                                      int64_t n) {
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m512 value = _mm512_loadu_ps(x + i);
        const __mmask16 passed = _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_NLE_UQ);
        _mm512_storeu_ps(y + i, _mm512_maskz_mov_ps(passed, value));
        std::memcpy(bits + i / 8, &passed, sizeof passed);
    }
    return i;
}

bool has_sixteens() { return __builtin_cpu_supports("avx512f"); }
#else
int64_t rectify_sixteens(const float*, float*, uint8_t*, int64_t) { return 0; }
bool has_sixteens() { return false; }
#endif

VECTORISED void rectify_any(const float* x, float* y, uint8_t* __restrict bits, int64_t n) {
    constexpr int64_t BLOCK = 512;
    uint8_t passed[BLOCK];
    for (int64_t from = 0; from < n; from += BLOCK) {
        const int64_t here = n - from < BLOCK ? n - from : BLOCK;
        const float* in = x + from;
        float* out = y + from;
#pragma GCC ivdep
        for (int64_t i = 0; i < here; ++i) {
            const float value = in[i];
            passed[i] = value <= 0.0F ? 0 : 1;
            out[i] = value <= 0.0F ? 0.0F : value;
        }
        if (!bits) continue;
        for (int64_t i = here; i % 8; ++i) passed[i] = 0;
        // The multiplication brings the eight bytes' lowest bits together in the highest byte.
        for (int64_t i = 0; i < here; i += 8) {
            uint64_t eight;
            std::memcpy(&eight, passed + i, sizeof eight);
            bits[(from + i) / 8] = static_cast<uint8_t>(eight * 0x0102040810204080U >> 56);
        }
    }
}

// y = x where that is above 0 or NaN, else 0; into `bits` which were, unless it is null. x may be y.
void rectify(const float* x, float* y, uint8_t* bits, int64_t n) {
    static const bool sixteens = has_sixteens();
    const int64_t done = bits && sixteens ? rectify_sixteens(x, y, bits, n) : 0;
    rectify_any(x + done, y + done, bits ? bits + done / 8 : nullptr, n - done);
}

// What the bits let through: sixteen at a time, each lane with another bit of two bytes.
VECTORISED void choose(const float* __restrict g, const uint8_t* __restrict bits, float* __restrict to, int64_t n) {
    typedef uint32_t Lanes __attribute__((vector_size(64)));
    constexpr Lanes BIT = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        Lanes number;
        std::memcpy(&number, g + i, sizeof number);
        const uint32_t both = bits[i / 8] | static_cast<uint32_t>(bits[i / 8 + 1]) << 8;
        number &= 0U - ((both >> BIT) & 1U);
        std::memcpy(to + i, &number, sizeof number);
    }
    for (; i < n; ++i) to[i] = only_if((bits[i / 8] >> i % 8 & 1) != 0, g[i]);
}

template <int ROWS, typename Input>
INLINED void errors_of_rows(const float* __restrict g, Input x, int64_t channels, float* __restrict sum,
                            float* __restrict product) {
    for (int64_t c = 0; c < channels; ++c) {
        const auto of = x.channel(c);
        float total = sum[c], products = product[c];
        for (int row = 0; row < ROWS; ++row) {
            const typename Input::Number at = x.kept[row * channels + c];
            const float error = only_if(of.passed(at), g[row * channels + c]);
            total += error;
            products += error * of.normalised(at);
        }
        sum[c] = total;
        product[c] = products;
    }
}

template <typename Input>
INLINED void errors_of_few(const float* g, Input x, int64_t rows, int64_t channels, float* few, double* sum,
                           double* product) {
    int64_t row = 0;
    for (; row + 8 <= rows; row += 8)
        errors_of_rows<8>(g + row * channels, x.from(row * channels), channels, few, few + channels);
    for (; row < rows; ++row)
        errors_of_rows<1>(g + row * channels, x.from(row * channels), channels, few, few + channels);
    join(few, sum, channels);
    join(few + channels, product, channels);
}

// Sums of the error that the ReLU lets through, and of its products with the normalised input; as sums_of.
VECTORISED void errors_of(const float* g, Codes x, int64_t rows, int64_t channels, float* few, double* sum,
                          double* product) {
    errors_of_few(g, x, rows, channels, few, sum, product);
}

VECTORISED void errors_of(const float* g, Floats x, int64_t rows, int64_t channels, float* few, double* sum,
                          double* product) {
    errors_of_few(g, x, rows, channels, few, sum, product);
}

// dx = factor * (g - mean - slope * normalised)
struct InputErrors {
    std::vector<float> factor, mean, slope;
};

template <typename Input>
INLINED void input_error_of(const float* g, Input x, float* dx, int64_t rows, int64_t channels, const InputErrors& of) {
    const float *factor = of.factor.data(), *mean = of.mean.data(), *slope = of.slope.data();
    for (int64_t at = 0; at < rows * channels; at += channels) {
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; ++c) {
            const auto here = x.channel(c);
            const typename Input::Number number = x.kept[at + c];
            const float error = only_if(here.passed(number), g[at + c]);
            dx[at + c] = factor[c] * (error - mean[c] - slope[c] * here.normalised(number));
        }
    }
}

VECTORISED void input_error(const float* g, Codes x, float* dx, int64_t rows, int64_t channels, const InputErrors& of) {
    input_error_of(g, x, dx, rows, channels, of);
}

VECTORISED void input_error(const float* g, Floats x, float* dx, int64_t rows, int64_t channels,
                            const InputErrors& of) {
    input_error_of(g, x, dx, rows, channels, of);
}

// How rows of channels are taken: several rows of few channels as one.
struct Layout {
    int64_t rows, channels, folded = 1, chunk_rows, part_rows, parts;

    Layout(int64_t all_rows, int64_t all_channels) {
        while (folded * all_channels < FOLDED && all_rows % (2 * folded) == 0) folded *= 2;
        rows = all_rows / folded;
        channels = all_channels * folded;
        chunk_rows = std::max<int64_t>(CHUNK / channels / 8 * 8, 8);  // so that the bits of each begin with a byte
        part_rows = (rows + PARTS * FLOAT_ROWS - 1) / (PARTS * FLOAT_ROWS) * FLOAT_ROWS;
        parts = (rows + part_rows - 1) / part_rows;
    }

    // Each chunk has its first element and its number of rows, and gives the range of what it made.
    template <typename Work>
    Range each_chunk(Work work) const {
        const int64_t chunks = (rows + chunk_rows - 1) / chunk_rows;
        Range made;
#pragma omp parallel for reduction(wider : made) if (rows * channels > (1 << 15))
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
            made = wider(made, work(chunk * chunk_rows * channels, std::min(chunk_rows, rows - chunk * chunk_rows)));
        return made;
    }

    // Each part has its number, its first row and the row after its last.
    template <typename Work>
    void each_part(Work work) const {
#pragma omp parallel for if (rows * channels > (1 << 15))
        for (int64_t part = 0; part < parts; ++part)
            work(part, part * part_rows, std::min((part + 1) * part_rows, rows));
    }

    // One for each channel, repeated for rows that are taken as one.
    template <typename Number>
    std::vector<Number> repeated(const Number* values) const {
        std::vector<Number> all;
        all.reserve(channels);
        for (int64_t i = 0; i < folded; ++i) all.insert(all.end(), values, values + channels / folded);
        return all;
    }

    // The sums of the channels from those of the parts, (parts, channels).
    std::vector<double> total(const double* of_parts) const {
        const int64_t n = channels / folded;
        std::vector<double> all(n);
        for (int64_t from = 0; from < parts * channels; from += n)
            for (int64_t c = 0; c < n; ++c) all[c] += of_parts[from + c];
        return all;
    }
};

// Of the channels over the whole batch.
struct Moments {
    std::vector<double> mean, variance;
    std::vector<float> low, high;
};

// Mean of a few rows, so that sums of squares of differences from it lose nothing.
std::vector<float> near_mean(const float* x, int64_t rows, int64_t channels) {
    const int64_t count = std::min<int64_t>(rows, 16);
    std::vector<float> mean(channels);
    for (int64_t i = 0; i < count; ++i)
        for (int64_t c = 0; c < channels; ++c)
            mean[c] += x[i * rows / count * channels + c] / static_cast<float>(count);
    return mean;
}

Moments moments(const float* x, const Layout& layout, int64_t channels) {
    const int64_t n = layout.channels, rows = layout.rows * layout.folded;
    const auto near = near_mean(x, rows, channels);
    const auto shift = layout.repeated(near.data());
    const std::unique_ptr<double[]> sums(new double[2 * layout.parts * n]);
    const std::unique_ptr<float[]> extremes(new float[2 * layout.parts * n]);
    double* const squares = sums.get() + layout.parts * n;
    float* const highs = extremes.get() + layout.parts * n;
    layout.each_part([&](int64_t part, int64_t from, int64_t to) {
        const Sums here{sums.get() + part * n, squares + part * n, extremes.get() + part * n, highs + part * n};
        std::fill_n(here.sum, n, 0.0);
        std::fill_n(here.square, n, 0.0);
        std::fill_n(here.low, n, std::numeric_limits<float>::infinity());
        std::fill_n(here.high, n, -std::numeric_limits<float>::infinity());
        std::vector<float> few(2 * n);
        for (int64_t row = from; row < to; row += FLOAT_ROWS)
            sums_of(x + row * n, std::min(FLOAT_ROWS, to - row), n, shift.data(), few.data(), here);
    });
    Moments all{layout.total(sums.get()), layout.total(squares),
                std::vector<float>(extremes.get(), extremes.get() + channels),
                std::vector<float>(highs, highs + channels)};
    for (int64_t from = channels; from < layout.parts * n; from += channels)
        for (int64_t c = 0; c < channels; ++c) {
            all.low[c] = std::min(all.low[c], extremes[from + c]);
            all.high[c] = std::max(all.high[c], highs[from + c]);
        }
    const auto count = static_cast<double>(rows);
    for (int64_t c = 0; c < channels; ++c) {
        const double sum = all.mean[c], square = all.variance[c], squared = square - sum * (sum / count);
        all.mean[c] = near[c] + sum / count;
        all.variance[c] = (squared < 0.0 ? 0.0 : squared) / count;
    }
    return all;
}

// The grid of a channel: 65,533 steps over its range, one of whose borders is where the ReLU begins to let through, if
// that lies within. Codes rise with the output, so they fall with the input where the weight is negative.
void lay_grid(Grids& to, Kept& kept, int64_t c, const Moments& of, double inverse, float weight, float bias,
              bool rectified) {
    const float low = of.low[c], high = of.high[c];
    const double span = std::max(static_cast<double>(high) - low, 1e-30);
    const double step = span / (CODES - 3);  // one code is lost to the border within, one to the rounding of floats
    const bool falling = weight < 0.0F;
    float anchor = falling ? high : low;
    int32_t first = 1;  // the anchor itself has code first - 1
    kept.threshold[c] = 0;
    if (rectified) {
        if (weight == 0.0F) {
            kept.threshold[c] = bias <= 0.0F ? CODES : 0;
        } else {
            const auto zero = static_cast<float>(of.mean[c] - bias / (weight * inverse));
            if (zero > low && zero < high) {
                anchor = zero;
                const double before = falling ? static_cast<double>(high) - zero : static_cast<double>(zero) - low;
                first = static_cast<int32_t>(std::ceil(before / step)) + 1;
                kept.threshold[c] = first;
            } else if (falling ? zero <= low : zero >= high) {
                kept.threshold[c] = CODES;
            }
        }
    }
    const double signed_step = falling ? -step : step;
    to.anchor[c] = anchor;
    to.steps[c] = static_cast<float>(1.0 / signed_step);
    // Rounding x - 0.5 makes x - 1 of an integer x as long as a little more is taken away, more than a float near
    // 65,536 is rounded by.
    to.first[c] = static_cast<float>(first - 0.51);
    // An element of code k lies between the borders k - first and k - first + 1 steps from the anchor.
    kept.code_scale[c] = static_cast<float>(signed_step * inverse);
    kept.code_shift[c] = static_cast<float>((anchor - of.mean[c] + (0.5 - first) * signed_step) * inverse);
}

// The error at y, and where that of what was added goes.
struct GivenErrors {
    const float* g;
    const uint8_t* bits;
    float* dadded;

    const float* past_relu() const { return bits ? dadded : g; }
};

struct OfChannels {
    const float *weight, *inverse;
    float *dx, *dweight, *dbias, *range;
};

template <typename Input>
void backward(const Layout& layout, GivenErrors given, Input x, OfChannels of) {
    const int64_t n = layout.channels, channels = n / layout.folded, rows = layout.rows * layout.folded;
    const std::unique_ptr<double[]> sums(new double[2 * layout.parts * n]);
    double* const products = sums.get() + layout.parts * n;
    layout.each_part([&](int64_t part, int64_t from, int64_t to) {
        double *const sum = sums.get() + part * n, *const product = products + part * n;
        std::fill_n(sum, n, 0.0);
        std::fill_n(product, n, 0.0);
        std::vector<float> few(2 * n);
        for (int64_t row = from; row < to; row += FLOAT_ROWS) {
            const int64_t at = row * n, here = std::min(FLOAT_ROWS, to - row);
            if (given.bits) choose(given.g + at, given.bits + at / 8, given.dadded + at, here * n);
            errors_of(given.past_relu() + at, x.from(at), here, n, few.data(), sum, product);
        }
    });
    const auto all_errors = layout.total(sums.get()), all_products = layout.total(products);
    const std::vector<float> none(channels);
    InputErrors errors{none, none, none};
    for (int64_t c = 0; c < channels; ++c) {
        of.dweight[c] = static_cast<float>(all_products[c]);
        of.dbias[c] = static_cast<float>(all_errors[c]);
        errors.factor[c] = static_cast<float>(static_cast<double>(of.inverse[c]) * (of.weight ? of.weight[c] : 1.0F));
        errors.mean[c] = static_cast<float>(all_errors[c] / static_cast<double>(rows));
        errors.slope[c] = static_cast<float>(all_products[c] / static_cast<double>(rows));
    }
    if (!of.dx) return;
    for (auto* values : {&errors.factor, &errors.mean, &errors.slope}) *values = layout.repeated(values->data());
    const Range made = layout.each_chunk([&](int64_t at, int64_t here) {
        input_error(given.past_relu() + at, x.from(at), of.dx + at, here, n, errors);
        return range_of(of.dx + at, here * n);
    });
    write_range(made, of.range);
}

}  // namespace

extern "C" {

// y = x (rows, channels), normalised over the rows, times weight plus bias, which may be null; `added` to it unless
// that is null, and rectified if `rectified`. Into `codes`, unless it is null, go those of x, and into `bits` which
// elements passed, where something was added. `mean` and `variance` are those over the rows, `inverse` is
// 1 / sqrt(variance + epsilon). `scale`, `shift` and `threshold` are what cpt_batch_norm_backward wants: of the grids
// of the codes, or without codes what it tells by which elements passed. `range` is that of y, as write_range has it.
// Running moments, unless null, move by `momentum` towards those of the rows, as torch's do.
void cpt_batch_norm(const float* x, const float* added, int32_t rectified, const float* weight, const float* bias,
                    double epsilon, float* y, uint16_t* codes, uint8_t* bits, float* mean, float* variance,
                    float* inverse, float* scale, float* shift, int32_t* threshold, float* range, float* running_mean,
                    float* running_variance, float momentum, int64_t rows, int64_t channels) {
    const Layout layout(rows, channels);
    const auto all = moments(x, layout, channels);
    const std::vector<float> none(channels);
    Grids of{none, none, none, none, none};
    Kept kept{std::vector<int32_t>(channels), none, none};
    Range of_norm;
    for (int64_t c = 0; c < channels; ++c) {
        const double inv = 1.0 / std::sqrt(all.variance[c] + epsilon);
        const float w = weight ? weight[c] : 1.0F, b = bias ? bias[c] : 0.0F;
        mean[c] = static_cast<float>(all.mean[c]);
        variance[c] = static_cast<float>(all.variance[c]);
        inverse[c] = static_cast<float>(inv);
        of.scale[c] = static_cast<float>(inv * w);
        of.shift[c] = static_cast<float>(b - all.mean[c] * inv * w);
        if (codes) lay_grid(of, kept, c, all, inv, w, b, rectified && !added);
        // The norm rises or falls with x: its extremes are those of the extremes of x.
        for (const float extreme : {all.low[c], all.high[c]})
            of_norm = wider(of_norm, Range::of(extreme * of.scale[c] + of.shift[c]));
        scale[c] = codes ? kept.code_scale[c] : rectified && !added ? of.scale[c] : 0.0F;
        shift[c] = codes ? kept.code_shift[c] : rectified && !added ? of.shift[c] : 1.0F;
    }
    if (running_mean) {
        const float unbiased = momentum * static_cast<float>(rows) / static_cast<float>(rows - 1);
        for (int64_t c = 0; c < channels; ++c) {
            running_mean[c] = running_mean[c] * (1.0F - momentum) + mean[c] * momentum;
            running_variance[c] = running_variance[c] * (1.0F - momentum) + variance[c] * unbiased;
        }
    }
    std::copy(kept.threshold.begin(), kept.threshold.end(), threshold);
    for (auto* values : {&of.scale, &of.shift, &of.anchor, &of.steps, &of.first})
        *values = layout.repeated(values->data());
    const Range of_sum = layout.each_chunk([&](int64_t at, int64_t here) {
        normalise(x + at, y + at, codes ? codes + at : nullptr, rectified && !added, here, layout.channels, of);
        if (!added) return Range();
        add(added + at, y + at, here * layout.channels);
        if (rectified) rectify(y + at, y + at, bits ? bits + at / 8 : nullptr, here * layout.channels);
        return range_of(y + at, here * layout.channels);
    });
    Range made = added ? of_sum : of_norm;
    if (rectified) made = {std::max(made.low, 0.0F), std::max(made.high, 0.0F), made.nan};
    write_range(made, range);
}

// Gradients of cpt_batch_norm from that of y: of x, of what was added (unless null), and of weight and bias. Unless
// there are bits, that of what was added is that of y. x is null where there are codes. `range` is that of dx.
void cpt_batch_norm_backward(const float* g, const float* x, const uint16_t* codes, const uint8_t* bits,
                             const float* weight, const float* mean, const float* inverse, const float* scale,
                             const float* shift, const int32_t* threshold, float* dx, float* dadded, float* dweight,
                             float* dbias, float* range, int64_t rows, int64_t channels) {
    const Layout layout(rows, channels);
    const auto means = layout.repeated(mean), inverses = layout.repeated(inverse), scales = layout.repeated(scale),
               shifts = layout.repeated(shift);
    const auto thresholds = layout.repeated(threshold);
    const GivenErrors given{g, bits, dadded};
    const OfChannels of{weight, inverse, dx, dweight, dbias, range};
    if (codes)
        backward(layout, given, Codes{codes, thresholds.data(), scales.data(), shifts.data()}, of);
    else
        backward(layout, given, Floats{x, scales.data(), shifts.data(), means.data(), inverses.data()}, of);
}

// y = x where that is above 0 or NaN, else 0, and a bit for each element that says which; x may be y.
void cpt_rectify(const float* x, float* y, uint8_t* bits, int64_t n) {
#pragma omp parallel for if (n > (1 << 15))
    for (int64_t at = 0; at < n; at += CHUNK) rectify(x + at, y + at, bits + at / 8, std::min(CHUNK, n - at));
}

// dx = g where the bit says so, else 0.
void cpt_rectify_backward(const float* g, const uint8_t* bits, float* dx, int64_t n) {
#pragma omp parallel for if (n > (1 << 15))
    for (int64_t at = 0; at < n; at += CHUNK) choose(g + at, bits + at / 8, dx + at, std::min(CHUNK, n - at));
}
}
