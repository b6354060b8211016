// The kernels of layered.hpp for one kind of processor: loops over lanes that the compiler turns into vectors.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "antlr_kernels.hpp"
#include "layered.hpp"
#include "lane_loops.hpp"

namespace layered {
namespace LSNN_ISA {
namespace {

template <class T>
void tssl_run(const Size& size, const TsslConstants& c, const T* drive, const TsslRecord<T>& record, int64_t from, int64_t to) {
    const T tau_membrane = static_cast<T>(c.tau_membrane), tau_synapse = static_cast<T>(c.tau_synapse);
    const T threshold = static_cast<T>(c.threshold);
    for (int64_t first = from; first < to; first += kAtOnce) {
        const int64_t count = least(kAtOnce, to - first);
        T after[kAtOnce] = {}, trace[kAtOnce] = {};
        for (int64_t t = 0; t < size.steps; ++t) {
            const int64_t at = t * size.lanes + first;
            const T* const in = drive + at;
            T *const increments = record.increment + at, *const membranes = record.membrane + at;
            T *const spikes = record.spikes + at, *const traces = record.trace + at;
#pragma GCC ivdep
            for (int64_t n = 0; n < count; ++n) {
                const T increment = in[n] - after[n] / tau_membrane;
                const T membrane = after[n] + increment;
                const T spike = membrane > threshold ? T(1) : T(0);
                after[n] = membrane * (1 - spike);
                trace[n] = trace[n] + (spike - trace[n]) / tau_synapse;
                increments[n] = increment;
                membranes[n] = membrane;
                spikes[n] = spike;
                traces[n] = trace[n];
            }
        }
    }
}

template <class T>
void tssl_errors(const Size& size, const TsslConstants& c, const TsslRecord<T>& record, const T* by_trace, T* error, int64_t from,
                 int64_t to) {
    const T tau_membrane = static_cast<T>(c.tau_membrane), tau_synapse = static_cast<T>(c.tau_synapse);
    const T threshold = static_cast<T>(c.threshold), width = static_cast<T>(c.width);
    const T farthest = static_cast<T>(c.farthest), steepest = static_cast<T>(c.steepest);
    const T synapse_leak = 1 - 1 / tau_synapse, membrane_leak = 1 - 1 / tau_membrane, quiet = 1 / (4 * tau_synapse);
    for (int64_t first = from; first < to; first += kAtOnce) {
        const int64_t count = least(kAtOnce, to - first);
        T future[kAtOnce] = {}, later[kAtOnce] = {}, of_quiet[kAtOnce];
        for (int64_t t = size.steps - 1; t >= 0; --t) {
            const int64_t at = t * size.lanes + first;
            const T *const given = by_trace + at, *const increments = record.increment + at;
            const T *const membranes = record.membrane + at, *const spikes = record.spikes + at;
            const T* const traces = record.trace + at;
            T* const errors = error + at;
#pragma GCC ivdep
            for (int64_t n = 0; n < count; ++n) {
                const T membrane = membranes[n], spike = spikes[n];
                const T inverse = 1 / increments[n];
                const T sensitivity = spike * within(inverse, T(0), steepest);
                future[n] = given[n] / tau_synapse + synapse_leak * future[n];
                later[n] = sensitivity * future[n] +
                           later[n] * (sensitivity * membrane / tau_membrane + (1 - spike) * membrane_leak);
                const T odds = exponential(within((threshold - membrane) / width, -farthest, farthest));
                const T slope = odds / (width * ((1 + odds) * (1 + odds)));
                of_quiet[n] = slope * future[n];
            }
            // A loop of its own: in the one above the compiler would branch around what is not chosen.
            for (int64_t n = 0; n < count; ++n) {
                const T chosen = of_quiet[n], other = later[n];
                errors[n] = traces[n] < quiet ? chosen : other;
            }
        }
    }
}

}  // namespace

const Kernels<float>& kernels_float() {
    static constexpr Kernels<float> table = {tssl_run<float>,          tssl_errors<float>,        antlr_run<float>,
                                              antlr_errors<float>,      antlr_dense_run<float>,    antlr_dense_errors<float>,
                                              antlr_dense_delays<float>};
    return table;
}

const Kernels<double>& kernels_double() {
    static constexpr Kernels<double> table = {tssl_run<double>,          tssl_errors<double>,        antlr_run<double>,
                                               antlr_errors<double>,      antlr_dense_run<double>,    antlr_dense_errors<double>,
                                               antlr_dense_delays<double>};
    return table;
}

}  // namespace LSNN_ISA
}  // namespace layered
