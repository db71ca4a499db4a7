#include "model/model.h"

#include <set>

#include "core/rng.h"
#include "core/torch.h"
#include "model/family.h"

namespace graft {

Linear Model::head_linear() const {
  Linear linear = head;
  if (!linear.weight.defined()) linear.weight = tokens.weight;
  return linear;
}

void Model::untie_head() {
  if (!config.tied_head) return;
  head.weight = head_linear().weight;
  config.tied_head = false;
  config.raw["tie_word_embeddings"] = false;
}

void visit_linears(Model& model, const std::function<void(Site, int64_t, Linear&)>& visit) {
  const auto present = [&](Site site, int64_t layer, Linear& linear) {
    if (!linear.path.empty()) visit(site, layer, linear);
  };
  present(Site::ProjectOut, -1, model.project_out);
  present(Site::ProjectIn, -1, model.project_in);
  for (int64_t i = 0; i < model.layers(); ++i) {
    Block& b = model.blocks[i];
    present(Site::Q, i, b.q);
    present(Site::K, i, b.k);
    present(Site::V, i, b.v);
    present(Site::Qkv, i, b.qkv);
    present(Site::O, i, b.o);
    present(Site::Gate, i, b.gate);
    present(Site::Up, i, b.up);
    present(Site::GateUp, i, b.gate_up);
    present(Site::Down, i, b.down);
  }
  visit(Site::Head, -1, model.head);
}

void visit_norms(Model& model, const std::function<void(Site, int64_t, Norm&)>& visit) {
  const auto present = [&](Site site, int64_t layer, Norm& norm) {
    if (!norm.path.empty() && norm.gain) visit(site, layer, norm);
  };
  present(Site::EmbedNorm, -1, model.embed_norm);
  for (int64_t i = 0; i < model.layers(); ++i) {
    Block& b = model.blocks[i];
    present(Site::Norm1, i, b.norm1);
    for (auto& norm : b.q_norms) present(Site::QNorm, i, norm);
    for (auto& norm : b.k_norms) present(Site::KNorm, i, norm);
    present(Site::PostNorm1, i, b.post_norm1);
    present(Site::Norm2, i, b.norm2);
    present(Site::PostNorm2, i, b.post_norm2);
  }
  present(Site::FinalNorm, -1, model.final_norm);
}

std::vector<Site> declared_sites(const Model& source) {
  Model model = source;
  std::set<Site> sites{Site::Embed, Site::Kv, Site::AttnOut, Site::MlpAct, Site::MlpOut, Site::BlockOut};
  visit_linears(model, [&](Site site, int64_t, Linear&) { sites.insert(site); });
  const auto norm = [&](Site site, const Norm& n) {
    if (!n.path.empty()) sites.insert(site);
  };
  norm(Site::EmbedNorm, model.embed_norm);
  norm(Site::FinalNorm, model.final_norm);
  for (auto& b : model.blocks) {
    norm(Site::Norm1, b.norm1);
    norm(Site::PostNorm1, b.post_norm1);
    norm(Site::Norm2, b.norm2);
    norm(Site::PostNorm2, b.post_norm2);
    if (!b.q_norms.empty()) sites.insert({Site::QNorm, Site::KNorm});
  }
  return {sites.begin(), sites.end()};
}

int64_t parameter_count(const Model& model) {
  Model copy = model;
  int64_t count = 0;
  visit_weights(copy, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) { count += handle.numel(); });
  return count;
}

Model converted(const Model& model, at::ScalarType dtype, at::Device device) {
  Model copy = model;
  copy.compute = dtype;
  visit_weights(copy, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) { handle = handle.to(device, dtype); });
  return copy;
}

Model with_own_handles(const Model& model) {
  Model copy = model;
  visit_weights(copy, [&](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) {
    handle = at::from_blob(handle.data_ptr(), handle.sizes(), handle.strides(), [shared = handle](void*) {}, handle.options());
  });
  return copy;
}

std::string fingerprint(const Model& base) {
  uint64_t hash = hash_bytes(base.config.raw.dump());
  Model copy = base;
  visit_weights(copy, [&](const std::string& name, Tensor& handle, const std::vector<int64_t>&, bool) {
    // A strided sample of the values tells models apart without reading gigabytes.
    const Tensor flat = handle.detach().to(at::kCPU).reshape({-1});
    const int64_t stride = std::max<int64_t>(1, flat.numel() / 1024);
    const Tensor sample = flat.slice(0, 0, flat.numel(), stride).to(at::kFloat).contiguous();
    hash = mix_seed(hash ^ hash_bytes({static_cast<const char*>(sample.const_data_ptr()), sample.nbytes()}), name);
  });
  return fmt::format("{:016x}", hash);
}

}  // namespace graft
