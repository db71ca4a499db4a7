#include <chrono>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loaded.h"
#include "compare/stats.h"
#include "core/check.h"
#include "core/files.h"
#include "eval/bleu.h"
#include "eval/evaluate.h"

namespace graft {
namespace {

Interval interval_of(const MetricResult& result) {
  const MetricRow& row = find_metric(result.metric);
  if (row.kind != std::string("corpus")) {
    std::vector<double> scores;
    for (auto& item : result.items) scores.push_back(item.score);
    return interval_over_items(scores);
  }
  std::vector<double> stats;
  for (auto& item : result.items) stats.insert(stats.end(), item.stats.begin(), item.stats.end());
  const std::string name = result.metric;
  const auto metric = [name](std::span<const double> sums) {
    if (name == "bleu") return bleu_of_sums(sums);
    const double loss = sums[1] > 0 ? sums[0] / sums[1] : 0;
    return name == "perplexity" ? std::exp(loss) : loss;
  };
  return bootstrap_interval(Samples::of_corpus(result.items[0].stats.size(), {stats}, metric));
}

}  // namespace

void add_eval(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("eval", "scores a model on data");
  auto model = std::make_shared<ModelFlags>();
  auto data = std::make_shared<DataFlags>();
  auto metric = std::make_shared<std::string>("loss");
  auto items = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  auto generation = std::make_shared<GenerateConfig>();
  model->add(*sub);
  data->add(*sub, true);
  std::vector<std::string> names;
  for (auto& row : metric_rows()) names.push_back(row.name);
  sub->add_option("--metric", *metric, fmt::format("one of {}", fmt::join(names, ", ")))->capture_default_str();
  sub->add_option("--items", *items, "write per-item records to this JSONL file");
  sub->add_flag("--json", *json, "one JSON document on stdout");
  auto flags = std::make_shared<Flags>(*sub, *generation);
  sub->callback([=] {
    flags->apply(*generation, "eval");
    find_metric(*metric);
    const auto start = std::chrono::steady_clock::now();
    const Tokenizer tokenizer = Tokenizer::load(model->model);
    const Adapted adapted = model->load();
    const auto examples = data->load(tokenizer, adapted, model->model);
    const MetricResult result = evaluate(adapted.model, adapted.sites, tokenizer, examples, {*metric}, *generation)[0];
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!items->empty()) {
      std::string lines;
      for (auto& item : result.items) lines += json_line(item.to_json()) + "\n";
      write_file(*items, lines);
    }
    const Interval ci = interval_of(result);
    if (*json) print_json({{"metric", *metric}, {"value", result.value}, {"n", result.items.size()}, {"ci95", {ci.low, ci.high}}, {"seconds", seconds}});
    else fmt::print("{} = {:.4f}  (95 % interval {:.4f} to {:.4f}, n = {})\n", *metric, result.value, ci.low, ci.high, result.items.size());
  });
}

}  // namespace graft
