#include "tiles.h"

#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define X86
#include <immintrin.h>
#endif

namespace cpt {
namespace {

// For any machine, in the shape of the kernels for VNNI, for which it stands in where a test has no such machine.
constexpr int64_t PLAIN_ROWS = 8;

template <class Layout>
void plain(const typename Layout::A* const* rows, const Run* begin, const Run* end, const Steps& steps,
           const typename Layout::B* b, int64_t /*burst*/, int32_t* out) {
    std::fill(out, out + PLAIN_ROWS * NR, 0);
    for (const Run* run = begin; run < end; ++run)
        for (int64_t step = 0; step < run->steps; ++step)
            for (int64_t r = 0; r < PLAIN_ROWS; ++r) {
                const auto* a = rows[r] + run->a + step * steps.a;
                const auto* column = b + run->b + step * steps.b;
                for (int64_t n = 0; n < NR; ++n, column += Layout::K)
                    for (int64_t i = 0; i < Layout::K; ++i) out[r * NR + n] += a[i] * column[i];
            }
}

template <class Layout>
void plain_wide(const typename Layout::A* const* rows, const Run* begin, const Run* end, const Steps& steps,
                const typename Layout::B* b, int64_t burst, int32_t* out) {
    plain<Layout>(rows, begin, end, steps, b, burst, out);
    plain<Layout>(rows, begin, end, steps, b + steps.panel, burst, out + PLAIN_ROWS * NR);
}

#ifdef X86
#define EACH_OF_6(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define EACH_OF_8(DO) EACH_OF_6(DO) DO(6) DO(7)
#define BEGIN(r) const auto* a##r = rows[r] + run->a;
// What an instruction takes of A: two 16-bit or four 8-bit elements, for all columns the same.
#define FOUR_BYTES(from) \
    int32_t bytes;       \
    std::memcpy(&bytes, from, sizeof bytes);
// Not inlined into what uses the sums: gcc then keeps the accumulators in memory, which halves the speed.
#define TILE(NAME, TARGET, LAYOUT)                                                                              \
    __attribute__((noinline, target(TARGET))) void NAME(const LAYOUT::A* const* rows, const Run* begin,         \
                                                        const Run* end, const Steps& steps, const LAYOUT::B* b, \
                                                        int64_t burst [[maybe_unused]], int32_t* out)

// A row of a tile of 256-bit registers is two of them.
#define LOAD(from) _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))
#define ZERO(r) __m256i low##r = _mm256_setzero_si256(), high##r = _mm256_setzero_si256();
#define STORE(r)                                                           \
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + r * NR), low##r); \
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + r * NR) + 1, high##r);
#define TILE_256(NAME, TARGET, LAYOUT, SUM)                                                                    \
    TILE(NAME, TARGET, LAYOUT) {                                                                               \
        EACH_OF_6(ZERO)                                                                                        \
        for (const Run* run = begin; run < end; ++run) {                                                       \
            EACH_OF_6(BEGIN)                                                                                   \
            const LAYOUT::B* column = b + run->b;                                                              \
            for (int64_t step = 0, at = 0; step < run->steps; ++step, at += steps.a, column += steps.b) {      \
                const __m256i b_low = LOAD(column), b_high = LOAD(reinterpret_cast<const char*>(column) + 32); \
                EACH_OF_6(SUM)                                                                                 \
            }                                                                                                  \
        }                                                                                                      \
        EACH_OF_6(STORE)                                                                                       \
    }
#define MADD(r)                                                            \
    {                                                                      \
        FOUR_BYTES(a##r + at)                                              \
        const __m256i a = _mm256_set1_epi32(bytes);                        \
        low##r = _mm256_add_epi32(low##r, _mm256_madd_epi16(a, b_low));    \
        high##r = _mm256_add_epi32(high##r, _mm256_madd_epi16(a, b_high)); \
    }
#define DPWSSD(r)                                              \
    {                                                          \
        FOUR_BYTES(a##r + at)                                  \
        const __m256i a = _mm256_set1_epi32(bytes);            \
        low##r = _mm256_dpwssd_avx_epi32(low##r, a, b_low);    \
        high##r = _mm256_dpwssd_avx_epi32(high##r, a, b_high); \
    }
#define DPBUSD(r)                                              \
    {                                                          \
        FOUR_BYTES(a##r + at)                                  \
        const __m256i a = _mm256_set1_epi32(bytes);            \
        low##r = _mm256_dpbusd_avx_epi32(low##r, a, b_low);    \
        high##r = _mm256_dpbusd_avx_epi32(high##r, a, b_high); \
    }
TILE_256(avx2_pairs, "avx2", Pairs, MADD)
TILE_256(avx_vnni_pairs, "avx2,avxvnni", Pairs, DPWSSD)
TILE_256(avx_vnni_quads, "avx2,avxvnni", Quads, DPBUSD)
#undef MADD
#undef DPWSSD
#undef DPBUSD
#undef STORE

// vpmaddubsw adds two products in 16 bits, where they must fit; then sums of `burst` steps do too.
TILE(avx2_quads, "avx2", Quads) {
#define MULTIPLY(r)                                                           \
    {                                                                         \
        FOUR_BYTES(a##r + at)                                                 \
        const __m256i a = _mm256_set1_epi32(bytes);                           \
        low##r = _mm256_add_epi16(low##r, _mm256_maddubs_epi16(a, b_low));    \
        high##r = _mm256_add_epi16(high##r, _mm256_maddubs_epi16(a, b_high)); \
    }
#define ADD(r)                                                                                                       \
    {                                                                                                                \
        __m256i* to = reinterpret_cast<__m256i*>(out + r * NR);                                                      \
        _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), _mm256_madd_epi16(low##r, ones)));          \
        _mm256_storeu_si256(to + 1, _mm256_add_epi32(_mm256_loadu_si256(to + 1), _mm256_madd_epi16(high##r, ones))); \
        low##r = high##r = _mm256_setzero_si256();                                                                   \
    }
    std::fill(out, out + 6 * NR, 0);
    const __m256i ones = _mm256_set1_epi16(1);
    EACH_OF_6(ZERO)
    int64_t left = burst;
    for (const Run* run = begin; run < end; ++run) {
        EACH_OF_6(BEGIN)
        const int8_t* column = b + run->b;
        for (int64_t step = 0, at = 0; step < run->steps;) {
            const int64_t stop = std::min(run->steps, step + left);
            left -= stop - step;
            for (; step < stop; ++step, at += steps.a, column += steps.b) {
                const __m256i b_low = LOAD(column), b_high = LOAD(column + 32);
                EACH_OF_6(MULTIPLY)
            }
            if (left == 0) {
                EACH_OF_6(ADD)
                left = burst;
            }
        }
    }
    EACH_OF_6(ADD)
#undef LOAD
#undef ZERO
#undef MULTIPLY
#undef ADD
}

// A row of a tile of 512-bit registers is one of them, or two of different panels. More than eight rows would need more
// pointers than there are registers. Eight sums would wait for each other, so those of one panel are taken in two
// halves, of even and odd steps.
#define LOAD(from) _mm512_loadu_si512(from)
#define ZERO(r) __m512i first##r = _mm512_setzero_si512(), second##r = _mm512_setzero_si512();
#define EVEN(r)                                                    \
    {                                                              \
        FOUR_BYTES(a##r + at)                                      \
        first##r = DOT(first##r, _mm512_set1_epi32(bytes), right); \
    }
#define ODD(r)                                                      \
    {                                                               \
        FOUR_BYTES(a##r + at + a_step)                              \
        second##r = DOT(second##r, _mm512_set1_epi32(bytes), next); \
    }
#define BOTH(r)                                     \
    {                                               \
        FOUR_BYTES(a##r + at)                       \
        const __m512i a = _mm512_set1_epi32(bytes); \
        first##r = DOT(first##r, a, right);         \
        second##r = DOT(second##r, a, next);        \
    }
#define STORE_SUM(r) _mm512_storeu_si512(out + r * NR, _mm512_add_epi32(first##r, second##r));
#define STORE_BOTH(r)                            \
    _mm512_storeu_si512(out + r * NR, first##r); \
    _mm512_storeu_si512(out + (8 + r) * NR, second##r);
#define TILES_512(NAME, TARGET, LAYOUT)                                                             \
    TILE(NAME, TARGET, LAYOUT) {                                                                    \
        EACH_OF_8(ZERO)                                                                             \
        const int64_t a_step = steps.a, b_step = steps.b;                                           \
        for (const Run* run = begin; run < end; ++run) {                                            \
            EACH_OF_8(BEGIN)                                                                        \
            const LAYOUT::B* column = b + run->b;                                                   \
            int64_t left = run->steps, at = 0;                                                      \
            for (; left > 1; left -= 2, at += 2 * a_step, column += 2 * b_step) {                   \
                const __m512i right = LOAD(column), next = LOAD(column + b_step);                   \
                EACH_OF_8(EVEN) EACH_OF_8(ODD)                                                      \
            }                                                                                       \
            if (left) {                                                                             \
                const __m512i right = LOAD(column);                                                 \
                EACH_OF_8(EVEN)                                                                     \
            }                                                                                       \
        }                                                                                           \
        EACH_OF_8(STORE_SUM)                                                                        \
    }                                                                                               \
    TILE(NAME##_wide, TARGET, LAYOUT) {                                                             \
        EACH_OF_8(ZERO)                                                                             \
        const int64_t a_step = steps.a, b_step = steps.b, panel = steps.panel;                      \
        for (const Run* run = begin; run < end; ++run) {                                            \
            EACH_OF_8(BEGIN)                                                                        \
            const LAYOUT::B* column = b + run->b;                                                   \
            for (int64_t left = run->steps, at = 0; left; --left, at += a_step, column += b_step) { \
                const __m512i right = LOAD(column), next = LOAD(column + panel);                    \
                EACH_OF_8(BOTH)                                                                     \
            }                                                                                       \
        }                                                                                           \
        EACH_OF_8(STORE_BOTH)                                                                       \
    }
#define DOT(sum, a, b) _mm512_add_epi32(sum, _mm512_madd_epi16(a, b))
TILES_512(avx512_pairs, "avx512f,avx512bw", Pairs)
#undef DOT
#define DOT _mm512_dpwssd_epi32
TILES_512(vnni_pairs, "avx512f,avx512bw,avx512vnni", Pairs)
#undef DOT
#define DOT _mm512_dpbusd_epi32
TILES_512(vnni_quads, "avx512f,avx512bw,avx512vnni", Quads)
#undef DOT

bool has_vnni() { return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"); }
bool has_avx512() { return __builtin_cpu_supports("avx512bw"); }
bool has_avx_vnni() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avxvnni"); }
bool has_avx2() { return __builtin_cpu_supports("avx2"); }
#endif

bool always() { return true; }

// The best come first.
const Instructions ALL[] = {
#ifdef X86
    {"AVX512-VNNI", has_vnni, {8, vnni_pairs, vnni_pairs_wide, true}, {8, vnni_quads, vnni_quads_wide, true}},
    {"AVX512", has_avx512, {8, avx512_pairs, avx512_pairs_wide, true}, {0, nullptr, nullptr, false}},
    {"AVX-VNNI", has_avx_vnni, {6, avx_vnni_pairs, nullptr, true}, {6, avx_vnni_quads, nullptr, true}},
    {"AVX2", has_avx2, {6, avx2_pairs, nullptr, true}, {6, avx2_quads, nullptr, false}},
#endif
    {"none",
     always,
     {PLAIN_ROWS, plain<Pairs>, plain_wide<Pairs>, true},
     {PLAIN_ROWS, plain<Quads>, plain_wide<Quads>, true}},
};

const Instructions* find(const char* name) {
#ifdef X86
    __builtin_cpu_init();
#endif
    for (const Instructions& one : ALL)
        if (one.supported() && (!name || !std::strcmp(name, one.name))) return &one;
    return nullptr;
}

const Instructions* chosen = find(nullptr);

}  // namespace

const Instructions& instructions() { return *chosen; }

}  // namespace cpt

extern "C" {

// The instruction set that products take; "none": plain C++.
const char* cpt_instructions() { return cpt::instructions().name; }

// Have products take this instruction set, or the best again if the name is null. 0 if this machine does not have it.
int32_t cpt_use_instructions(const char* name) {
    const cpt::Instructions* found = cpt::find(name);
    if (found) cpt::chosen = found;
    return found != nullptr;
}
}
