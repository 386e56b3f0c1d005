// What the C++ functions share: how loops over elements are compiled, and how they round to integers.
#pragma once

// Compiled for three instruction sets, of which the loader takes the best that the machine has.
#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__)
#define VECTORISED __attribute__((noinline, target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTORISED __attribute__((noinline))
#endif
#define INLINED inline __attribute__((always_inline))

namespace {

// Adding and subtracting 1.5 x 2^23 rounds numbers below 2^22 to an integer, half to even.
constexpr float ROUNDER = 12582912.0F;

}  // namespace
