// Sixteen samples side by side: vectors of one number a sample, and masks of one bit a sample.
//
// Written with the vector types of GCC and Clang, which the compiler splits to whatever the processor has; the few
// operations that it would not find by itself are spelt out for x86.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(LSNN_AVX512) || defined(LSNN_AVX2)
#include <immintrin.h>
#endif

#ifndef LSNN_ISA
#error "include this through one of kernels_*.cpp, which say for which processor"
#endif

namespace LSNN_ISA {

constexpr int kLanes = 16;
constexpr unsigned kAllLanes = 0xffff;

template <class T>
struct VectorOf;

template <>
struct VectorOf<float> {
    typedef float Type __attribute__((vector_size(64), aligned(64), may_alias));
    typedef float Unaligned __attribute__((vector_size(64), aligned(4), may_alias));
    typedef int32_t Mask __attribute__((vector_size(64)));
    typedef int32_t Element;
};

template <>
struct VectorOf<double> {
    typedef double Type __attribute__((vector_size(128), aligned(64), may_alias));
    typedef double Unaligned __attribute__((vector_size(128), aligned(8), may_alias));
    typedef int64_t Mask __attribute__((vector_size(128)));
    typedef int64_t Element;
};

template <class T>
using Vec = typename VectorOf<T>::Type;
template <class T>
using UnalignedVec = typename VectorOf<T>::Unaligned;
template <class T>
using MaskVec = typename VectorOf<T>::Mask;

#define LSNN_INLINE inline __attribute__((always_inline))

template <class T>
LSNN_INLINE Vec<T> splat(T value) {
    return value - Vec<T>{};
}

template <class T>
LSNN_INLINE MaskVec<T> lane_bits() {
    return MaskVec<T>{1 << 0, 1 << 1, 1 << 2,  1 << 3,  1 << 4,  1 << 5,  1 << 6,  1 << 7,
                      1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15};
}

// The vector that has `value` in the lanes of `bits`, and 0 in the others.
LSNN_INLINE Vec<float> spread(unsigned bits, float value) {
#ifdef LSNN_AVX512
    return (Vec<float>)_mm512_maskz_mov_ps((__mmask16)bits, _mm512_set1_ps(value));
#else
    const MaskVec<float> chosen = ((MaskVec<float>{} + (int32_t)bits) & lane_bits<float>()) != 0;
    return (Vec<float>)((MaskVec<float>)splat(value) & chosen);
#endif
}

LSNN_INLINE Vec<double> spread(unsigned bits, double value) {
    const MaskVec<double> chosen = ((MaskVec<double>{} + (int64_t)bits) & lane_bits<double>()) != 0;
    return (Vec<double>)((MaskVec<double>)splat(value) & chosen);
}

// Sixteen masks side by side.
template <class T>
LSNN_INLINE MaskVec<T> lane_masks(const uint16_t* masks) {
    typedef uint16_t Narrow __attribute__((vector_size(32), aligned(2), may_alias));
    return __builtin_convertvector(*(const Narrow*)masks, MaskVec<T>);
}

// `value` in the lanes of `bits`, and 0 in the others.
LSNN_INLINE Vec<float> keep(unsigned bits, Vec<float> value) {
#ifdef LSNN_AVX512
    return (Vec<float>)_mm512_maskz_mov_ps((__mmask16)bits, (__m512)value);
#else
    const MaskVec<float> chosen = ((MaskVec<float>{} + (int32_t)bits) & lane_bits<float>()) != 0;
    return (Vec<float>)((MaskVec<float>)value & chosen);
#endif
}

LSNN_INLINE Vec<double> keep(unsigned bits, Vec<double> value) {
    const MaskVec<double> chosen = ((MaskVec<double>{} + (int64_t)bits) & lane_bits<double>()) != 0;
    return (Vec<double>)((MaskVec<double>)value & chosen);
}

// One bit a lane: whether the lane is greater than 0.
LSNN_INLINE unsigned positive(Vec<float> value) {
#if defined(LSNN_AVX512)
    return _mm512_cmp_ps_mask((__m512)value, _mm512_setzero_ps(), _CMP_GT_OQ);
#elif defined(LSNN_AVX2)
    __m256 halves[2];
    __builtin_memcpy(halves, &value, sizeof halves);
    const __m256 zero = _mm256_setzero_ps();
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(halves[0], zero, _CMP_GT_OQ)) |
           (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(halves[1], zero, _CMP_GT_OQ)) << 8;
#else
    const MaskVec<float> bits = (value > 0) & lane_bits<float>();
    unsigned found = 0;
    for (int lane = 0; lane < kLanes; ++lane) found |= (unsigned)bits[lane];
    return found;
#endif
}

LSNN_INLINE unsigned positive(Vec<double> value) {
    const MaskVec<double> bits = (value > 0) & lane_bits<double>();
    unsigned found = 0;
    for (int lane = 0; lane < kLanes; ++lane) found |= (unsigned)bits[lane];
    return found;
}

// One bit a lane: whether two vectors differ there.
template <class T>
LSNN_INLINE unsigned differing(Vec<T> a, Vec<T> b) {
#ifdef LSNN_AVX512
    if constexpr (sizeof(T) == 4) return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_NEQ_UQ);
#endif
    return positive(a - b) | positive(b - a);
}

// Exchange rows and columns of 16 x 16 bits.
LSNN_INLINE void transpose_bits(const uint16_t* rows, uint16_t* columns) {
#ifdef LSNN_AVX512
    __m256i all;
    __builtin_memcpy(&all, rows, sizeof all);
#pragma GCC unroll 16
    for (int c = 0; c < 16; ++c) columns[c] = (uint16_t)_mm256_test_epi16_mask(all, _mm256_set1_epi16((short)(1 << c)));
#else
    for (int c = 0; c < 16; ++c) columns[c] = 0;
    for (int row = 0; row < 16; ++row)
        for (unsigned bits = rows[row]; bits; bits &= bits - 1) columns[__builtin_ctz(bits)] |= (uint16_t)(1 << row);
#endif
}

// Store past the caches.
LSNN_INLINE void stream(Vec<float> value, Vec<float>* to) {
#if defined(LSNN_AVX512)
    _mm512_stream_ps((float*)to, (__m512)value);
#elif defined(LSNN_AVX2)
    __m256 halves[2];
    __builtin_memcpy(halves, &value, sizeof halves);
    _mm256_stream_ps((float*)to, halves[0]);
    _mm256_stream_ps((float*)to + 8, halves[1]);
#else
    *to = value;
#endif
}

LSNN_INLINE void stream(Vec<double> value, Vec<double>* to) { *to = value; }

// What was streamed is to be seen by other threads.
LSNN_INLINE void finish_streams() {
#if defined(LSNN_AVX512) || defined(LSNN_AVX2)
    _mm_sfence();
#endif
}

template <class T>
LSNN_INLINE Vec<T> at_least_zero(Vec<T> value) {
    return (Vec<T>)((MaskVec<T>)value & (value > 0));
}

template <class T>
LSNN_INLINE Vec<T> magnitude(Vec<T> value) {
    return value < 0 ? -value : value;
}

// 1 / value, to rounding.
LSNN_INLINE Vec<float> reciprocal(Vec<float> value) {
#ifdef LSNN_AVX512
    const __m512 divisor = (__m512)value;
    const __m512 guess = _mm512_rcp14_ps(divisor);
    const __m512 off = _mm512_fnmadd_ps(divisor, guess, _mm512_set1_ps(1));
    return (Vec<float>)_mm512_fmadd_ps(guess, off, guess);
#else
    return 1 / value;
#endif
}

LSNN_INLINE Vec<double> reciprocal(Vec<double> value) { return 1 / value; }

// Exchange lanes and vectors: afterwards tile[i][j] is what tile[j][i] was.
template <class T>
LSNN_INLINE void transpose_one_by_one(T* number) {
    for (int i = 0; i < kLanes; ++i)
        for (int j = 0; j < i; ++j) {
            const T held = number[i * kLanes + j];
            number[i * kLanes + j] = number[j * kLanes + i];
            number[j * kLanes + i] = held;
        }
}

static __attribute__((noinline)) void transpose(Vec<double>* tile) { transpose_one_by_one((double*)tile); }

#if defined(LSNN_AVX512) || defined(LSNN_AVX2)
template <int S>
LSNN_INLINE void exchange(Vec<float>& a, Vec<float>& b) {
#define LSNN_LOW(i) ((i)&S ? 16 + (i)-S : (i))
#define LSNN_HIGH(i) ((i)&S ? 16 + (i) : (i) + S)
#define LSNN_EACH(f) \
    f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
    const Vec<float> low = __builtin_shufflevector(a, b, LSNN_EACH(LSNN_LOW));
    b = __builtin_shufflevector(a, b, LSNN_EACH(LSNN_HIGH));
    a = low;
#undef LSNN_EACH
#undef LSNN_LOW
#undef LSNN_HIGH
}

template <int S>
LSNN_INLINE void exchange_all(Vec<float>* tile) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
        if (!(i & S)) exchange<S>(tile[i], tile[i + S]);
}

static __attribute__((noinline)) void transpose(Vec<float>* tile) {
    Vec<float> held[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) held[i] = tile[i];
    exchange_all<1>(held);
    exchange_all<2>(held);
    exchange_all<4>(held);
    exchange_all<8>(held);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) tile[i] = held[i];
}
#else
static __attribute__((noinline)) void transpose(Vec<float>* tile) { transpose_one_by_one((float*)tile); }
#endif

// Read `rows` x `columns` numbers, a row a sample, into `columns` vectors; missing ones are 0.
template <class T>
static __attribute__((noinline)) void load_tile(const T* from, ptrdiff_t stride, int rows, int columns, Vec<T>* tile) {
    if (columns == kLanes) {
        for (int row = 0; row < rows; ++row) tile[row] = (Vec<T>)*(const UnalignedVec<T>*)(from + row * stride);
    } else {
        for (int row = 0; row < rows; ++row) {
            alignas(64) T padded[kLanes] = {};
            for (int column = 0; column < columns; ++column) padded[column] = from[row * stride + column];
            tile[row] = *(const Vec<T>*)padded;
        }
    }
    for (int row = rows; row < kLanes; ++row) tile[row] = Vec<T>{};
    transpose(tile);
}

// Write a row of up to 16 numbers.
template <class T>
LSNN_INLINE void store_row(Vec<T> row, int columns, T* to) {
    if (columns == kLanes) {
        *(UnalignedVec<T>*)to = (UnalignedVec<T>)row;
    } else {
        alignas(64) T padded[kLanes];
        *(Vec<T>*)padded = row;
        for (int column = 0; column < columns; ++column) to[column] = padded[column];
    }
}

// Write `columns` vectors as `rows` x `columns` numbers, a row a sample. The tile is used up.
template <class T>
static __attribute__((noinline)) void store_tile(Vec<T>* tile, ptrdiff_t stride, int rows, int columns, T* to) {
    transpose(tile);
    for (int row = 0; row < rows; ++row) store_row<T>(tile[row], columns, to + row * stride);
}

}  // namespace LSNN_ISA
