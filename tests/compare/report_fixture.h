// A comparison's folder as the runner leaves it, with made-up numbers of which the truth is known: for tests of the aggregation
// and of the report. Quality, seeds and items each have their own spread, so that intervals and tests have something to find.
#pragma once
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "core/files.h"
#include "core/json.h"
#include "core/rng.h"
#include "eval/bleu.h"

namespace graft::testing {

struct FixtureMethod {
  std::string label;
  double quality = 0;  // shifts the logit of the n-gram precision: 0.1 is about 2 BLEU
  double parameters = 1e6, seconds_per_step = 0.1, memory = 2e9;
  bool mergeable = true;
  double default_lr = 1e-3;
  double best_lr = 1e-3;     // the dev score falls off around it
  double forgetting = 0.05;  // loss on the known text, above the base
  Json options = Json::object();
};

struct Fixture {
  std::vector<FixtureMethod> methods;
  size_t seeds = 3, items = 200, trials = 5;
  uint64_t random = 1;
};

// One clear winner (lora), ties behind it, and a weak method.
inline Fixture eight_methods() {
  Fixture f;
  f.methods = {
      {.label = "full",
       .quality = 0.0,
       .parameters = 134515008,
       .seconds_per_step = 0.412,
       .memory = 3.9e9,
       .default_lr = 2e-5,
       .best_lr = 5e-5,
       .forgetting = 0.41},
      {.label = "lora",
       .quality = 0.30,
       .parameters = 4884480,
       .seconds_per_step = 0.148,
       .memory = 1.62e9,
       .default_lr = 1e-3,
       .best_lr = 2e-3,
       .forgetting = 0.06,
       .options = {{"r", 16}, {"target_modules", "all-linear"}}},
      {.label = "dora",
       .quality = 0.12,
       .parameters = 5099520,
       .seconds_per_step = 0.221,
       .memory = 1.9e9,
       .default_lr = 1e-3,
       .best_lr = 1e-3,
       .forgetting = 0.07,
       .options = {{"r", 16}}},
      {.label = "houlsby",
       .quality = 0.11,
       .parameters = 2514240,
       .seconds_per_step = 0.162,
       .memory = 1.55e9,
       .mergeable = false,
       .default_lr = 1e-3,
       .best_lr = 1e-3,
       .forgetting = 0.10,
       .options = {{"reduction_factor", 16}}},
      {.label = "ia3",
       .quality = -0.10,
       .parameters = 86400,
       .seconds_per_step = 0.121,
       .memory = 1.31e9,
       .default_lr = 3e-3,
       .best_lr = 3e-2,
       .forgetting = 0.02},
      {.label = "bitfit",
       .quality = -0.09,
       .parameters = 172800,
       .seconds_per_step = 0.119,
       .memory = 1.30e9,
       .default_lr = 1e-3,
       .best_lr = 2e-3,
       .forgetting = 0.03},
      {.label = "prefix_tuning",
       .quality = -0.35,
       .parameters = 460800,
       .seconds_per_step = 0.131,
       .memory = 1.42e9,
       .mergeable = false,
       .default_lr = 1e-2,
       .best_lr = 1e-2,
       .forgetting = 0.01,
       .options = {{"num_virtual_tokens", 20}}},
      {.label = "prompt_tuning",
       .quality = -0.9,
       .parameters = 11520,
       .seconds_per_step = 0.128,
       .memory = 1.40e9,
       .mergeable = false,
       .default_lr = 3e-1,
       .best_lr = 3e-1,
       .forgetting = 0.004,
       .options = {{"num_virtual_tokens", 20}}},
  };
  return f;
}

// Many settings of a few methods, as a sweep has them.
inline Fixture many_methods(size_t count) {
  Fixture f, eight = eight_methods();
  Rng rng(5);
  for (size_t i = 0; i < count; ++i) {
    FixtureMethod m = eight.methods[i % 8];
    m.label += "-r" + std::to_string(1 << (i / 8));
    m.quality = 0.25 * rng.normal();
    m.parameters *= std::pow(2.0, static_cast<double>(i / 8)) * (0.8 + 0.4 * rng.uniform());
    m.seconds_per_step *= 0.8 + 0.6 * rng.uniform();
    m.memory *= 0.8 + 0.6 * rng.uniform();
    f.methods.push_back(m);
  }
  f.items = 60;
  f.trials = 3;
  return f;
}

class FixtureWriter {
 public:
  FixtureWriter(std::filesystem::path out, const Fixture& fixture) : out_(std::move(out)), f_(fixture), rng_(fixture.random) {
    for (size_t i = 0; i < f_.items; ++i) difficulty_.push_back(0.5 * rng_.normal());
  }

  void write() {
    make_folder(out_);
    write_json(out_ / "comparison.json", comparison());
    for (const FixtureMethod& m : f_.methods) {
      for (const double lr : grid(m)) search(m, lr);
      if (m.best_lr > grid(m).back() * 0.99) search(m, grid(m).back() * std::sqrt(10.0));  // widened by one step
      for (size_t s = 0; s < f_.seeds; ++s) final_run(m, s);
    }
  }

  std::filesystem::path final_folder(const std::string& label, size_t seed) const {
    return out_ / "runs" / label / ("final-s" + std::to_string(seed));
  }

  // Makes a finished run one that did not end well.
  void spoil(const std::string& label, size_t seed, const std::string& status, const std::string& reason) {
    const auto folder = final_folder(label, seed);
    Json result = read_json(folder / "result.json");
    result["status"] = status;
    result["reason"] = reason;
    result.erase("test");
    write_json(folder / "result.json", result);
    std::filesystem::remove(folder / "items.jsonl");
  }

  Json comparison() const {
    Json methods = Json::array();
    for (const FixtureMethod& m : f_.methods)
      methods.push_back({{"name", m.label.substr(0, m.label.find("-r"))},
                         {"label", m.label},
                         {"options", m.options},
                         {"default_lr", m.default_lr},
                         {"grid", grid(m)}});
    return {{"title", "Descriptions of restaurants"},
            {"started", "2026-03-02 09:14"},
            {"finished", "2026-03-02 12:51"},
            {"seconds", 13020},
            {"model", {{"path", "models/small-llama"}, {"family", "llama"}, {"parameters", 134515008}, {"vocab_size", 49152}}},
            {"data", {{"train", "e2e/train.jsonl"}, {"train_rows", 4200}, {"dev_rows", 300}, {"test_rows", f_.items}}},
            {"metrics", {"bleu", "loss"}},
            {"metric_info",
             {{"bleu", {{"higher_is_better", true}, {"unit", "BLEU"}, {"kind", "corpus"}}},
              {"loss", {{"higher_is_better", false}, {"unit", "nats/token"}, {"kind", "corpus"}}}}},
            {"budget", {{"tokens", 200000}}},
            {"tuning", {{"trials", f_.trials}, {"rungs", {0.25, 1.0}}}},
            {"seeds", f_.seeds},
            {"track", "as_configured"},
            {"forgetting", {{"text", "known.txt"}, {"base_loss", 3.012}}},
            {"base", {{"bleu", 5.1}, {"loss", 2.31}}},
            {"machine",
             {{"cpu", "Example CPU 2.4 GHz"},
              {"cores", 16},
              {"isa", "AVX2"},
              {"threads", 8},
              {"memory_gb", 64},
              {"graft_version", "0.1.0"},
              {"torch_version", "2.11.0"}}},
            {"command", "graft compare plan.yaml --out results"},
            {"methods", methods}};
  }

 private:
  std::vector<double> grid(const FixtureMethod& m) const {
    std::vector<double> lrs;
    for (size_t t = 0; t < f_.trials; ++t)
      lrs.push_back(m.default_lr * std::pow(10.0, (static_cast<double>(t) - static_cast<double>(f_.trials / 2)) / 2));
    return lrs;
  }
  double penalty(const FixtureMethod& m, double lr) const { return 0.25 * std::pow(std::log10(lr / m.best_lr), 2); }
  double chosen(const FixtureMethod& m) const {
    std::vector<double> lrs = grid(m);
    if (m.best_lr > lrs.back() * 0.99) lrs.push_back(lrs.back() * std::sqrt(10.0));
    double best = lrs[0];
    for (const double lr : lrs)
      if (penalty(m, lr) < penalty(m, best)) best = lr;
    return best;
  }
  Json costs(const FixtureMethod& m, double share) const {
    const double steps = 120 * share;
    return {{"trainable_parameters", m.parameters},
            {"adapter_bytes", m.parameters * 4 + 2000},
            {"seconds_per_step", m.seconds_per_step},
            {"tokens_per_second", 1700 / m.seconds_per_step},
            {"peak_memory", m.memory},
            {"flops_per_token", 8.1e8 + 2 * m.parameters},
            {"mergeable", m.mergeable},
            {"inference_slowdown", m.mergeable ? 1.0 : 1.07},
            {"train_seconds", steps * m.seconds_per_step},
            {"steps", steps},
            {"tokens", 200000 * share}};
  }
  double logistic(double x) const { return 1 / (1 + std::exp(-x)); }

  void search(const FixtureMethod& m, double lr) {
    const double p = penalty(m, lr);
    const bool diverged = lr > m.best_lr * 9.9, cut = p > 0.2;
    char name[64];
    std::snprintf(name, sizeof name, "search-lr%.3g", lr);
    const auto folder = out_ / "runs" / m.label / name;
    make_folder(folder);
    const auto dev = [&](double handicap) {
      return Json{{"bleu", 100 * logistic(-0.5 + m.quality - p - handicap + 0.02 * rng_.normal())},
                  {"loss", 1.1 - 0.5 * (m.quality - p - handicap)}};
    };
    Json result = {{"method", m.label},
                   {"label", m.label},
                   {"stage", "search"},
                   {"seed", 0},
                   {"lr", lr},
                   {"status", diverged ? "diverged"
                              : cut    ? "skipped"
                                       : "done"},
                   {"rung", cut ? 0.25 : 1.0},
                   {"dev", dev(cut ? 0.3 : 0)},
                   {"costs", costs(m, cut ? 0.25 : 1)},
                   {"hash", "0011"}};
    if (diverged) result["reason"] = "loss is not finite at step 17", result.erase("dev");
    if (cut && !diverged) result["reason"] = "cut at rung 0.25";
    if (!cut && !diverged) result["rungs"] = Json::array({{{"rung", 0.25}, {"dev", dev(0.3)}}});
    write_json(folder / "result.json", result);
  }

  void final_run(const FixtureMethod& m, size_t seed) {
    const auto folder = final_folder(m.label, seed);
    make_folder(folder);
    const double shift = m.quality + 0.02 * rng_.normal();
    std::string items;
    BleuStats total;
    double nll = 0, tokens = 0;
    for (size_t i = 0; i < f_.items; ++i) {
      const double precision = logistic(0.9 + shift + difficulty_[i] + 0.25 * rng_.normal());
      BleuStats s;
      s.length = 14 + static_cast<int64_t>(rng_.below(8));
      s.ref_length = s.length + static_cast<int64_t>(rng_.below(3)) - 1;
      double keep = precision;
      for (int n = 0; n < 4; ++n, keep *= precision) {
        s.totals[n] = s.length - n;
        for (int64_t k = 0; k < s.totals[n]; ++k) s.matches[n] += rng_.uniform() < keep;
      }
      total += s;
      const std::string id = std::to_string(i), reference = "The Eagle is a riverside coffee shop number " + id +
                                                            " with a low price range and a high rating.";
      const std::string prediction =
          precision > 0.7 ? reference : "The Eagle is a coffee shop <near> the river & it's cheap (" + m.label + ").";
      items += json_line({{"id", id},
                          {"metric", "bleu"},
                          {"score", bleu(s, true)},
                          {"prompt", "name[The Eagle], eatType[coffee shop], area[riverside]"},
                          {"prediction", prediction},
                          {"reference", reference},
                          {"stats", s.numbers()}}) +
               "\n";
      const double n = static_cast<double>(s.ref_length),
                   loss = n * (1.15 - 0.5 * shift - 0.2 * difficulty_[i] + 0.05 * rng_.normal());
      nll += loss, tokens += n;
      items += json_line({{"id", id}, {"metric", "loss"}, {"score", loss / n}, {"stats", {loss, n}}}) + "\n";
    }
    write_file(folder / "items.jsonl", items);
    std::string rows;
    for (int step = 1; step <= 120; ++step)
      rows += json_line({{"step", step},
                         {"loss", 1.05 - 0.5 * shift + 1.6 * std::exp(-step / 18.0) + 0.12 * rng_.normal()},
                         {"lr", 1e-3}}) +
              "\n";
    write_file(folder / "metrics.jsonl", rows + "{\"step\":120,\"eval_loss\":1.02}\n{\"done\":true}\n");
    write_json(folder / "result.json", {{"method", m.label},
                                        {"label", m.label},
                                        {"stage", "final"},
                                        {"seed", seed},
                                        {"lr", chosen(m)},
                                        {"status", "done"},
                                        {"dev", {{"bleu", 50.0}}},
                                        {"test", {{"bleu", bleu(total)}, {"loss", nll / tokens}}},
                                        {"costs", costs(m, 1)},
                                        {"forgetting_loss", 3.012 + m.forgetting * (1 + 0.1 * rng_.normal())},
                                        {"hash", "00ff"}});
  }

  std::filesystem::path out_;
  Fixture f_;
  Rng rng_;
  std::vector<double> difficulty_;
};

}  // namespace graft::testing
