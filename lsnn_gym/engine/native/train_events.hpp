// What the kernels of trains.hpp share: trains as bits, what neurons do step by step, and their responses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "events.hpp"
#include "trains.hpp"

namespace trains {
namespace LSNN_ISA {
namespace {

using namespace events::LSNN_ISA;

// Of the last word of so many neurons, the bits that are neurons; of others all.
inline uint64_t neurons_of_word(int64_t word, int64_t neurons) {
    const int64_t left = neurons - word * kStretch;
    return left < kStretch ? (uint64_t(1) << left) - 1 : ~uint64_t(0);
}

// What the layer received in the first `steps` steps, step by step.
template <class T>
Events<T> received(const Layer<T>& layer, int64_t sample, int64_t steps) {
    const int64_t words = words_of(layer.inputs);
    if (layer.bits) return Events<T>(layer.bits + sample * layer.steps * words, steps, words);
    return Events<T>(layer.values + sample * layer.inputs, steps, layer.inputs, layer.batch * layer.inputs);
}

// The same, input by input.
template <class T>
Events<T> received_by_input(const Layer<T>& layer, int64_t sample, int64_t steps) {
    const int64_t words = words_of(layer.inputs);
    if (!layer.bits) return Events<T>(received(layer, sample, steps), layer.inputs);
    return Events<T>::by_column(layer.bits + sample * layer.steps * words, steps, words, layer.inputs);
}

// Write numbers 0 or 1 by the first `width` bits of a word. What is written here is read by no kernel: past the caches,
// where whole words can be.
template <class T>
inline void write_word(uint64_t bits, int64_t width, T* to) {
#if defined(LSNN_AVX512)
    if (width == kStretch && reinterpret_cast<uintptr_t>(to) % 64 == 0) {
        for (int64_t j = 0; j < kStretch; j += kLanes<T>) {
            if constexpr (sizeof(T) == 4) {
                _mm512_stream_ps(to + j, _mm512_maskz_mov_ps(static_cast<__mmask16>(bits >> j), _mm512_set1_ps(1)));
            } else {
                _mm512_stream_pd(to + j, _mm512_maskz_mov_pd(static_cast<__mmask8>(bits >> j), _mm512_set1_pd(1)));
            }
        }
        return;
    }
#endif
    std::fill_n(to, width, T(0));
    each_bit(&bits, 1, [&](int64_t j) { to[j] = T(1); });
}

// The spikes [T, n] of a sample as numbers, from its bits.
template <class T>
void write_spikes(const Layer<T>& layer, const Fired<T>& fired, int64_t sample) {
    const int64_t n = layer.neurons, words = words_of(n);
    for (int64_t t = 0; t < layer.steps; ++t) {
        T* to = fired.spikes + (t * layer.batch + sample) * n;
        const uint64_t* bits = fired.bits + (sample * layer.steps + t) * words;
        for (int64_t w = 0; w < words; ++w)
            write_word(bits[w], std::min(kStretch, n - w * kStretch), to + w * kStretch);
    }
#if defined(LSNN_AVX512)
    _mm_sfence();
#endif
}

template <class T>
bool pack(const Fired<T>& fired, int64_t steps, int64_t batch, int64_t neurons, int64_t sample) {
    const int64_t words = words_of(neurons);
    T* counts = fired.counts + sample * neurons;
    std::fill_n(counts, neurons, T(0));
    std::fill_n(fired.bits + sample * steps * words, steps * words, 0);
    bool are_spikes = true;
    for (int64_t t = 0; t < steps; ++t) {
        const T* at = fired.spikes + (t * batch + sample) * neurons;
        uint64_t* bits = fired.bits + (sample * steps + t) * words;
        each_not_zero(at, neurons, [&](int64_t i) {
            bits[i / kStretch] |= uint64_t(1) << (i % kStretch);
            counts[i] += 1;
            are_spikes = are_spikes && at[i] == 1;
        });
    }
    return are_spikes;
}

// What neurons at rest do as drives come in, step by step.
template <class T>
class Membranes {
  public:
    Membranes(const Layer<T>& layer, int64_t neurons)
        : count_(neurons),
          leak_(static_cast<T>(layer.membrane_decay)),
          forget_(static_cast<T>(layer.synapse_decay)),
          share_(static_cast<T>(1 / layer.tau_synapse)),
          bound_(static_cast<T>(layer.bound)),
          period_(static_cast<T>(layer.refractory_period)),
          memory_(3 * neurons, 0) {}

    // One step: `spikes` [n] are zeros and ones.
    void advance(const T* __restrict drive, T* __restrict spikes) {
        T *__restrict trace = memory_.data(), *__restrict voltage = trace + count_, *__restrict wait = voltage + count_;
        const T leak = leak_, forget = forget_, share = share_, bound = bound_, period = period_;
        for (int64_t o = 0; o < count_; ++o) {
            const T a = forget * trace[o] + drive[o];
            T v = leak * voltage[o] + a * share;
            v = wait[o] > 0 ? T(0) : v;
            const bool fired = v > bound;
            trace[o] = a;
            spikes[o] = fired ? T(1) : T(0);
            voltage[o] = fired ? T(0) : v;
            const T less = wait[o] > 0 ? wait[o] - 1 : T(0);
            wait[o] = fired ? period : less;
        }
    }

  private:
    int64_t count_;
    T leak_, forget_, share_, bound_, period_;
    std::vector<T> memory_;
};

// H of neurons, from the last step to the first (see rules/st_rsbp/neuron.py).
template <class T>
class Responses {
  public:
    Responses(const Layer<T>& layer, int64_t neurons)
        : count_(neurons),
          leak_(static_cast<T>(layer.membrane_decay)),
          forget_(static_cast<T>(layer.synapse_decay)),
          share_(static_cast<T>(1 / layer.tau_synapse)),
          memory_(2 * neurons, 0) {}

    // Write H of this step, given functions that call f(o) for neurons with a spike in it, and with one in the
    // refractory period's steps before.
    template <class Spikes, class Refractory>
    void step_back(Spikes each_that_fired, Refractory each_refractory, T* __restrict now) {
        T *__restrict membrane = memory_.data(), *__restrict trace = membrane + count_;
        const T leak = leak_, forget = forget_, share = share_;
        for (int64_t o = 0; o < count_; ++o) {
            now[o] = trace[o];
            membrane[o] *= leak;
        }
        each_that_fired([&](int64_t o) { membrane[o] = T(1); });
        each_refractory([&](int64_t o) { membrane[o] = T(0); });
        for (int64_t o = 0; o < count_; ++o) trace[o] = forget * trace[o] + membrane[o] * share;
    }

  private:
    int64_t count_;
    T leak_, forget_, share_;
    std::vector<T> memory_;
};

}  // namespace
}  // namespace LSNN_ISA
}  // namespace trains
