// Max pooling of channels-last images, which keeps a byte for each output: at which tap of its window the largest was.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "vectorised.h"

namespace {

constexpr int64_t ALONE = 1 << 12;  // elements that are not worth another thread

struct Shape {
    int64_t batch, height, width, channels, kernel, stride, padding;

    int64_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
    int64_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
    // The windows, along one axis of `count`, in which a position lies.
    int64_t first_window(int64_t at) const { return std::max<int64_t>(0, (at + padding - kernel + stride) / stride); }
    int64_t end_of_windows(int64_t at, int64_t count) const { return std::min(count, (at + padding) / stride + 1); }
};

// As in torch the first of equal numbers is the largest, and NaN larger than all. `place` is room for a pixel's taps.
VECTORISED void pool_row(const Shape& shape, const float* image, int64_t oy, float* y, uint8_t* places,
                         int32_t* __restrict place) {
    const int64_t top = oy * shape.stride - shape.padding, first_row = std::max<int64_t>(0, -top);
    for (int64_t ox = 0; ox < shape.out_width(); ++ox) {
        const int64_t left = ox * shape.stride - shape.padding, first = std::max<int64_t>(0, -left);
        float* __restrict most = y + ox * shape.channels;
        std::copy_n(image + ((top + first_row) * shape.width + left + first) * shape.channels, shape.channels, most);
        std::fill_n(place, shape.channels, static_cast<int32_t>(first_row * shape.kernel + first));
        for (int64_t i = first_row; i < std::min(shape.kernel, shape.height - top); ++i)
            for (int64_t j = first; j < std::min(shape.kernel, shape.width - left); ++j) {
                const float* __restrict from = image + ((top + i) * shape.width + left + j) * shape.channels;
                const int32_t tap = static_cast<int32_t>(i * shape.kernel + j);
                for (int64_t c = 0; c < shape.channels; ++c) {
                    const float value = from[c], before = most[c];
                    const int32_t there = value > before ? tap : place[c];
                    const float larger = value > before ? value : before;
                    place[c] = value != value ? tap : there;
                    most[c] = value != value ? value : larger;
                }
            }
        if (!places) continue;
        uint8_t* __restrict to = places + ox * shape.channels;
        for (int64_t c = 0; c < shape.channels; ++c) to[c] = static_cast<uint8_t>(place[c]);
    }
}

// What an input pixel gets from the windows in which it lies and is the largest.
VECTORISED void error_row(const Shape& shape, const float* g, const uint8_t* places, int64_t y, float* dx) {
    const int64_t width = shape.out_width(), first_row = shape.first_window(y),
                  end_row = shape.end_of_windows(y, shape.out_height());
    for (int64_t x = 0; x < shape.width; ++x) {
        float* to = dx + x * shape.channels;
        std::fill_n(to, shape.channels, 0.0F);
        for (int64_t oy = first_row; oy < end_row; ++oy)
            for (int64_t ox = shape.first_window(x); ox < shape.end_of_windows(x, width); ++ox) {
                const int64_t i = y - oy * shape.stride + shape.padding, j = x - ox * shape.stride + shape.padding;
                const int32_t tap = static_cast<int32_t>(i * shape.kernel + j);
                const float* error = g + (oy * width + ox) * shape.channels;
                const uint8_t* place = places + (oy * width + ox) * shape.channels;
#pragma GCC ivdep
                for (int64_t c = 0; c < shape.channels; ++c) to[c] += place[c] == tap ? error[c] : 0.0F;
            }
    }
}

Shape shape_of(const int64_t* sizes) { return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6]}; }

}  // namespace

extern "C" {

// y (batch, out_height, out_width, channels): the largest in each window of x (batch, height, width, channels), and
// into `places`, unless it is null, at which tap it was. `sizes` are batch, height, width, channels, kernel, stride and
// padding.
void cpt_max_pool(const int64_t* sizes, const float* x, float* y, uint8_t* places) {
    const Shape shape = shape_of(sizes);
    const int64_t rows = shape.batch * shape.out_height(), size = shape.out_width() * shape.channels;
#pragma omp parallel if (rows * size > ALONE)
    {
        std::vector<int32_t> place(shape.channels);
#pragma omp for
        for (int64_t row = 0; row < rows; ++row) {
            const int64_t image = row / shape.out_height();
            pool_row(shape, x + image * shape.height * shape.width * shape.channels, row % shape.out_height(),
                     y + row * size, places ? places + row * size : nullptr, place.data());
        }
    }
}

// The gradient of x from that of y.
void cpt_max_pool_backward(const int64_t* sizes, const float* g, const uint8_t* places, float* dx) {
    const Shape shape = shape_of(sizes);
    const int64_t rows = shape.batch * shape.height, size = shape.width * shape.channels,
                  out_size = shape.out_height() * shape.out_width() * shape.channels;
#pragma omp parallel for if (rows * size > ALONE)
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t image = row / shape.height;
        error_row(shape, g + image * out_size, places + image * out_size, row % shape.height, dx + row * size);
    }
}
}
