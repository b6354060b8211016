// The plain interface to the kernels of trains.hpp: chooses those of this processor and spreads work over threads.
#include "trains.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "problem.hpp"
#include "spread.hpp"

#if defined(_WIN32)
#define TRAINS_EXPORT extern "C" __declspec(dllexport)
#else
#define TRAINS_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace trains {
namespace {

template <class T>
const Kernels<T>& kernels();

template <>
const Kernels<float>& kernels<float>() {
#if defined(__x86_64__) && defined(__GNUC__)
    const int64_t variant = lsnn::variant_in_use();
    if (variant == lsnn::kAvx512) return avx512::kernels_float();
    if (variant == lsnn::kAvx2) return avx2::kernels_float();
#endif
    return baseline::kernels_float();
}

template <>
const Kernels<double>& kernels<double>() {
#if defined(__x86_64__) && defined(__GNUC__)
    const int64_t variant = lsnn::variant_in_use();
    if (variant == lsnn::kAvx512) return avx512::kernels_double();
    if (variant == lsnn::kAvx2) return avx2::kernels_double();
#endif
    return baseline::kernels_double();
}

// A^T x of one sample: S on the diagonal, `others` [K] at the synapses from each neuron to its post neurons.
void multiply(const double* divisor, const double* others, const int64_t* first, const int64_t* post, int64_t n,
              const std::vector<double>& x, std::vector<double>& found) {
    for (int64_t p = 0; p < n; ++p) {
        double sum = divisor[p] * x[p];
        for (int64_t k = first[p]; k < first[p + 1]; ++k) sum += others[k] * x[post[k]];
        found[p] = sum;
    }
}

double inner(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
    return sum;
}

// Solve A^T x = right for one sample, to a residual of `tolerance` times the right side; return whether that was met.
// Stabilised biconjugate gradients, scaled by the diagonal (van der Vorst 1992).
bool solve(const double* divisor, const double* others, const int64_t* first, const int64_t* post, int64_t n,
           const double* right, double tolerance, double* x) {
    constexpr int kMost = 200;
    std::vector<double> r(right, right + n), shadow(r), p(n, 0), v(n, 0), s(n), t(n), scaled(n), sought(n, 0);
    const double goal = tolerance * std::sqrt(inner(r, r));
    double rho = 1, alpha = 1, omega = 1;
    bool well = goal == 0;
    for (int step = 0; step < kMost && !well; ++step) {
        const double before = rho;
        rho = inner(shadow, r);
        const double beta = rho / before * (alpha / omega);
        if (!std::isfinite(beta) || rho == 0) break;
        for (int64_t k = 0; k < n; ++k) p[k] = r[k] + beta * (p[k] - omega * v[k]);
        for (int64_t k = 0; k < n; ++k) scaled[k] = p[k] / divisor[k];
        multiply(divisor, others, first, post, n, scaled, v);
        alpha = rho / inner(shadow, v);
        if (!std::isfinite(alpha)) break;
        for (int64_t k = 0; k < n; ++k) sought[k] += alpha * scaled[k];
        for (int64_t k = 0; k < n; ++k) s[k] = r[k] - alpha * v[k];
        if (std::sqrt(inner(s, s)) <= goal) {
            well = true;
            break;
        }
        for (int64_t k = 0; k < n; ++k) scaled[k] = s[k] / divisor[k];
        multiply(divisor, others, first, post, n, scaled, t);
        omega = inner(t, s) / inner(t, t);
        if (!std::isfinite(omega) || omega == 0) break;
        for (int64_t k = 0; k < n; ++k) sought[k] += omega * scaled[k];
        for (int64_t k = 0; k < n; ++k) r[k] = s[k] - omega * t[k];
        well = std::sqrt(inner(r, r)) <= goal;
    }
    if (well) {  // the residual as it is, not as it was carried along
        multiply(divisor, others, first, post, n, sought, t);
        double error = 0;
        for (int64_t k = 0; k < n; ++k) error += (right[k] - t[k]) * (right[k] - t[k]);
        well = std::sqrt(error) <= 10 * goal;
    }
    std::copy(sought.begin(), sought.end(), x);
    return well;
}

}  // namespace
}  // namespace trains

// Each returns 0, or 1 where there was not enough memory.
#define TRAINS_INTERFACE(T, suffix)                                                                                    \
    TRAINS_EXPORT int trains_pack_##suffix(const trains::Fired<T>* fired, int64_t steps, int64_t batch,                \
                                           int64_t neurons, uint8_t* are_spikes, int64_t threads) {                    \
        const auto& kernels = trains::kernels<T>();                                                                    \
        return !spread_work(batch, threads, [&](int64_t b) {                                                           \
            are_spikes[b] = kernels.pack(*fired, steps, batch, neurons, b);                                            \
        });                                                                                                            \
    }                                                                                                                  \
    TRAINS_EXPORT int trains_forward_##suffix(const trains::Layer<T>* layer, const trains::Fired<T>* fired,            \
                                              int64_t threads) {                                                       \
        const auto& kernels = trains::kernels<T>();                                                                    \
        return !spread_work(layer->batch, threads, [&](int64_t b) { kernels.forward(*layer, *fired, b); });            \
    }                                                                                                                  \
    TRAINS_EXPORT int trains_responses_##suffix(const trains::Layer<T>* layer, const uint64_t* fired, T* found,        \
                                                int64_t threads) {                                                     \
        const auto& kernels = trains::kernels<T>();                                                                    \
        return !spread_work(layer->batch, threads, [&](int64_t b) { kernels.responses(*layer, fired, found, b); });    \
    }                                                                                                                  \
    TRAINS_EXPORT int trains_sums_##suffix(const trains::Layer<T>* layer, const trains::Sums<T>* sums,                 \
                                           int64_t threads) {                                                          \
        const auto& kernels = trains::kernels<T>();                                                                    \
        const int64_t words = trains::words_of(layer->neurons), parts = std::max<int64_t>(1, std::min(threads, words)); \
        return !spread_work(parts, threads, [&](int64_t k) {                                                           \
            kernels.sums(*layer, *sums, words * k / parts, words * (k + 1) / parts);                                   \
        });                                                                                                            \
    }                                                                                                                  \
    TRAINS_EXPORT int trains_within_##suffix(const trains::Layer<T>* layer, const uint64_t* fired, T* psp,             \
                                             int64_t threads) {                                                        \
        const auto& kernels = trains::kernels<T>();                                                                    \
        return !spread_work(layer->batch, threads, [&](int64_t b) { kernels.within(*layer, fired, psp, b); });         \
    }                                                                                                                  \
    TRAINS_EXPORT int trains_shared_forward_##suffix(const trains::Shared<T>* shared, const trains::Fired<T>* fired,   \
                                                     int64_t threads) {                                                \
        const auto& kernels = trains::kernels<T>();                                                                    \
        return !spread_work(shared->layer.batch, threads,                                                              \
                            [&](int64_t b) { kernels.shared_forward(*shared, *fired, b); });                           \
    }                                                                                                                  \
    TRAINS_EXPORT int trains_shared_sums_##suffix(const trains::Shared<T>* shared, const trains::SharedSums<T>* sums,  \
                                                  int64_t threads) {                                                   \
        const auto& kernels = trains::kernels<T>();                                                                    \
        return !spread_work(shared->layer.batch, threads, [&](int64_t b) { kernels.shared_sums(*shared, *sums, b); }); \
    }

TRAINS_INTERFACE(float, float)
TRAINS_INTERFACE(double, double)

// Solve A^T x = right, [B, n] each, with A's diagonal [B, n] and its other entries [B, K]; `solved` [B] tells where it
// succeeded.
TRAINS_EXPORT int trains_solve_double(int64_t batch, int64_t neurons, const int64_t* first, const int64_t* post,
                                      const double* divisor, const double* others, const double* right,
                                      double tolerance, double* found, uint8_t* solved, int64_t threads) {
    const int64_t synapses = first[neurons];
    return !spread_work(batch, threads, [&](int64_t b) {
        solved[b] = trains::solve(divisor + b * neurons, others + b * synapses, first, post, neurons, right + b * neurons,
                                  tolerance, found + b * neurons);
    });
}
