#include "model/decoder.h"

#include <algorithm>
#include <numeric>

#include "core/check.h"
#include "core/device.h"
#include "core/torch.h"
#include "kernels/recompute.h"
#include "model/block.h"
#include "model/checkpoint.h"
#include "model/rope.h"

namespace graft {
namespace {

Tensor index_tensor(const std::vector<int64_t>& values, at::Device device) { return moved(at::tensor(values, at::kLong), device); }

// lengths: positions of each document, prefix and virtual rows included. A document has `more_keys` keys beside them.
void add_positions(const Model& model, const std::vector<int64_t>& lengths, int64_t more_keys, Pass& pass) {
  for (auto& rope : model.config.ropes) pass.angles.push_back(rope_angles(rope, model.config, pass.positions, pass.starts, lengths, model.dtype()));
  if (model.config.alibi != Alibi::None)
    pass.key_bias = moved(alibi_bias(model.config, *std::max_element(lengths.begin(), lengths.end()) + more_keys), model.device());
}

Tensor scaled(const Tensor& x, double scale) { return scale == 1 ? x : x * scale; }

Tensor embed(const Model& model, const Sites& sites, const Pass& pass) {
  const auto& c = model.config;
  Tensor x = scaled(sites.embed(model.tokens.weight, pass.ids).to(model.dtype()), c.token_scale);
  const Tensor rows = sites.input_rows();
  if (pass.insertion.defined()) x = at::cat({x, rows.to(x.scalar_type())}, 0).index_select(0, pass.insertion);
  x = scaled(x, c.input_scale);
  if (!model.project_in.path.empty()) x = sites.linear(Site::ProjectIn, -1, model.project_in, x);
  if (model.positions.weight.defined()) x = x + at::embedding(model.positions.weight, pass.positions + c.position_offset).to(model.dtype());
  if (!model.embed_norm.path.empty()) sites.visited(Site::EmbedNorm, -1);
  return normalised(c, model.embed_norm, x);
}

// The documents as edits see them. `lengths`: tokens of each sequence up to the end of each document.
std::shared_ptr<const Documents> documents_for_edits(const Sites& sites, const Batch& batch, const std::vector<int64_t>& lengths, const Pass& pass, at::Device device) {
  if (sites.reads() == Reads::Row) return nullptr;
  auto layout = std::make_shared<Documents>();
  layout->starts = pass.starts;
  size_t next = 0;  // in batch.predict
  for (int64_t d = 0; d < batch.documents(); ++d) {
    const int64_t tokens = batch.starts[d + 1] - batch.starts[d], before = lengths[d] - tokens;
    while (next < batch.predict.size() && batch.predict[next] < batch.starts[d]) ++next;
    int64_t prompt = lengths[d];
    if (!batch.prompts.empty()) prompt = batch.prompts[d];
    else if (next < batch.predict.size() && batch.predict[next] < batch.starts[d + 1] && (batch.predict[next] > batch.starts[d] || before > 0))
      prompt = before + batch.predict[next] - batch.starts[d] + 1;
    layout->first.push_back(lengths[d] - (pass.starts[d + 1] - pass.starts[d]));
    layout->prompt.push_back(prompt);
  }
  std::vector<int64_t> of_row;
  std::vector<float> share;
  for (int64_t d = 0; d < layout->count(); ++d)
    for (int64_t row = layout->starts[d]; row < layout->starts[d + 1]; ++row) {
      const int64_t position = layout->first[d] + row - layout->starts[d];
      const int64_t token = batch.starts[d + 1] - (layout->starts[d + 1] - row);
      layout->ids.push_back(token < batch.starts[d] ? -1 : batch.ids[token]);
      of_row.push_back(d);
      share.push_back(position >= 0 && position < layout->prompt[d] ? 1 / static_cast<float>(layout->prompt[d]) : 0);
    }
  layout->of_row = index_tensor(of_row, device);
  if (sites.reads() == Reads::Document) {
    CHECK_THAT(std::all_of(batch.parents.begin(), batch.parents.end(), [](int64_t parent) { return parent < 0; }),
               "an edit that reads whole documents cannot share their beginnings");
    layout->share = moved(at::tensor(share, at::kFloat), device);
  }
  return layout;
}

// The same for single tokens behind what a cache holds.
std::shared_ptr<const Documents> documents_for_edits(const Sites& sites, KvCache& cache, at::Device device) {
  if (sites.reads() == Reads::Row) return nullptr;
  auto layout = std::make_shared<Documents>();
  layout->prompt = cache.prompts;
  layout->carried = &cache.carried;
  layout->behind_prompt = true;
  for (int64_t i = 0; i < cache.sequences(); ++i) {
    layout->starts.push_back(i + 1);
    layout->first.push_back(cache.positions[i] - sites.kv_shift() - sites.input_row_count());
  }
  std::vector<int64_t> of_row(layout->first.size());
  std::iota(of_row.begin(), of_row.end(), int64_t{0});
  layout->of_row = index_tensor(of_row, device);
  return layout;
}

Tensor run_block(const Model& model, int64_t layer, const Tensor& x, const Sites& sites, const Pass& pass) {
  return (model.family->block ? model.family->block : decoder_block)(model, layer, x, sites, pass);
}

// Losses are float32 at least.
Tensor widened(const Tensor& logits) { return logits.to(at::promote_types(logits.scalar_type(), at::kFloat)); }

kernels::LogitShape logit_shape(const ModelConfig& config) { return {config.logit_scale, config.logit_softcap}; }

}  // namespace

std::vector<int64_t> Pass::last_documents() const {
  std::vector<char> continued(static_cast<size_t>(documents()));
  for (int64_t d = 0; d < documents(); ++d)
    if (parent(d) >= 0) continued[parent(d)] = 1;
  std::vector<int64_t> last;
  for (int64_t d = 0; d < documents(); ++d)
    if (!continued[d]) last.push_back(d);
  return last;
}

Pass lay_out(const Model& model, const Sites& sites, const Batch& batch) {
  const int64_t inserted = sites.input_row_count(), shift = sites.kv_shift();
  Pass pass;
  std::vector<int64_t> positions, lengths, insertion, predict, targets, row_of(batch.ids.size());
  pass.starts.push_back(0);
  pass.parents = batch.parents;
  for (int64_t d = 0; d < batch.documents(); ++d) {
    const int64_t parent = batch.parent(d);
    int64_t position = parent < 0 ? shift : lengths[parent];
    for (int64_t i = 0; parent < 0 && i < inserted; ++i, ++position) {
      insertion.push_back(batch.tokens() + i);
      positions.push_back(position);
    }
    for (int64_t t = batch.starts[d]; t < batch.starts[d + 1]; ++t, ++position) {
      row_of[t] = static_cast<int64_t>(positions.size());
      insertion.push_back(t);
      positions.push_back(position);
    }
    pass.starts.push_back(static_cast<int64_t>(positions.size()));
    lengths.push_back(position);
    if (position > model.config.max_positions && model.positions.weight.defined())
      input_error("model", fmt::format("a document takes {} positions but the model has {}", position, model.config.max_positions),
                  "shorten the rows with --max-length");
  }
  for (int64_t i = 0; i < batch.supervised(); ++i) {
    predict.push_back(row_of[batch.predict[i]]);
    targets.push_back(batch.target(i));
  }
  for (auto* ids : {&batch.ids, &std::as_const(targets)})
    for (const int64_t id : *ids)
      if (id >= model.config.vocab_size || (id < 0 && (ids != &targets || id != Batch::kNothing)))
        input_error("model", fmt::format("token id {} is outside the vocabulary of {}", id, model.config.vocab_size),
                    "do tokenizer and model belong together?");
  const at::Device device = model.device();
  const auto parts = index_tensors({&batch.ids, &positions, &predict, &targets, &insertion, &pass.starts}, device);
  pass.ids = parts[0];
  pass.positions = parts[1];
  pass.predict = parts[2];
  pass.targets = parts[3];
  if (inserted) pass.insertion = parts[4];
  if (!device.is_cpu() && pass.parents.empty()) pass.device_starts = parts[5].to(at::kInt);
  add_positions(model, lengths, sites.kv_row_count() - shift, pass);
  for (auto& length : lengths) length -= inserted + shift;
  pass.layout = documents_for_edits(sites, batch, lengths, pass, device);
  return pass;
}

void lay_out_again(const Model& model, const Sites& sites, const Batch& batch, Pass& pass) {
  const Pass next = lay_out(model, sites, batch);
  const auto fill = [](Tensor& there, const Tensor& values) {
    CHECK_THAT(there.defined() == values.defined() && (!there.defined() || there.sizes() == values.sizes()), "the batch has another size than the one that was laid out first");
    if (there.defined()) there.copy_(values, /*non_blocking=*/true);
  };
  pass.starts = next.starts;
  fill(pass.ids, next.ids);
  fill(pass.positions, next.positions);
  fill(pass.insertion, next.insertion);
  fill(pass.predict, next.predict);
  fill(pass.targets, next.targets);
  fill(pass.device_starts, next.device_starts);
  fill(pass.key_bias, next.key_bias);
  CHECK_THAT(!pass.layout, "what edits know of documents is laid out once");
  for (size_t i = 0; i < pass.angles.size(); ++i) {
    fill(pass.angles[i].cos, next.angles[i].cos);
    fill(pass.angles[i].sin, next.angles[i].sin);
  }
}

Tensor hidden_states(const Model& model, const Sites& sites, const Pass& pass) {
  Tensor x = embed(model, sites, pass);
  std::shared_ptr<Pass> second;  // blocks run again after this call
  if (pass.recomputed.blocks > 0) {
    second = std::make_shared<Pass>(pass);
    second->again = true;
  }
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    if (layer >= pass.recomputed.blocks) x = run_block(model, layer, x, sites, pass);
    else x = checkpointed([&, second, layer](const Tensor& input, bool again) { return run_block(model, layer, input, sites, again ? *second : pass); }, x);
  }
  if (pass.wanted.defined() && x.size(0) != pass.wanted.size(0)) x = x.index_select(0, pass.wanted);  // a block that knows nothing of it, or none
  if (!model.final_norm.path.empty()) sites.visited(Site::FinalNorm, -1);
  x = normalised(model.config, model.final_norm, x);
  return model.project_out.path.empty() ? x : sites.linear(Site::ProjectOut, -1, model.project_out, x);
}

Tensor logits(const Model& model, const Sites& sites, const Tensor& hidden) {
  return kernels::shaped_logits(sites.linear(Site::Head, -1, model.head_linear(), hidden), logit_shape(model.config));
}

Tensor loss_sum(const Model& model, const Sites& sites, const Batch& batch, const Recomputed& recomputed, const kernels::LossOptions& options) {
  Pass pass = lay_out(model, sites, batch);
  pass.recomputed = recomputed;
  return loss_sum(model, sites, std::move(pass), options);
}

Tensor loss_sum(const Model& model, const Sites& sites, Pass pass, const kernels::LossOptions& options) {
  pass.wanted = pass.predict;
  // Virtual rows are alike in front of all sequences: those of the first document stand for all.
  const auto learned = at::GradMode::is_enabled() ? sites.learned_rows() : std::vector<InputEdit::Learned>{};
  if (!learned.empty()) {
    std::vector<int64_t> rows;
    for (auto& l : learned) rows.push_back(l.row);
    pass.wanted = at::cat({index_tensor(rows, model.device()), pass.predict});
  }
  const kernels::KeepOutputs keep(!pass.recomputed.outputs);
  const Tensor all = hidden_states(model, sites, pass);
  const auto loss = [&](const Tensor& h, const Tensor& targets) {
    if (sites.has_edit(Site::Head, -1)) return kernels::cross_entropy_composed(logits(model, sites, h), targets, options.label_smoothing);
    const Linear head = model.head_linear();
    return kernels::linear_cross_entropy(h, head.weight, head.bias, targets, logit_shape(model.config), options);
  };
  const int64_t virtual_rows = static_cast<int64_t>(learned.size());
  if (!sites.has_edit(Site::Head, -1)) sites.visited(Site::Head, -1);
  Tensor total = loss(virtual_rows ? all.narrow(0, virtual_rows, all.size(0) - virtual_rows) : all, pass.targets);
  for (int64_t i = 0, end = 0; i < virtual_rows; i = end) {  // rows of one weight together
    std::vector<int64_t> targets;
    for (end = i; end < virtual_rows && learned[end].weight == learned[i].weight; ++end) targets.push_back(learned[end].next_token);
    const Tensor term = loss(all.narrow(0, i, end - i), index_tensor(targets, model.device())) * (learned[i].weight * static_cast<double>(pass.last_documents().size()));
    total = total + (term - term.detach());
  }
  return total;
}

Tensor token_losses(const Model& model, const Sites& sites, const Batch& batch) {
  at::NoGradGuard no_grad;
  Pass pass = lay_out(model, sites, batch);
  pass.wanted = pass.predict;
  const Tensor h = hidden_states(model, sites, pass);
  if (sites.has_edit(Site::Head, -1))
    return -at::log_softmax(widened(logits(model, sites, h)), 1).gather(1, pass.targets.unsqueeze(1)).squeeze(1).to(at::kDouble);
  const Linear head = model.head_linear();
  return kernels::token_losses(h, head.weight, head.bias, pass.targets, logit_shape(model.config));
}

KvCache make_cache(const Model& model, const Sites& sites, int64_t sequences, int64_t capacity) {
  KvCache cache;
  const int64_t rows = capacity + sites.input_row_count() + sites.kv_row_count();
  for (int64_t i = 0; i < model.layers(); ++i) {
    const auto make = [&] { return at::empty({sequences, model.config.kv_heads, rows, model.config.head_dim}, at::TensorOptions().dtype(model.dtype()).device(model.device())); };
    cache.k.push_back(make());
    cache.v.push_back(make());
  }
  for (int64_t i = 0; i < sequences; ++i) cache.slots.push_back(i);
  cache.front.assign(model.blocks.size(), 0);
  cache.lengths.assign(sequences, 0);
  cache.positions.assign(sequences, 0);
  return cache;
}

Tensor next_logits(const Model& model, const Sites& sites, const Batch& batch, KvCache& cache) {
  Pass pass;
  const bool cold = cache.lengths[0] == 0;
  if (cold) {
    pass = lay_out(model, sites, batch);
    if (pass.layout) {
      auto layout = std::make_shared<Documents>(*pass.layout);
      layout->carried = &cache.carried;
      cache.prompts.clear();
      for (const int64_t d : pass.last_documents()) cache.prompts.push_back(layout->prompt[d]);
      pass.layout = layout;
    }
  } else {  // one token a sequence: no virtual rows, positions go on
    pass.ids = index_tensor(batch.ids, model.device());
    for (int64_t i = 0; i <= cache.sequences(); ++i) pass.starts.push_back(i);
    pass.positions = index_tensor(cache.positions, model.device());
    std::vector<int64_t> lengths = cache.positions;
    for (auto& length : lengths) ++length;
    add_positions(model, lengths, sites.kv_row_count() - sites.kv_shift(), pass);
    pass.layout = documents_for_edits(sites, cache, model.device());
  }
  pass.cache = &cache;
  const auto documents = pass.last_documents();
  if (pass.rows() > cache.sequences()) {
    std::vector<int64_t> last;
    for (const int64_t d : documents) last.push_back(pass.starts[d + 1] - 1);
    pass.wanted = index_tensor(last, model.device());
  }
  const Tensor h = hidden_states(model, sites, pass);
  for (int64_t i = 0; i < cache.sequences(); ++i) {
    int64_t rows = 0;
    for (int64_t d = documents[i]; d >= 0; d = pass.parent(d)) rows += pass.starts[d + 1] - pass.starts[d];
    cache.lengths[i] += rows;
    cache.positions[i] += rows + (cold ? sites.kv_shift() : 0);
  }
  return logits(model, sites, h);
}

bool must_refill(const Model& model, const KvCache& cache) {
  for (auto& rope : model.config.ropes)
    for (const int64_t position : cache.positions)
      if (rope.kind == "longrope" && position == rope.original_max_positions && cache.lengths[0] > 0) return true;
  return false;
}

void select_sequences(KvCache& cache, const std::vector<int64_t>& kept) {
  const auto pick = [&](std::vector<int64_t>& values) {
    std::vector<int64_t> next;
    for (const int64_t i : kept) next.push_back(values[i]);
    values = next;
  };
  pick(cache.slots);
  pick(cache.lengths);
  pick(cache.positions);
  if (!cache.prompts.empty()) pick(cache.prompts);
  for (auto& [edit, value] : cache.carried) value = value.index_select(0, index_tensor(kept, value.device()));
  if (cache.k[0].is_cpu()) return;
  // Elsewhere tensor operations read the cache, and they want the sequences in order.
  const Tensor index = index_tensor(cache.slots, cache.k[0].device());
  for (auto* tensors : {&cache.k, &cache.v})
    for (auto& t : *tensors) t = t.index_select(0, index);
  for (size_t i = 0; i < kept.size(); ++i) cache.slots[i] = static_cast<int64_t>(i);
}

}  // namespace graft
