// The lowest and the highest of many numbers, and whether there was a NaN among them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

struct Range {
    float low = std::numeric_limits<float>::infinity();
    float high = -std::numeric_limits<float>::infinity();
    bool nan = false;

    static Range of(float x) { return x != x ? Range{0.0F, 0.0F, true} : Range{x, x, false}; }
    float minimum() const { return nan ? std::numeric_limits<float>::quiet_NaN() : low; }
    float maximum() const { return nan ? std::numeric_limits<float>::quiet_NaN() : high; }
    float span() const { return maximum() - minimum(); }
};

inline Range wider(Range a, Range b) { return {std::min(a.low, b.low), std::max(a.high, b.high), a.nan || b.nan}; }

#pragma omp declare reduction(wider:Range : omp_out = wider(omp_out, omp_in)) initializer(omp_priv = Range())

// Of the n elements of x.
Range range_of(const float* x, int64_t n);

// Three numbers: the lowest, the highest and their difference; NaN if there was a NaN.
inline void write_range(Range range, float* to) {
    to[0] = range.minimum();
    to[1] = range.maximum();
    to[2] = range.span();
}
