#include "data/examples.h"

#include <algorithm>
#include <atomic>
#include <optional>

#include "core/check.h"
#include "core/progress.h"
#include "core/rng.h"
#include "data/parallel.h"

namespace graft {
namespace {

Example tokenized(TextRow row, const Tokenizer& tokenizer, const DataConfig& config) {
  Example example;
  const bool plain = row.prompt.empty();
  if (tokenizer.adds_bos()) example.ids.push_back(*tokenizer.bos_id());
  if (!plain) {
    const auto prompt = tokenizer.encode(row.prompt, false);
    example.ids.insert(example.ids.end(), prompt.begin(), prompt.end());
  }
  example.prompt_length = static_cast<int64_t>(example.ids.size());
  const auto completion = tokenizer.encode(row.completion, false);
  example.ids.insert(example.ids.end(), completion.begin(), completion.end());
  if (tokenizer.eos_id()) example.ids.push_back(*tokenizer.eos_id());
  example.learned_from = config.train_on_inputs ? 1 : std::max<int64_t>(1, example.prompt_length);
  example.row = std::move(row);
  return example;
}

// A conversation as the model's template writes it; what is not in an answer is skipped.
Example tokenized_conversation(TextRow row, const Tokenizer& tokenizer, const chat::ChatTemplate& chat_template, const DataConfig& config) {
  Example example;
  const ChatText rendered = chat_text(chat_template, *row.conversation, tokenizer, row.where, !config.train_on_inputs);
  std::vector<Tokenizer::Cut> cuts;
  example.ids = tokenizer.encode(rendered.text, cuts);
  const int64_t size = static_cast<int64_t>(example.ids.size());
  int64_t at = 0;
  for (auto& answer : rendered.answers) {
    TokenSpan span = tokens_in(rendered, answer, example.ids, cuts, tokenizer);
    span.begin = std::max(span.begin, at);
    if (span.end <= span.begin) continue;
    if (span.begin > at || at == 0) example.skipped.push_back({at, span.begin});
    example.prompt_length = span.begin;
    at = span.end;
  }
  if (at < size) example.skipped.push_back({at, size});
  if (!rendered.answers.empty()) row.prompt = rendered.text.substr(0, rendered.answers.back().begin);
  if (config.train_on_inputs) example.skipped.clear();
  // The stretch in front is told by learned_from.
  example.learned_from = config.train_on_inputs || example.skipped.empty() ? 1 : std::max<int64_t>(1, example.skipped.front().end);
  if (!example.skipped.empty()) example.skipped.erase(example.skipped.begin());
  example.row = std::move(row);
  return example;
}

void cut(Example& example, int64_t max_length) {
  example.ids.resize(static_cast<size_t>(max_length));
  example.prompt_length = std::min(example.prompt_length, max_length);
  for (auto& span : example.skipped) span = {std::min(span.begin, max_length), std::min(span.end, max_length)};
}

}  // namespace

TokenizedData tokenize_rows(std::vector<TextRow> rows, const Tokenizer& tokenizer, const DataConfig& config, int64_t max_length, const std::filesystem::path& model_folder,
                            bool keep_texts) {
  TokenizedData data;
  std::vector<Example>& examples = data.examples;
  examples.resize(rows.size());
  std::optional<chat::ChatTemplate> chat_template;
  if (std::any_of(rows.begin(), rows.end(), [](const TextRow& row) { return row.conversation != nullptr; }))
    chat_template = config.chat_template ? chat::ChatTemplate::load(model_folder, *config.chat_template) : chat::ChatTemplate::load(model_folder);
  std::atomic<int64_t> cuts{0};
  const auto tokenize = [&](size_t i) {
    examples[i] = rows[i].conversation ? tokenized_conversation(std::move(rows[i]), tokenizer, *chat_template, config) : tokenized(std::move(rows[i]), tokenizer, config);
    if (!keep_texts) examples[i].row = {};
    if (static_cast<int64_t>(examples[i].ids.size()) > max_length) {
      cut(examples[i], max_length);
      ++cuts;
    }
    examples[i].ids.shrink_to_fit();
  };
  SlowProgress progress("tokenizing", static_cast<int64_t>(rows.size()), "rows");
  parallel_rows(rows.size(), tokenize, [&](size_t done) { progress.update(static_cast<int64_t>(done)); });
  progress.finish();
  std::erase_if(examples, [](const Example& example) { return example.supervised() <= 0; });
  data.cut = cuts;
  data.dropped = static_cast<int64_t>(rows.size() - examples.size());
  if (examples.empty())
    input_error("data", fmt::format("none of the {} rows has a token to learn from within max_length = {}", rows.size(), max_length), "raise --max-length or shorten the prompts");
  return data;
}

int64_t Example::supervised() const {
  int64_t count = static_cast<int64_t>(ids.size()) - learned_from;
  for (auto& span : skipped) count -= span.end - span.begin;
  return count;
}

void append_document(Batch& batch, std::span<const int64_t> ids, int64_t learned_from, std::span<const TokenSpan> skipped) {
  if (batch.starts.empty()) batch.starts.push_back(0);
  const int64_t begin = batch.tokens();
  auto skip = skipped.begin();
  for (int64_t target = std::max<int64_t>(1, learned_from); target < static_cast<int64_t>(ids.size()); ++target) {
    while (skip != skipped.end() && skip->end <= target) ++skip;
    if (skip == skipped.end() || target < skip->begin) batch.predict.push_back(begin + target - 1);
  }
  batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
  batch.starts.push_back(batch.tokens());
}

Batch pack(std::span<const Example* const> examples) {
  Batch batch;
  for (const Example* example : examples) append_document(batch, example->ids, example->learned_from, example->skipped);
  return batch;
}

std::string fingerprint(const std::vector<Example>& examples) {
  uint64_t hash = hash_bytes("");
  const auto mix = [&](uint64_t value) { hash = hash_bytes({reinterpret_cast<const char*>(&value), sizeof value}) ^ (hash * 0x100000001b3ULL); };
  const auto mix_texts = [&](const std::vector<std::string>& texts) {
    mix(texts.size());
    for (auto& text : texts) mix(hash_bytes(text));
  };
  for (auto& e : examples) {
    mix(hash_bytes({reinterpret_cast<const char*>(e.ids.data()), e.ids.size() * sizeof(int64_t)}));
    mix(static_cast<uint64_t>(e.learned_from));
    mix(static_cast<uint64_t>(e.prompt_length));
    for (auto& span : e.skipped) {
      mix(static_cast<uint64_t>(span.begin));
      mix(static_cast<uint64_t>(span.end));
    }
    mix(hash_bytes(e.row.id));
    mix_texts(e.row.references);
    mix_texts(e.row.choices);
    mix(static_cast<uint64_t>(e.row.label));
  }
  return fmt::format("{:016x}", hash);
}

}  // namespace graft
