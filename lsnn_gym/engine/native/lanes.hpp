// Samples side by side, as many as a register holds: vectors of one number a sample, and masks of one bit a sample.
//
// Written with the vector types of GCC and Clang; the few operations that the compiler would not find by itself are
// spelt out for x86. Products are added by `multiply_add` alone, and contracted nowhere else, so that a sample's numbers
// are the same however many others are computed beside it.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(LSNN_AVX512) || defined(LSNN_AVX2) || defined(__SSE2__)
#include <immintrin.h>
#endif

#if !defined(LSNN_ISA) || !defined(LSNN_LANES)
#error "include this through one of kernels_*.cpp, which say for which processor and how many samples"
#endif

// f(0), f(1), ... of all lanes
#if LSNN_LANES == 16
#define LSNN_EACH(f) \
    f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
#elif LSNN_LANES == 8
#define LSNN_EACH(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)
#elif LSNN_LANES == 4
#define LSNN_EACH(f) f(0), f(1), f(2), f(3)
#endif

namespace LSNN_ISA {

constexpr int kLanes = LSNN_LANES;
constexpr unsigned kAllLanes = (1u << kLanes) - 1;
constexpr size_t aligned_to(size_t bytes) { return bytes < 64 ? bytes : 64; }

template <class T>
struct VectorOf;

template <>
struct VectorOf<float> {
    typedef float Type __attribute__((vector_size(kLanes * 4), aligned(aligned_to(kLanes * 4)), may_alias));
    typedef float Unaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
    typedef int32_t Mask __attribute__((vector_size(kLanes * 4)));
    typedef int32_t Element;
};

template <>
struct VectorOf<double> {
    typedef double Type __attribute__((vector_size(kLanes * 8), aligned(aligned_to(kLanes * 8)), may_alias));
    typedef double Unaligned __attribute__((vector_size(kLanes * 8), aligned(8), may_alias));
    typedef int64_t Mask __attribute__((vector_size(kLanes * 8)));
    typedef int64_t Element;
};

template <class T>
using Vec = typename VectorOf<T>::Type;
template <class T>
using UnalignedVec = typename VectorOf<T>::Unaligned;
template <class T>
using MaskVec = typename VectorOf<T>::Mask;

#define LSNN_INLINE inline __attribute__((always_inline))

// `value` in all lanes.
template <class T>
LSNN_INLINE Vec<T> splat(T value) {
    return value - Vec<T>{};
}

// a * b + c, rounded once where the processor can.
template <class T>
LSNN_INLINE Vec<T> multiply_add(Vec<T> a, Vec<T> b, Vec<T> c) {
#if defined(LSNN_AVX512)
    if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(LSNN_AVX2)
    if constexpr (sizeof(T) == 4) return (Vec<T>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#endif
    return a * b + c;
}

template <class T>
LSNN_INLINE MaskVec<T> lane_bits() {
#define LSNN_BIT(i) 1 << (i)
    return MaskVec<T>{LSNN_EACH(LSNN_BIT)};
#undef LSNN_BIT
}

// All bits of the lanes in `bits`.
template <class T>
LSNN_INLINE MaskVec<T> chosen_lanes(unsigned bits) {
    return ((MaskVec<T>{} + (typename VectorOf<T>::Element)bits) & lane_bits<T>()) != 0;
}

// `value` in the lanes of `bits`, and 0 in the others.
template <class T>
LSNN_INLINE Vec<T> keep(unsigned bits, Vec<T> value) {
#ifdef LSNN_AVX512
    if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_mov_ps((__mmask16)bits, (__m512)value);
#endif
    return (Vec<T>)((MaskVec<T>)value & chosen_lanes<T>(bits));
}

template <class T>
LSNN_INLINE Vec<T> spread(unsigned bits, T value) {
    return keep<T>(bits, splat(value));
}

// As many masks as lanes side by side.
template <class T>
LSNN_INLINE MaskVec<T> lane_masks(const uint16_t* masks) {
    typedef uint16_t Narrow __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));
    return __builtin_convertvector(*(const Narrow*)masks, MaskVec<T>);
}

// One bit a lane: whether it is set in a mask, of which all of a lane's bits are or none.
template <class T>
LSNN_INLINE unsigned bits_of(MaskVec<T> mask) {
#if defined(LSNN_AVX2)
    if constexpr (sizeof(T) == 4) return (unsigned)_mm256_movemask_ps((__m256)mask);
#elif defined(__SSE2__) && LSNN_LANES == 4
    if constexpr (sizeof(T) == 4) return (unsigned)_mm_movemask_ps((__m128)mask);
#endif
    mask &= lane_bits<T>();
    unsigned found = 0;
    for (int lane = 0; lane < kLanes; ++lane) found |= (unsigned)mask[lane];
    return found;
}

// One bit a lane: whether the lane is greater than 0.
template <class T>
LSNN_INLINE unsigned positive(Vec<T> value) {
#ifdef LSNN_AVX512
    if constexpr (sizeof(T) == 4) return _mm512_cmp_ps_mask((__m512)value, _mm512_setzero_ps(), _CMP_GT_OQ);
#endif
    return bits_of<T>(value > 0);
}

// One bit a lane: whether two vectors differ there.
template <class T>
LSNN_INLINE unsigned differing(Vec<T> a, Vec<T> b) {
#ifdef LSNN_AVX512
    if constexpr (sizeof(T) == 4) return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_NEQ_UQ);
#endif
    return bits_of<T>(a != b);
}

// Exchange rows and columns of as many rows of bits as there are lanes, with as many bits each.
LSNN_INLINE void transpose_bits(const uint16_t* rows, uint16_t* columns) {
#if defined(LSNN_AVX512)
    __m256i all;
    __builtin_memcpy(&all, rows, sizeof all);
#pragma GCC unroll 16
    for (int c = 0; c < 16; ++c) columns[c] = (uint16_t)_mm256_test_epi16_mask(all, _mm256_set1_epi16((short)(1 << c)));
#elif LSNN_LANES == 8
    uint64_t bits = 0;
    for (int row = 0; row < 8; ++row) bits |= (uint64_t)rows[row] << 8 * row;
    if (bits) {  // exchange single bits, then squares of two by two, then of four by four
        const uint64_t single = (bits ^ bits >> 7) & 0x00aa00aa00aa00aa;
        bits ^= single ^ single << 7;
        const uint64_t two = (bits ^ bits >> 14) & 0x0000cccc0000cccc;
        bits ^= two ^ two << 14;
        const uint64_t four = (bits ^ bits >> 28) & 0x00000000f0f0f0f0;
        bits ^= four ^ four << 28;
    }
    for (int c = 0; c < 8; ++c) columns[c] = (uint16_t)(bits >> 8 * c & 0xff);
#else
    for (int c = 0; c < kLanes; ++c) columns[c] = 0;
    for (int row = 0; row < kLanes; ++row)
        for (unsigned bits = rows[row]; bits; bits &= bits - 1) columns[__builtin_ctz(bits)] |= (uint16_t)(1 << row);
#endif
}

// Store past the caches.
template <class T>
LSNN_INLINE void stream(Vec<T> value, Vec<T>* to) {
#if defined(LSNN_AVX512)
    if constexpr (sizeof(T) == 4) return _mm512_stream_ps((float*)to, (__m512)value);
#elif defined(LSNN_AVX2)
    if constexpr (sizeof(T) == 4) return _mm256_stream_ps((float*)to, (__m256)value);
#endif
    *to = value;
}

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
template <class T>
LSNN_INLINE Vec<T> reciprocal(Vec<T> value) {
#ifdef LSNN_AVX512
    if constexpr (sizeof(T) == 4) {
        const __m512 divisor = (__m512)value;
        const __m512 guess = _mm512_rcp14_ps(divisor);
        const __m512 off = _mm512_fnmadd_ps(divisor, guess, _mm512_set1_ps(1));
        return (Vec<T>)_mm512_fmadd_ps(guess, off, guess);
    }
#endif
    return 1 / value;
}

// Of two vectors, exchange b's lane i with a's lane i + S, for all i without the bit S.
template <int S, class T>
LSNN_INLINE void exchange(Vec<T>& a, Vec<T>& b) {
#define LSNN_LOW(i) ((i) & S ? kLanes + (i) - S : (i))
#define LSNN_HIGH(i) ((i) & S ? kLanes + (i) : (i) + S)
#if defined(__clang__) || __GNUC__ >= 12
    const Vec<T> low = __builtin_shufflevector(a, b, LSNN_EACH(LSNN_LOW));
    b = __builtin_shufflevector(a, b, LSNN_EACH(LSNN_HIGH));
#else
    const Vec<T> low = __builtin_shuffle(a, b, MaskVec<T>{LSNN_EACH(LSNN_LOW)});
    b = __builtin_shuffle(a, b, MaskVec<T>{LSNN_EACH(LSNN_HIGH)});
#endif
    a = low;
#undef LSNN_LOW
#undef LSNN_HIGH
}

template <int S, class T>
LSNN_INLINE void exchange_all(Vec<T>* tile) {
    if constexpr (S < kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i)
            if (!(i & S)) exchange<S, T>(tile[i], tile[i + S]);
        exchange_all<2 * S, T>(tile);
    }
}

// Exchange lanes and vectors: afterwards tile[i][j] is what tile[j][i] was.
template <class T>
static __attribute__((noinline)) void transpose(Vec<T>* tile) {
    Vec<T> held[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) held[i] = tile[i];
    exchange_all<1, T>(held);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) tile[i] = held[i];
}

// `from[index[0]]`, `from[index[1]]`, ... in the lanes.
template <class T>
LSNN_INLINE Vec<T> gather(const T* from, const int32_t* index) {
#if defined(LSNN_AVX512)
    if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_i32gather_ps(_mm512_loadu_si512(index), from, 4);
#elif defined(LSNN_AVX2)
    if constexpr (sizeof(T) == 4) return (Vec<T>)_mm256_i32gather_ps(from, _mm256_loadu_si256((const __m256i*)index), 4);
#endif
#define LSNN_AT(i) from[index[i]]
    return Vec<T>{LSNN_EACH(LSNN_AT)};
#undef LSNN_AT
}

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
    transpose<T>(tile);
}

// Write a row of at most as many numbers as lanes.
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
    transpose<T>(tile);
    for (int row = 0; row < rows; ++row) store_row<T>(tile[row], columns, to + row * stride);
}

}  // namespace LSNN_ISA
