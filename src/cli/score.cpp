#include "cli/commands.h"
#include "cli/loaded.h"
#include "core/check.h"
#include "core/safetensors.h"
#include "core/torch.h"
#include "model/decoder.h"

namespace graft {
namespace {

// Log-probabilities of given ids; the first has none. `logits`, when wanted, are those behind every given token.
Json score_ids(const Adapted& adapted, const std::vector<int64_t>& ids, Tensor* all_logits) {
  at::NoGradGuard no_grad;
  Batch batch;
  append_document(batch, ids, 1);
  Json logprobs = Json::array();
  double sum = 0;
  if (!ids.empty()) logprobs.push_back(nullptr);
  if (batch.supervised() == 0) lay_out(adapted.model, adapted.sites, batch);  // checks the ids all the same
  if (batch.supervised() > 0) {
    const Tensor losses = token_losses(adapted.model, adapted.sites, batch).to(at::kCPU).contiguous();
    for (int64_t i = 0; i < losses.size(0); ++i) {
      const double loss = losses.const_data_ptr<double>()[i];
      logprobs.push_back(-loss);
      sum += loss;
    }
  }
  if (all_logits) {
    const Pass pass = lay_out(adapted.model, adapted.sites, batch);
    const Tensor hidden = hidden_states(adapted.model, adapted.sites, pass);
    *all_logits = logits(adapted.model, adapted.sites, hidden.narrow(0, hidden.size(0) - static_cast<int64_t>(ids.size()), static_cast<int64_t>(ids.size()))).to(at::kFloat);
  }
  return {{"ids", ids}, {"logprobs", logprobs}, {"loss", batch.supervised() ? Json(sum / static_cast<double>(batch.supervised())) : Json()}};
}

void print_table(const Json& scored, const Tokenizer* tokenizer) {
  for (size_t i = 0; i < scored["ids"].size(); ++i) {
    const int64_t id = scored["ids"][i].get<int64_t>();
    const std::string token = tokenizer && id < tokenizer->vocab_size() ? tokenizer->id_to_token(id) : "";
    fmt::print("{:>7}  {:>10}  {}\n", id, scored["logprobs"][i].is_null() ? "" : fmt::format("{:.4f}", scored["logprobs"][i].get<double>()), token);
  }
  if (!scored["loss"].is_null()) fmt::print("loss {:.4f} per token\n", scored["loss"].get<double>());
}

}  // namespace

void add_score(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("score", "per-token log-probabilities of given text");
  auto model = std::make_shared<ModelFlags>();
  auto data = std::make_shared<DataFlags>();
  auto text = std::make_shared<std::string>(), ids = std::make_shared<std::string>(), logits_file = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  model->add(*sub);
  data->add(*sub, false);
  auto* text_option = sub->add_option("--text", *text, "the text");
  auto* ids_option = sub->add_option("--ids", *ids, "token ids 1,2,3, as they are; needs no tokenizer");
  sub->add_option("--logits", *logits_file, "store the logits [tokens, vocab] in this safetensors file");
  sub->add_flag("--json", *json, "one JSON document on stdout (with --data one line per row)");
  sub->callback([=] {
    const int given = (text_option->count() > 0) + (ids_option->count() > 0) + !data->files.empty();
    if (given != 1) usage_error("score", "exactly one of --text, --ids, --data must be given");
    const std::optional<Tokenizer> tokenizer = ids_option->count() ? std::nullopt : std::optional<Tokenizer>(Tokenizer::load(model->model));
    const Adapted adapted = model->load();
    std::vector<std::vector<int64_t>> rows;
    if (ids_option->count()) rows.push_back(parse_ids(*ids));
    else if (text_option->count()) rows.push_back(tokenizer->encode(*text));
    else
      for (auto& example : data->load(*tokenizer, adapted, model->model)) rows.push_back(example.ids);
    if (!logits_file->empty() && rows.size() != 1) usage_error("score", "--logits stores one text", "use --text or --ids");
    for (auto& row : rows) {
      if (row.empty()) usage_error("score", "there is no token to score", "give some text or ids");
      Tensor all_logits;
      const Json scored = score_ids(adapted, row, logits_file->empty() ? nullptr : &all_logits);
      if (all_logits.defined()) save_safetensors(*logits_file, {{"logits", all_logits}});
      if (*json) print_json(scored);
      else print_table(scored, tokenizer ? &*tokenizer : nullptr);
    }
  });
}

}  // namespace graft
