// How long a model folder takes from the disk to the first forward pass, and what it costs in memory.
//   bench_load MODEL_DIR [--make CONFIG.json --store float32|bfloat16] [--converted] [--cold]
// Weights stay as stored, as for training, or become float32 with --converted. --make writes a model of random weights, and ends; --cold asks the
// system to forget the files.
#include <CLI/CLI.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <iostream>

#include "core/json.h"
#include "core/system.h"
#include "core/torch.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "sites/sites.h"

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }

void forget(const std::filesystem::path& folder) {
  for (auto& entry : std::filesystem::directory_iterator(folder)) {
    const int fd = ::open(entry.path().c_str(), O_RDONLY);
    ::fdatasync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

int64_t faults(bool major) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return major ? usage.ru_majflt : usage.ru_minflt;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace graft;
  CLI::App app{"loading a model folder"};
  std::string folder, make, store = "float32";
  bool converted = false, cold = false;
  app.add_option("model", folder)->required();
  app.add_option("--make", make);
  app.add_option("--store", store);
  app.add_flag("--converted", converted);
  app.add_flag("--cold", cold);
  CLI11_PARSE(app, argc, argv);
  keep_freed_memory();
  if (!make.empty()) return save_model(random_model(read_json(make), 1), folder, {}, store == "bfloat16" ? at::kBFloat16 : at::kFloat), 0;
  if (cold) forget(folder);
  const int64_t minor = faults(false), major = faults(true);
  const auto start = std::chrono::steady_clock::now();
  const Model model = load_model(folder, {at::kFloat, "cpu", /*keep_stored=*/!converted});
  const double loaded = seconds_since(start);
  Json result{{"load_seconds", loaded}, {"resident_after_load", resident_memory()}, {"minor_faults", faults(false) - minor}, {"major_faults", faults(true) - major}};
  Sites sites(model.config.layers);
  Batch batch;
  batch.ids.assign(128, 5);
  batch.starts = {0, 128};
  for (int64_t i = 0; i < 127; ++i) batch.predict.push_back(i);
  at::NoGradGuard no_grad;
  for (const char* pass : {"first_pass_seconds", "second_pass_seconds"}) {
    const auto begin = std::chrono::steady_clock::now();
    token_losses(model, sites, batch).sum().item<double>();
    result[pass] = seconds_since(begin);
  }
  result["peak_memory"] = peak_memory();
  std::cout << json_line(result) << std::endl;
}
