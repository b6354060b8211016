// The kernels for every processor: what the compiler assumes by itself (SSE2 on x86, NEON on ARM).
#define LSNN_ISA baseline
#define LSNN_LANES 4
#include "kernels.hpp"
