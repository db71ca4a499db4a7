// Scoring a model on data: losses, choice by likelihood, generated text; each with its per-item records.
#pragma once
#include <string>
#include <vector>

#include "data/examples.h"
#include "eval/generate.h"
#include "methods/method.h"

namespace graft {

// A row of the table of metrics.
struct MetricRow {
  const char* name;
  const char* unit;
  const char* kind;  // "mean", "binary" or "corpus": how a run's value comes from its items
  bool higher_is_better;
  enum Needs { Losses, Choices, Text } needs;
  const char* doc;
};
const std::vector<MetricRow>& metric_rows();
const MetricRow& find_metric(const std::string& name);  // throws Fault::Usage with the nearest name

struct ItemRecord {
  std::string id, metric;
  double score = 0;
  std::string prompt, prediction, reference;
  std::vector<double> stats;  // sufficient statistics of corpus metrics
  Json to_json() const;
};

struct MetricResult {
  std::string metric;
  double value = 0;
  std::vector<ItemRecord> items;
};

// Scores all metrics in one go; text is generated once for those that need it, and losses are computed once. The metrics' order is kept.
std::vector<MetricResult> evaluate(const Model& model, const Sites& sites, const Tokenizer& tokenizer, const std::vector<Example>& examples,
                                   const std::vector<std::string>& metrics, const GenerateConfig& generation);

// Mean loss per supervised token.
double mean_loss(const Model& model, const Sites& sites, const std::vector<Example>& examples);

}  // namespace graft
