// The kernels of layered.hpp for every processor.
#define LSNN_ISA baseline
#include "layered_kernels.hpp"
