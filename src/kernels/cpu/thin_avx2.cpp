#define GRAFT_LANES 8
#define GRAFT_ISA kThinAvx2
#include "kernels/cpu/thin_body.inc"
