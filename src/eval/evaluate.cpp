#include "eval/evaluate.h"

#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "data/shared_prefixes.h"
#include "eval/bleu.h"
#include "eval/metrics.h"
#include "eval/rouge.h"
#include "model/decoder.h"

namespace graft {
namespace {

constexpr int64_t kTokensPerBatch = 4096;  // enough for full speed, small in memory

struct Document {
  std::vector<int64_t> ids;
  int64_t learned_from;
  std::vector<TokenSpan> skipped = {};
};

using LossSums = std::vector<std::pair<double, int64_t>>;  // for each document: its tokens' losses added up, and how many they are

// What several documents begin with is computed once.
LossSums document_losses(const Model& model, const Sites& sites, const std::vector<Document>& documents) {
  LossSums sums(documents.size());
  std::vector<PackedSequence> sequences;
  for (auto& d : documents) sequences.push_back({d.ids, d.learned_from, d.skipped});
  for (auto& [batch, sequence] : pack_sequences(sequences, kTokensPerBatch, sharing_of(model, sites))) {
    if (batch.supervised() == 0) continue;
    const Tensor losses = token_losses(model, sites, batch).to(at::kCPU).contiguous();
    const double* values = losses.const_data_ptr<double>();
    size_t document = 0;
    for (int64_t i = 0; i < batch.supervised(); ++i) {
      while (batch.predict[i] >= batch.starts[document + 1]) ++document;
      auto& [sum, count] = sums[sequence[document]];
      sum += values[i];
      ++count;
    }
  }
  return sums;
}

std::vector<Document> whole(const std::vector<Example>& examples) {
  std::vector<Document> documents;
  for (auto& e : examples) documents.push_back({e.ids, e.learned_from, e.skipped});
  return documents;
}

std::vector<ItemRecord> loss_items(const LossSums& sums, const std::vector<Example>& examples, const std::string& metric) {
  std::vector<ItemRecord> items;
  for (size_t i = 0; i < examples.size(); ++i) {
    const auto [sum, n] = sums[i];
    const double mean = n ? sum / static_cast<double>(n) : 0;
    items.push_back({examples[i].row.id, metric, metric == "perplexity" ? std::exp(mean) : mean, examples[i].row.prompt, "", examples[i].row.completion,
                     {sum, static_cast<double>(n)}});
  }
  return items;
}

std::vector<int64_t> prompt_ids(const Example& e) { return {e.ids.begin(), e.ids.begin() + std::min<int64_t>(e.prompt_length, static_cast<int64_t>(e.ids.size()))}; }

// Each choice is scored as the completion it would be in training: its tokens and EOS behind the prompt.
std::vector<ItemRecord> choice_items(const Model& model, const Sites& sites, const Tokenizer& tokenizer, const std::vector<Example>& examples) {
  std::vector<Document> documents;
  for (auto& e : examples) {
    if (e.row.choices.empty()) input_error("eval", fmt::format("{} has no choices, which accuracy needs", e.row.where), "give rows with text and label, or use exact_match");
    for (auto& choice : e.row.choices) {
      Document d{prompt_ids(e), 0};
      d.learned_from = static_cast<int64_t>(d.ids.size());
      const auto tail = tokenizer.encode(choice, false);
      d.ids.insert(d.ids.end(), tail.begin(), tail.end());
      if (tokenizer.eos_id()) d.ids.push_back(*tokenizer.eos_id());
      documents.push_back(std::move(d));
    }
  }
  const auto sums = document_losses(model, sites, documents);
  std::vector<ItemRecord> items;
  size_t at = 0;
  for (auto& e : examples) {
    size_t best = 0;
    for (size_t c = 1; c < e.row.choices.size(); ++c)
      if (sums[at + c].first < sums[at + best].first) best = c;
    at += e.row.choices.size();
    items.push_back({e.row.id, "accuracy", static_cast<int64_t>(best) == e.row.label ? 1.0 : 0.0, e.row.prompt, e.row.choices[best], e.row.completion, {}});
  }
  return items;
}

std::vector<std::string> generated_texts(const Model& model, const Sites& sites, const Tokenizer& tokenizer, const std::vector<Example>& examples,
                                         const GenerateConfig& generation) {
  std::vector<std::vector<int64_t>> prompts;
  for (auto& e : examples) {
    prompts.push_back(prompt_ids(e));
    if (prompts.back().empty()) input_error("eval", fmt::format("{} has no prompt to generate from", e.row.where), "text metrics need rows with prompt and completion");
  }
  std::vector<int64_t> stops;
  if (tokenizer.eos_id()) stops.push_back(*tokenizer.eos_id());
  std::vector<std::string> texts;
  for (auto& ids : generate(model, sites, prompts, stops, generation)) texts.push_back(tokenizer.decode(ids, true));
  return texts;
}

std::vector<ItemRecord> text_items(const std::string& metric, const std::vector<Example>& examples, const std::vector<std::string>& texts) {
  std::vector<ItemRecord> items;
  for (size_t i = 0; i < examples.size(); ++i) {
    const auto& row = examples[i].row;
    ItemRecord item{row.id, metric, 0, row.prompt, texts[i], row.references[0], {}};
    if (metric == "exact_match") item.score = exact_match(texts[i], row.references);
    if (metric == "rouge_l") item.score = 100 * rouge_l(texts[i], row.references).f;
    if (metric == "bleu") {
      const BleuStats stats = bleu_stats(texts[i], row.references);
      const auto numbers = stats.numbers();
      item.score = sentence_bleu(texts[i], row.references);
      item.stats.assign(numbers.begin(), numbers.end());
    }
    items.push_back(std::move(item));
  }
  return items;
}

double value_of(const std::string& metric, const std::vector<ItemRecord>& items) {
  if (items.empty()) return 0;
  std::vector<double> sums(items[0].stats.size());
  double total = 0;
  for (auto& item : items) {
    total += item.score;
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += item.stats[i];
  }
  if (metric == "bleu") return bleu_of_sums(sums);
  if (metric == "loss") return sums[0] / sums[1];
  if (metric == "perplexity") return std::exp(sums[0] / sums[1]);
  return total / static_cast<double>(items.size());
}

}  // namespace

const std::vector<MetricRow>& metric_rows() {
  static const std::vector<MetricRow> rows{
      {"loss", "nats per token", "corpus", false, MetricRow::Losses, "mean negative log-likelihood of the supervised tokens"},
      {"perplexity", "", "corpus", false, MetricRow::Losses, "exp of the loss"},
      {"accuracy", "%", "binary", true, MetricRow::Choices, "share of items whose likeliest choice is the right one"},
      {"exact_match", "%", "binary", true, MetricRow::Text, "share of generated texts that equal a reference (numbers by value)"},
      {"bleu", "BLEU", "corpus", true, MetricRow::Text, "corpus BLEU as sacrebleu computes it"},
      {"rouge_l", "ROUGE-L", "mean", true, MetricRow::Text, "mean ROUGE-L F-measure times 100, as rouge-score computes it"},
  };
  return rows;
}

const MetricRow& find_metric(const std::string& name) {
  std::vector<std::string> names;
  for (auto& row : metric_rows()) {
    if (row.name == name) return row;
    names.push_back(row.name);
  }
  usage_error("metric", fmt::format("unknown metric '{}'", name), suggest(name, names));
}

Json ItemRecord::to_json() const {
  Json json{{"id", id}, {"metric", metric}, {"score", score}, {"prediction", prediction}, {"reference", reference}, {"prompt", prompt}};
  if (!stats.empty()) json["stats"] = stats;
  return json;
}

double mean_loss(const Model& model, const Sites& sites, const std::vector<Example>& examples) { return value_of("loss", loss_items(document_losses(model, sites, whole(examples)), examples, "loss")); }

std::vector<MetricResult> evaluate(const Model& model, const Sites& sites, const Tokenizer& tokenizer, const std::vector<Example>& examples,
                                   const std::vector<std::string>& metrics, const GenerateConfig& generation) {
  at::NoGradGuard no_grad;
  std::vector<MetricResult> results;
  std::vector<std::string> texts;
  LossSums losses;
  for (auto& name : metrics) {
    const MetricRow& row = find_metric(name);
    MetricResult result{name, 0, {}};
    if (row.needs == MetricRow::Losses) {
      if (losses.empty()) losses = document_losses(model, sites, whole(examples));
      result.items = loss_items(losses, examples, name);
    }
    if (row.needs == MetricRow::Choices) result.items = choice_items(model, sites, tokenizer, examples);
    if (row.needs == MetricRow::Text) {
      if (texts.empty()) texts = generated_texts(model, sites, tokenizer, examples, generation);
      result.items = text_items(name, examples, texts);
    }
    result.value = value_of(name, result.items);
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace graft
