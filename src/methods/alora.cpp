// Activated LoRA (arXiv 2504.12397): LoRA that acts from a document's invocation on; what stands in front of it passes through
// the base alone, so that keys and values of the base can be used as they are.
//   y_t = W x_t + b for t < t₀;  W x_t + b + s · B A x_t for t ≥ t₀
// t₀: the first token of the last occurrence of alora_invocation_tokens in the document. A document without it is the base's.
// While a text is generated its prompt decides, and what is generated belongs to the side that the prompt ends on.
// Trained: A [r, in], B [out, r]. Init: A kaiming, B 0: the identity. Not mergeable: no one weight does both.
// Deviation: modules outside the blocks cannot be targets.
#include <algorithm>

#include "core/check.h"
#include "core/device.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "kernels/linear.h"
#include "methods/common/companions.h"
#include "methods/common/lora_method.h"

namespace graft {
namespace {

struct ALoraConfig : LoraConfig {
  Json alora_invocation_tokens;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    f("alora_invocation_tokens", alora_invocation_tokens,
      "token ids from whose last occurrence in a document on the update acts");
  }
};

struct ALoraEdit : LoraEdit {
  std::vector<int64_t> invocation;

  Tensor linear(const Linear&, const Tensor&, bool) const override { CHECK_THAT(false, "an activated LoRA needs its documents"); }
  Tensor linear_in(const Linear& base, const Tensor& x, const Documents& documents, bool training) const override {
    const Tensor y = kernels::linear(x, base.weight, base.bias), rows = active_rows(documents, x.device());
    const Tensor input = x.index_select(0, rows);
    Tensor side =
        at::mm(at::mm((training && dropout > 0 ? kernels::dropout(input, dropout) : input).to(a.scalar_type()), a.t()), b.t());
    if (bias.defined()) side = side + bias;
    return y.index_add(0, rows, (side * scale).to(y.scalar_type()));
  }
  std::optional<Linear> merged(const Linear&) const override { return std::nullopt; }
  std::optional<LowRank> low_rank(bool) const override { return std::nullopt; }
  Reads reads() const override { return Reads::Document; }

 private:
  Tensor active_rows(const Documents& documents, at::Device device) const {
    if (documents.behind_prompt) return documents.carried->at(this).nonzero().flatten();
    std::vector<int64_t> rows, active;
    for (int64_t d = 0; d < documents.count(); ++d) {
      const auto begin = documents.ids.begin() + documents.starts[d], whole = documents.ids.begin() + documents.starts[d + 1];
      const auto end = documents.carried ? std::min(whole, begin + documents.prompt[d] - documents.first[d]) : whole;
      const auto found = std::find_end(begin, end, invocation.begin(), invocation.end());
      active.push_back(found != end);
      for (auto row = found != end ? found : whole; row != whole; ++row) rows.push_back(row - documents.ids.begin());
    }
    if (documents.carried) (*documents.carried)[this] = moved(at::tensor(active, at::kLong), device);
    return moved(at::tensor(rows, at::kLong), device);
  }
};

class ALora : public LoraWith<ALoraConfig> {
 public:
  ALora() : LoraWith("alora") {}
  void attach(AttachContext& context) override {
    options_.alora_invocation_tokens = as_index_list(options_.alora_invocation_tokens);
    const Json& ids = options_.alora_invocation_tokens;
    const auto is_token = [&](const Json& id) {
      return id.is_number_integer() && id >= 0 && id < context.model.config.vocab_size;
    };
    if (!ids.is_array() || ids.empty() || !std::all_of(ids.begin(), ids.end(), is_token))
      usage_error("alora",
                  fmt::format("alora_invocation_tokens must be a list of token ids below {} but is {}",
                              context.model.config.vocab_size, json_line(ids)),
                  "give the ids of the text that invokes the adapter, such as the chat template's words in front of an answer");
    if (options_.use_dora || changes_base(options_.init_lora_weights))
      usage_error("alora",
                  "use_dora and starts that change the base cannot be combined with an update that acts on a part of a document");
    for (auto& target : targets(context))
      if (target.layer < 0)
        usage_error("alora", fmt::format("target_modules names '{}', which knows no documents", target.linear->path),
                    "leave it out");
    LoraMethod::attach(context);
  }
  Json file_config(const Model& model) override {
    Json json = LoraMethod::file_config(model);
    json["alora_invocation_tokens"] = options_.alora_invocation_tokens;
    return json;
  }

 protected:
  bool adapts_embeddings() const override { return false; }
  std::shared_ptr<LoraEdit> make_edit(const Linear&) override {
    auto edit = std::make_shared<ALoraEdit>();
    edit->invocation = options_.alora_invocation_tokens.get<std::vector<int64_t>>();
    return edit;
  }
};

}  // namespace

extern const MethodRow kALora;
const MethodRow kALora{
    .name = "alora",
    .peft_type = "LORA",
    .title = "Activated LoRA",
    .paper = "arXiv 2504.12397",
    .trains = "a low-rank update that acts from an invocation in the text on",
    .idea = Idea::LowRank,
    .formula = "y = W x + b + α/r · B A x  from the last invocation on, W x + b in front of it",
    .size = "r (in + out) a linear",
    .cost = "LoRA's on the tokens behind the invocation; documents do not share beginnings; stays at inference",
    .format = Format::Peft,
    .mergeable = false,
    .identity = true,
    .learning_rate = 5e-4,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<ALora>(); },
    .peft_key = "alora_invocation_tokens"};

}  // namespace graft
