// What the loops over lanes of antlr_kernels.hpp and tssl_kernels.hpp share.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if !defined(LSNN_ISA)
#error "include this through one of layered_*.cpp, which say for which processor"
#endif

namespace layered {
namespace LSNN_ISA {
namespace {

constexpr int64_t kAtOnce = 512;  // lanes whose state stays in the innermost cache

// Not the library's, of which the linker keeps one for all processors.
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// In two steps, which the compiler turns into two instructions.
template <class T>
inline T within(T x, T lowest, T highest) {
    const T above = x < lowest ? lowest : x;
    return above > highest ? highest : above;
}

inline double exponential(double x) { return std::exp(x); }

// Cephes' expf, without branches; relative error below 2e-7 for |x| < 87.
inline float exponential(float x) {
    x = within(x, -87.0f, 87.0f);
    // A sum this large has no room for fractions: the number nearest to x / log(2) is in its last bits,
    // counted from those of kRounds itself.
    constexpr int32_t kRoundsBits = 0x4b400000;
    constexpr float kRounds = 12582912.0f;
    const float rounded = x * 1.44269504088896341f + kRounds, count = rounded - kRounds;
    int32_t whole;
    std::memcpy(&whole, &rounded, sizeof whole);
    const float rest = (x - count * 0.693359375f) + count * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    const uint32_t bits = static_cast<uint32_t>(whole - kRoundsBits + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return sum * power;
}

}  // namespace
}  // namespace LSNN_ISA
}  // namespace layered
