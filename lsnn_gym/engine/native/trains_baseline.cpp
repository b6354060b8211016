// The kernels of trains.hpp for every processor.
#define LSNN_ISA baseline
#include "train_kernels.hpp"
