// What CPU kernel bodies share: one binary with code for the machine's vector units, chosen when the program starts.
#pragma once

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define GRAFT_VECTORISED __attribute__((target_clones("default", "arch=haswell", "arch=skylake-avx512")))
#else
#define GRAFT_VECTORISED
#endif
