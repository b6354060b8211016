// What layers of rules/st_rsbp compute of whole spike trains: spikes, responses, and sums over the spikes that came in.
//
// Only what is not 0 costs more than a look. Samples are independent of each other; all arrays are contiguous.
#pragma once

#include <cstdint>

namespace trains {

// A layer and what it received. T steps, B samples, m inputs, n neurons.
template <class T>
struct Layer {
    int64_t steps, batch, inputs, neurons, refractory_period;
    double membrane_decay, synapse_decay, tau_synapse, bound;
    const T* values;   // [T, B, m]
    const T* weight;   // [m, n]: of each input, to all neurons
    // Synapses within the layer, those of each neuron side by side; `first` has n + 1 entries or is null.
    const int64_t* first;
    const int64_t* post;
    const T* within;
};

// Sums over the spikes that came in: of S-PSPs e[o|i] = sum_t H[t, o] x[t, i].
template <class T>
struct Sums {
    const T* responses;    // H [B, T, n]
    const T* of_weight;    // [B, n] or null
    const T* of_below;     // [B, n] or null: z
    const T* of_silent;    // [B, n]: z, times the silent ratio, of neurons that were silent, else 0
    double silent_ratio;
    T* by_weight;          // [m, n]: sum_b of_weight[o] e[o|i]
    T* below;              // [B, m]: sum_o W[o, i] (z[o] e[o|i] / c_i + of_silent[o]), of a silent i ratio z[o] for both
};

template <class T>
struct Kernels {
    void (*forward)(const Layer<T>&, T* spikes, int64_t sample);
    void (*responses)(const Layer<T>&, const T* spikes, T* responses, int64_t sample);
    void (*sums)(const Layer<T>&, const Sums<T>&, int64_t first_input, int64_t last_input);
    void (*within)(const Layer<T>&, const T* spikes, const T* responses, T* psp, int64_t sample);
};

#define TRAINS_DECLARE(isa)               \
    namespace isa {                       \
    const Kernels<float>& kernels_float();   \
    const Kernels<double>& kernels_double(); \
    }
TRAINS_DECLARE(avx512)
TRAINS_DECLARE(avx2)
TRAINS_DECLARE(baseline)
#undef TRAINS_DECLARE

}  // namespace trains
