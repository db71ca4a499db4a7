// LoRA whose factors start from a pass over training data.
#pragma once
#include "methods/common/calibration.h"
#include "methods/common/lora_method.h"

namespace graft {

class CalibratedLora : public LoraMethod {
 public:
  using LoraMethod::LoraMethod;
  void attach(AttachContext& context) override;

 protected:
  struct Planned {
    Target target;
    int64_t r;
    double scale;
  };
  // Factors by name: a module's path and ".a" or ".b"; a module without is LoRA's, B without is 0. The same data and options must
  // give the same, whatever context.generator.
  virtual NamedTensors calibrate(AttachContext& context, const Calibration& data, const std::vector<Planned>& plan) = 0;
  // Where the data also tell ranks: changes the options to those of the factors.
  virtual void take_ranks(const std::vector<Planned>& /*plan*/, const std::map<std::string, Tensor>& /*factors*/) {}

  bool adapts_embeddings() const override { return false; }
  bool moves_base() override { return true; }
  LoraStart start(AttachContext& context, const Linear& linear, int64_t r, double scale) override;

 private:
  std::map<std::string, Tensor> factors_;
};

template <class Options>
class CalibratedLoraWith : public CalibratedLora {
 protected:
  using CalibratedLora::CalibratedLora;
  LoraConfig& options() override { return options_; }
  Options options_;
};

}  // namespace graft
