// What layers of rules/st_rsbp compute of whole spike trains: spikes, responses, and sums over the spikes that came in.
//
// Trains are read as bits, 64 neurons a word, for they are far larger as numbers than what the processor keeps at hand:
// of each sample and step the words of all neurons side by side. Only what is not 0 costs more than a look. Samples are
// independent of each other; all arrays are contiguous.
#pragma once

#include <cstdint>

namespace trains {

// How many words hold a bit for each of so many neurons.
static constexpr int64_t words_of(int64_t neurons) { return (neurons + 63) / 64; }

// A layer and what it received. T steps, B samples, m inputs, n neurons.
template <class T>
struct Layer {
    int64_t steps, batch, inputs, neurons, refractory_period;
    double membrane_decay, synapse_decay, tau_synapse, bound;
    const uint64_t* bits;  // spikes [B, T, words of m], or null ...
    const T* values;       // ... and then numbers [T, B, m]
    const T* weight;       // [m, n]: of each input, to all neurons
    // Synapses within the layer, those of each neuron side by side in the order of `post`; `first` has n + 1 entries or
    // is null.
    const int64_t* first;
    const int64_t* post;
    const T* within;
};

// What neurons fired.
template <class T>
struct Fired {
    T* spikes;       // [T, B, n]: zeros and ones
    uint64_t* bits;  // [B, T, words of n]
    T* counts;       // [B, n]
};

// Sums over the spikes that came in: of S-PSPs e[o|i] = sum_t H[t, o] x[t, i].
template <class T>
struct Sums {
    const uint64_t* fired;  // what the neurons fired [B, T, words of n]
    const T* of_weight;     // [B, n] or null
    const T* of_below;      // [B, n] or null: z
    const T* of_silent;     // [B, n]: z, times the silent ratio, of neurons that were silent, else 0
    double silent_ratio;
    T* by_weight;  // [m, n]: sum_b of_weight[o] e[o|i]
    T* below;      // [words of n, B, m], to be summed: sum_o W[o, i] (z[o] e[o|i] / c_i + of_silent[o]); of a silent i
                   // ratio z[o] stands for both
};

// A layer whose neurons share their weights, as those of a convolution or of pools: `places` of `width` neurons each, the
// channels of a pixel or one. Neuron w of place p is number w * places + p. Every link of an input leads to all neurons
// of a place, by a row of weights.
template <class T>
struct Shared {
    Layer<T> layer;  // its weight is [rows, lanes]: `width` rounded up, so that rows are whole vectors
    double tau_membrane;
    int64_t places, width, lanes, rows;
    const int64_t* first;  // [m + 1]: where each input's links begin, and how many there are
    const int32_t* place;  // [K]
    const int32_t* row;    // [K]
    // The same links once more, those to each place side by side.
    const int64_t* place_first;  // [places + 1]
    const int32_t* input;        // [K]
    const int32_t* input_row;    // [K]
};

// Sums over the spikes that came in, for such a layer.
template <class T>
struct SharedSums {
    const uint64_t* fired;  // what its neurons fired [B, T, words of n]
    int64_t furthest;       // -1: S-PSPs as of `Sums`; else those of continuous time, of input spikes no further back
    const T* of_weight;     // [B, n] or null
    const T* of_below;      // [B, n] or null
    T* by_weight;           // [B, rows, lanes]: sum over places of of_weight[o] e[o|i]
    T* below;               // [B, m]: sum_o W[o, i] of_below[o] e[o|i]
};

template <class T>
struct Kernels {
    // Bits and counts of numbers `spikes`; whether all of these were 0 or 1.
    bool (*pack)(const Fired<T>&, int64_t steps, int64_t batch, int64_t neurons, int64_t sample);
    void (*forward)(const Layer<T>&, const Fired<T>&, int64_t sample);
    void (*sums)(const Layer<T>&, const Sums<T>&, int64_t first_word, int64_t last_word);
    // H [B, T, n] of neurons that fired those bits [B, T, words of n].
    void (*responses)(const Layer<T>&, const uint64_t* fired, T* responses, int64_t sample);
    // S-PSPs [B, K] of the synapses within the layer.
    void (*within)(const Layer<T>&, const uint64_t* fired, T* psp, int64_t sample);
    void (*shared_forward)(const Shared<T>&, const Fired<T>&, int64_t sample);
    void (*shared_sums)(const Shared<T>&, const SharedSums<T>&, int64_t sample);
};

#define TRAINS_DECLARE(isa)                  \
    namespace isa {                          \
    const Kernels<float>& kernels_float();   \
    const Kernels<double>& kernels_double(); \
    }
TRAINS_DECLARE(avx512)
TRAINS_DECLARE(avx2)
TRAINS_DECLARE(baseline)
#undef TRAINS_DECLARE

}  // namespace trains
