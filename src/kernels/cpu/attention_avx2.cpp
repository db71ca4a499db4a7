// Compiled with -mavx2 -mfma.
#define GRAFT_LANES 8
#define GRAFT_ISA kAttentionAvx2
#include "kernels/cpu/attention_body.inc"
