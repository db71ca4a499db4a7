// What the machine is and what this process uses of it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace graft {

int64_t peak_memory();             // peak resident bytes of the process (mapped files included)
int64_t resident_memory();         // resident bytes now
bool reset_peak_memory();          // false where the kernel does not allow it
int64_t total_memory();            // bytes of the machine
std::string cpu_model();
int cpu_cores();                   // that this process may use
int thread_count(int64_t asked);   // 0: all cores; throws Fault::Usage for what no machine has
std::vector<std::string> cpu_features();  // of AVX2, AVX512F, AVX512_BF16, AMX_BF16, those that this CPU has

// Keeps freed memory in the process instead of handing it back and faulting it in again at each step.
void keep_freed_memory();

}  // namespace graft
