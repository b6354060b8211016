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
};

template <class T>
struct TsslRecord {
    T *increment, *membrane, *spikes, *trace;
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

template <class T>
struct Kernels {
    void (*tssl_run)(const Size&, const TsslConstants&, const T* drive, const TsslRecord<T>&, int64_t from, int64_t to);
    void (*tssl_errors)(const Size&, const TsslConstants&, const TsslRecord<T>&, const T* by_trace, T* error, int64_t from,
                        int64_t to);
    void (*antlr_run)(const Size&, const AntlrConstants&, const AntlrRun<T>&, int64_t from, int64_t to);
    void (*antlr_errors)(const Size&, const AntlrConstants&, const AntlrErrors<T>&, int64_t from, int64_t to);
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
