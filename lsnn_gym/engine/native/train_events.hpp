// What the kernels of trains.hpp share: what neurons do step by step, and their responses.
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

    // Write H of this step, given where there is a spike in it, and where in the refractory period's steps before.
    void step_back(const T* __restrict fired, const T* __restrict refractory, T* __restrict now) {
        T *__restrict membrane = memory_.data(), *__restrict trace = membrane + count_;
        const T leak = leak_, forget = forget_, share = share_;
        for (int64_t o = 0; o < count_; ++o) {
            now[o] = trace[o];
            T q = fired[o] != 0 ? T(1) : leak * membrane[o];
            q = refractory[o] > 0 ? T(0) : q;
            membrane[o] = q;
            trace[o] = forget * trace[o] + q * share;
        }
    }

  private:
    int64_t count_;
    T leak_, forget_, share_;
    std::vector<T> memory_;
};

}  // namespace
}  // namespace LSNN_ISA
}  // namespace trains
