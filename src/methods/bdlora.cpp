// BD-LoRA (arXiv 2510.23346): LoRA with one factor block-diagonal, so that a server that splits the module over devices splits the
// adapter with it and needs no exchange for it.
//   y = W x + b + s · B A x, A or B with nblocks blocks on its diagonal: block i of the rows meets block i of the columns
// Trained: A [r, in / n] and B [out, r], or A [r, in] and B [out, r / n]. Init: A kaiming, B 0: the identity. Merges as LoRA. In the
// file use_bdlora holds nblocks and which modules have which factor in blocks, as parts of their paths. Where neither list is given,
// A is for modules that such a server splits by their input (attention output, MLP output), B for all others; PEFT has no such
// default, and its nblocks of 1 would be LoRA. PEFT fails where weights are stored [in, out] (GPT-2); here they work.
#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/lora_method.h"

namespace graft {
namespace {

struct BdLoraConfig : LoraConfig {
  Json use_bdlora, target_modules_bd_a, target_modules_bd_b;
  int64_t nblocks = 2;
  bool match_strict = true;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    f("nblocks", nblocks, "blocks on the diagonal; must divide r and the split side", at_least(1));
    f("target_modules_bd_a", target_modules_bd_a, "parts of the paths of modules whose A is block-diagonal");
    f("target_modules_bd_b", target_modules_bd_b, "parts of the paths of modules whose B is block-diagonal");
    f("match_strict", match_strict, "with the lists: every adapted module must be in one of them; false: others are plain LoRA");
    f("use_bdlora", use_bdlora, "these four as one mapping, as files hold them");
  }
};

// [rows, columns / n] as the matrix [rows, columns] that it stands for.
Tensor spread_blocks(const Tensor& blocks, int64_t n) {
  if (n == 1) return blocks;
  const int64_t rows = blocks.size(0), columns = blocks.size(1);
  const Tensor split = blocks.view({n, rows / n, columns}).permute({1, 2, 0});
  return at::diag_embed(split).permute({2, 0, 3, 1}).reshape({rows, n * columns});
}

struct BlockDiagonalEdit : LoraEdit {
  int64_t blocks_a = 1, blocks_b = 1;

  LoraEdit dense() const {
    LoraEdit edit(*this);
    edit.a = spread_blocks(a, blocks_a);
    edit.b = spread_blocks(b, blocks_b);
    return edit;
  }
  Tensor linear(const Linear& base, const Tensor& x, bool training) const override { return dense().linear(base, x, training); }
  std::optional<Linear> merged(const Linear& base) const override { return dense().merged(base); }
  std::optional<LowRank> low_rank(bool training) const override { return dense().low_rank(training); }
};

class BdLora : public LoraWith<BdLoraConfig> {
 public:
  BdLora() : LoraWith("bdlora") {}
  void attach(AttachContext& context) override {
    if (options_.use_dora || options_.lora_bias || options_.init_lora_weights != true)
      usage_error("bdlora", "use_dora, lora_bias and other starts of the factors cannot be combined with block-diagonal ones");
    if (options_.use_bdlora.is_object()) {
      for (auto& [key, value] : options_.use_bdlora.items())
        if (key != "nblocks" && key != "target_modules_bd_a" && key != "target_modules_bd_b" && key != "match_strict")
          usage_error("bdlora", fmt::format("use_bdlora: unknown key '{}'", key), "known: nblocks, target_modules_bd_a, target_modules_bd_b, match_strict");
      from_json(options_, options_.use_bdlora, "bdlora");
    }
    a_blocks_ = names("target_modules_bd_a", options_.target_modules_bd_a);
    b_blocks_ = names("target_modules_bd_b", options_.target_modules_bd_b);
    if (a_blocks_.empty() && b_blocks_.empty())
      for (auto& target : targets(context)) {
        auto& list = target.site == Site::O || target.site == Site::Down ? a_blocks_ : b_blocks_;
        list.push_back(target.linear->path);
      }
    LoraMethod::attach(context);
  }
  Json file_config(const Model& model) override {
    Json json = LoraMethod::file_config(model);
    json["use_bdlora"] = {{"nblocks", options_.nblocks}, {"target_modules_bd_a", a_blocks_}, {"target_modules_bd_b", b_blocks_}, {"match_strict", options_.match_strict}};
    return json;
  }

 protected:
  bool adapts_embeddings() const override { return false; }
  std::shared_ptr<LoraEdit> make_edit(const Linear& linear) override {
    auto edit = std::make_shared<BlockDiagonalEdit>();
    const auto [a, b] = in_blocks(linear.path);
    if (a) edit->blocks_a = options_.nblocks;
    if (b) edit->blocks_b = options_.nblocks;
    return edit;
  }
  LoraStart start(AttachContext& context, const Linear& linear, int64_t r, double) override {
    const auto tensors = adapter_options(context.model);
    const auto [a, b] = in_blocks(linear.path);
    const int64_t n = options_.nblocks, side = a ? linear.in() : linear.out();
    if ((a || b) && (r % n || side % n))
      usage_error("bdlora", fmt::format("nblocks = {} must divide r = {} and {} = {} ({})", n, r, a ? "in" : "out", side, linear.path));
    if (a)  // PEFT's bound for blocks: √(6 / fan_in)
      return {uniform({r, linear.in() / n}, std::sqrt(6.0 * static_cast<double>(n) / static_cast<double>(linear.in())), tensors, context.generator),
              zeros({linear.out(), r}, tensors), {}};
    return {kaiming_uniform({r, linear.in()}, tensors, context.generator), zeros({linear.out(), b ? r / n : r}, tensors), {}};
  }

 private:
  std::vector<std::string> names(const char* key, const Json& value) const {
    std::vector<std::string> list;
    for (auto& name : value.is_string() ? Json::array({value}) : value.is_null() ? Json::array() : value) {
      if (!name.is_string()) usage_error("bdlora", fmt::format("{} must be a list of names but is {}", key, json_line(value)));
      list.push_back(name);
    }
    return list;
  }
  std::pair<bool, bool> in_blocks(const std::string& path) const {
    const auto in = [&](const std::vector<std::string>& parts) {
      return std::any_of(parts.begin(), parts.end(), [&](const std::string& part) { return path.find(part) != std::string::npos; });
    };
    const bool a = in(a_blocks_), b = in(b_blocks_);
    if (a && b) usage_error("bdlora", fmt::format("'{}' is in target_modules_bd_a and in target_modules_bd_b", path));
    if (!a && !b && options_.match_strict)
      usage_error("bdlora", fmt::format("'{}' is neither in target_modules_bd_a nor in target_modules_bd_b", path), "match_strict=false makes it plain LoRA");
    return {a, b};
  }

  std::vector<std::string> a_blocks_, b_blocks_;
};

}  // namespace

extern const MethodRow kBdLora;
const MethodRow kBdLora{.name = "bdlora",
                        .peft_type = "LORA",
                        .title = "BD-LoRA",
                        .paper = "arXiv 2510.23346",
                        .trains = "a low-rank update with one block-diagonal factor",
                        .idea = Idea::LowRank,
                        .formula = "y = W x + b + α/r · B A x,  A or B block-diagonal",
                        .size = "r (in / n + out) or r (in + out / n) a linear",
                        .cost = "as LoRA",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 5e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<BdLora>(); },
                        .peft_key = "use_bdlora"};

}  // namespace graft
