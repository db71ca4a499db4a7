// BitFit (arXiv 2106.10199): only the bias vectors of the base are trained. PEFT has no type for it; the file is a LoRA of
// rank 1 whose B is zero on one module, with bias = "all", which PEFT loads. A model without biases has nothing to train.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/targets.h"

namespace graft {
namespace {

struct BitFitConfig : Config {
  void visit(Fields&) override {}
};

class BitFit : public Method {
 public:
  Config& config() override { return config_; }
  void attach(AttachContext& context) override {
    visit_linears(context.model, [&](Site, int64_t, Linear& linear) {
      if (carrier_.empty() && linear.bias.defined()) {
        carrier_ = linear.path;
        carrier_in_ = linear.in();
        carrier_out_ = linear.out();
      }
    });
    visit_base(context.model, [&](const std::string& name, Tensor& handle, bool) {
      if (!name.ends_with(".bias")) return;
      const std::string module = name.substr(0, name.size() - 5);
      params_.push_back({kPeftPrefix + module + (module == carrier_ ? ".base_layer.bias" : ".bias"), trained_copy(handle), false});
    });
    if (params_.empty() || carrier_.empty())
      usage_error("bitfit", fmt::format("this {} model has no biases, so there is nothing to train", context.model.config.model_type),
                  "choose another method, such as ln_tuning");
  }
  NamedTensors file_tensors() const override {
    NamedTensors tensors = Method::file_tensors();
    const std::string prefix = kPeftPrefix + carrier_ + ".lora_";
    tensors.emplace_back(prefix + "A.weight", at::zeros({1, carrier_in_}));
    tensors.emplace_back(prefix + "B.weight", at::zeros({carrier_out_, 1}));
    return tensors;
  }
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    NamedTensors biases;
    for (auto& entry : tensors)
      if (entry.first.find(".lora_") == std::string::npos) biases.push_back(entry);
    Method::load_file_tensors(biases, source);
  }
  Json file_config(const Model& model) override {
    const std::string escaped = [&] {
      std::string text;
      for (const char c : carrier_) text += c == '.' ? std::string("\\.") : std::string(1, c);
      return text;
    }();
    Model copy = model;
    bool conv1d = false;
    visit_linears(copy, [&](Site, int64_t, Linear& linear) { conv1d |= linear.path == carrier_ && linear.conv1d; });
    return {{"r", 1}, {"lora_alpha", 1}, {"bias", "all"}, {"target_modules", escaped}, {"fan_in_fan_out", conv1d}, {"init_lora_weights", true},
            {"lora_dropout", 0.0}, {"use_rslora", false}, {"use_dora", false}, {"rank_pattern", Json::object()}, {"alpha_pattern", Json::object()}};
  }

 private:
  BitFitConfig config_;
  std::string carrier_;  // the module that carries the empty LoRA
  int64_t carrier_in_ = 0, carrier_out_ = 0;
};

}  // namespace

extern const MethodRow kBitFit;
const MethodRow kBitFit{.name = "bitfit",
                        .peft_type = "LORA",
                        .title = "BitFit",
                        .paper = "arXiv 2106.10199",
                        .trains = "the biases of the base",
                        .idea = Idea::Selective,
                        .formula = "y = W x + b, b trained",
                        .size = "all biases",
                        .cost = "none beside the base's backward pass; none after merging",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 5e-3,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<BitFit>(); }};

}  // namespace graft
