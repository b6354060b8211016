// The plain interface to the kernels of layered.hpp: chooses those of this processor and spreads lanes over threads.
#include "layered.hpp"

#include <algorithm>
#include <limits>
#include <system_error>
#include <thread>
#include <vector>

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

// Call work(from, to) for ranges of lanes that together are all; what a lane gets does not depend on the ranges.
template <class Work>
void spread(const Size& size, int64_t threads, const Work& work) {
    // Starting a thread takes longer than a small piece of work.
    if (size.steps * size.lanes < 100000) threads = 1;
    threads = std::max<int64_t>(1, std::min(threads, size.lanes));
    const int64_t share = (size.lanes + threads - 1) / threads;
    std::vector<std::thread> others;
    int64_t begun = 1;
    try {
        others.reserve(threads);
        for (; begun < threads; ++begun)
            others.emplace_back([&work, &size, share, begun] {
                work(begun * share, std::min(size.lanes, (begun + 1) * share));
            });
    } catch (const std::exception&) {
        // The system has no thread left: this one does the rest.
    }
    work(0, std::min(size.lanes, share));
    if (begun < threads) work(begun * share, size.lanes);
    for (std::thread& each : others) each.join();
}

}  // namespace
}  // namespace layered

#define LAYERED_INTERFACE(suffix, T)                                                                                   \
    LAYERED_EXPORT void layered_tssl_run_##suffix(const layered::Size* size, const layered::TsslConstants* constants,  \
                                                  const T* drive, const layered::TsslRecord<T>* record,                \
                                                  int64_t threads) {                                                   \
        const auto& kernels = layered::kernels<T>();                                                                   \
        layered::spread(*size, threads, [&](int64_t from, int64_t to) {                                                \
            kernels.tssl_run(*size, *constants, drive, *record, from, to);                                             \
        });                                                                                                            \
    }                                                                                                                  \
    LAYERED_EXPORT void layered_tssl_errors_##suffix(const layered::Size* size,                                        \
                                                     const layered::TsslConstants* constants,                          \
                                                     const layered::TsslRecord<T>* record, const T* by_trace,          \
                                                     T* error, int64_t threads) {                                      \
        const auto& kernels = layered::kernels<T>();                                                                   \
        layered::spread(*size, threads, [&](int64_t from, int64_t to) {                                                \
            kernels.tssl_errors(*size, *constants, *record, by_trace, error, from, to);                                \
        });                                                                                                            \
    }                                                                                                                  \
    LAYERED_EXPORT void layered_antlr_run_##suffix(const layered::Size* size,                                          \
                                                   const layered::AntlrConstants* constants,                           \
                                                   const layered::AntlrRun<T>* run, int64_t threads) {                 \
        const auto& kernels = layered::kernels<T>();                                                                   \
        layered::spread(*size, threads, [&](int64_t from, int64_t to) {                                                \
            kernels.antlr_run(*size, *constants, *run, from, to);                                                      \
        });                                                                                                            \
    }                                                                                                                  \
    LAYERED_EXPORT void layered_antlr_errors_##suffix(const layered::Size* size,                                       \
                                                      const layered::AntlrConstants* constants,                        \
                                                      const layered::AntlrErrors<T>* errors, int64_t threads) {        \
        const auto& kernels = layered::kernels<T>();                                                                   \
        layered::spread(*size, threads, [&](int64_t from, int64_t to) {                                                \
            kernels.antlr_errors(*size, *constants, *errors, from, to);                                                \
        });                                                                                                            \
    }

// Each returns 0, or 1 where there was not enough memory.
#define LAYERED_DENSE_INTERFACE(suffix, T)                                                                               \
    LAYERED_EXPORT int layered_antlr_dense_run_##suffix(const layered::DenseSize* size,                                  \
                                                        const layered::AntlrConstants* constants,                        \
                                                        const layered::AntlrDenseRun<T>* run, int64_t threads) {         \
        const auto& kernels = layered::kernels<T>();                                                                     \
        return !spread_work(size->batch, threads,                                                                        \
                            [&](int64_t b) { kernels.antlr_dense_run(*size, *constants, *run, b); });                    \
    }                                                                                                                    \
    LAYERED_EXPORT int layered_antlr_dense_errors_##suffix(const layered::DenseSize* size,                               \
                                                           const layered::AntlrConstants* constants,                     \
                                                           const layered::AntlrDenseErrors<T>* errors,                   \
                                                           int64_t threads) {                                            \
        const auto& kernels = layered::kernels<T>();                                                                     \
        const int64_t parts = std::max<int64_t>(1, std::min(threads, size->neurons));                                    \
        return !spread_work(parts, threads, [&](int64_t k) {                                                             \
            kernels.antlr_dense_errors(*size, *constants, *errors, size->neurons * k / parts,                            \
                                       size->neurons * (k + 1) / parts);                                                 \
        });                                                                                                              \
    }                                                                                                                    \
    LAYERED_EXPORT int layered_antlr_dense_delays_##suffix(const layered::DenseSize* size,                               \
                                                           const layered::AntlrConstants* constants,                     \
                                                           const layered::AntlrDenseDelays<T>* delays,                   \
                                                           int64_t threads) {                                            \
        const auto& kernels = layered::kernels<T>();                                                                     \
        return !spread_work(size->batch, threads,                                                                        \
                            [&](int64_t b) { kernels.antlr_dense_delays(*size, *constants, *delays, b); });              \
    }

LAYERED_INTERFACE(float, float)
LAYERED_INTERFACE(double, double)
LAYERED_DENSE_INTERFACE(float, float)
LAYERED_DENSE_INTERFACE(double, double)
