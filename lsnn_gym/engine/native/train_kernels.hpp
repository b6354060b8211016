// The kernels of trains.hpp.
#pragma once

#include "train_dense.hpp"
#include "train_shared.hpp"

namespace trains {
namespace LSNN_ISA {

const Kernels<float>& kernels_float() {
    static constexpr Kernels<float> table = {pack<float>,   forward<float>,        sums<float>,       responses<float>,
                                             within<float>, shared_forward<float>, shared_sums<float>};
    return table;
}

const Kernels<double>& kernels_double() {
    static constexpr Kernels<double> table = {pack<double>,   forward<double>,        sums<double>,       responses<double>,
                                             within<double>, shared_forward<double>, shared_sums<double>};
    return table;
}

}  // namespace LSNN_ISA
}  // namespace trains
