#include "model/model.h"

#include "core/torch.h"
#include "model/family.h"

namespace graft {

Linear Model::head_linear() const {
  Linear linear = head;
  if (!linear.weight.defined()) linear.weight = tokens.weight;
  return linear;
}

void visit_linears(Model& model, const std::function<void(Site, int64_t, Linear&)>& visit) {
  for (int64_t i = 0; i < model.layers(); ++i) {
    Block& b = model.blocks[i];
    const std::pair<Site, Linear*> all[] = {{Site::Q, &b.q}, {Site::K, &b.k},       {Site::V, &b.v},   {Site::Qkv, &b.qkv},
                                            {Site::O, &b.o}, {Site::Gate, &b.gate}, {Site::Up, &b.up}, {Site::Down, &b.down}};
    for (auto& [site, linear] : all)
      if (!linear->path.empty()) visit(site, i, *linear);
  }
  visit(Site::Head, -1, model.head);
}

void visit_norms(Model& model, const std::function<void(Site, int64_t, Norm&)>& visit) {
  for (int64_t i = 0; i < model.layers(); ++i) {
    visit(Site::Norm1, i, model.blocks[i].norm1);
    visit(Site::Norm2, i, model.blocks[i].norm2);
  }
  visit(Site::FinalNorm, -1, model.final_norm);
}

void visit_weights(Model& model, const WeightVisitor& visit) { model.family->weights(model, visit); }

int64_t parameter_count(const Model& model) {
  Model copy = model;
  int64_t count = 0;
  visit_weights(copy, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) { count += handle.numel(); });
  return count;
}

Model converted(const Model& model, at::ScalarType dtype, at::Device device) {
  Model copy = model;
  visit_weights(copy, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) { handle = handle.to(device, dtype); });
  if (copy.rope_frequencies.defined()) copy.rope_frequencies = copy.rope_frequencies.to(device);
  return copy;
}

}  // namespace graft
