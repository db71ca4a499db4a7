#define GRAFT_LANES 4
#define GRAFT_ISA kAttentionPlain
#include "kernels/cpu/attention_body.inc"
