#define GRAFT_LANES 4
#define GRAFT_ISA kElementwisePlain
#include "kernels/cpu/elementwise_body.inc"
