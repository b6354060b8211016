// What the kernels are given: plain pointers and sizes, the same for every processor.
#pragma once

#include <cstdint>
#include <vector>

namespace lsnn {

enum ResetBy : int32_t { kCurrent = 0, kCrossed = 1, kBaseline = 2 };

// Kernels, by processor, and how many samples each computes side by side.
enum Variant : int64_t { kAny = 0, kAvx2 = 1, kAvx512 = 2 };
int64_t variant_in_use();  // a Variant, as lsnn_choose_isa left it
inline int64_t lanes_of(int64_t variant) { return variant == kAvx512 ? 16 : variant == kAvx2 ? 8 : 4; }

// Which kernels compute a sequence, and how its samples are spread: over blocks, of which a thread has some.
struct Plan {
    int64_t variant, lanes, blocks, threads;
};

// One sequence of T steps of B networks of N neurons with I inputs and D delays. All arrays are contiguous.
// The layout is repeated in native/library.py.
template <class T>
struct Problem {
    Plan plan;
    int64_t steps, batch, inputs, neurons, delays;
    // Choices in which the published cells differ; see neurons.CellModel.
    int32_t fires_on_new_voltage, normalised_by_baseline, reset_by, scaled_current, scaled_adaptation, stops_spike_gradient;
    double dt, dampening_factor;
    const T *membrane_decay, *adaptation_decay, *threshold, *beta, *refractory_period;  // [N] each
    const T* x;            // [T, B, I]
    const T* noise;        // [T, B, N], or null
    const uint8_t* reset;  // [T, B], or null

    // The factors with which a current enters the voltage, and a spike the adaptation.
    T current_gain(int64_t n) const { return scaled_current ? 1 - membrane_decay[n] : 1; }
    T adaptation_gain(int64_t n) const { return scaled_adaptation ? 1 - adaptation_decay[n] : 1; }

    bool has_usual_cell() const {
        return !fires_on_new_voltage && !normalised_by_baseline && reset_by == kCurrent && scaled_current && scaled_adaptation &&
               !stops_spike_gradient;
    }
    // The same with the choices of the usual cell, the LSNN's, which a compiler then knows.
    Problem with_usual_cell() const {
        Problem made = *this;
        made.fires_on_new_voltage = made.normalised_by_baseline = made.stops_spike_gradient = 0;
        made.scaled_current = made.scaled_adaptation = 1;
        made.reset_by = kCurrent;
        return made;
    }

    // Blocks are about equal: the first sample of one, and the most that one has.
    int64_t first_of(int64_t block) const { return block * batch / plan.blocks; }
    int64_t widest() const { return (batch + plan.blocks - 1) / plan.blocks; }
    // Numbers that a block's voltages take on the tape. A vector may reach beyond its samples, into the next neuron's.
    int64_t tape_numbers() const { return steps * neurons * widest() + plan.lanes; }
};

// A state of B networks: voltage, spikes, adaptation, refractory [B, N] each, currents [B, D, N].
template <class T>
struct State {
    T *voltage, *spikes, *adaptation, *refractory, *currents;
};

// What the forward pass leaves to the backward pass.
template <class T>
struct Tape {
    T* voltage;         // [blocks, tape_numbers], as [T, N, widest]: that is compared with the threshold
    T* adaptation;      // [blocks, segments, N, lanes]: before the first step of each segment
    uint16_t* spikes;   // [blocks, T, N]: of the step before, after resets
    uint16_t* blocked;  // [blocks, T, N]: refractory
    uint16_t* inputs;   // [blocks, T, I]: active
    uint8_t* plain;     // [blocks, T]: whether all active inputs are plain spikes
};

template <class T>
struct Gradients {
    const T* by_spikes;        // [T, B, N]
    State<const T> by_after;   // by the state after the last step; refractory is not used
    T* by_weight;              // [D N, I + N]
    T* by_noise;               // [T, B, N], or null
    T* by_input;               // [T, B, I], or null
    State<T> by_before;        // by the state before the first step; refractory is not used
    int32_t skips_input_weights;  // leave their gradient to the caller, who has it from by_noise
    const int32_t* delay;         // [N, I + N]: the one of a synapse's D weights whose gradient is asked for, or null for all
};

constexpr int kGroup = 8;  // sums at a time of a dense part: as many as there are registers for

template <class T>
struct Synapse {
    uint32_t offset;  // k N + i: neuron i, after k further steps; in bytes of vectors of as many samples as lanes
    T weight;
};

// The weights [D N, I + N] in the forms that the kernels want. Few synapses: a list for each presynaptic channel.
// Many: rows for either direction.
template <class T>
struct Weights {
    int64_t inputs, neurons, delays, lanes;
    bool sparse[2];                        // of inputs, of neurons
    std::vector<int64_t> start;            // [I + N + 1], into synapses
    std::vector<Synapse<T>> synapses;      // sorted by presynaptic channel, then by post; filled up to fours
    // Of dense parts, in the order in which they are read: eight targets' weights side by side, of all channels, or
    // eight channels', of all targets. Filled up with 0.
    std::vector<T> by_post[2];  // [D N / 8, channels, 8]
    std::vector<T> by_pre[2];   // [channels / 8, D N, 8]
    bool is_sparse(int64_t pre) const { return sparse[pre >= inputs]; }
};

// Steps between two adaptations kept on the tape; those between are computed anew, in what fits a cache.
inline int64_t segment_steps(int64_t neurons, int64_t lanes) {
    const int64_t fitting = (256 << 10) / (4 * lanes * neurons);
    return fitting < 4 ? 4 : fitting > 64 ? 64 : fitting;
}

template <class T>
struct Kernels {
    // Run block number `block` forwards; `tape` may be null.
    void (*forward)(const Problem<T>&, const Weights<T>&, const State<const T>&, const State<T>&, T* spikes,
                    const Tape<T>* tape, int64_t block, T* scratch);
    // A block that goes forwards step by step, its state kept between them in `scratch`: make it at `at`, where
    // `forward_bytes` are free; take a step, the problem's first; write the state down.
    int64_t forward_bytes;
    void (*begin)(void* at, const Problem<T>&, const Weights<T>&, const State<const T>&, int64_t block, T* scratch);
    void (*step)(void* at, T* spikes);
    void (*write)(void* at, const State<T>&);
    // And backwards, adding to a weight gradient [I + N, D, padded N] that no other thread adds to or, given where each
    // synapse's error lies, `sources`, to one of [I + N, padded N].
    void (*backward)(const Problem<T>&, const Weights<T>&, const Tape<T>&, const Gradients<T>&, const int32_t* sources,
                     int64_t block, T* by_weight, T* scratch);
};

// Whole vectors, whatever the number of lanes.
inline int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }
// Slots of a ring of currents or errors: a window of D slots moves through it and is copied back when it is through.
inline int64_t ring_slots(int64_t delays) { return delays == 1 ? 2 : 4 * delays; }

// Numbers of working memory that a thread needs.
template <class T>
int64_t scratch_numbers(const Problem<T>& p) {
    const int64_t neurons = padded(p.neurons), inputs = padded(p.inputs);
    const int64_t rings = 2 * ring_slots(p.delays) * neurons;
    const int64_t vectors = 9 * neurons + rings + 2 * inputs + segment_steps(p.neurons, p.plan.lanes) * neurons;
    return p.plan.lanes * vectors + 4 * (neurons + inputs) + 512;
}

namespace avx512 {
const Kernels<float>& kernels_float();
const Kernels<double>& kernels_double();
}  // namespace avx512
namespace avx2 {
const Kernels<float>& kernels_float();
const Kernels<double>& kernels_double();
}  // namespace avx2
namespace baseline {
const Kernels<float>& kernels_float();
const Kernels<double>& kernels_double();
}  // namespace baseline

}  // namespace lsnn
