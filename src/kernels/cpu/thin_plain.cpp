#define GRAFT_LANES 4
#define GRAFT_ISA kThinPlain
#include "kernels/cpu/thin_body.inc"
