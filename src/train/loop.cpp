#include <algorithm>
#include <chrono>
#include <fstream>

#include "adapter/folder.h"
#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/signals.h"
#include "core/torch.h"
#include "train/trainer.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPrefix = "checkpoint-";

std::vector<std::pair<int64_t, fs::path>> checkpoints(const fs::path& out) {
  std::vector<std::pair<int64_t, fs::path>> found;
  if (!fs::is_directory(out)) return found;
  for (auto& entry : fs::directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    const std::string number = name.starts_with(kPrefix) ? name.substr(std::string(kPrefix).size()) : "";
    if (!number.empty() && number.find_first_not_of("0123456789") == std::string::npos) found.emplace_back(std::stoll(number), entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

void save_checkpoint(Adapted& adapted, const Trainer& trainer, const TrainJob& job) {
  PartialFolder folder(job.out / (kPrefix + std::to_string(trainer.done())));
  save_adapter(adapted, folder.path(), job.base_folder);
  trainer.save_state(folder.path());
  folder.commit();
  auto all = checkpoints(job.out);
  for (size_t i = 0; i + std::max<int64_t>(1, job.keep) < all.size(); ++i) fs::remove_all(all[i].second);
}

// metrics.jsonl: rows are appended and flushed; rows behind the resumed step are dropped first.
class MetricsFile {
 public:
  MetricsFile(const fs::path& path, int64_t keep_up_to) : path_(path) {
    std::string kept;
    if (keep_up_to > 0 && fs::exists(path)) {
      std::ifstream in(path);
      for (std::string line; std::getline(in, line);) {
        const Json row = Json::parse(line, nullptr, false);
        if (row.is_object() && row.contains("step") && row["step"].is_number_integer() && row["step"].get<int64_t>() <= keep_up_to) kept += line + "\n";
      }
    }
    write_file(path, kept);
    out_.open(path, std::ios::app);
  }
  void add(const Json& row) {
    out_ << json_line(row) << '\n' << std::flush;
    if (!out_) input_error("train", fmt::format("cannot write '{}'", path_.string()), "is the disk full?");
  }

 private:
  fs::path path_;
  std::ofstream out_;
};

}  // namespace

fs::path newest_checkpoint(const fs::path& out) {
  const auto all = checkpoints(out);
  return all.empty() ? fs::path() : all.back().second;
}

TrainResult run_training(Adapted& adapted, Trainer& trainer, const TrainJob& job) {
  make_folder(job.out);
  if (job.resume) {
    if (const fs::path newest = newest_checkpoint(job.out); !newest.empty()) {
      trainer.load_state(newest);
      if (!job.quiet) log_info("resumed from {} (step {} of {})", newest.string(), trainer.done(), job.steps);
    }
  }
  MetricsFile metrics(job.out / "metrics.jsonl", trainer.done());
  TrainResult result;
  std::vector<double> step_seconds;
  const auto start = std::chrono::steady_clock::now();
  auto last_save = start;
  Progress progress(job.title, job.steps, job.quiet);
  while (trainer.done() < job.steps) {
    const StepRecord record = trainer.step(job.batches(trainer.done()));
    metrics.add(record.to_json());
    step_seconds.push_back(record.seconds);
    result.tokens += record.tokens;
    result.supervised += record.supervised;
    result.last_loss = record.loss;
    result.peak_memory = std::max(result.peak_memory, record.peak_memory);
    progress.update(trainer.done(), fmt::format("loss {:.4f}  {} tokens/s  {}", record.loss, human_count(record.tokens_per_second), human_bytes(record.peak_memory)));
    const bool last = trainer.done() == job.steps;
    if (job.evaluate && job.eval_every > 0 && (trainer.done() % job.eval_every == 0 || last))
      metrics.add({{"step", trainer.done()}, {"eval_loss", job.evaluate()}});
    const auto now = std::chrono::steady_clock::now();
    const bool due = (job.save_every > 0 && trainer.done() % job.save_every == 0) ||
                     (job.save_seconds > 0 && std::chrono::duration<double>(now - last_save).count() > job.save_seconds);
    const int signal = pending_signal();
    if ((due && !last) || (last && job.save_last) || signal) {
      save_checkpoint(adapted, trainer, job);
      last_save = std::chrono::steady_clock::now();
    }
    if (signal) throw Stopped(signal);
  }
  progress.finish();
  result.steps = trainer.done();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!step_seconds.empty()) {
    std::nth_element(step_seconds.begin(), step_seconds.begin() + static_cast<int64_t>(step_seconds.size() / 2), step_seconds.end());
    result.seconds_per_step = step_seconds[step_seconds.size() / 2];
  }
  metrics.add({{"done", true}, {"steps", result.steps}, {"tokens", result.tokens}, {"supervised", result.supervised}, {"seconds", result.seconds},
               {"loss", result.last_loss}, {"peak_memory", result.peak_memory}});
  return result;
}

}  // namespace graft
