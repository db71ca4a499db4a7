#include "compare/runner.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <exception>
#include <mutex>
#include <set>
#include <thread>

#include "compare/costs.h"
#include "compare/course.h"
#include "compare/report.h"
#include "compare/run.h"
#include "core/check.h"
#include "core/files.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/rng.h"
#include "core/signals.h"
#include "core/system.h"
#include "core/version.h"
#include "core/yaml.h"
#include "eval/evaluate.h"
#include "model/family.h"
#include "train/trainer.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kSearchSeed = 0;

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", std::gmtime(&now));
  return text;
}

// As a person in this folder would write it.
std::string shown_path(const fs::path& path) {
  const fs::path near = path.lexically_proximate(fs::current_path());
  return near.string().starts_with("..") ? path.string() : near.string();
}

class Comparison {
 public:
  Comparison(SharedInputs inputs, fs::path out, CompareOptions options) : in_(std::move(inputs)), out_(std::move(out)), options_(options) {
    threads_ = thread_count(options.threads);
    // Tiny models do not fill two cores: run them side by side instead.
    const bool tiny = parameter_count(in_.base) < 20'000'000;
    workers_ = in_.plan.workers > 0 ? in_.plan.workers : tiny ? threads_ : 1;
    for (size_t i = 0; i < in_.plan.methods.size(); ++i)
      if (static_cast<int64_t>(i) % options.shards == options.shard - 1) methods_.push_back(in_.plan.methods[i]);
    for (const int64_t seed : in_.plan.seeds) seeds_.push_back(seed);
    search_steps_ = budget_steps(in_, kSearchSeed);
  }

  void dry_run() {
    at::set_num_threads(static_cast<int>(threads_));
    double total = 0;
    fmt::print("{:<18} {:>5} {:>7} {:>6} {:>12} {:>12} {:>10}  {}\n", "method", "runs", "steps", "seeds", "s per step", "peak memory", "time", "learning rates");
    for (auto& m : methods_) {
      CostSamples samples;
      sample_costs(in_, m, samples);
      const Json costs = costs_of(samples);
      const double budgets = static_cast<double>(m.grid.size()) * in_.plan.rungs[0] + Course(m.grid, in_.plan.rungs, seeds_).budgets_ahead();
      const double seconds = budgets * static_cast<double>(search_steps_) * costs["seconds_per_step"].get<double>();
      total += seconds;
      fmt::print("{:<18} {:>5} {:>7} {:>6} {:>12.4f} {:>12} {:>10}  {}\n", m.label, m.grid.size() + seeds_.size(), search_steps_, seeds_.size(),
                 costs["seconds_per_step"].get<double>(), human_bytes(costs["peak_memory"].get<double>()), human_duration(seconds), json_line(m.grid));
    }
    fmt::print("one run after the other, training takes about {} on this machine{}; scoring comes on top\n", human_duration(total),
               workers_ > 1 ? fmt::format(" ({} runs go side by side, which saves some of it)", workers_) : "");
  }

  void run() {
    start_ = std::chrono::steady_clock::now();
    started_ = now_text();
    make_folder(out_);
    in_.calibration = out_ / "calibration";
    write_file(out_ / "plan.resolved.yaml", to_yaml(resolved(in_.plan)));
    at::set_num_threads(static_cast<int>(threads_));
    score_base();
    measure_all_costs();
    release_free_heap();  // each thread of runs has a heap of its own
    at::set_num_threads(static_cast<int>(std::max<int64_t>(1, threads_ / workers_)));
    log_info("{} methods, {} steps each; {} learning rates and {} seeds; {} runs side by side", methods_.size(), search_steps_, in_.plan.trials, seeds_.size(), workers_);
    run_courses();
    write_description(true);
    write_report(out_);
  }

 private:
  RunSpec spec_of(const PlannedMethod& m, const CourseRun& run) const {
    if (run.final) return with_folder({m, "final", run.seed, run.lr, 1, budget_steps(in_, run.seed), {}}, fmt::format("final-seed{}", run.seed));
    return with_folder({m, "search", kSearchSeed, run.lr, run.rung, search_steps_, {}}, fmt::format("search-lr{:.3g}", run.lr));
  }
  RunSpec with_folder(RunSpec spec, const std::string& name) const {
    spec.folder = out_ / "runs" / spec.method.label / fmt::format("{}-{}", name, run_hash(in_, spec).substr(0, 8));
    return spec;
  }

  void score_base() {
    const fs::path file = out_ / "base.json";
    const std::string id = fmt::format("{:016x}", hash_bytes(in_.model_id + in_.data_id + json_line(in_.plan.metrics) + fingerprint(in_.forgetting) + json_line(to_json(in_.plan.generation))));
    if (fs::exists(file)) base_ = read_json(file);
    if (base_.is_object() && base_.value("id", std::string()) == id) return;
    log_info("scoring the base alone");
    base_ = Json{{"id", id}, {"scores", Json::object()}, {"forgetting_loss", nullptr}};
    const Adapted plain = bare(in_.base);
    for (auto& r : evaluate(plain.model, plain.sites, in_.tokenizer, in_.test, in_.plan.metrics, in_.plan.generation)) base_["scores"][r.metric] = r.value;
    if (!in_.forgetting.empty()) base_["forgetting_loss"] = mean_loss(plain.model, plain.sites, in_.forgetting);
    write_json(file, base_);
  }

  // One method after the other with the whole machine, before anything runs side by side; there and back.
  void measure_all_costs() {
    std::vector<std::pair<const PlannedMethod*, fs::path>> missing;
    for (auto& m : methods_) {
      const std::string id = run_hash(in_, {m, "costs", 0, 0, 1, 0, {}}).substr(0, 8);
      const fs::path file = out_ / "costs" / fmt::format("{}-{}.json", m.label, id);
      if (fs::exists(file)) costs_[m.label] = read_json(file);
      else missing.emplace_back(&m, file);
    }
    if (missing.empty()) return;
    make_folder(out_ / "costs");
    std::vector<size_t> turns;
    for (size_t i = 0; i < missing.size(); ++i) turns.push_back(i);
    for (size_t i = missing.size(); i-- > 0;) turns.push_back(i);
    std::vector<CostSamples> samples(missing.size());
    Progress progress("costs", static_cast<int64_t>(turns.size()));
    for (size_t turn = 0; turn < turns.size(); ++turn) {
      const size_t i = turns[turn];
      sample_costs(in_, *missing[i].first, samples[i]);
      progress.update(static_cast<int64_t>(turn) + 1, missing[i].first->label);
      if (pending_signal()) throw Stopped(pending_signal());
    }
    for (size_t i = 0; i < missing.size(); ++i) {
      costs_[missing[i].first->label] = costs_of(samples[i]);
      write_json(missing[i].second, costs_[missing[i].first->label]);
    }
    progress.finish();
  }

  // Higher is better, also for losses; −infinity for a run without a score.
  double dev_score(const Json& result) const {
    const double worst = -std::numeric_limits<double>::infinity();
    if (result.value("status", std::string()) != "done" || !result["dev"][in_.plan.tuning_metric].is_number()) return worst;
    const double value = result["dev"][in_.plan.tuning_metric].get<double>();
    if (!std::isfinite(value)) return worst;
    return find_metric(in_.plan.tuning_metric).higher_is_better ? value : -value;
  }

  // A recorded run as it was when it had reached a rung from which it went on: what came later must not change who went on from there.
  static Json result_at(const Json& recorded, double rung) {
    if (!recorded.is_object() || !recorded.contains("rungs")) return recorded;
    for (auto& passed : recorded["rungs"])
      if (passed["rung"] == rung) return {{"status", "done"}, {"rung", rung}, {"dev", passed["dev"]}};
    return recorded;
  }

  // A method on its course and the stage that is due.
  struct Rider {
    const PlannedMethod* method;
    Course course;
    std::vector<RunSpec> specs = {};
    std::vector<double> scores = {};
    size_t open = 0;  // runs that have no score yet
  };

  // Every method goes through its stages by itself, several runs at a time, so that no core waits for the slowest run of a stage.
  void run_courses() {
    for (auto& m : methods_) riders_.push_back({&m, Course(m.grid, in_.plan.rungs, seeds_)});
    std::vector<Rider*> order;
    for (auto& r : riders_) order.push_back(&r);
    // Expensive methods begin, so that none of them ends alone.
    const auto cost = [&](const Rider* r) { return costs_[r->method->label].value("seconds_per_step", 0.0); };
    std::stable_sort(order.begin(), order.end(), [&](const Rider* a, const Rider* b) { return cost(a) > cost(b); });
    Progress progress("steps of all runs", 0);
    for (Rider* r : order) enter_stage(*r);
    write_description(false);
    std::vector<std::thread> threads;
    for (int64_t w = 0; w < workers_; ++w) threads.emplace_back([&] { work(progress); });
    for (auto& t : threads) t.join();
    if (pending_signal()) throw Stopped(pending_signal());
    if (failure_) std::rethrow_exception(failure_);
    progress.finish();
  }

  // Queues what is missing of the stage that is due; a stage that is all there is passed at once.
  void enter_stage(Rider& r) {
    for (; !r.course.runs().empty(); r.course.advance(r.scores)) {
      if (r.course.widening() && r.course.runs()[0].rung == in_.plan.rungs[0])
        log_info("{}: the best learning rate is at the grid's edge; trying {:.3g} too", r.method->label, r.course.runs()[0].lr);
      r.specs.clear();
      for (auto& run : r.course.runs()) r.specs.push_back(spec_of(*r.method, run));
      r.scores.assign(r.specs.size(), -std::numeric_limits<double>::infinity());
      for (size_t i = 0; i < r.specs.size(); ++i) {
        const RunSpec& spec = r.specs[i];
        const Json recorded = result_at(recorded_result(in_, spec), spec.rung);
        const bool failed = recorded.is_object() && recorded.value("status", std::string()) != "done";
        const bool short_of = recorded.is_object() && !failed && spec.stage == "search" && recorded.value("rung", 0.0) < spec.rung;
        if (recorded.is_null() || short_of || (failed && options_.retry_failed)) {
          waiting_.emplace_back(&r, i);
          steps_waiting_ += new_steps(r, i);
          ++r.open;
        } else if (spec.stage == "search") {
          r.scores[i] = dev_score(recorded);
        }
      }
      if (r.open > 0) return;
    }
  }

  // The steps that a run adds to what the rung before it did.
  int64_t new_steps(const Rider& r, size_t i) const {
    const RunSpec& spec = r.specs[i];
    const auto& rungs = in_.plan.rungs;
    double before = 0;
    if (spec.stage == "search")
      for (const double rung : rungs)
        if (rung < spec.rung) before = rung;
    return std::max<int64_t>(1, std::llround((spec.rung - before) * static_cast<double>(spec.steps)));
  }

  int64_t steps_in_all() const {
    double budgets = 0;
    for (auto& r : riders_) budgets += r.course.budgets_ahead();
    return steps_done_ + steps_waiting_ + std::llround(budgets * static_cast<double>(search_steps_));
  }

  void work(Progress& progress) {
    const ThreadHeap own_heap;
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return !waiting_.empty() || running_ == 0 || failure_ || pending_signal(); });
      if (waiting_.empty() || failure_ || pending_signal()) break;
      const auto [rider, i] = waiting_.front();
      waiting_.pop_front();
      ++running_;
      progress.expect(steps_in_all());
      const RunSpec spec = rider->specs[i];
      const int64_t steps = new_steps(*rider, i);
      const Json costs = costs_[spec.method.label];
      lock.unlock();
      Json result;
      std::exception_ptr failure;
      try {
        result = carry_out(in_, spec, costs);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      --running_;
      if (failure) {
        failure_ = failure;
      } else {
        steps_done_ += steps;
        steps_waiting_ -= steps;
        if (spec.stage == "search") rider->scores[i] = dev_score(result);
        if (--rider->open == 0) {
          const std::vector<RunSpec> ended = rider->specs;
          rider->course.advance(rider->scores);
          enter_stage(*rider);
          // What runs that do not go on leave: with a large model's optimizer that is many gigabytes.
          for (auto& run : ended)
            if (std::none_of(rider->specs.begin(), rider->specs.end(), [&](const RunSpec& next) { return next.folder == run.folder; }))
              fs::remove_all(newest_checkpoint(run.folder));
          write_description(false);
        }
        progress.expect(steps_in_all());
        progress.update(steps_done_, fmt::format("{} {} lr {:.3g} {}", spec.stage, spec.method.label, spec.lr, result["status"].get<std::string>()));
      }
      changed_.notify_all();
    }
    changed_.notify_all();
  }

  // All runs begun so far: the search by method, wider grids, then final runs by seed.
  Json runs_so_far() const {
    Json runs = Json::array();
    std::set<std::string> listed;
    const auto add = [&](const auto& wanted) {
      for (auto& r : riders_)
        for (size_t stage = 0; stage < r.course.stages().size(); ++stage)
          for (auto& run : r.course.stages()[stage]) {
            if (!wanted(stage, run)) continue;
            const RunSpec spec = spec_of(*r.method, run);
            const std::string folder = fs::relative(spec.folder, out_).string();
            if (listed.insert(folder).second)
              runs.push_back({{"folder", folder}, {"label", spec.method.label}, {"stage", spec.stage}, {"seed", spec.seed}, {"lr", spec.lr}});
          }
    };
    add([](size_t stage, const CourseRun& run) { return stage == 0 && !run.final; });
    add([](size_t, const CourseRun& run) { return !run.final; });
    for (const int64_t seed : seeds_) add([&](size_t, const CourseRun& run) { return run.final && run.seed == seed; });
    return runs;
  }

  void write_description(bool finished) {
    const Plan& plan = in_.plan;
    Json info = Json::object();
    for (auto& name : plan.metrics) {
      const MetricRow& row = find_metric(name);
      info[name] = {{"higher_is_better", row.higher_is_better}, {"unit", row.unit}, {"kind", row.kind}};
    }
    Json methods = Json::array();
    for (auto& m : plan.methods) methods.push_back({{"name", m.name}, {"label", m.label}, {"options", m.options}, {"default_lr", find_method(m.name).learning_rate}, {"grid", m.grid}});
    Json json{{"title", plan.title},
              {"started", started_},
              {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count()},
              {"model", {{"path", shown_path(plan.model)}, {"family", in_.base.config.model_type}, {"parameters", parameter_count(in_.base)}, {"vocab_size", in_.base.config.vocab_size}}},
              {"data", {{"train", shown_path(plan.train)}, {"dev", shown_path(plan.dev)}, {"test", shown_path(plan.test)}, {"train_rows", in_.train.size()}, {"dev_rows", in_.dev.size()}, {"test_rows", in_.test.size()}}},
              {"metrics", plan.metrics},
              {"metric_info", info},
              {"base", base_["scores"]},
              {"budget", {{plan.budget_kind, plan.budget}}},
              {"tuning", {{"trials", plan.trials}, {"rungs", plan.rungs}, {"metric", plan.tuning_metric}}},
              {"seeds", plan.seeds.size()},
              {"track", "as_configured"},
              {"machine", {{"cpu", cpu_model()}, {"cores", cpu_cores()}, {"isa", cpu_features()}, {"threads", threads_}, {"workers", workers_},
                           {"memory_gb", std::round(static_cast<double>(total_memory()) / 1e8) / 10}, {"graft_version", kVersion}, {"torch_version", kTorchVersion}}},
              {"methods", methods},
              {"command", "graft compare plan.resolved.yaml --out DIR"}};
    if (!in_.forgetting.empty()) json["forgetting"] = {{"text", shown_path(plan.forgetting)}, {"base_loss", base_["forgetting_loss"]}};
    if (options_.shards == 1) json["runs"] = runs_so_far();
    if (finished) json["finished"] = now_text();
    write_json(out_ / "comparison.json", json);
  }

  SharedInputs in_;
  fs::path out_;
  CompareOptions options_;
  std::vector<PlannedMethod> methods_;
  std::vector<int64_t> seeds_;
  int64_t threads_ = 1, workers_ = 1, search_steps_ = 0;
  Json base_;
  std::map<std::string, Json> costs_;
  // What the threads share, under the mutex.
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Rider> riders_;
  std::deque<std::pair<Rider*, size_t>> waiting_;
  int64_t running_ = 0, steps_done_ = 0, steps_waiting_ = 0;
  std::exception_ptr failure_;
  std::chrono::steady_clock::time_point start_;
  std::string started_;
};

}  // namespace

void run_comparison(const fs::path& plan_file, const fs::path& out, const CompareOptions& options) {
  if (options.shard < 1 || options.shard > options.shards) usage_error("compare", fmt::format("jobs must be K/N with K in 1..N but is {}/{}", options.shard, options.shards));
  Comparison comparison(load_inputs(read_plan(plan_file)), out, options);
  if (options.dry_run) comparison.dry_run();
  else comparison.run();
}

}  // namespace graft
