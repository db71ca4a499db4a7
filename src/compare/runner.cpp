#include "compare/runner.h"

#include <ATen/Parallel.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <ctime>
#include <exception>
#include <mutex>
#include <thread>

#include "compare/costs.h"
#include "compare/report.h"
#include "compare/run.h"
#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/rng.h"
#include "core/signals.h"
#include "core/system.h"
#include "core/version.h"
#include "core/yaml.h"
#include "eval/evaluate.h"
#include "model/family.h"

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
      double steps = 0;
      int64_t alive = static_cast<int64_t>(m.grid.size());
      double reached = 0;
      for (const double rung : in_.plan.rungs) {
        steps += static_cast<double>(alive) * (rung - reached) * static_cast<double>(search_steps_);
        reached = rung;
        alive = (alive + 1) / 2;
      }
      steps += static_cast<double>(seeds_.size()) * static_cast<double>(search_steps_);
      const double seconds = steps * costs["seconds_per_step"].get<double>();
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
    write_file(out_ / "plan.resolved.yaml", to_yaml(resolved(in_.plan)));
    at::set_num_threads(static_cast<int>(threads_));
    score_base();
    measure_all_costs();
    at::set_num_threads(static_cast<int>(std::max<int64_t>(1, threads_ / workers_)));
    log_info("{} methods, {} steps each; {} learning rates and {} seeds; {} runs side by side", methods_.size(), search_steps_, in_.plan.trials, seeds_.size(), workers_);
    write_description(false);
    search();
    widen();
    finals();
    write_description(true);
    write_report(out_);
  }

 private:
  RunSpec search_spec(const PlannedMethod& m, double lr, double rung) const {
    RunSpec spec{m, "search", kSearchSeed, lr, rung, search_steps_, {}};
    return with_folder(spec, fmt::format("search-lr{:.3g}", lr));
  }
  RunSpec final_spec(const PlannedMethod& m, double lr, int64_t seed) const {
    RunSpec spec{m, "final", seed, lr, 1, budget_steps(in_, seed), {}};
    return with_folder(spec, fmt::format("final-seed{}", seed));
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

  // Carries out what is missing, several runs at a time. Results come back in the order of the specs.
  std::vector<Json> carry_out_all(const std::vector<RunSpec>& specs, const std::string& title) {
    std::vector<Json> results(specs.size());
    std::vector<size_t> missing;
    for (size_t i = 0; i < specs.size(); ++i) {
      Json recorded = recorded_result(in_, specs[i]);
      const bool failed = recorded.is_object() && recorded.value("status", std::string()) != "done";
      const bool short_of = recorded.is_object() && !failed && specs[i].stage == "search" && recorded.value("rung", 0.0) < specs[i].rung;
      if (recorded.is_null() || short_of || (failed && options_.retry_failed)) missing.push_back(i);
      else results[i] = std::move(recorded);
    }
    Progress progress(title, static_cast<int64_t>(missing.size()));
    std::atomic<size_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::exception_ptr stopped;
    const auto work = [&] {
      for (size_t at = next++; at < missing.size(); at = next++) {
        const size_t i = missing[at];
        if (pending_signal()) break;
        try {
          Json result = carry_out(in_, specs[i], costs_[specs[i].method.label]);
          const std::lock_guard lock(mutex);
          progress.update(++done, fmt::format("{} lr {:.3g} {}", specs[i].method.label, specs[i].lr, result["status"].get<std::string>()));
          results[i] = std::move(result);
        } catch (...) {
          const std::lock_guard lock(mutex);
          stopped = std::current_exception();
          next = missing.size();
        }
      }
    };
    std::vector<std::thread> threads;
    for (int64_t w = 0; w < std::min<int64_t>(workers_, static_cast<int64_t>(missing.size())); ++w) threads.emplace_back(work);
    for (auto& t : threads) t.join();
    if (pending_signal()) throw Stopped(pending_signal());
    if (stopped) std::rethrow_exception(stopped);
    progress.finish();
    return results;
  }

  // Higher is better, also for losses; −infinity for a run without a score.
  double dev_score(const Json& result) const {
    const double worst = -std::numeric_limits<double>::infinity();
    if (result.value("status", std::string()) != "done" || !result["dev"][in_.plan.tuning_metric].is_number()) return worst;
    const double value = result["dev"][in_.plan.tuning_metric].get<double>();
    if (!std::isfinite(value)) return worst;
    return find_metric(in_.plan.tuning_metric).higher_is_better ? value : -value;
  }

  // Successive halving by one rule for all: after each rung the better half of a method's learning rates goes on.
  void search() {
    std::map<std::string, std::vector<double>> alive;
    for (auto& m : methods_) alive[m.label] = m.grid;
    for (size_t r = 0; r < in_.plan.rungs.size(); ++r) {
      std::vector<RunSpec> specs;
      for (auto& m : methods_)
        for (const double lr : alive[m.label]) specs.push_back(search_spec(m, lr, in_.plan.rungs[r]));
      const auto results = carry_out_all(specs, fmt::format("search {}/{}", r + 1, in_.plan.rungs.size()));
      std::map<std::string, std::vector<std::pair<double, double>>> scored;  // score, learning rate
      for (size_t i = 0; i < specs.size(); ++i) {
        scored[specs[i].method.label].emplace_back(dev_score(results[i]), specs[i].lr);
        note_run(specs[i]);
      }
      for (auto& [label, list] : scored) {
        std::stable_sort(list.begin(), list.end(), [](auto& a, auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
        best_[label] = list[0];
        const bool last = r + 1 == in_.plan.rungs.size();
        if (!last) list.resize((list.size() + 1) / 2);
        alive[label].clear();
        for (auto& [score, lr] : list) alive[label].push_back(lr);
      }
    }
  }

  // A best value at the grid's edge: one more step outwards, for every method alike.
  void widen() {
    std::vector<RunSpec> specs;
    for (auto& m : methods_) {
      if (m.grid.size() < 2) continue;
      const double lr = best_[m.label].second, low = m.grid.front(), high = m.grid.back();
      const double wider = lr == low ? low * low / m.grid[1] : lr == high ? high * high / m.grid[m.grid.size() - 2] : 0;
      if (wider <= 0) continue;
      log_info("{}: the best learning rate {:.3g} is at the grid's edge; trying {:.3g} too", m.label, lr, wider);
      specs.push_back(search_spec(m, wider, 1));
    }
    const auto results = carry_out_all(specs, "widened grids");
    for (size_t i = 0; i < specs.size(); ++i) {
      note_run(specs[i]);
      if (const double score = dev_score(results[i]); score > best_[specs[i].method.label].first) best_[specs[i].method.label] = {score, specs[i].lr};
    }
  }

  void finals() {
    std::vector<RunSpec> specs;
    for (const int64_t seed : seeds_)
      for (auto& m : methods_) specs.push_back(final_spec(m, best_[m.label].second, seed));
    for (auto& spec : specs) note_run(spec);
    write_description(false);
    carry_out_all(specs, "final runs");
  }

  void note_run(const RunSpec& spec) {
    const std::string folder = fs::relative(spec.folder, out_).string();
    for (auto& run : runs_)
      if (run["folder"] == folder) return;
    runs_.push_back({{"folder", folder}, {"label", spec.method.label}, {"stage", spec.stage}, {"seed", spec.seed}, {"lr", spec.lr}});
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
    if (options_.shards == 1) json["runs"] = runs_;
    if (finished) json["finished"] = now_text();
    write_json(out_ / "comparison.json", json);
  }

  SharedInputs in_;
  fs::path out_;
  CompareOptions options_;
  std::vector<PlannedMethod> methods_;
  std::vector<int64_t> seeds_;
  int64_t threads_ = 1, workers_ = 1, search_steps_ = 0;
  Json base_, runs_ = Json::array();
  std::map<std::string, Json> costs_;
  std::map<std::string, std::pair<double, double>> best_;  // per method: dev score, learning rate
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
