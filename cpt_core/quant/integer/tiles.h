// Tiles: the innermost loops of all integer products, for each instruction set.
//
// All products are sums over k of A[r, k] * B[k, n]. A holds codes as they are (0 to 255); B codes around zero (-128 to
// 127), or 16-bit fixed-point numbers. Sums are int32, and are cut before they can overflow, so they are exact.

#pragma once

#include <algorithm>
#include <cstdint>

#include "../vectorised.h"

namespace cpt {

constexpr int64_t NR = 16;     // columns of a panel of B
constexpr int64_t MAX_MR = 8;  // rows of a tile, at most

// How operands lie in memory: so many neighbours in k together as one instruction multiplies and adds up.
struct Pairs {
    using A = int16_t;
    using B = int16_t;
    static constexpr int64_t K = 2;
};
struct Quads {
    using A = uint8_t;
    using B = int8_t;
    static constexpr int64_t K = 4;
};

// A run of steps in k, of K elements each: where it begins in the rows of A and in B.
struct Run {
    int64_t a, b, steps;
};

// Distances in elements: from one step to the next, and from a panel of B to the next.
struct Steps {
    int64_t a, b, panel;
};

// out[p, r, n] = sum over the steps of the runs of A * B, for one panel p or two. `burst` steps can be summed in 16
// bits.
template <class Layout>
using Tile = void(const typename Layout::A* const* rows, const Run* begin, const Run* end, const Steps& steps,
                  const typename Layout::B* b, int64_t burst, int32_t* out);

template <class Layout>
struct Kernel {
    int64_t rows;
    Tile<Layout>* tile;
    Tile<Layout>* wide;  // two panels at once, or null
    // Whether products of any size are exact; some instructions add them in 16 bits.
    bool any_size;

    // Whether it is exact, and worth its while: what was summed in 16 bits must be added up in 32 after each burst.
    bool takes(int64_t a_max, int64_t b_max) const { return tile && (any_size || burst(a_max, b_max) >= 4); }
    static int64_t burst(int64_t a_max, int64_t b_max) { return 32767 / (2 * a_max * b_max); }

    // How many panels to take at once of those that are left.
    int64_t panels(int64_t left) const { return wide && left > 1 ? 2 : 1; }
    Tile<Layout>* of(int64_t panels) const { return panels == 2 ? wide : tile; }
};

constexpr int64_t MAX_SUMS = 2 * MAX_MR * NR;  // of a tile

// What products take: the best that this machine has, or what a test asks for.
struct Instructions {
    const char* name;
    bool (*supported)();
    Kernel<Pairs> pairs;
    Kernel<Quads> quads;  // without a tile where pairs are as fast
};
const Instructions& instructions();

}  // namespace cpt
