#include "core/system.h"

#include "core/check.h"
#include "core/heap.h"

#include <malloc.h>
#include <sched.h>
#include <unistd.h>

#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

namespace graft {
namespace {

// A line "Key:   123 kB" of a file below /proc, in bytes; 0 when absent.
int64_t proc_bytes(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);)
    if (line.rfind(key + ":", 0) == 0) return std::stoll(line.substr(key.size() + 1)) * 1024;
  return 0;
}

}  // namespace

int64_t peak_memory() { return proc_bytes("/proc/self/status", "VmHWM"); }
int64_t resident_memory() { return proc_bytes("/proc/self/status", "VmRSS"); }
int64_t total_memory() { return proc_bytes("/proc/meminfo", "MemTotal"); }

bool reset_peak_memory() {
  ::malloc_trim(0);  // or what earlier work freed would count as if it were in use
  release_free_heap();
  std::ofstream out("/proc/self/clear_refs");
  out << "5" << std::flush;
  return static_cast<bool>(out);
}

std::string cpu_model() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0)
      if (const size_t colon = line.find(": "); colon != std::string::npos) return line.substr(colon + 2);
  return "unknown";
}

int cpu_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

int thread_count(int64_t asked) {
  const int most = std::max(256, cpu_cores());
  if (asked < 0 || asked > most)
    usage_error("threads", fmt::format("threads must be in 0..{} but is {}", most, asked), fmt::format("0 means all cores; this process may use {}", cpu_cores()));
  return asked > 0 ? static_cast<int>(asked) : cpu_cores();
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> features;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) features.push_back("AVX2");
  if (__builtin_cpu_supports("avx512f")) features.push_back("AVX512F");
  if (__builtin_cpu_supports("avx512bf16")) features.push_back("AVX512_BF16");
#endif
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("flags", 0) == 0) {
      if (line.find(" amx_bf16") != std::string::npos) features.push_back("AMX_BF16");
      break;
    }
  return features;
}

void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
  mallopt(M_TOP_PAD, 64 << 20);
}

}  // namespace graft
