// The recurrence of engine/reference.py and its adjoint, for one block of samples, over a whole sequence.
#pragma once

#include "backward.hpp"
#include "forward.hpp"

namespace lsnn {
namespace LSNN_ISA {
namespace {

template <class T>
void run_forward(const Problem<T>& p, const Weights<T>& w, const State<const T>& before, const State<T>& after, T* spikes,
                 const Tape<T>* tape, int64_t block, T* scratch) {
    Forward<T>(p, w, spikes, tape, block, Arena<T>{scratch}).run(before, after);
}

template <class T>
void run_backward(const Problem<T>& p, const Weights<T>& w, const Tape<T>& tape, const Gradients<T>& gradients, int64_t block,
                  T* by_weight, T* scratch) {
    Backward<T>(p, w, tape, gradients, block, by_weight, Arena<T>{scratch}).run();
}

}  // namespace

const Kernels<float>& kernels_float() {
    static constexpr Kernels<float> table = {run_forward<float>, run_backward<float>};
    return table;
}

const Kernels<double>& kernels_double() {
    static constexpr Kernels<double> table = {run_forward<double>, run_backward<double>};
    return table;
}

}  // namespace LSNN_ISA
}  // namespace lsnn
