// The plain interface to the kernels of layered.hpp: chooses those of this processor and spreads lanes over threads.
#include "layered.hpp"

#include <algorithm>
#include <limits>

#include "problem.hpp"
#include "spread.hpp"

#if defined(_WIN32)
#define LAYERED_EXPORT extern "C" __declspec(dllexport)
#else
#define LAYERED_EXPORT extern "C" __attribute__((visibility("default")))
#endif

extern "C" int lsnn_choose_isa(int wanted);

namespace layered {
namespace {

// No processor has what is asked for: the choice stays, and is returned.
int isa_in_use() { return lsnn_choose_isa(std::numeric_limits<int>::max()); }

template <class T>
const Kernels<T>& kernels();

template <>
const Kernels<float>& kernels<float>() {
#if defined(__x86_64__) && defined(__GNUC__)
    const int isa = isa_in_use();
    if (isa == lsnn::kAvx512) return avx512::kernels_float();
    if (isa == lsnn::kAvx2) return avx2::kernels_float();
#endif
    return baseline::kernels_float();
}

template <>
const Kernels<double>& kernels<double>() {
#if defined(__x86_64__) && defined(__GNUC__)
    const int isa = isa_in_use();
    if (isa == lsnn::kAvx512) return avx512::kernels_double();
    if (isa == lsnn::kAvx2) return avx2::kernels_double();
#endif
    return baseline::kernels_double();
}

// Call work(from, to) for ranges that together are `count`, of `each` numbers a piece; return whether all came to their end.
// What a lane, image or neuron gets does not depend on the ranges.
template <class Work>
bool spread(int64_t count, int64_t each, int64_t threads, const Work& work) {
    // Starting a thread takes longer than a small piece of work.
    const int64_t parts = std::max<int64_t>(1, count * each < 100000 ? 1 : std::min(threads, count));
    return spread_work(parts, threads, [&](int64_t k) { work(count * k / parts, count * (k + 1) / parts); });
}

}  // namespace
}  // namespace layered

// Each returns 0, or 1 where there was not enough memory.
#define LAYERED_LANES_INTERFACE(name, suffix, Constants, Argument)                                                          \
    LAYERED_EXPORT int layered_##name##_##suffix(const layered::Size* size, const layered::Constants* constants,            \
                                                 const layered::Argument<suffix>* argument, int64_t threads) {              \
        const auto& kernels = layered::kernels<suffix>();                                                                   \
        return !layered::spread(size->lanes, size->steps, threads, [&](int64_t from, int64_t to) {                          \
            kernels.name(*size, *constants, *argument, from, to);                                                           \
        });                                                                                                                 \
    }
#define LAYERED_WINDOWS_INTERFACE(name, suffix)                                                                             \
    LAYERED_EXPORT int layered_##name##_##suffix(const layered::Windows* windows, const suffix* given, suffix* found,       \
                                                 int64_t threads) {                                                         \
        const auto& kernels = layered::kernels<suffix>();                                                                   \
        return !layered::spread(windows->images, windows->height * windows->width, threads, [&](int64_t from, int64_t to) { \
            kernels.name(*windows, given, found, from, to);                                                                 \
        });                                                                                                                 \
    }
#define LAYERED_SAMPLES_INTERFACE(name, suffix, Argument)                                                                   \
    LAYERED_EXPORT int layered_##name##_##suffix(const layered::DenseSize* size, const layered::AntlrConstants* constants,  \
                                                 const layered::Argument<suffix>* argument, int64_t threads) {              \
        const auto& kernels = layered::kernels<suffix>();                                                                   \
        return !spread_work(size->batch, threads, [&](int64_t b) { kernels.name(*size, *constants, *argument, b); });       \
    }
#define LAYERED_NEURONS_INTERFACE(name, suffix, Argument)                                                                   \
    LAYERED_EXPORT int layered_##name##_##suffix(const layered::DenseSize* size, const layered::AntlrConstants* constants,  \
                                                 const layered::Argument<suffix>* argument, int64_t threads) {              \
        const auto& kernels = layered::kernels<suffix>();                                                                   \
        const int64_t parts = std::max<int64_t>(1, std::min(threads, size->neurons));                                       \
        return !spread_work(parts, threads, [&](int64_t k) {                                                                \
            kernels.name(*size, *constants, *argument, size->neurons * k / parts, size->neurons * (k + 1) / parts);         \
        });                                                                                                                 \
    }
#define LAYERED_INTERFACE(suffix)                                                      \
    LAYERED_LANES_INTERFACE(tssl_run, suffix, TsslConstants, TsslRun)                  \
    LAYERED_LANES_INTERFACE(tssl_errors, suffix, TsslConstants, TsslErrors)            \
    LAYERED_LANES_INTERFACE(antlr_run, suffix, AntlrConstants, AntlrRun)               \
    LAYERED_LANES_INTERFACE(antlr_errors, suffix, AntlrConstants, AntlrErrors)         \
    LAYERED_WINDOWS_INTERFACE(window_sums, suffix)                                     \
    LAYERED_WINDOWS_INTERFACE(window_errors, suffix)                                   \
    LAYERED_SAMPLES_INTERFACE(antlr_dense_run, suffix, AntlrDenseRun)                  \
    LAYERED_NEURONS_INTERFACE(antlr_dense_errors, suffix, AntlrDenseErrors)            \
    LAYERED_SAMPLES_INTERFACE(antlr_dense_delays, suffix, AntlrDenseDelays)

LAYERED_INTERFACE(float)
LAYERED_INTERFACE(double)
