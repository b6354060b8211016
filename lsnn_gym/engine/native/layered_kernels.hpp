// The kernels of layered.hpp for one kind of processor: loops over lanes that the compiler turns into vectors.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "layered.hpp"

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
    const float scaled = x * 1.44269504088896341f;
    const int32_t whole = static_cast<int32_t>(scaled + (scaled < 0 ? -0.5f : 0.5f));
    const float count = static_cast<float>(whole);
    const float rest = (x - count * 0.693359375f) + count * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    const int32_t bits = (whole + 127) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    return sum * power;
}

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

template <class T>
void antlr_run(const Size& size, const AntlrConstants& c, const AntlrRun<T>& run, int64_t from, int64_t to) {
    const T current_decay = static_cast<T>(c.current_decay), voltage_decay = static_cast<T>(c.voltage_decay);
    const T current_gain = static_cast<T>(c.current_gain), voltage_gain = static_cast<T>(c.voltage_gain);
    const T bias_gain = static_cast<T>(c.bias_gain), flattest = static_cast<T>(c.flattest);
    for (int64_t first = from; first < to;) {
        // Not beyond a sample's last neuron, for each sample has the same biases.
        const int64_t neuron = first % run.neurons;
        const int64_t count = least(least(kAtOnce, to - first), run.neurons - neuron);
        T current[kAtOnce], voltage[kAtOnce], goes_on[kAtOnce], arriving[kAtOnce];
        for (int64_t n = 0; n < count; ++n) {
            current[n] = run.state_current[first + n];
            voltage[n] = run.state_voltage[first + n];
            goes_on[n] = 1 - run.state_spikes[first + n];
            arriving[n] = bias_gain * run.bias[neuron + n];
        }
        for (int64_t t = 0; t < size.steps; ++t) {
            const int64_t at = t * size.lanes + first;
            const T* const in = run.drive + at;
            T *const currents = run.current + at, *const voltages = run.voltage + at;
            T *const slopes = run.slope + at, *const spikes = run.spikes + at;
#pragma GCC ivdep
            for (int64_t n = 0; n < count; ++n) {
                const T kept = goes_on[n] * voltage[n];
                current[n] = current_gain * in[n] + current_decay * (goes_on[n] * current[n]);
                voltage[n] = voltage_gain * current[n] + arriving[n] + voltage_decay * kept;
                const T rise = voltage[n] - kept;
                const T spike = voltage[n] >= 1 ? T(1) : T(0);
                goes_on[n] = 1 - spike;
                currents[n] = current[n];
                voltages[n] = voltage[n];
                slopes[n] = rise < flattest ? flattest : rise;
                spikes[n] = spike;
            }
        }
        for (int64_t n = 0; n < count; ++n) {
            run.state_current[first + n] = current[n];
            run.state_voltage[first + n] = voltage[n];
            run.state_spikes[first + n] = 1 - goes_on[n];
        }
        first += count;
    }
}

template <class T>
void antlr_errors(const Size& size, const AntlrConstants& c, const AntlrErrors<T>& e, int64_t from, int64_t to) {
    const T current_decay = static_cast<T>(c.current_decay), voltage_decay = static_cast<T>(c.voltage_decay);
    const T voltage_gain = static_cast<T>(c.voltage_gain), activation = static_cast<T>(c.activation);
    const T timing = static_cast<T>(c.timing), sharpness = static_cast<T>(c.sharpness);
    for (int64_t first = from; first < to; first += kAtOnce) {
        const int64_t count = least(kAtOnce, to - first);
        T by_voltage[kAtOnce] = {}, by_current[kAtOnce] = {}, sum[kAtOnce] = {}, error[kAtOnce];
        T shifted[kAtOnce] = {}, delayed[kAtOnce] = {}, half_after[kAtOnce] = {};
        for (int64_t t = size.steps - 1; t >= 0; --t) {
            const int64_t at = t * size.lanes + first;
            const T *const spikes = e.spikes + at, *const voltages = e.voltage + at, *const slopes = e.slope + at;
            T* const found = e.by_current + at;
            for (int64_t n = 0; n < count; ++n) error[n] = 0;
            if (e.by_spike) {
                const T* const given = e.by_spike + at;
#pragma GCC ivdep
                for (int64_t n = 0; n < count; ++n)
                    error[n] += activation * exponential(-sharpness * std::abs(voltages[n] - 1)) * given[n];
            }
            if (e.by_time) {
                const T* const given = e.by_time + at;
#pragma GCC ivdep
                for (int64_t n = 0; n < count; ++n) error[n] -= timing * given[n] / slopes[n] * spikes[n];
            }
#pragma GCC ivdep
            for (int64_t n = 0; n < count; ++n) {
                const T goes_on = 1 - spikes[n];
                by_voltage[n] = error[n] + voltage_decay * (goes_on * by_voltage[n]);
                by_current[n] = voltage_gain * by_voltage[n] + current_decay * (goes_on * by_current[n]);
                sum[n] += by_voltage[n];
                found[n] = by_current[n];
            }
            if (!e.delayed) continue;
            T* const later = e.delayed + at;
#pragma GCC ivdep
            for (int64_t n = 0; n < count; ++n) {
                const T goes_on = 1 - spikes[n], half = error[n] / 2;
                shifted[n] = goes_on * (half_after[n] + voltage_decay * shifted[n]) - voltage_decay * half;
                delayed[n] = voltage_gain * (shifted[n] - current_decay * half) + current_decay * (goes_on * delayed[n]);
                half_after[n] = half;
                later[n] = delayed[n];
            }
        }
        for (int64_t n = 0; n < count; ++n) e.by_bias[first + n] = sum[n];
    }
}

}  // namespace

const Kernels<float>& kernels_float() {
    static constexpr Kernels<float> table = {tssl_run<float>, tssl_errors<float>, antlr_run<float>, antlr_errors<float>};
    return table;
}

const Kernels<double>& kernels_double() {
    static constexpr Kernels<double> table = {tssl_run<double>, tssl_errors<double>, antlr_run<double>, antlr_errors<double>};
    return table;
}

}  // namespace LSNN_ISA
}  // namespace layered
