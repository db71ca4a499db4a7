#include "adapter/merge.h"

#include "core/check.h"
#include "core/rng.h"
#include "core/torch.h"
#include "model/decoder.h"

namespace graft {

namespace {

void refuse_unmergeable(const MethodRow& row) {
  if (row.mergeable) return;
  std::vector<std::string> mergeable;
  for (auto& other : methods())
    if (other.mergeable) mergeable.push_back(other.name);
  usage_error("merge", fmt::format("{} cannot be folded into the base's weights", row.name),
              fmt::format("keep the adapter beside the base; mergeable are {}", fmt::join(mergeable, ", ")));
}

}  // namespace

Model merged(const Adapted& adapted) {
  for (auto& part : adapted.parts) refuse_unmergeable(*part->row);
  if (adapted.row) refuse_unmergeable(*adapted.row);
  Model model = adapted.model;  // trained copies of base tensors are in place already
  const Linear plain_head = model.head_linear();
  visit_linears(model, [&](Site site, int64_t layer, Linear& linear) {
    const auto& edit = adapted.sites.weight_edit(site, layer);
    if (!edit || site == Site::Head) return;
    const auto result = edit->merged(linear);
    CHECK_THAT(result, "the method says it merges but {} does not", linear.path);
    linear = *result;
  });
  const auto& embed = adapted.sites.embed_edit();
  const auto& head = adapted.sites.weight_edit(Site::Head, -1);
  const Linear merged_head = head ? head->merged(plain_head).value() : plain_head;
  if (embed) model.tokens.weight = embed->merged(model.tokens.weight);
  if (!model.config.tied_head) {
    model.head = merged_head;
  } else if ((embed || head) && !at::equal(merged_head.weight, model.tokens.weight)) {  // one of them alone changed: they part
    model.head = merged_head;
    model.config.tied_head = false;
    model.config.raw["tie_word_embeddings"] = false;
  } else {
    model.head = plain_head;
    model.head.weight = Tensor();
  }
  visit_weights(model, [](const std::string&, Tensor& handle, const std::vector<int64_t>&, bool) { handle = handle.detach(); });
  return model;
}

double largest_logit_difference(const Model& a, const Sites& sites_a, const Model& b, const Sites& sites_b) {
  at::NoGradGuard no_grad;
  Rng rng(17);
  Batch batch{{}, {0}, {}, {}};
  for (int64_t d = 0; d < 4; ++d) {
    for (int64_t t = 0; t < std::min<int64_t>(32, a.config.max_positions / 2); ++t) batch.ids.push_back(static_cast<int64_t>(rng.below(a.config.vocab_size)));
    batch.starts.push_back(batch.tokens());
  }
  const auto run = [&](const Model& model, const Sites& sites) {
    return logits(model, sites, hidden_states(model, sites, lay_out(model, sites, batch))).to(at::kDouble);
  };
  return (run(a, sites_a) - run(b, sites_b)).abs().max().item<double>();
}

}  // namespace graft
