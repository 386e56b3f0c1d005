// The products of a 2-d convolution without groups or dilation, in channels-last memory, one image at a time.

#include <omp.h>

#include <cstring>
#include <memory>

#include "products.h"

namespace cpt {
namespace {

// (batch, height, width, channels) of x; (out_channels, kernel, kernel, channels) of w.
struct Shape {
    int64_t batch, channels, height, width, out_channels, kernel, stride, padding;

    int64_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
    int64_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
    int64_t pixels() const { return height * width; }
    int64_t out_pixels() const { return out_height() * out_width(); }
    int64_t taps() const { return kernel * kernel; }
};

// An image with a border, in which the pixels that a tap may reach beyond its edges are absent: code 0, which no term
// of a zero point counts.
struct Canvas {
    int64_t top, left, height, width, channels;  // channels padded to whole steps

    int64_t size() const { return height * width * channels; }
    int64_t at(int64_t y, int64_t x) const { return ((y + top) * width + x + left) * channels; }
};

template <class Element>
void draw(const Canvas& canvas, const uint8_t* image, int64_t height, int64_t width, int64_t channels, Element* to) {
    for (int64_t y = 0; y < height; ++y) {
        if (channels == canvas.channels) {
            spread(image + y * width * channels, to + canvas.at(y, 0), width * channels);
            continue;
        }
        for (int64_t x = 0; x < width; ++x) spread(image + (y * width + x) * channels, to + canvas.at(y, x), channels);
    }
}

// Along one axis, the taps of each position that lie within the other image. Positions with the same taps are of the
// same kind, so that what the taps add is worked out once for all of them.
struct Axis {
    std::vector<std::vector<int64_t>> members;  // taps of each kind
    std::vector<int64_t> of;                    // kind of each position

    void add(const std::vector<int64_t>& taps) {
        size_t kind = 0;
        while (kind < members.size() && members[kind] != taps) ++kind;
        if (kind == members.size()) members.push_back(taps);
        of.push_back(static_cast<int64_t>(kind));
    }
    int64_t kinds() const { return static_cast<int64_t>(members.size()); }
};

// Sums of eight codes each: pairs of them in 16 bits, which the multiplication adds up in the highest.
VECTORISED void sums_of_eight(const uint8_t* codes, int64_t n, int32_t* sums) {
    constexpr uint64_t EVEN = 0x00FF00FF00FF00FF, ONES = 0x0001000100010001;
    for (int64_t i = 0; i < n; ++i) {
        uint64_t eight;
        std::memcpy(&eight, codes + 8 * i, sizeof eight);
        sums[i] = static_cast<int32_t>(((eight & EVEN) + (eight >> 8 & EVEN)) * ONES >> 48);
    }
}

// to[i] = the sum of the `count` numbers that begin at from[i * count]
VECTORISED void sums_of_groups(const int32_t* __restrict from, int64_t count, int32_t* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * count];
    for (int64_t j = 1; j < count; ++j)
        for (int64_t i = 0; i < n; ++i) to[i] += from[i * count + j];
}

// What the windows of an image need, over and over.
struct Windows {
    std::vector<int32_t> eights, pixels, padded, row, sums;

    explicit Windows(const Shape& shape)
        : eights(shape.pixels() * shape.channels / 8),
          pixels(shape.pixels()),
          padded((shape.height + 2 * shape.padding) * (shape.width + 2 * shape.padding)),
          row(shape.width + 2 * shape.padding),
          sums(shape.out_pixels()) {}
};

// Sums of the codes that the taps of each output pixel reach, from those of pixels with a border of zeros: first of the
// rows that it reaches, then of their columns.
VECTORISED void sums_of_taps(const Shape& shape, const int32_t* __restrict padded, int32_t* __restrict row,
                             int32_t* __restrict sums) {
    const int64_t width = shape.width + 2 * shape.padding, out_width = shape.out_width(), stride = shape.stride;
    for (int64_t y = 0; y < shape.out_height(); ++y) {
        const int32_t* __restrict from = padded + y * stride * width;
        int32_t* __restrict to = sums + y * out_width;
        for (int64_t x = 0; x < width; ++x) row[x] = from[x];
        for (int64_t i = 1; i < shape.kernel; ++i)
            for (int64_t x = 0; x < width; ++x) row[x] += from[i * width + x];
        for (int64_t x = 0; x < out_width; ++x) to[x] = row[x * stride];
        for (int64_t j = 1; j < shape.kernel; ++j) {
            if (stride == 1)
                for (int64_t x = 0; x < out_width; ++x) to[x] += row[x + j];
            else
                for (int64_t x = 0; x < out_width; ++x) to[x] += row[x * stride + j];
        }
    }
}

// As sums_of_taps, of an image's codes.
void window_sums(const Shape& shape, const uint8_t* image, Windows& of) {
    if (shape.channels % 8 == 0) {
        sums_of_eight(image, static_cast<int64_t>(of.eights.size()), of.eights.data());
        sums_of_groups(of.eights.data(), shape.channels / 8, of.pixels.data(), shape.pixels());
    } else {
        for (int64_t pixel = 0; pixel < shape.pixels(); ++pixel)
            of.pixels[pixel] = total(image + pixel * shape.channels, shape.channels);
    }
    const int64_t width = shape.width + 2 * shape.padding;
    for (int64_t y = 0; y < shape.height; ++y)
        std::copy_n(of.pixels.data() + y * shape.width, shape.width,
                    of.padded.data() + (y + shape.padding) * width + shape.padding);
    sums_of_taps(shape, of.padded.data(), of.row.data(), of.sums.data());
}

// As Grid::sum, of many: `constants` are the zero point times how many numbers there are.
VECTORISED void sums_of_numbers(const int32_t* __restrict codes, const double* __restrict constants, double scale,
                                float* __restrict to, int64_t n) {
    for (int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(scale * static_cast<double>(codes[i]) + constants[i]);
}

template <class Layout>
void forward(const Kernel<Layout>& kernel, const Shape& shape, const uint8_t* x, Grid grid, int32_t levels,
             const Weight& w, const float* bias, float* y) {
    const auto b = forward_panels<Layout>(w);
    const int64_t channels = ceil_to(shape.channels, Layout::K), pixels = shape.out_pixels(), n = shape.out_channels;
    const Canvas canvas{shape.padding, shape.padding, shape.height + 2 * shape.padding, shape.width + 2 * shape.padding,
                        channels};
    std::vector<int64_t> taps, a_at, out_at, add_at;
    for (int64_t i = 0; i < shape.kernel; ++i)
        for (int64_t j = 0; j < shape.kernel; ++j) taps.push_back((i * canvas.width + j) * channels);
    const auto axis = [&](int64_t size, int64_t out_size) {
        Axis of;
        for (int64_t position = 0; position < out_size; ++position) {
            std::vector<int64_t> within;
            for (int64_t i = 0; i < shape.kernel; ++i) {
                const int64_t at = position * shape.stride - shape.padding + i;
                if (at >= 0 && at < size) within.push_back(i);
            }
            of.add(within);
        }
        return of;
    };
    const Axis rows = axis(shape.height, shape.out_height()), across = axis(shape.width, shape.out_width());
    std::vector<double> constants;  // the zero point, as often as there are numbers within a pixel's window
    for (auto* places : {&a_at, &out_at, &add_at}) places->reserve(pixels);
    constants.reserve(pixels);
    for (int64_t oy = 0; oy < shape.out_height(); ++oy)
        for (int64_t ox = 0; ox < shape.out_width(); ++ox) {
            const int64_t row_kind = rows.of[oy], kind = across.of[ox];
            a_at.push_back(canvas.at(oy * shape.stride - shape.padding, ox * shape.stride - shape.padding));
            out_at.push_back((oy * shape.out_width() + ox) * n);
            add_at.push_back((row_kind * across.kinds() + kind) * n);
            const size_t reached = rows.members[row_kind].size() * across.members[kind].size();
            constants.push_back(static_cast<double>(grid.zero_point) *
                                static_cast<double>(static_cast<int64_t>(reached) * shape.channels));
        }
    std::vector<int32_t> code_sums;  // (taps, n)
    for (int64_t tap = 0; tap < shape.taps(); ++tap)
        for (int64_t i = 0; i < n; ++i) code_sums.push_back(w.code_sum(i, tap));
    std::vector<float> add;
    for (const auto& row_taps : rows.members)
        for (const auto& members : across.members) {
            std::vector<int64_t> sums(n);
            for (const int64_t y_tap : row_taps)
                for (const int64_t x_tap : members)
                    for (int64_t i = 0; i < n; ++i) sums[i] += code_sums[(y_tap * shape.kernel + x_tap) * n + i];
            for (int64_t i = 0; i < n; ++i)
                add.push_back(grid.zero_point * w.scale[i] * static_cast<float>(sums[i]) + (bias ? bias[i] : 0.0F));
        }
    const Plan<Layout> plan(taps, channels, levels, w.centre_code);
    const Columns columns{n, w.scale.data(), w.zero_point.data()};
#pragma omp parallel
    {
        std::vector<typename Layout::A> image(canvas.size());
        Windows windows(shape);
        std::vector<float> terms(pixels);
#pragma omp for
        for (int64_t i = 0; i < shape.batch; ++i) {
            draw(canvas, x + i * shape.pixels() * shape.channels, shape.height, shape.width, shape.channels,
                 image.data());
            window_sums(shape, x + i * shape.pixels() * shape.channels, windows);
            sums_of_numbers(windows.sums.data(), constants.data(), grid.scale, terms.data(), pixels);
            multiply<Layout>(kernel, plan,
                             {pixels, image.data(), a_at.data(), y + i * pixels * n, out_at.data(), &grid.scale, 0,
                              terms.data(), add.data(), add_at.data()},
                             b.data(), columns, 0, panels(n));
        }
    }
}

// Pixels of dx whose taps reach the error at the same steps: with a stride of s there are s x s such phases.
template <class Layout>
struct Phase {
    Transposed<Layout> b;
    Plan<Layout> plan;
    std::vector<int64_t> a_at, out_at, add_at;
    std::vector<float> add;
};

template <class Layout>
Phase<Layout> make_phase(const Shape& shape, const Canvas& canvas, const Weight& w, bool fast, Grid error,
                         int32_t error_levels, int64_t py, int64_t px) {
    const int64_t s = shape.stride, k = shape.channels;
    // Taps of a phase along one axis, and those of each of its positions that reach the error.
    const auto taps_of = [&](int64_t phase) {
        std::vector<int64_t> taps;
        for (int64_t i = 0; i < shape.kernel; ++i)
            if ((phase + shape.padding - i) % s == 0) taps.push_back(i);
        std::reverse(taps.begin(), taps.end());  // so that they reach the error in the order of its pixels
        return taps;
    };
    const auto axis = [&](int64_t phase, int64_t size, int64_t out_size) {
        Axis of;
        for (int64_t position = phase; position < size; position += s) {
            std::vector<int64_t> within;
            for (const int64_t tap : taps_of(phase)) {
                const int64_t at = position + shape.padding - tap;  // a multiple of s
                if (at >= 0 && at / s < out_size) within.push_back(tap);
            }
            of.add(within);
        }
        return of;
    };
    std::vector<int64_t> taps, offsets, index(shape.taps());
    for (const int64_t i : taps_of(py))
        for (const int64_t j : taps_of(px)) {
            index[i * shape.kernel + j] = static_cast<int64_t>(taps.size());
            taps.push_back(i * shape.kernel + j);
            offsets.push_back(canvas.at((py + shape.padding - i) / s, (px + shape.padding - j) / s));
        }
    const int64_t most = fast ? NARROW_MAX : WIDE_MAX;
    Phase<Layout> phase{
        Transposed<Layout>(w, taps, fast), Plan<Layout>(offsets, canvas.channels, error_levels, most), {}, {}, {}, {}};
    const Axis rows = axis(py, shape.height, shape.out_height()), across = axis(px, shape.width, shape.out_width());
    for (auto* places : {&phase.a_at, &phase.out_at, &phase.add_at}) places->reserve(rows.of.size() * across.of.size());
    for (size_t y = 0; y < rows.of.size(); ++y)
        for (size_t x = 0; x < across.of.size(); ++x) {
            const int64_t v = static_cast<int64_t>(y), u = static_cast<int64_t>(x);
            phase.a_at.push_back(canvas.at(v, u) - canvas.at(0, 0));
            phase.out_at.push_back(((py + v * s) * shape.width + px + u * s) * k);
            phase.add_at.push_back((rows.of[y] * across.kinds() + across.of[x]) * k);
        }
    for (const auto& row_taps : rows.members)
        for (const auto& members : across.members) {
            std::vector<float> sums(k);
            for (const int64_t i : row_taps)
                for (const int64_t j : members)
                    for (int64_t c = 0; c < k; ++c) sums[c] += phase.b.sums[index[i * shape.kernel + j] * k + c];
            for (int64_t c = 0; c < k; ++c) phase.add.push_back(error.zero_point * sums[c]);
        }
    return phase;
}

template <class Layout>
void input_gradient(const Kernel<Layout>& kernel, const Shape& shape, const uint8_t* error, Grid grid, int32_t levels,
                    const Weight& w, bool fast, float* dx) {
    const int64_t n = shape.out_channels, k = shape.channels, border = shape.kernel;
    const Canvas canvas{border, border, shape.out_height() + 2 * border, shape.out_width() + 2 * border,
                        ceil_to(n, Layout::K)};
    std::vector<Phase<Layout>> phases;
    for (int64_t py = 0; py < shape.stride; ++py)
        for (int64_t px = 0; px < shape.stride; ++px)
            phases.push_back(make_phase<Layout>(shape, canvas, w, fast, grid, levels, py, px));
#pragma omp parallel
    {
        std::vector<typename Layout::A> image(canvas.size());
#pragma omp for
        for (int64_t i = 0; i < shape.batch; ++i) {
            draw(canvas, error + i * shape.out_pixels() * n, shape.out_height(), shape.out_width(), n, image.data());
            float* to = dx + i * shape.pixels() * k;
            for (const Phase<Layout>& phase : phases) {
                const int64_t count = static_cast<int64_t>(phase.a_at.size());
                if (phase.plan.runs.empty()) {
                    for (const int64_t at : phase.out_at) std::fill_n(to + at, k, 0.0F);
                    continue;
                }
                multiply<Layout>(kernel, phase.plan,
                                 {count, image.data(), phase.a_at.data(), to, phase.out_at.data(), &grid.scale, 0,
                                  nullptr, phase.add.data(), phase.add_at.data()},
                                 phase.b.b.data(), {k, phase.b.scale.data(), nullptr}, 0, panels(k));
            }
        }
    }
}

// dw[n, tap, k] = sum over images and pixels of error[p, n] * x[p + tap, k]. Images that lie together are the k of this
// product, the channels of x its rows. All images are laid out first; then each thread sums tiles of its own over all
// of them: over as many images at a time as stay in a core's second cache, or as it takes STEPS to have something to do
// for each sum that is added up.
template <class Layout>
void weight_gradient(const Kernel<Layout>& kernel, const Shape& shape, const uint8_t* error, Grid error_grid,
                     int32_t error_levels, const uint8_t* x, Grid grid, int32_t levels, float* dw) {
    using A = typename Layout::A;
    using B = typename Layout::B;
    constexpr int64_t K = Layout::K, CACHE = 1 << 19, STEPS = 512;
    const int64_t n = shape.out_channels, k = shape.channels, taps = shape.taps(), s = shape.stride;
    const int64_t height = shape.out_height(), width = shape.out_width();
    // The last tile of the channels overlaps the one before it, where their number is not a multiple of its rows.
    const int64_t rows = std::max(k, kernel.rows), tiles = (rows + kernel.rows - 1) / kernel.rows,
                  columns = panels(n) * NR;
    const auto first_row = [&](int64_t tile) { return std::min(tile * kernel.rows, rows - kernel.rows); };
    const int64_t tile_size = kernel.rows * NR;
    const Canvas canvas{shape.padding, shape.padding, shape.height + 2 * shape.padding, shape.width + 2 * shape.padding,
                        rows};
    const int64_t groups = (shape.batch + K - 1) / K, a_size = canvas.size() * K,
                  b_size = shape.out_pixels() * columns * K;
    const int32_t centre_code = centre(error_levels);
    const float error_zero_point = error_grid.zero_point + static_cast<float>(centre_code) * error_grid.scale;
    // A sum is over as many rows of pixels as cannot overflow.
    const int64_t rows_at_once = std::max<int64_t>(1, terms(levels, centre_code) / (K * width));
    const int64_t group_bytes = a_size * static_cast<int64_t>(sizeof(A)) + b_size * static_cast<int64_t>(sizeof(B));
    const int64_t rows_in_cache = std::max({height, CACHE / group_bytes * height, (STEPS + width - 1) / width});
    std::vector<Run> runs;
    for (int64_t group = 0; group < groups; ++group)
        for (int64_t y = 0; y < height; ++y)
            runs.push_back(
                {group * a_size + y * s * canvas.width * rows * K, group * b_size + y * width * columns * K, width});
    const int64_t all_rows = static_cast<int64_t>(runs.size());
    const Steps steps{s * rows * K, columns * K, NR * K};
    const int64_t burst = Kernel<Layout>::burst(levels, centre_code);
    // Codes of images that are not there, where the batch is no multiple of K.
    const std::vector<uint8_t> no_image(shape.pixels() * k),
        no_error(shape.out_pixels() * n, static_cast<uint8_t>(centre_code));
    const std::unique_ptr<A[]> a(new A[groups * a_size]);
    const std::unique_ptr<B[]> b(new B[groups * b_size]);
    std::vector<int64_t> products(taps * panels(n) * tiles * tile_size);
    std::vector<int64_t> x_sums(shape.pixels() * k), error_sums(shape.out_pixels() * n);
#pragma omp parallel
    {
        std::vector<int32_t> my_x_sums(x_sums.size()), my_error_sums(error_sums.size());
#pragma omp for
        for (int64_t group = 0; group < groups; ++group) {
            A* const to_a = a.get() + group * a_size;
            B* const to_b = b.get() + group * b_size;
            const uint8_t *images[K], *errors[K];
            for (int64_t i = 0; i < K; ++i) {
                const int64_t image = group * K + i;
                const bool there = image < shape.batch;
                images[i] = there ? x + image * shape.pixels() * k : no_image.data();
                errors[i] = there ? error + image * shape.out_pixels() * n : no_error.data();
                if (!there) continue;
                add_to(images[i], my_x_sums.data(), shape.pixels() * k);
                add_to(errors[i], my_error_sums.data(), shape.out_pixels() * n);
            }
            if (shape.padding > 0 || rows != k) std::fill_n(to_a, a_size, A{0});
            if (columns != n) std::fill_n(to_b, b_size, B{0});
            // Whole rows of pixels at a time, unless padding lies between the pixels.
            const int64_t x_pixels = rows == k ? shape.width : 1, error_pixels = columns == n ? shape.out_pixels() : 1;
            for (int64_t pixel = 0; pixel < shape.pixels(); pixel += x_pixels) {
                interleave(images, to_a + canvas.at(pixel / shape.width, pixel % shape.width) * K, x_pixels * k);
                for (const uint8_t*& image : images) image += x_pixels * k;
            }
            for (int64_t pixel = 0; pixel < shape.out_pixels(); pixel += error_pixels) {
                interleave_centred(errors, to_b + pixel * columns * K, error_pixels * n, centre_code);
                for (const uint8_t*& one : errors) one += error_pixels * n;
            }
        }
#pragma omp critical
        {
            add_to(my_x_sums.data(), x_sums.data(), shape.pixels() * k);
            add_to(my_error_sums.data(), error_sums.data(), shape.out_pixels() * n);
        }
        // Tiles of all columns at a tap, tap after tap.
        const int64_t count = taps * tiles, threads = omp_get_num_threads(), me = omp_get_thread_num();
        alignas(64) int32_t sums[MAX_SUMS];
        const A* tile_rows[MAX_MR];
        for (int64_t from = 0; from < all_rows; from += rows_in_cache)
            for (int64_t item = count * me / threads; item < count * (me + 1) / threads; ++item) {
                const int64_t tap = item / tiles, tile = item % tiles;
                const int64_t pixel = tap / shape.kernel * canvas.width + tap % shape.kernel;
                for (int64_t r = 0; r < kernel.rows; ++r)
                    tile_rows[r] = a.get() + (pixel * rows + first_row(tile) + r) * K;
                for (int64_t panel = 0, together; panel < panels(n); panel += together) {
                    together = kernel.panels(panels(n) - panel);
                    const int64_t until = std::min(all_rows, from + rows_in_cache);
                    for (int64_t y = from; y < until; y += rows_at_once) {
                        kernel.of(together)(tile_rows, runs.data() + y, runs.data() + std::min(until, y + rows_at_once),
                                            steps, b.get() + panel * NR * K, burst, sums);
                        for (int64_t i = 0; i < together; ++i)
                            add_to(sums + i * tile_size, products.data() + (item * panels(n) + panel + i) * tile_size,
                                   tile_size);
                    }
                }
            }
    }
    // What the zero points add, in double: it is a small difference of large terms.
    std::vector<double> of_error(taps * n), of_x(taps * k);
    const double unit = static_cast<double>(error_grid.scale) * grid.scale;
#pragma omp parallel
    {
#pragma omp for
        for (int64_t i = 0; i < shape.kernel; ++i) {
            // Over the rows of pixels that meet at the taps of a row; then, for each tap, over the pixels of a row.
            std::vector<int64_t> x_row(shape.width * k), error_row(width * n);
            int64_t rows_within = 0;
            for (int64_t oy = 0; oy < height; ++oy) {
                const int64_t y = oy * s + i - shape.padding;
                if (y < 0 || y >= shape.height) continue;
                ++rows_within;
                add_to(x_sums.data() + y * shape.width * k, x_row.data(), shape.width * k);
                add_to(error_sums.data() + oy * width * n, error_row.data(), width * n);
            }
            for (int64_t j = 0; j < shape.kernel; ++j) {
                const int64_t tap = i * shape.kernel + j;
                std::vector<int64_t> x_sum(k), error_sum(n);
                int64_t within = 0;
                for (int64_t ox = 0; ox < width; ++ox) {
                    const int64_t z = ox * s + j - shape.padding;
                    if (z < 0 || z >= shape.width) continue;
                    within += rows_within;
                    add_to(x_row.data() + z * k, x_sum.data(), k);
                    add_to(error_row.data() + ox * n, error_sum.data(), n);
                }
                const double count = static_cast<double>(within * shape.batch);
                for (int64_t c = 0; c < n; ++c) {
                    const double e = error_grid.scale * (static_cast<double>(error_sum[c]) - count * centre_code) +
                                     count * error_zero_point;
                    of_error[tap * n + c] = grid.zero_point * e;
                }
                for (int64_t c = 0; c < k; ++c)
                    of_x[tap * k + c] = error_zero_point * grid.scale * static_cast<double>(x_sum[c]);
            }
        }
        // Tile by tile, as they lie in memory.
#pragma omp for
        for (int64_t item = 0; item < taps * tiles; ++item) {
            const int64_t tap = item / tiles, tile = item % tiles, first = first_row(tile);
            for (int64_t i = 0; i < n; ++i) {
                const int64_t* from = products.data() + (item * panels(n) + i / NR) * tile_size + i % NR;
                const double e = of_error[tap * n + i];
                for (int64_t c = tile * kernel.rows; c < std::min(k, (tile + 1) * kernel.rows); ++c)
                    dw[(i * taps + tap) * k + c] =
                        static_cast<float>(unit * static_cast<double>(from[(c - first) * NR]) + e + of_x[tap * k + c]);
            }
        }
    }
}

void bias_gradient(const Shape& shape, const uint8_t* error, Grid grid, float* dbias) {
    const int64_t n = shape.out_channels, rows = shape.batch * shape.out_pixels();
    std::vector<int64_t> sums(n);
    for (int64_t row = 0; row < rows; ++row)
        for (int64_t i = 0; i < n; ++i) sums[i] += error[row * n + i];
    for (int64_t i = 0; i < n; ++i)
        dbias[i] =
            static_cast<float>(grid.scale * static_cast<double>(sums[i]) + static_cast<double>(rows) * grid.zero_point);
}

}  // namespace
}  // namespace cpt

using namespace cpt;

extern "C" {

// y = convolution of x with w, plus bias, which may be null. `shape` is batch, channels, height, width, out_channels,
// kernel, stride, padding; x (batch, height, width, channels), w (out_channels, kernel, kernel, channels) with a range
// for each of its first dimension, y (batch, out_height, out_width, out_channels).
void cpt_convolution(const int64_t* shape, const uint8_t* x, const float* x_low, const float* x_span,
                     const uint8_t* w_codes, const float* w_low, const float* w_span, const int32_t* levels,
                     const float* bias, float* y) {
    const Shape of{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7]};
    const Weight w(w_codes, w_low, w_span, *levels, of.out_channels, of.taps(), of.channels);
    const Grid grid(*x_low, *x_span, *levels);
    if (instructions().quads.takes(*levels, w.centre_code))
        forward(instructions().quads, of, x, grid, *levels, w, bias, y);
    else
        forward(instructions().pairs, of, x, grid, *levels, w, bias, y);
}

// Gradients of cpt_convolution from the rounded error's codes, shaped as y. Those that are null are not computed; dx
// takes 8-bit weights if `fast`.
void cpt_convolution_backward(const int64_t* shape, const uint8_t* error, const float* error_low,
                              const float* error_span, const int32_t* error_levels, const uint8_t* x,
                              const float* x_low, const float* x_span, const uint8_t* w_codes, const float* w_low,
                              const float* w_span, const int32_t* levels, int32_t fast, float* dx, float* dw,
                              float* dbias) {
    const Shape of{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shape[6], shape[7]};
    const Grid error_grid(*error_low, *error_span, *error_levels), grid(*x_low, *x_span, *levels);
    if (dx) {
        const Weight w(w_codes, w_low, w_span, *levels, of.out_channels, of.taps(), of.channels);
        if (fast && fast_in_quads())
            input_gradient(instructions().quads, of, error, error_grid, *error_levels, w, true, dx);
        else
            input_gradient(instructions().pairs, of, error, error_grid, *error_levels, w, fast, dx);
    }
    if (dw) {
        if (instructions().quads.takes(*levels, centre(*error_levels)))
            weight_gradient(instructions().quads, of, error, error_grid, *error_levels, x, grid, *levels, dw);
        else
            weight_gradient(instructions().pairs, of, error, error_grid, *error_levels, x, grid, *levels, dw);
    }
    if (dbias) bias_gradient(of, error, error_grid, dbias);
}
}
