#define GRAFT_LANES 16
#define GRAFT_ISA kElementwiseAvx512
#include "kernels/cpu/elementwise_body.inc"
