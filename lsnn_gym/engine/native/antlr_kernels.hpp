// ANTLR's kernels of layered.hpp for one kind of processor.
#pragma once

#include "events.hpp"
#include "lane_loops.hpp"
#include "layered.hpp"

namespace layered {
namespace LSNN_ISA {
namespace {

// Some neurons on their way through the steps.
template <class T>
class AntlrForward {
  public:
    // `count` neurons, at most kAtOnce, from a state on.
    AntlrForward(const AntlrConstants& c, const T* bias, const T* state_current, const T* state_voltage, const T* state_spikes,
                 int64_t count)
        : count_(count),
          current_decay_(static_cast<T>(c.current_decay)),
          voltage_decay_(static_cast<T>(c.voltage_decay)),
          current_gain_(static_cast<T>(c.current_gain)),
          voltage_gain_(static_cast<T>(c.voltage_gain)) {
        const T bias_gain = static_cast<T>(c.bias_gain);
        for (int64_t n = 0; n < count; ++n) {
            current_[n] = state_current[n];
            voltage_[n] = state_voltage[n];
            goes_on_[n] = 1 - state_spikes[n];
            arriving_[n] = bias_gain * bias[n];
        }
    }

    // One step; f(n, current, voltage, voltage kept from the step before, spike) takes what each neuron does.
    template <class F>
    void advance(const T* __restrict drive, F take) {
        const T current_decay = current_decay_, voltage_decay = voltage_decay_;
        const T current_gain = current_gain_, voltage_gain = voltage_gain_;
#pragma GCC ivdep
        for (int64_t n = 0; n < count_; ++n) {
            const T kept = goes_on_[n] * voltage_[n];
            const T current = current_gain * drive[n] + current_decay * (goes_on_[n] * current_[n]);
            const T voltage = voltage_gain * current + arriving_[n] + voltage_decay * kept;
            const T spike = voltage >= 1 ? T(1) : T(0);
            current_[n] = current;
            voltage_[n] = voltage;
            goes_on_[n] = 1 - spike;
            take(n, current, voltage, kept, spike);
        }
    }

    void store(T* state_current, T* state_voltage, T* state_spikes) const {
        for (int64_t n = 0; n < count_; ++n) {
            state_current[n] = current_[n];
            state_voltage[n] = voltage_[n];
            state_spikes[n] = 1 - goes_on_[n];
        }
    }

  private:
    int64_t count_;
    T current_decay_, voltage_decay_, current_gain_, voltage_gain_;
    T current_[kAtOnce], voltage_[kAtOnce], goes_on_[kAtOnce], arriving_[kAtOnce];
};

// The errors of some neurons on their way back through the steps.
template <class T>
class AntlrBackward {
  public:
    AntlrBackward(const AntlrConstants& c, int64_t count)
        : count_(count),
          current_decay_(static_cast<T>(c.current_decay)),
          voltage_decay_(static_cast<T>(c.voltage_decay)),
          voltage_gain_(static_cast<T>(c.voltage_gain)),
          activation_(static_cast<T>(c.activation)),
          timing_(static_cast<T>(c.timing)),
          sharpness_(static_cast<T>(c.sharpness)) {}

    // One step. Errors given may be null: zeros; `delayed` too: not wanted.
    void step(const T* __restrict voltages, const T* __restrict slopes, const T* __restrict spikes, const T* __restrict by_spike,
              const T* __restrict by_time, T* __restrict found, T* __restrict delayed) {
        const T current_decay = current_decay_, voltage_decay = voltage_decay_, voltage_gain = voltage_gain_;
        const T activation = activation_, timing = timing_, sharpness = sharpness_;
        for (int64_t n = 0; n < count_; ++n) error_[n] = 0;
        if (by_spike) {
#pragma GCC ivdep
            for (int64_t n = 0; n < count_; ++n)
                error_[n] += activation * exponential(-sharpness * std::abs(voltages[n] - 1)) * by_spike[n];
        }
        if (by_time) {
#pragma GCC ivdep
            for (int64_t n = 0; n < count_; ++n) error_[n] -= timing * by_time[n] / slopes[n] * spikes[n];
        }
#pragma GCC ivdep
        for (int64_t n = 0; n < count_; ++n) {
            const T goes_on = 1 - spikes[n];
            by_voltage_[n] = error_[n] + voltage_decay * (goes_on * by_voltage_[n]);
            by_current_[n] = voltage_gain * by_voltage_[n] + current_decay * (goes_on * by_current_[n]);
            sum_[n] += by_voltage_[n];
            found[n] = by_current_[n];
        }
        if (!delayed) return;
#pragma GCC ivdep
        for (int64_t n = 0; n < count_; ++n) {
            const T goes_on = 1 - spikes[n], half = error_[n] / 2;
            shifted_[n] = goes_on * (half_after_[n] + voltage_decay * shifted_[n]) - voltage_decay * half;
            delayed_[n] = voltage_gain * (shifted_[n] - current_decay * half) + current_decay * (goes_on * delayed_[n]);
            half_after_[n] = half;
            delayed[n] = delayed_[n];
        }
    }

    // Voltage errors, summed over the steps so far.
    const T* sum() const { return sum_; }

  private:
    int64_t count_;
    T current_decay_, voltage_decay_, voltage_gain_, activation_, timing_, sharpness_;
    T by_voltage_[kAtOnce] = {}, by_current_[kAtOnce] = {}, sum_[kAtOnce] = {}, error_[kAtOnce];
    T shifted_[kAtOnce] = {}, delayed_[kAtOnce] = {}, half_after_[kAtOnce] = {};
};

template <class T>
void antlr_run(const Size& size, const AntlrConstants& c, const AntlrRun<T>& run, int64_t from, int64_t to) {
    const T flattest = static_cast<T>(c.flattest);
    for (int64_t first = from; first < to;) {
        // Not beyond a sample's last neuron, for each sample has the same biases.
        const int64_t neuron = first % run.neurons;
        const int64_t count = least(least(kAtOnce, to - first), run.neurons - neuron);
        AntlrForward<T> neurons(c, run.bias + neuron, run.state_current + first, run.state_voltage + first,
                                run.state_spikes + first, count);
        for (int64_t t = 0; t < size.steps; ++t) {
            const int64_t at = t * size.lanes + first;
            T *const __restrict currents = run.current + at, *const __restrict voltages = run.voltage + at;
            T *const __restrict slopes = run.slope + at, *const __restrict spikes = run.spikes + at;
            neurons.advance(run.drive + at, [=](int64_t n, T current, T voltage, T kept, T spike) {
                const T rise = voltage - kept;
                currents[n] = current;
                voltages[n] = voltage;
                slopes[n] = rise < flattest ? flattest : rise;
                spikes[n] = spike;
            });
        }
        neurons.store(run.state_current + first, run.state_voltage + first, run.state_spikes + first);
        first += count;
    }
}

template <class T>
void antlr_errors(const Size& size, const AntlrConstants& c, const AntlrErrors<T>& e, int64_t from, int64_t to) {
    for (int64_t first = from; first < to; first += kAtOnce) {
        const int64_t count = least(kAtOnce, to - first);
        AntlrBackward<T> neurons(c, count);
        for (int64_t t = size.steps - 1; t >= 0; --t) {
            const int64_t at = t * size.lanes + first;
            neurons.step(e.voltage + at, e.slope + at, e.spikes + at, e.by_spike ? e.by_spike + at : nullptr,
                         e.by_time ? e.by_time + at : nullptr, e.by_current + at, e.delayed ? e.delayed + at : nullptr);
        }
        for (int64_t n = 0; n < count; ++n) e.by_bias[first + n] = neurons.sum()[n];
    }
}

// What is not 0 of one sample, step by step.
template <class T>
events::LSNN_ISA::Events<T> arrivals(const Trains<T>& values, const DenseSize& size, int64_t sample) {
    return {values.at + sample * values.sample, size.steps, size.inputs, values.step};
}

template <class T>
void antlr_dense_run(const DenseSize& size, const AntlrConstants& c, const AntlrDenseRun<T>& run, int64_t sample) {
    using namespace events::LSNN_ISA;
    const int64_t n = size.neurons;
    const Events<T> came = arrivals(run.values, size, sample);
    for (int64_t first = 0; first < n; first += kAtOnce) {
        const int64_t count = least(kAtOnce, n - first), state = sample * n + first;
        AntlrForward<T> neurons(c, run.bias + first, run.state_current + state, run.state_voltage + state,
                                run.state_spikes + state, count);
        T drive[kAtOnce] = {};
        for (int64_t t = 0; t < size.steps; ++t) {
            if (came.count(t) || (t && came.count(t - 1))) {  // else it is as of the step before: nothing
                each_block<T>(count, [&](int64_t from, int64_t width) {
                    gather_block(drive + from, run.weight + first + from, n, came, t, width);
                });
            }
            const int64_t at = sample * run.room + t * n + first;
            T *const __restrict voltages = run.voltage + at, *const __restrict spikes = run.spikes + at;
            neurons.advance(drive, [=](int64_t k, T, T voltage, T, T spike) {
                voltages[k] = voltage;
                spikes[k] = spike;
            });
        }
        neurons.store(run.state_current + state, run.state_voltage + state, run.state_spikes + state);
    }
}

template <class T>
void antlr_dense_errors(const DenseSize& size, const AntlrConstants& c, const AntlrDenseErrors<T>& e, int64_t from, int64_t to) {
    const int64_t n = size.neurons;
    const T flattest = static_cast<T>(c.flattest);
    T slopes[kAtOnce], fired[kAtOnce], unasked[kAtOnce];
    const T nothing[kAtOnce] = {};
    for (int64_t k = from; k < to; ++k) e.by_bias[k] = 0;
    if (e.by_weight)
        for (int64_t i = 0; i < size.inputs; ++i)
            for (int64_t k = from; k < to; ++k) e.by_weight[i * n + k] = 0;
    for (int64_t b = 0; b < size.batch; ++b) {
        const auto came = arrivals(e.values, size, b);
        for (int64_t first = from; first < to; first += kAtOnce) {
            const int64_t count = least(kAtOnce, to - first);
            AntlrBackward<T> neurons(c, count);
            for (int64_t t = size.steps - 1; t >= 0; --t) {
                const T* const __restrict voltages = e.voltage + b * e.room + t * n + first;
                const T* const __restrict before = t ? voltages - n : nothing;
#pragma GCC ivdep
                for (int64_t k = 0; k < count; ++k) {
                    const T kept = before[k] >= 1 ? T(0) : before[k];
                    const T rise = voltages[k] - kept;
                    slopes[k] = rise < flattest ? flattest : rise;
                    fired[k] = voltages[k] >= 1 ? T(1) : T(0);
                }
                const auto given = [=](const Trains<T>& errors) {
                    return errors.at ? errors.at + t * errors.step + b * errors.sample + first : nullptr;
                };
                const int64_t at = (b * size.steps + t) * n + first;
                T* const __restrict found = e.by_current ? e.by_current + at : unasked;
                neurons.step(voltages, slopes, fired, given(e.by_spike), given(e.by_time), found,
                             e.delayed ? e.delayed + at : nullptr);
                if (!e.by_weight) continue;
                for (int64_t k = came.first[t]; k < came.first[t + 1]; ++k) {
                    T* const __restrict row = e.by_weight + came.place[k] * n + first;
                    const T value = came.value[k];
#pragma GCC ivdep
                    for (int64_t j = 0; j < count; ++j) row[j] += value * found[j];
                }
            }
            for (int64_t k = 0; k < count; ++k) e.by_bias[first + k] += neurons.sum()[k];
        }
    }
}

template <class T>
void antlr_dense_delays(const DenseSize& size, const AntlrConstants& c, const AntlrDenseDelays<T>& d, int64_t sample) {
    const int64_t n = size.neurons, m = size.inputs;
    const T gain = static_cast<T>(c.current_gain);
    const auto came = arrivals(d.values, size, sample);
    for (int64_t t = 0; t < size.steps; ++t) {
        const T* const __restrict delayed = d.delayed + (sample * size.steps + t) * n;
        T* const __restrict found = d.by_timing + (sample * size.steps + t) * m;
        for (int64_t i = 0; i < m; ++i) found[i] = 0;
        for (int64_t k = came.first[t]; k < came.first[t + 1]; ++k) {
            const T* const __restrict row = d.weight + came.place[k] * n;
            found[came.place[k]] =
                gain * came.value[k] * events::LSNN_ISA::total<T>(n, [=](int64_t j) { return delayed[j] * row[j]; });
        }
    }
}

}  // namespace
}  // namespace LSNN_ISA
}  // namespace layered
