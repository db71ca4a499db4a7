#define GRAFT_LANES 8
#define GRAFT_ISA kElementwiseAvx2
#include "kernels/cpu/elementwise_body.inc"
