// The kernels of layered.hpp for one kind of processor.
#pragma once

#include "antlr_kernels.hpp"
#include "layered.hpp"
#include "tssl_kernels.hpp"

namespace layered {
namespace LSNN_ISA {
namespace {

template <class T>
constexpr Kernels<T> kTable = {tssl_run<T>,  tssl_errors<T>,  window_sums<T>,     window_errors<T>,
                               antlr_run<T>, antlr_errors<T>, antlr_dense_run<T>, antlr_dense_errors<T>,
                               antlr_dense_delays<T>};

}  // namespace

const Kernels<float>& kernels_float() { return kTable<float>; }
const Kernels<double>& kernels_double() { return kTable<double>; }

}  // namespace LSNN_ISA
}  // namespace layered
