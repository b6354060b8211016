// What the neurons of rules/tssl_bp and rules/antlr do over a whole sequence, and their errors on the way back.
//
// Neurons of a layer do not see each other: a neuron of one sample is a lane, and arrays are [T, B * N], lane by lane.
#pragma once

#include <cstdint>

namespace layered {

struct Size {
    int64_t steps, lanes;
};

struct TsslConstants {
    double tau_membrane, tau_synapse, threshold, width, farthest, steepest;
    double surrogate, through_reset;  // whether errors are those of backpropagation through time, and go through the reset
};

// What drives neurons: [T, B * N], or [B * N] and a gain for each step [T].
template <class T>
struct Drive {
    const T *at, *gains;
};

template <class T>
struct TsslRun {
    Drive<T> drive;
    T *spikes, *trace;
};

// The error is of the drive as that is given.
template <class T>
struct TsslErrors {
    Drive<T> drive;
    const T* by_trace;
    T* error;
};

// Images [height, width], side by side in windows of side * side pixels; what is left over at an edge is in none.
struct Windows {
    int64_t images, height, width, side;
    double gain;
};

struct AntlrConstants {
    double current_decay, voltage_decay, current_gain, voltage_gain, bias_gain, flattest, activation, timing, sharpness;
};

// Arrays [T, B * N], but for the bias, [N], and what is before and after the sequence, [B * N].
template <class T>
struct AntlrRun {
    const T *drive, *bias;
    int64_t neurons;
    T *state_current, *state_voltage, *state_spikes;
    T *current, *voltage, *slope, *spikes;
};

template <class T>
struct AntlrErrors {
    const T *voltage, *slope, *spikes;
    const T *by_spike, *by_time;  // either may be null: zeros
    T *by_current, *by_bias, *delayed;  // by_bias [B * N], summed over steps; delayed may be null: not wanted
};

// A layer of ANTLR whose neurons see all inputs, each by a weight of its own; only inputs that are not 0 cost more than a
// look. T steps, B samples, m inputs, n neurons.
struct DenseSize {
    int64_t steps, batch, inputs, neurons;
};

// [T, B, k], of which the k side by side.
template <class T>
struct Trains {
    const T* at;
    int64_t step, sample;  // numbers from one to the next
};

template <class T>
struct AntlrDenseRun {
    Trains<T> values;
    const T *weight, *bias;                            // [m, n], [n]
    T *state_current, *state_voltage, *state_spikes;  // [B, n], before and then after
    T *voltage, *spikes;                               // [B, T, n], of each sample's first step here
    int64_t room;                                      // numbers from one sample to the next
};

// Of neurons that were at rest before the first step.
template <class T>
struct AntlrDenseErrors {
    Trains<T> values, by_spike, by_time;  // of the last two `at` may be null: zeros
    const T* voltage;
    int64_t room;
    T *by_weight, *by_bias, *by_current, *delayed;  // [m, n], [n], [B, T, n] twice; null but for by_bias: not wanted
};

// delayed W at the inputs that are not 0, times these: what a later arrival of each costs.
template <class T>
struct AntlrDenseDelays {
    Trains<T> values;
    const T *weight, *delayed;  // [m, n], [B, T, n]
    T* by_timing;               // [B, T, m]
};

template <class T>
struct Kernels {
    void (*tssl_run)(const Size&, const TsslConstants&, const TsslRun<T>&, int64_t from, int64_t to);
    void (*tssl_errors)(const Size&, const TsslConstants&, const TsslErrors<T>&, int64_t from, int64_t to);
    void (*window_sums)(const Windows&, const T* values, T* sums, int64_t first_image, int64_t last_image);
    void (*window_errors)(const Windows&, const T* by_sum, T* by_value, int64_t first_image, int64_t last_image);
    void (*antlr_run)(const Size&, const AntlrConstants&, const AntlrRun<T>&, int64_t from, int64_t to);
    void (*antlr_errors)(const Size&, const AntlrConstants&, const AntlrErrors<T>&, int64_t from, int64_t to);
    void (*antlr_dense_run)(const DenseSize&, const AntlrConstants&, const AntlrDenseRun<T>&, int64_t sample);
    void (*antlr_dense_errors)(const DenseSize&, const AntlrConstants&, const AntlrDenseErrors<T>&, int64_t first_neuron,
                               int64_t last_neuron);
    void (*antlr_dense_delays)(const DenseSize&, const AntlrConstants&, const AntlrDenseDelays<T>&, int64_t sample);
};

#define LAYERED_DECLARE(isa)                 \
    namespace isa {                          \
    const Kernels<float>& kernels_float();   \
    const Kernels<double>& kernels_double(); \
    }
LAYERED_DECLARE(avx512)
LAYERED_DECLARE(avx2)
LAYERED_DECLARE(baseline)
#undef LAYERED_DECLARE

}  // namespace layered
