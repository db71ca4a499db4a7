// AdapterHub's prefix tuning and its unions of several methods.
#pragma once
#include "methods/method.h"

namespace graft {

// Keys and values in front of every document in every layer, of AdapterHub's kind: real tokens' positions start at 0 beside them. Row i of the table is
// W2 f(W1 e_i + b1) + b2 (e [prefix_length, width]), or trained itself where it is `flat`; it holds K and V of one layer behind the other.
// With gates K and V of a layer are multiplied for each document by the mean of sigmoid(gate(x)) over its prompt, x the attention's input.
struct HubPrefixConfig : Config {
  bool flat = false, use_gating = false, shared_gating = true;
  int64_t prefix_length = 30, bottleneck_size = 512;
  std::string non_linearity = "tanh";
  Json leave_out = Json::array();
  void visit(Fields& f) override;
};

class HubPrefix : public Method {
 public:
  HubPrefixConfig options;
  Config& config() override { return options; }
  void attach(AttachContext& context) override;
  Json file_config(const Model& model) override;
  void read_file_config(const Json& json, const std::string& tag) override;
  int file_fit(const Json& config) const override;
};
// The reference's files hold the table's tensors at the model's root and again in every layer: one copy, under the root's names.
NamedTensors with_one_prefix(const NamedTensors& tensors, const std::string& source);

// Several methods as one adapter: AdapterHub's architecture "union".
class Union : public Method {
 public:
  void attach(AttachContext& context) override;
  Json file_config(const Model& model) override;
  void read_file_config(const Json& json, const std::string& tag) override;
  int file_fit(const Json& config) const override;
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override;

 protected:
  std::vector<Method*> parts_;  // members of the method that derives from this

 private:
  // The part that reads each configuration of a file; empty where they do not belong to this method.
  std::vector<Method*> readers(const Json& config) const;
};

}  // namespace graft
