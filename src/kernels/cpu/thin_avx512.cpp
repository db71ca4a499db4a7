#define GRAFT_LANES 16
#define GRAFT_ISA kThinAvx512
#include "kernels/cpu/thin_body.inc"
