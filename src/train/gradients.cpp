#include "train/gradients.h"

#include <algorithm>
#include <bit>

#include "core/check.h"
#include "core/device.h"
#include "core/log.h"
#include "core/torch.h"
#include "kernels/dropout.h"
#include "model/decoder.h"

namespace graft {
namespace {

constexpr int64_t kSeenBefore = 2;       // sizes that come once or twice are not worth a recording
constexpr size_t kMostRecordings = 100;  // each keeps gradients and a list of kernels
constexpr int64_t kLeastFill = 64, kLongestFill = 256;

// Between powers of two there are so many sizes. Fewer come again sooner, but leave more to fill up.
constexpr int64_t kTokenSizes = 8, kLearnedSizes = 4, kLongestSizes = 1;
int64_t step_between(int64_t count, int64_t sizes) { return std::max(kLeastFill, static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(count))) / sizes); }
int64_t size_for(int64_t count, int64_t sizes) {
  const int64_t step = step_between(count, sizes);
  return (count + step - 1) / step * step;
}

// With documents of token 0 behind the others, none of them longer than `piece`, some perhaps empty, and places where nothing is learned. How many
// documents there are follows from the sizes alone.
Batch filled_up(const Batch& batch, int64_t tokens, int64_t supervised, int64_t piece) {
  Batch filled = batch;
  for (int64_t i = static_cast<int64_t>(batch.targets.size()); i < batch.supervised(); ++i) filled.targets.push_back(batch.target(i));
  for (int64_t most = step_between(batch.tokens(), kTokenSizes); most > 0; most -= piece) filled.starts.push_back(std::min(tokens, filled.starts.back() + piece));
  filled.ids.resize(static_cast<size_t>(tokens));
  filled.predict.resize(static_cast<size_t>(supervised), tokens - 1);
  filled.targets.resize(static_cast<size_t>(supervised), Batch::kNothing);
  return filled;
}

int64_t longest_document(const Batch& batch) {
  int64_t longest = 0;
  for (int64_t d = 0; d < batch.documents(); ++d) longest = std::max(longest, batch.starts[d + 1] - batch.starts[d]);
  return longest;
}

kernels::LossOptions loss_options(double label_smoothing, const Recomputed& recomputed) {
  return {.label_smoothing = label_smoothing, .chunk_bytes = recomputed.blocks > 0 ? kernels::kSmallChunk : 0};
}

}  // namespace

struct Gradients::Recorded {
  explicit Recorded(at::Device device) : recording(device) {}
  Pass pass;
  Tensor share;  // 1 / supervised tokens of the step
  Tensor loss;
  std::vector<Tensor> gradients;  // of each parameter, or undefined
  Recording recording;
};

bool draws(Adapted& adapted) {
  at::NoGradGuard no_grad;
  const TrainingMode mode(adapted.sites);
  const uint64_t before = kernels::random_draws();
  loss_sum(adapted.model, adapted.sites, Batch{{0, 0}, {0, 2}, {0}, {}});
  return kernels::random_draws() != before;
}

std::string why_not_recorded(Adapted& adapted) {
  const Model& model = adapted.model;
  const Sites& sites = adapted.sites;
  const auto& c = model.config;
  if (!Recording::possible(model.device())) return fmt::format("this build records no work of {}", model.device().str());
  if (!adapted.method->passes_repeat()) return fmt::format("{} computes something else in each step", adapted.row->name);
  if (sites.reads() != Reads::Row) return fmt::format("{} looks at positions", adapted.row->name);
  if (sites.kv_row_count() > 0) return fmt::format("{} puts rows in front of keys and values", adapted.row->name);
  if (!sites.learned_rows().empty()) return fmt::format("{} learns from virtual rows", adapted.row->name);
  for (auto& rope : c.ropes)
    if (rope.by_length()) return fmt::format("{}'s rotary positions depend on the length", c.model_type);
  if (c.alibi != Alibi::None) return fmt::format("{}'s attention is biased by the length", c.model_type);
  kernels::AttentionShape shape;
  shape.softcap = c.attention_softcap;
  const Tensor q = at::empty({1, c.heads, c.head_dim}, at::TensorOptions().dtype(model.dtype()).device(model.device()));
  if (!model.device().is_cpu() && !kernels::reads_device_starts(q, shape)) return "its attention needs the documents' starts on the CPU";
  if (draws(adapted)) return fmt::format("{} draws random numbers (dropout)", adapted.row->name);
  return {};
}

Gradients::Gradients(Adapted& adapted, double label_smoothing, bool recorded) : adapted_(adapted), label_smoothing_(label_smoothing), may_record_(recorded) { moved_on(); }
Gradients::~Gradients() = default;

std::vector<Tensor> Gradients::take() {
  std::vector<Tensor> gradients;
  for (auto& p : adapted_.method->params()) {
    gradients.push_back(p.value.grad());
    p.value.mutable_grad().reset();
  }
  return gradients;
}

void Gradients::give(const std::vector<Tensor>& gradients, bool alone) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> sums, more, fresh;
  std::vector<size_t> fresh_at;
  const auto& params = adapted_.method->params();
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!gradients[i].defined()) continue;
    if (const Tensor& sum = params[i].value.grad(); sum.defined()) {
      sums.push_back(sum);
      more.push_back(gradients[i]);
    } else {
      fresh.push_back(gradients[i]);
      fresh_at.push_back(i);
    }
  }
  if (!sums.empty()) at::_foreach_add_(sums, more);
  if (!fresh.empty() && !alone) fresh = at::_foreach_add(fresh, 0);
  for (size_t i = 0; i < fresh.size(); ++i) params[fresh_at[i]].value.mutable_grad() = fresh[i];
}

bool Gradients::moved_on() {
  std::vector<std::pair<const void*, bool>> places;
  for (auto& p : adapted_.method->params()) places.emplace_back(p.value.const_data_ptr(), p.value.requires_grad());
  if (places == places_) return false;
  places_ = std::move(places);
  return true;
}

Tensor Gradients::add_at_once(const Batch& batch, const Recomputed& recomputed, int64_t supervised) {
  const Tensor loss = loss_sum(adapted_.model, adapted_.sites, batch, recomputed, loss_options(label_smoothing_, recomputed));
  (loss / static_cast<double>(supervised)).backward();
  return loss.detach();
}

// The parameters without their gradients, which come back at the end.
struct Gradients::Aside {
  explicit Aside(Gradients& of) : owner(of), gradients(of.take()) {}
  ~Aside() {
    for (size_t i = 0; i < gradients.size(); ++i) owner.adapted_.method->params()[i].value.mutable_grad() = gradients[i];
  }
  Gradients& owner;
  std::vector<Tensor> gradients;
};

void Gradients::record(Recorded& r) {
  r.recording.record([this, &r] {
    const Aside aside(*this);
    kernels::LossOptions options = loss_options(label_smoothing_, r.pass.recomputed);
    options.gaps = true;
    const Tensor loss = loss_sum(adapted_.model, adapted_.sites, r.pass, options);
    (loss * r.share.to(loss.scalar_type())).backward();
    r.loss = loss.detach();
    r.gradients = take();
  });
}

Tensor Gradients::add(const Batch& batch, const Recomputed& recomputed, int64_t supervised, bool alone) {
  if (!may_record_ || !batch.parents.empty()) return add_at_once(batch, recomputed, supervised);
  if (moved_on()) {
    recorded_.clear();
    seen_.clear();
  }
  const auto& c = adapted_.model.config;
  const int64_t virtual_rows = adapted_.sites.input_row_count(), piece = std::min(kLongestFill, c.max_positions - virtual_rows);
  if (piece < 1) return add_at_once(batch, recomputed, supervised);
  const int64_t tokens = size_for(batch.tokens(), kTokenSizes), learned = size_for(batch.supervised(), kLearnedSizes);
  Batch filled = filled_up(batch, tokens, learned, piece);
  if (learned == filled.rows(virtual_rows)) filled = filled_up(batch, tokens, learned + kLeastFill, piece);  // so many rows would be taken for all
  // On a GPU, blocks of queries that a shorter document does not have end at once.
  const int64_t longest = size_for(longest_document(filled) + virtual_rows, kLongestSizes);
  const Size size{tokens, filled.supervised(), longest, filled.documents(), recomputed.mlps, recomputed.blocks, recomputed.outputs};
  const auto found = recorded_.find(size);
  Recorded* r = found == recorded_.end() ? nullptr : found->second.get();
  if (r) {
    lay_out_again(adapted_.model, adapted_.sites, filled, r->pass);
  } else {
    const at::Device device = adapted_.model.device();
    const bool room = recorded_.size() < kMostRecordings && (device.is_cpu() || has_much_room(device));
    if (seen_[size]++ < kSeenBefore || !room) return add_at_once(batch, recomputed, supervised);
    auto fresh = std::make_unique<Recorded>(device);
    fresh->pass = lay_out(adapted_.model, adapted_.sites, filled);
    fresh->pass.recomputed = recomputed;
    fresh->pass.longest = longest;
    fresh->share = at::empty({}, at::TensorOptions().dtype(at::kDouble).device(device));
    try {
      record(*fresh);
    } catch (const std::exception& e) {
      const std::string text = e.what();
      log_info("passes are not recorded from here on: {}", text.substr(0, text.find('\n')));
      may_record_ = false;
      recorded_.clear();
      return add_at_once(batch, recomputed, supervised);
    }
    r = (recorded_[size] = std::move(fresh)).get();
  }
  r->share.fill_(1 / static_cast<double>(supervised));
  r->recording.replay();
  give(r->gradients, alone);
  return r->loss.clone();
}

}  // namespace graft
