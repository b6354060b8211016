// The recurrence of engine/reference.py and its adjoint, for one block of samples, over a whole sequence.
#pragma once

#include <new>

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
void begin(void* at, const Problem<T>& p, const Weights<T>& w, const State<const T>& before, int64_t block, T* scratch) {
    (new (at) Forward<T>(p, w, nullptr, nullptr, block, Arena<T>{scratch}))->start(before);
}

template <class T>
void step(void* at, T* spikes) {
    Forward<T>& block = *static_cast<Forward<T>*>(at);
    block.spikes_out = spikes;
    block.advance(0);
}

template <class T>
void write(void* at, const State<T>& after) {
    static_cast<Forward<T>*>(at)->store(after);
}

template <class T>
void run_backward(const Problem<T>& p, const Weights<T>& w, const Tape<T>& tape, const Gradients<T>& gradients,
                  const int32_t* sources, int64_t block, T* by_weight, T* scratch) {
    Backward<T>(p, w, tape, gradients, sources, block, by_weight, Arena<T>{scratch}).run();
}

}  // namespace

const Kernels<float>& kernels_float() {
    static constexpr Kernels<float> table = {run_forward<float>, sizeof(Forward<float>), begin<float>,
                                             step<float>,        write<float>,           run_backward<float>};
    return table;
}

const Kernels<double>& kernels_double() {
    static constexpr Kernels<double> table = {run_forward<double>, sizeof(Forward<double>), begin<double>,
                                              step<double>,        write<double>,           run_backward<double>};
    return table;
}

}  // namespace LSNN_ISA
}  // namespace lsnn
