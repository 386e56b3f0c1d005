#include "tiles.h"

#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define X86
#include <immintrin.h>
#endif

namespace cpt {
namespace {

// For any machine, in the shape of the kernels for VNNI, for which it stands in where a test has no such machine.
constexpr int64_t PLAIN_ROWS = 12;

template <class Layout>
void plain(const typename Layout::A* const* rows, const Run* begin, const Run* end, int64_t a_step,
           const typename Layout::B* b, int64_t b_step, int64_t /*burst*/, int32_t* out) {
    std::fill(out, out + PLAIN_ROWS * NR, 0);
    for (const Run* run = begin; run < end; ++run)
        for (int64_t step = 0; step < run->steps; ++step)
            for (int64_t r = 0; r < PLAIN_ROWS; ++r) {
                const auto* a = rows[r] + run->a + step * a_step;
                const auto* column = b + run->b + step * b_step;
                for (int64_t n = 0; n < NR; ++n, column += Layout::K)
                    for (int64_t i = 0; i < Layout::K; ++i) out[r * NR + n] += a[i] * column[i];
            }
}

#ifdef X86
#define EACH_OF_6(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define EACH_OF_12(DO) EACH_OF_6(DO) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define BEGIN(r) const auto* a##r = rows[r] + run->a;
// What an instruction takes of A: two 16-bit or four 8-bit elements, for all columns the same.
#define FOUR_BYTES(r) \
    int32_t bytes;    \
    std::memcpy(&bytes, a##r + at, sizeof bytes);

// Not inlined into what uses the sums: gcc then keeps the accumulators in memory, which halves the speed.
__attribute__((noinline, target("avx2"))) void avx2_pairs(const int16_t* const* rows, const Run* begin, const Run* end,
                                                          int64_t a_step, const int16_t* b, int64_t b_step,
                                                          int64_t /*burst*/, int32_t* out) {
#define ZERO(r) __m256i low##r = _mm256_setzero_si256(), high##r = _mm256_setzero_si256();
#define MULTIPLY(r)                                                        \
    {                                                                      \
        FOUR_BYTES(r)                                                      \
        const __m256i a = _mm256_set1_epi32(bytes);                        \
        low##r = _mm256_add_epi32(low##r, _mm256_madd_epi16(a, b_low));    \
        high##r = _mm256_add_epi32(high##r, _mm256_madd_epi16(a, b_high)); \
    }
#define STORE(r)                                                           \
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + r * NR), low##r); \
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + r * NR) + 1, high##r);
    EACH_OF_6(ZERO)
    for (const Run* run = begin; run < end; ++run) {
        EACH_OF_6(BEGIN)
        const int16_t* column = b + run->b;
        for (int64_t step = 0, at = 0; step < run->steps; ++step, at += a_step, column += b_step) {
            const __m256i b_low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(column));
            const __m256i b_high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(column) + 1);
            EACH_OF_6(MULTIPLY)
        }
    }
    EACH_OF_6(STORE)
#undef MULTIPLY
#undef STORE
}

// vpmaddubsw adds two products in 16 bits, where they must fit; then sums of `burst` steps do too.
__attribute__((noinline, target("avx2"))) void avx2_quads(const uint8_t* const* rows, const Run* begin, const Run* end,
                                                          int64_t a_step, const int8_t* b, int64_t b_step,
                                                          int64_t burst, int32_t* out) {
#define MULTIPLY(r)                                                           \
    {                                                                         \
        FOUR_BYTES(r)                                                         \
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
            for (; step < stop; ++step, at += a_step, column += b_step) {
                const __m256i b_low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(column));
                const __m256i b_high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(column) + 1);
                EACH_OF_6(MULTIPLY)
            }
            if (left == 0) {
                EACH_OF_6(ADD)
                left = burst;
            }
        }
    }
    EACH_OF_6(ADD)
#undef ZERO
#undef MULTIPLY
#undef ADD
}

// With 512 bits a row of a tile is one register.
#define ZERO(r) __m512i sum##r = _mm512_setzero_si512();
#define STORE(r) _mm512_storeu_si512(out + r * NR, sum##r);
#define AVX512_TILE(NAME, TARGET, ELEMENT_A, ELEMENT_B, SUM)                                                \
    __attribute__((noinline, target(TARGET))) void NAME(const ELEMENT_A* const* rows, const Run* begin,     \
                                                        const Run* end, int64_t a_step, const ELEMENT_B* b, \
                                                        int64_t b_step, int64_t /*burst*/, int32_t* out) {  \
        EACH_OF_12(ZERO)                                                                                    \
        for (const Run* run = begin; run < end; ++run) {                                                    \
            EACH_OF_12(BEGIN)                                                                               \
            const ELEMENT_B* column = b + run->b;                                                           \
            for (int64_t step = 0, at = 0; step < run->steps; ++step, at += a_step, column += b_step) {     \
                const __m512i right = _mm512_loadu_si512(column);                                           \
                EACH_OF_12(SUM)                                                                             \
            }                                                                                               \
        }                                                                                                   \
        EACH_OF_12(STORE)                                                                                   \
    }
#define MADD(r)                                                                                              \
    {                                                                                                        \
        FOUR_BYTES(r) sum##r = _mm512_add_epi32(sum##r, _mm512_madd_epi16(_mm512_set1_epi32(bytes), right)); \
    }
#define DPWSSD(r)                                                                            \
    {                                                                                        \
        FOUR_BYTES(r) sum##r = _mm512_dpwssd_epi32(sum##r, _mm512_set1_epi32(bytes), right); \
    }
#define DPBUSD(r)                                                                            \
    {                                                                                        \
        FOUR_BYTES(r) sum##r = _mm512_dpbusd_epi32(sum##r, _mm512_set1_epi32(bytes), right); \
    }
AVX512_TILE(avx512_pairs, "avx512f,avx512bw", int16_t, int16_t, MADD)
AVX512_TILE(vnni_pairs, "avx512f,avx512bw,avx512vnni", int16_t, int16_t, DPWSSD)
AVX512_TILE(vnni_quads, "avx512f,avx512bw,avx512vnni", uint8_t, int8_t, DPBUSD)
#endif

const Instructions PLAIN{"none", {PLAIN_ROWS, plain<Pairs>, true}, {PLAIN_ROWS, plain<Quads>, true}};
#ifdef X86
const Instructions AVX2{"AVX2", {6, avx2_pairs, true}, {6, avx2_quads, false}};
const Instructions AVX512{"AVX512", {12, avx512_pairs, true}, {0, nullptr, false}};
const Instructions VNNI{"AVX512-VNNI", {12, vnni_pairs, true}, {12, vnni_quads, true}};
#endif

const Instructions* best() {
#ifdef X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512bw")) return __builtin_cpu_supports("avx512vnni") ? &VNNI : &AVX512;
    if (__builtin_cpu_supports("avx2")) return &AVX2;
#endif
    return &PLAIN;
}

const Instructions* chosen = best();

}  // namespace

const Instructions& instructions() { return *chosen; }

}  // namespace cpt

extern "C" {

// The instruction set that products take; "none": plain C++.
const char* cpt_instructions() { return cpt::instructions().name; }

// Have products take plain C++, or the best again.
void cpt_use_plain(int32_t plain) { cpt::chosen = plain ? &cpt::PLAIN : cpt::best(); }
}
