// Compiled for AVX-512 (F, VL, DQ, BW).
#define GRAFT_LANES 16
#define GRAFT_ISA kAttentionAvx512
#include "kernels/cpu/attention_body.inc"
