// Batch norm of channels-last images in training, with an addition and a ReLU after it, and ReLU alone.
//
// All that is kept for the backward pass is the input in 16-bit fixed point, on a grid for each channel, and which
// outputs the ReLU let through: where nothing is added in between, from which code on, else a bit for each.
//
// A tensor is taken in chunks that stay in a core's first cache while several passes go over them. They do not depend
// on the number of threads, and their sums are added up in their order, so neither does the result.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "../vectorised.h"

namespace {

constexpr int64_t CHUNK = 4096;  // elements: 16 KiB
constexpr int64_t LANES = 16;    // channels whose sums are kept in registers
constexpr int32_t CODES = 1 << 16;

// Of the elements of a chunk in a channel; sums are of differences from `shift`, one of the elements.
struct Sums {
    float *shift, *sum, *square, *low, *high;
};

// What the forward pass takes for each channel: as of Channels.
struct Grids {
    const float *scale, *shift, *anchor, *steps, *first;
};

// What the passes take for each channel.
struct Channels {
    std::vector<float> scale, shift;            // y = x * scale + shift
    std::vector<float> anchor, steps, first;    // code = ceil((x - anchor) * steps) - 1 + first
    std::vector<int32_t> threshold;             // codes from the threshold on pass the ReLU
    std::vector<float> code_scale, code_shift;  // normalised x = code * code_scale + code_shift

    explicit Channels(int64_t n)
        : scale(n), shift(n), anchor(n), steps(n), first(n), threshold(n), code_scale(n), code_shift(n) {}
};

// Without a branch, which would often be mispredicted, or a load that depends on one.
INLINED float only_if(bool wanted, float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits &= 0U - static_cast<uint32_t>(wanted);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

INLINED void sums_of_lanes(const float* x, int64_t rows, int64_t stride, int64_t lanes, Sums to) {
    float shift[LANES], sum[LANES] = {}, square[LANES] = {}, low[LANES], high[LANES];
    for (int64_t c = 0; c < lanes; ++c) shift[c] = low[c] = high[c] = x[c];
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t c = 0; c < lanes; ++c) {
            const float value = x[row * stride + c], difference = value - shift[c];
            sum[c] += difference;
            square[c] += difference * difference;
            low[c] = value < low[c] ? value : low[c];
            high[c] = value > high[c] ? value : high[c];
        }
    for (int64_t c = 0; c < lanes; ++c) {
        to.shift[c] = shift[c];
        to.sum[c] = sum[c];
        to.square[c] = square[c];
        to.low[c] = low[c];
        to.high[c] = high[c];
    }
}

VECTORISED void sums_of(const float* x, int64_t rows, int64_t channels, Sums to) {
    for (int64_t c = 0; c < channels; c += LANES) {
        const Sums here{to.shift + c, to.sum + c, to.square + c, to.low + c, to.high + c};
        if (channels - c >= LANES)
            sums_of_lanes(x + c, rows, channels, LANES, here);
        else
            sums_of_lanes(x + c, rows, channels, channels - c, here);
    }
}

// Rows of some neighbouring channels: their output, rectified if `RECTIFIED` (NaN is no number up to 0 and passes), and
// if `KEPT` their codes, of which NaN's is some code: NaN is in the grid. Rounding x - 0.5 makes x - 1 of an integer x
// as long as a little more is taken away.
template <bool RECTIFIED, bool KEPT>
INLINED void normalise_lanes(const float* __restrict x, float* __restrict y, uint16_t* __restrict codes, int64_t rows,
                             int64_t stride, int64_t lanes, const Grids& of) {
    float scale[LANES], shift[LANES], anchor[LANES], steps[LANES], first[LANES];
    for (int64_t c = 0; c < lanes; ++c) {
        scale[c] = of.scale[c];
        shift[c] = of.shift[c];
        anchor[c] = of.anchor[c];
        steps[c] = of.steps[c];
        first[c] = of.first[c];
    }
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t c = 0; c < lanes; ++c) {
            const float value = x[row * stride + c] * scale[c] + shift[c];
            y[row * stride + c] = RECTIFIED && value <= 0.0F ? 0.0F : value;
        }
        if (!KEPT) continue;
        for (int64_t c = 0; c < lanes; ++c) {
            const float away = (x[row * stride + c] - anchor[c]) * steps[c];
            float at = ((away - 0.501F + ROUNDER) - ROUNDER) + first[c];
            at = at > 0.0F ? at : 0.0F;
            at = at < CODES - 1.0F ? at : CODES - 1.0F;
            codes[row * stride + c] = static_cast<uint16_t>(static_cast<int32_t>(at));
        }
    }
}

// Rows of many channels are taken one at a time, in the order of memory, in which the processor reads ahead; rows of
// few together, with the channels' numbers in registers.
template <bool RECTIFIED, bool KEPT>
INLINED void normalise_rows(const float* x, float* y, uint16_t* codes, int64_t rows, int64_t channels, Grids of) {
    if (channels % LANES == 0 && channels > LANES) {
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t c = 0; c < channels; c += LANES) {
                const int64_t at = row * channels + c;
                normalise_lanes<RECTIFIED, KEPT>(
                    x + at, y + at, KEPT ? codes + at : nullptr, 1, channels, LANES,
                    {of.scale + c, of.shift + c, of.anchor + c, of.steps + c, of.first + c});
            }
        return;
    }
    for (int64_t c = 0; c < channels; c += LANES) {
        const Grids here{of.scale + c, of.shift + c, of.anchor + c, of.steps + c, of.first + c};
        uint16_t* to = KEPT ? codes + c : nullptr;
        if (channels - c >= LANES)
            normalise_lanes<RECTIFIED, KEPT>(x + c, y + c, to, rows, channels, LANES, here);
        else
            normalise_lanes<RECTIFIED, KEPT>(x + c, y + c, to, rows, channels, channels - c, here);
    }
}

VECTORISED void normalise(const float* x, float* y, uint16_t* codes, bool rectified, int64_t rows, int64_t channels,
                          Grids of) {
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

// y = x where that is above 0 or NaN, else 0; into `bits` which were, unless it is null. x may be y.
VECTORISED void rectify(const float* x, float* y, uint8_t* __restrict bits, int64_t n) {
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

// What the bits let through.
VECTORISED void choose(const float* __restrict g, const uint8_t* __restrict bits, float* __restrict to, int64_t n) {
    const int64_t whole = n / 8 * 8;
    for (int64_t i = 0; i < whole; i += 8) {
        const uint32_t byte = bits[i / 8];
        for (int64_t j = 0; j < 8; ++j) to[i + j] = only_if(byte >> j & 1U, g[i + j]);
    }
    for (int64_t i = whole; i < n; ++i) to[i] = only_if(bits[i / 8] >> (i % 8) & 1, g[i]);
}

INLINED void errors_of_lanes(const float* g, const uint16_t* codes, int64_t rows, int64_t stride, int64_t lanes,
                             const int32_t* threshold, const float* code_scale, const float* code_shift, float* sum,
                             float* product) {
    float sums[LANES] = {}, products[LANES] = {};
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t c = 0; c < lanes; ++c) {
            const int32_t at = codes[row * stride + c];
            const float error = only_if(at >= threshold[c], g[row * stride + c]);
            sums[c] += error;
            products[c] += error * (static_cast<float>(at) * code_scale[c] + code_shift[c]);
        }
    for (int64_t c = 0; c < lanes; ++c) {
        sum[c] = sums[c];
        product[c] = products[c];
    }
}

// Sums over a chunk of the error that the ReLU lets through, and of its products with the normalised input.
VECTORISED void errors_of(const float* g, const uint16_t* codes, int64_t rows, int64_t channels,
                          const int32_t* threshold, const float* code_scale, const float* code_shift, float* sum,
                          float* product) {
    for (int64_t c = 0; c < channels; c += LANES) {
        if (channels - c >= LANES)
            errors_of_lanes(g + c, codes + c, rows, channels, LANES, threshold + c, code_scale + c, code_shift + c,
                            sum + c, product + c);
        else
            errors_of_lanes(g + c, codes + c, rows, channels, channels - c, threshold + c, code_scale + c,
                            code_shift + c, sum + c, product + c);
    }
}

// dx = of_error * g + of_code * code + shift
INLINED void input_error_lanes(const float* __restrict g, const uint16_t* __restrict codes, float* __restrict dx,
                               int64_t rows, int64_t stride, int64_t lanes, const int32_t* thresholds,
                               const float* of_error, const float* of_code, const float* shift) {
    int32_t threshold[LANES];
    float error_factor[LANES], code_factor[LANES], constant[LANES];
    for (int64_t c = 0; c < lanes; ++c) {
        threshold[c] = thresholds[c];
        error_factor[c] = of_error[c];
        code_factor[c] = of_code[c];
        constant[c] = shift[c];
    }
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t c = 0; c < lanes; ++c) {
            const int32_t at = codes[row * stride + c];
            const float error = only_if(at >= threshold[c], g[row * stride + c]);
            dx[row * stride + c] = error_factor[c] * error + code_factor[c] * static_cast<float>(at) + constant[c];
        }
}

VECTORISED void input_error(const float* g, const uint16_t* codes, float* dx, int64_t rows, int64_t channels,
                            const int32_t* threshold, const float* of_error, const float* of_code, const float* shift) {
    if (channels % LANES == 0 && channels > LANES) {
        for (int64_t row = 0; row < rows; ++row)
            for (int64_t c = 0; c < channels; c += LANES) {
                const int64_t at = row * channels + c;
                input_error_lanes(g + at, codes + at, dx + at, 1, channels, LANES, threshold + c, of_error + c,
                                  of_code + c, shift + c);
            }
        return;
    }
    for (int64_t c = 0; c < channels; c += LANES) {
        if (channels - c >= LANES)
            input_error_lanes(g + c, codes + c, dx + c, rows, channels, LANES, threshold + c, of_error + c, of_code + c,
                              shift + c);
        else
            input_error_lanes(g + c, codes + c, dx + c, rows, channels, channels - c, threshold + c, of_error + c,
                              of_code + c, shift + c);
    }
}

// How rows of channels are taken: several as one where that makes whole vectors of them, and a multiple of 8 rows at a
// time, so that the bits of a chunk begin with a byte.
struct Layout {
    int64_t rows, channels, folded, chunk_rows, chunks;

    Layout(int64_t all_rows, int64_t all_channels) {
        folded = LANES / std::gcd(all_channels, LANES);
        if (all_rows % folded) folded = 1;
        rows = all_rows / folded;
        channels = all_channels * folded;
        chunk_rows = std::max<int64_t>(CHUNK / channels / 8 * 8, 8);
        chunks = (rows + chunk_rows - 1) / chunk_rows;
    }

    template <typename Work>
    void each_chunk(Work work) const {
#pragma omp parallel for if (rows * channels > (1 << 15))
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
            work(chunk, chunk * chunk_rows * channels, std::min(chunk_rows, rows - chunk * chunk_rows));
    }
};

// One for each channel, repeated for rows that are taken as one.
template <typename Number>
std::vector<Number> repeated(const Number* values, int64_t channels, int64_t folded) {
    std::vector<Number> all;
    for (int64_t i = 0; i < folded; ++i) all.insert(all.end(), values, values + channels);
    return all;
}

// Of a channel over the whole batch.
struct Moments {
    double count = 0.0, mean = 0.0, squares = 0.0;
    float low = std::numeric_limits<float>::infinity(), high = -low;

    // Of parts of the same size for all channels, whose divisions are therefore made once.
    struct Share {
        double count, inverse, of_all, between;

        Share(double before, double more)
            : count(before + more), inverse(1.0 / more), of_all(more / count), between(before * of_all) {}
    };

    void join(const Share& part, float shift, float sum, float square) {
        const double mean_difference = sum * part.inverse, other_mean = shift + mean_difference;
        const double other_squares = square - sum * mean_difference, difference = other_mean - mean;
        squares += (other_squares < 0.0 ? 0.0 : other_squares) + difference * difference * part.between;
        mean += difference * part.of_all;
        count = part.count;
    }
};

std::vector<Moments> moments(const float* x, const Layout& layout, int64_t channels) {
    const int64_t n = layout.channels;
    std::vector<float> kept(layout.chunks * n * 5);
    layout.each_chunk([&](int64_t chunk, int64_t at, int64_t rows) {
        float* to = kept.data() + chunk * n * 5;
        sums_of(x + at, rows, n, {to, to + n, to + 2 * n, to + 3 * n, to + 4 * n});
    });
    std::vector<Moments> all(channels);
    for (int64_t chunk = 0; chunk < layout.chunks; ++chunk) {
        const float* from = kept.data() + chunk * n * 5;
        const auto rows = static_cast<double>(std::min(layout.chunk_rows, layout.rows - chunk * layout.chunk_rows));
        for (int64_t first = 0; first < n; first += channels) {
            const Moments::Share part(all[0].count, rows);
            for (int64_t c = 0; c < channels; ++c) {
                const float* of = from + first + c;
                all[c].join(part, of[0], of[n], of[2 * n]);
                all[c].low = std::min(all[c].low, of[3 * n]);
                all[c].high = std::max(all[c].high, of[4 * n]);
            }
        }
    }
    return all;
}

// The grid of a channel: 65,535 steps over its range, one of whose borders is where the ReLU begins to let through, if
// that lies within. Codes rise with the output, so they fall with the input where the weight is negative.
void lay_grid(Channels& to, int64_t c, const Moments& of, double inverse, float weight, float bias, bool rectified) {
    const double span = std::max(static_cast<double>(of.high) - of.low, 1e-30);
    const double step = span / (CODES - 2);
    const bool falling = weight < 0.0F;
    double anchor = falling ? of.high : of.low;
    int32_t first = 1;  // the anchor itself has code first - 1
    to.threshold[c] = 0;
    if (rectified) {
        if (weight == 0.0F) {
            to.threshold[c] = bias <= 0.0F ? CODES : 0;
        } else {
            const double zero = of.mean - bias / (weight * inverse);
            if (zero > of.low && zero < of.high) {
                anchor = zero;
                first = static_cast<int32_t>(std::ceil((falling ? of.high - zero : zero - of.low) / step)) + 1;
                to.threshold[c] = first;
            } else if (falling ? zero <= of.low : zero >= of.high) {
                to.threshold[c] = CODES;
            }
        }
    }
    const double signed_step = falling ? -step : step;
    to.anchor[c] = static_cast<float>(anchor);
    to.steps[c] = static_cast<float>(1.0 / signed_step);
    to.first[c] = static_cast<float>(first);
    // An element of code k lies between the borders k - first and k - first + 1 steps from the anchor.
    to.code_scale[c] = static_cast<float>(signed_step * inverse);
    to.code_shift[c] = static_cast<float>((anchor - of.mean + (0.5 - first) * signed_step) * inverse);
}

}  // namespace

extern "C" {

// y = x (rows, channels), normalised over the rows, times weight plus bias, which may be null; `added` to it unless
// that is null, and rectified if `rectified`. Into `codes`, unless it is null, go those of x, with the grids that
// cpt_batch_norm_backward wants as code_scale, code_shift and threshold, and into `bits` which elements passed, where
// something was added. `mean` and `variance` are those over the rows, `inverse` is 1 / sqrt(variance + epsilon).
void cpt_batch_norm(const float* x, const float* added, int32_t rectified, const float* weight, const float* bias,
                    double epsilon, float* y, uint16_t* codes, uint8_t* bits, float* mean, float* variance,
                    float* inverse, float* code_scale, float* code_shift, int32_t* threshold, int64_t rows,
                    int64_t channels) {
    const Layout layout(rows, channels);
    const auto all = moments(x, layout, channels);
    Channels of(channels);
    for (int64_t c = 0; c < channels; ++c) {
        const double var = all[c].squares / all[c].count, inv = 1.0 / std::sqrt(var + epsilon);
        const float w = weight ? weight[c] : 1.0F, b = bias ? bias[c] : 0.0F;
        mean[c] = static_cast<float>(all[c].mean);
        variance[c] = static_cast<float>(var);
        inverse[c] = static_cast<float>(inv);
        of.scale[c] = static_cast<float>(inv * w);
        of.shift[c] = static_cast<float>(b - all[c].mean * inv * w);
        lay_grid(of, c, all[c], inv, w, b, rectified && !added);
    }
    std::copy(of.code_scale.begin(), of.code_scale.end(), code_scale);
    std::copy(of.code_shift.begin(), of.code_shift.end(), code_shift);
    std::copy(of.threshold.begin(), of.threshold.end(), threshold);
    const auto repeat = [&](const auto& values) { return repeated(values.data(), channels, layout.folded); };
    const auto scale = repeat(of.scale), shift = repeat(of.shift), anchor = repeat(of.anchor), steps = repeat(of.steps),
               first = repeat(of.first);
    const Grids grids{scale.data(), shift.data(), anchor.data(), steps.data(), first.data()};
    layout.each_chunk([&](int64_t, int64_t at, int64_t here) {
        normalise(x + at, y + at, codes ? codes + at : nullptr, rectified && !added, here, layout.channels, grids);
        if (!added) return;
        add(added + at, y + at, here * layout.channels);
        if (rectified) rectify(y + at, y + at, bits ? bits + at / 8 : nullptr, here * layout.channels);
    });
}

// Gradients of cpt_batch_norm from that of y: of x, of what was added (unless null), and of weight and bias. Unless
// there are bits, that of what was added is that of y.
void cpt_batch_norm_backward(const float* g, const uint16_t* codes, const uint8_t* bits, const float* weight,
                             const float* inverse, const float* code_scale, const float* code_shift,
                             const int32_t* threshold, float* dx, float* dadded, float* dweight, float* dbias,
                             int64_t rows, int64_t channels) {
    const Layout layout(rows, channels);
    const int64_t n = layout.channels;
    const auto from = repeated(threshold, channels, layout.folded);
    const auto scale = repeated(code_scale, channels, layout.folded),
               shift = repeated(code_shift, channels, layout.folded);
    std::vector<float> kept(layout.chunks * n * 2);
    layout.each_chunk([&](int64_t chunk, int64_t at, int64_t here) {
        if (bits) choose(g + at, bits + at / 8, dadded + at, here * n);
        errors_of((bits ? dadded : g) + at, codes + at, here, n, from.data(), scale.data(), shift.data(),
                  kept.data() + chunk * n * 2, kept.data() + chunk * n * 2 + n);
    });
    std::vector<double> sums(channels), products(channels);
    for (int64_t chunk = 0; chunk < layout.chunks; ++chunk)
        for (int64_t first = 0; first < n; first += channels)
            for (int64_t c = 0; c < channels; ++c) {
                const float* of = kept.data() + chunk * n * 2 + first + c;
                sums[c] += static_cast<double>(of[0]);
                products[c] += static_cast<double>(of[n]);
            }
    std::vector<float> of_error(channels), of_code(channels), constant(channels);
    for (int64_t c = 0; c < channels; ++c) {
        dweight[c] = static_cast<float>(products[c]);
        dbias[c] = static_cast<float>(sums[c]);
        const double factor = static_cast<double>(inverse[c]) * (weight ? weight[c] : 1.0F);
        const double mean = sums[c] / static_cast<double>(rows), slope = products[c] / static_cast<double>(rows);
        of_error[c] = static_cast<float>(factor);
        of_code[c] = static_cast<float>(-factor * slope * code_scale[c]);
        constant[c] = static_cast<float>(-factor * (mean + slope * code_shift[c]));
    }
    if (!dx) return;
    const auto repeat = [&](const auto& values) { return repeated(values.data(), channels, layout.folded); };
    const auto of_errors = repeat(of_error), of_codes = repeat(of_code), constants = repeat(constant);
    layout.each_chunk([&](int64_t, int64_t at, int64_t here) {
        input_error((bits ? dadded : g) + at, codes + at, dx + at, here, n, from.data(), of_errors.data(),
                    of_codes.data(), constants.data());
    });
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
