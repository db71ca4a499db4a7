#include "compare/inputs.h"

#include <sstream>

#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/torch.h"
#include "methods/common/calibration.h"
#include "model/loader.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

std::vector<Example> load_split(const Plan& plan, const fs::path& file, int64_t rows, const Tokenizer& tokenizer, int64_t max_length) {
  auto records = read_records({file.string()});
  if (rows > 0 && static_cast<int64_t>(records.size()) > rows) records.resize(static_cast<size_t>(rows));
  TokenizedData data = tokenize_rows(text_rows(std::move(records), plan.data, labels_beside({file.string()})), tokenizer, plan.data, max_length, plan.model);
  if (data.cut || data.dropped) log_info("{}: {} rows cut to {} tokens, {} left out", file.filename().string(), data.cut, max_length, data.dropped);
  return std::move(data.examples);
}

// Running text becomes rows of up to max_length tokens; JSONL is read as it is.
std::vector<Example> load_forgetting(const Plan& plan, const Tokenizer& tokenizer, int64_t max_length) {
  if (plan.forgetting.empty()) return {};
  if (plan.forgetting.extension() == ".jsonl") return tokenize_rows(text_rows(read_records({plan.forgetting.string()}), DataConfig{}), tokenizer, DataConfig{}, max_length, plan.model).examples;
  const auto ids = tokenizer.encode(read_file(plan.forgetting), false);
  std::vector<Example> examples;
  const int64_t length = std::min<int64_t>(max_length, 512), limit = 64;  // at most 64 windows: enough for two digits
  for (size_t begin = 0; begin + 1 < ids.size() && static_cast<int64_t>(examples.size()) < limit; begin += static_cast<size_t>(length) - 1) {
    Example e;
    if (tokenizer.adds_bos()) e.ids.push_back(*tokenizer.bos_id());
    for (size_t i = begin; i < ids.size() && static_cast<int64_t>(e.ids.size()) < length; ++i) e.ids.push_back(ids[i]);
    e.row.id = std::to_string(examples.size());
    examples.push_back(std::move(e));
  }
  return examples;
}

}  // namespace

SharedInputs load_inputs(Plan plan) {
  SharedInputs in{plan, Tokenizer::load(plan.model), load_model(plan.model), {}, {}, {}, {}, {}, {}};
  int64_t extra = 0;
  const Calibration shapes_only{.shapes_only = true};
  for (auto& m : in.plan.methods) {
    const MethodRow& row = find_method(m.name);
    m.grid = !m.learning_rates.empty() ? m.learning_rates
             : !plan.learning_rates.empty() ? plan.learning_rates
                                            : automatic_grid(row.learning_rate, in.base.config.width, plan.trials);
    auto method = row.make();
    from_json(method->config(), m.options, m.name);
    const Adapted tried = attach(in.base, row, std::move(method), 1, [&](const std::string& text) { return in.tokenizer.encode(text); }, false, &shapes_only);
    extra = std::max(extra, tried.sites.input_row_count() + tried.sites.kv_row_count());
  }
  // One length for all methods, virtual tokens included, so that all of them see the same rows.
  const int64_t room = in.base.config.max_positions - extra, max_length = plan.data.max_length.value_or(room);
  if (max_length > room || room < 2) usage_error("plan", fmt::format("data.max_length must be at most {} (the model's positions less the virtual tokens)", room));
  in.train = load_split(plan, plan.train, plan.train_rows, in.tokenizer, max_length);
  in.dev = load_split(plan, plan.dev, plan.dev_rows, in.tokenizer, max_length);
  in.test = load_split(plan, plan.test, plan.test_rows, in.tokenizer, max_length);
  in.forgetting = load_forgetting(plan, in.tokenizer, std::min<int64_t>(max_length, in.base.config.max_positions - extra));
  in.data_id = fingerprint(in.train) + fingerprint(in.dev) + fingerprint(in.test);
  in.model_id = fingerprint(in.base);
  return in;
}

}  // namespace graft
