// Spikes found in trains, sums of rows at them, and what is added to rows at them. Sums are made for a few neurons at a
// time, whose rows then stay in the nearest cache and whose sums stay in registers; loops over neurons are what the
// compiler turns into vectors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#if !defined(LSNN_ISA)
#error "include this through one of the files that say for which processor"
#endif

namespace events {
namespace LSNN_ISA {
namespace {

constexpr int64_t kStretch = 64;

// Which of 64 numbers are not 0, a bit each.
template <class T>
inline uint64_t not_zero(const T* at) {
    uint64_t bits = 0;
#if defined(LSNN_AVX512)
    for (int64_t i = 0; i < kStretch; i += 64 / sizeof(T)) {
        if constexpr (sizeof(T) == 4) {
            bits |= uint64_t(_mm512_cmp_ps_mask(_mm512_loadu_ps(at + i), _mm512_setzero_ps(), _CMP_NEQ_UQ)) << i;
        } else {
            bits |= uint64_t(_mm512_cmp_pd_mask(_mm512_loadu_pd(at + i), _mm512_setzero_pd(), _CMP_NEQ_UQ)) << i;
        }
    }
#elif defined(LSNN_AVX2)
    for (int64_t i = 0; i < kStretch; i += 32 / sizeof(T)) {
        if constexpr (sizeof(T) == 4) {
            const __m256 differs = _mm256_cmp_ps(_mm256_loadu_ps(at + i), _mm256_setzero_ps(), _CMP_NEQ_UQ);
            bits |= uint64_t(_mm256_movemask_ps(differs)) << i;
        } else {
            const __m256d differs = _mm256_cmp_pd(_mm256_loadu_pd(at + i), _mm256_setzero_pd(), _CMP_NEQ_UQ);
            bits |= uint64_t(_mm256_movemask_pd(differs)) << i;
        }
    }
#else
    int any = 0;
    for (int64_t i = 0; i < kStretch; ++i) any |= at[i] != 0;
    for (int64_t i = 0; any && i < kStretch; ++i) bits |= uint64_t(at[i] != 0) << i;
#endif
    return bits;
}

// Call f(i) for all numbers that are not 0.
template <class T, class F>
inline void each_not_zero(const T* at, int64_t width, F f) {
    int64_t start = 0;
    for (; start + kStretch <= width; start += kStretch)
        for (uint64_t bits = not_zero(at + start); bits; bits &= bits - 1) f(start + __builtin_ctzll(bits));
    for (; start < width; ++start)
        if (at[start] != 0) f(start);
}

// Call f(i) for all bits that are 1.
template <class F>
inline void each_bit(const uint64_t* word, int64_t words, F f) {
    for (int64_t w = 0; w < words; ++w)
        for (uint64_t bits = word[w]; bits; bits &= bits - 1) f(w * kStretch + __builtin_ctzll(bits));
}

// Turn a square of bits round: bit j of word i becomes bit i of word j (Warren, Hacker's Delight, 7-3).
inline void turn(uint64_t* square) {
    uint64_t mask = 0x00000000ffffffff;
    for (int half = 32; half; half >>= 1, mask ^= mask << half) {
        for (int from = 0; from < kStretch; from += 2 * half) {
            for (int i = from; i < from + half; ++i) {
                const uint64_t differs = ((square[i] >> half) ^ square[i + half]) & mask;
                square[i] ^= differs << half;
                square[i + half] ^= differs;
            }
        }
    }
}

// What is not 0 in each of some rows, row after row.
template <class T>
struct Events {
    std::vector<int64_t> first;  // where each row's begin, and how many there are
    std::vector<int32_t> place;
    std::vector<T> value;  // of each; if all of them are 1, only as many as the longest row has
    bool ones = false;

    Events() = default;

    // `rows` rows of `width` numbers, `stride` from one to the next.
    Events(const T* at, int64_t rows, int64_t width, int64_t stride) : first(rows + 1) {
        int64_t count = 0;
        for (int64_t r = 0; r < rows; ++r, at += stride) {
            first[r] = count;
            if (static_cast<int64_t>(place.size()) < count + width) {
                place.resize(2 * (count + width));
                value.resize(place.size());
            }
            each_not_zero(at, width, [&](int64_t i) {
                place[count] = static_cast<int32_t>(i);
                value[count++] = at[i];
            });
        }
        first[rows] = count;
    }

    // `rows` rows of so many words side by side, a bit for each spike.
    Events(const uint64_t* bits, int64_t rows, int64_t words) : first(rows + 1), place(spikes_in(bits, rows * words)) {
        int32_t* next = place.data();
        for (int64_t r = 0; r < rows; ++r) {
            first[r] = next - place.data();
            each_bit(bits + r * words, words, [&](int64_t i) { *next++ = static_cast<int32_t>(i); });
        }
        first[rows] = next - place.data();
        all_are_ones();
    }

    // The same as other rows, column by column; places are rows then.
    Events(const Events& rows, int64_t columns) : first(columns + 1), place(rows.place.size()) {
        const int64_t number = rows.rows();
        for (int64_t k = 0; k < rows.first[number]; ++k) ++first[rows.place[k] + 1];
        for (int64_t i = 0; i < columns; ++i) first[i + 1] += first[i];
        std::vector<int64_t> next(first.begin(), first.end() - 1);
        if (!rows.ones) value.resize(rows.value.size());
        for (int64_t r = 0; r < number; ++r) {
            for (int64_t k = rows.first[r]; k < rows.first[r + 1]; ++k) {
                const int64_t to = next[rows.place[k]]++;
                place[to] = static_cast<int32_t>(r);
                if (!rows.ones) value[to] = rows.value[k];
            }
        }
        if (rows.ones) all_are_ones();
    }

    // The same as `rows` rows of so many words, column by column: 64 rows and columns are turned round at a time.
    static Events by_column(const uint64_t* bits, int64_t rows, int64_t words, int64_t columns) {
        Events found;
        found.first.resize(columns + 1);
        found.place.resize(spikes_in(bits, rows * words));
        int32_t* next = found.place.data();
        const int64_t squares = (rows + kStretch - 1) / kStretch;
        std::vector<uint64_t> turned(squares * kStretch);
        for (int64_t w = 0; w < words; ++w) {
            for (int64_t s = 0; s < squares; ++s) {
                uint64_t* square = turned.data() + s * kStretch;
                uint64_t any = 0;
                for (int64_t i = 0; i < kStretch; ++i) {
                    const int64_t r = s * kStretch + i;
                    any |= square[i] = r < rows ? bits[r * words + w] : 0;
                }
                if (any) turn(square);
            }
            for (int64_t j = 0; j < std::min(kStretch, columns - w * kStretch); ++j) {
                found.first[w * kStretch + j] = next - found.place.data();
                for (int64_t s = 0; s < squares; ++s) {
                    const int32_t row = static_cast<int32_t>(s * kStretch);
                    each_bit(&turned[s * kStretch + j], 1, [&](int64_t i) { *next++ = row + static_cast<int32_t>(i); });
                }
            }
        }
        found.first[columns] = next - found.place.data();
        found.all_are_ones();
        return found;
    }

    int64_t rows() const { return static_cast<int64_t>(first.size()) - 1; }
    int64_t count(int64_t row) const { return first[row + 1] - first[row]; }
    const int32_t* places(int64_t row) const { return place.data() + first[row]; }
    const T* values(int64_t row) const { return value.data() + (ones ? 0 : first[row]); }

  private:
    static int64_t spikes_in(const uint64_t* bits, int64_t words) {
        int64_t count = 0;
        for (int64_t w = 0; w < words; ++w) count += __builtin_popcountll(bits[w]);
        return count;
    }

    void all_are_ones() {
        int64_t longest = 0;
        for (int64_t r = 0; r < rows(); ++r) longest = std::max(longest, count(r));
        value.assign(longest, T(1));
        ones = true;
    }
};

// 64 bytes of numbers; on lesser processors the compiler makes several vectors of them.
template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
    typedef float Type __attribute__((vector_size(64), aligned(4), may_alias));
};
template <>
struct VectorOf<double> {
    typedef double Type __attribute__((vector_size(64), aligned(8), may_alias));
};
template <class T>
using Vec = typename VectorOf<T>::Type;
template <class T>
constexpr int64_t kLanes = 64 / sizeof(T);

// See gather_block: the sums of P vectors stay in registers.
template <int P, class T>
inline void gather(T* sum, const T* base, int64_t stride, const int32_t* place, const T* value, int64_t count, int64_t width) {
    if constexpr (P == 0) {
        std::fill_n(sum, width, T(0));
        for (int64_t k = 0; k < count; ++k) {
            const T* row = base + place[k] * stride;
            for (int64_t j = 0; j < width; ++j) sum[j] += value[k] * row[j];
        }
    } else {
        Vec<T> parts[P] = {};
        for (int64_t k = 0; k < count; ++k) {
            const T* row = base + place[k] * stride;
            for (int p = 0; p < P; ++p) parts[p] += value[k] * *reinterpret_cast<const Vec<T>*>(row + p * kLanes<T>);
        }
        for (int p = 0; p < P; ++p) *reinterpret_cast<Vec<T>*>(sum + p * kLanes<T>) = parts[p];
    }
}

// See scatter_block: what is added stays in registers.
template <int P, class T>
inline void scatter(T* base, int64_t stride, const T* add, const int32_t* place, const T* value, int64_t count, int64_t width) {
    if constexpr (P == 0) {
        for (int64_t k = 0; k < count; ++k) {
            T* row = base + place[k] * stride;
            for (int64_t j = 0; j < width; ++j) row[j] += value[k] * add[j];
        }
    } else {
        Vec<T> parts[P];
        for (int p = 0; p < P; ++p) parts[p] = *reinterpret_cast<const Vec<T>*>(add + p * kLanes<T>);
        for (int64_t k = 0; k < count; ++k) {
            T* row = base + place[k] * stride;
            for (int p = 0; p < P; ++p) *reinterpret_cast<Vec<T>*>(row + p * kLanes<T>) += value[k] * parts[p];
        }
    }
}

// sum_j f(j), in as many parts as make a vector.
template <class T, class F>
inline T total(int64_t count, F f) {
    T part[kLanes<T>] = {};
    int64_t j = 0;
    for (; j + kLanes<T> <= count; j += kLanes<T>)
        for (int64_t k = 0; k < kLanes<T>; ++k) part[k] += f(j + k);
    T sum = 0;
    for (int64_t k = 0; k < kLanes<T>; ++k) sum += part[k];
    for (; j < count; ++j) sum += f(j);
    return sum;
}

constexpr int kParts = 4;

// Call f(from, width) with neurons a few at a time.
template <class T, class F>
inline void each_block(int64_t neurons, F f) {
    for (int64_t from = 0; from < neurons; from += kParts * kLanes<T>)
        f(from, std::min<int64_t>(kParts * kLanes<T>, neurons - from));
}

// Call f with how many vectors make `width` numbers, at most kParts, as a constant; with 0 if none do.
template <class T, class F>
inline void by_vectors(int64_t width, F f) {
    if (width == kParts * kLanes<T>) {
        f(std::integral_constant<int, kParts>());
    } else if (width == 3 * kLanes<T>) {
        f(std::integral_constant<int, 3>());
    } else if (width == 2 * kLanes<T>) {
        f(std::integral_constant<int, 2>());
    } else if (width == kLanes<T>) {
        f(std::integral_constant<int, 1>());
    } else {
        f(std::integral_constant<int, 0>());
    }
}

// sum[j] = sum_k value[k] row_k[j] over the events k of a row, in their order, for `width` neurons j, at most
// kParts * kLanes; row_k = base + place[k] * stride.
template <class T>
inline void gather_block(T* sum, const T* base, int64_t stride, const Events<T>& events, int64_t row, int64_t width) {
    by_vectors<T>(width, [&](auto vectors) {
        gather<decltype(vectors)::value>(sum, base, stride, events.places(row), events.values(row), events.count(row), width);
    });
}

// row_k[j] += value[k] * add[j], likewise.
template <class T>
inline void scatter_block(T* base, int64_t stride, const T* add, const Events<T>& events, int64_t row, int64_t width) {
    by_vectors<T>(width, [&](auto vectors) {
        scatter<decltype(vectors)::value>(base, stride, add, events.places(row), events.values(row), events.count(row), width);
    });
}

}  // namespace
}  // namespace LSNN_ISA
}  // namespace events
