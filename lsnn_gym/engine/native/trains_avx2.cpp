// The kernels of trains.hpp for x86 processors with AVX2.
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <type_traits>
#include <vector>
#define LSNN_ISA avx2
#define LSNN_AVX2
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include "train_kernels.hpp"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
