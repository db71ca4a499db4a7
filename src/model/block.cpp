// One block of a decoder. With a(x) = O · attention(rope(qnorm(Q x)), rope(knorm(K x)), V x), f(x) = Down · (act(Gate x) ⊙ Up x) or
// Down · act(Up x), norms n1, n2 before and p1, p2 behind them (those that the family does not have leave their input alone):
//   serial      x += s p1(a(n1 x));  x += s p2(f(n2 x))
//   parallel    x += s p1(a(n1 x)) + s p2(f(n2 x)), or with f(n1 x) where there is no n2
//   norm_after  x = n1(x + a(x));  x = n2(x + f(x))
#include "model/block.h"

#include <optional>

#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/norm.h"
#include "model/attention.h"
#include "model/checkpoint.h"

namespace graft {
namespace {

// From a fused weight's output. Grouped: for each group its queries, one key and one value; where attention has a key for
// each query head, all heads of a group get the group's.
Heads split_fused(const ModelConfig& c, const Tensor& qkv) {
  const int64_t rows = qkv.size(0), d = c.head_dim;
  if (!c.qkv_groups) {
    const auto parts = qkv.split_with_sizes({c.heads * d, c.kv_heads * d, c.kv_heads * d}, 1);
    return {parts[0].reshape({rows, c.heads, d}), parts[1].reshape({rows, c.kv_heads, d}), parts[2].reshape({rows, c.kv_heads, d})};
  }
  const int64_t each = c.heads / c.qkv_groups, copies = c.kv_heads / c.qkv_groups;
  const Tensor groups = qkv.view({rows, c.qkv_groups, each + 2, d});
  const auto shared = [&](int64_t index) { return groups.narrow(2, index, 1).expand({rows, c.qkv_groups, copies, d}).reshape({rows, c.kv_heads, d}); };
  return {groups.narrow(2, 0, each).reshape({rows, c.heads, d}), shared(each), shared(each + 1)};
}

// n [rows, width]; with `tails` queries of those rows alone.
Heads project(const Model& m, const Block& b, At at, const Tensor& n, const Sites& board, const Tails* tails = nullptr) {
  const auto& c = m.config;
  if (!b.qkv.path.empty()) {
    Heads h = split_fused(c, board.linear(Site::Qkv, at, b.qkv, n));
    if (tails) h.q = h.q.index_select(0, tails->rows);
    return h;
  }
  const Sites::Member members[] = {{Site::Q, &b.q}, {Site::K, &b.k}, {Site::V, &b.v}};
  const std::span<const Sites::Member> all = members;
  auto parts = board.linears(at, tails ? all.subspan(1) : all, n);
  if (tails) parts.insert(parts.begin(), board.linear(Site::Q, at, b.q, n.index_select(0, tails->rows)));
  const auto split = [&](const Tensor& x, int64_t heads) { return x.view({x.size(0), heads, c.head_dim}); };
  return {split(parts[0], c.heads), split(parts[1], c.kv_heads), split(parts[2], c.kv_heads)};
}

// x [rows, heads, head_dim], normalised as QkNorm says.
Tensor norm_heads(const ModelConfig& c, const std::vector<Norm>& norms, const Tensor& x) {
  if (c.qk_norm == QkNorm::Head) return normalised(c, norms[0], x.flatten(0, 1)).view(x.sizes());
  if (c.qk_norm == QkNorm::Width) return normalised(c, norms[0], x.flatten(1, 2)).view(x.sizes());
  std::vector<Tensor> gains;
  for (auto& norm : norms) gains.push_back(norm.weight);
  const Tensor gain = c.qk_norm == QkNorm::PerHead ? gains[0] : at::stack(gains);  // [heads, head_dim]
  return kernels::layer_norm(x, {}, {}, c.norm_eps) * gain.to(x.scalar_type());
}

// Behind the attention of the last block only the rows that are asked for go on, unless an edit counts rows.
bool asks_for_rows(const Model& m, int64_t i, const Pass& pass) { return pass.wanted.defined() && i + 1 == m.layers() && !pass.layout; }
Tensor wanted(const Model& m, int64_t i, const Tensor& x, const Pass& pass) { return asks_for_rows(m, i, pass) ? x.index_select(0, pass.wanted) : x; }

// For which rows the last block needs queries, where these are not nearly all.
std::optional<Tails> tails_of(const Model& m, int64_t i, const KvRows& extra, const Pass& pass) {
  const bool bent = m.config.attention_softcap > 0 || pass.key_bias.defined();
  if (!asks_for_rows(m, i, pass) || pass.cache || extra.factors.defined() || !kernels::takes_last_queries(m.device(), m.dtype(), bent)) return std::nullopt;
  const int64_t *next = pass.wanted.const_data_ptr<int64_t>(), *const end = next + pass.wanted.numel();
  Tails tails{{0}, {}, {}};
  std::vector<int64_t> rows, asked;
  for (int64_t d = 0; d < pass.documents(); ++d) {
    const int64_t behind = pass.starts[d + 1], first = next < end ? std::min(*next, behind) : behind, begin = static_cast<int64_t>(rows.size());
    for (int64_t row = first; row < behind; ++row) rows.push_back(row);
    for (; next < end && *next < behind; ++next) asked.push_back(begin + *next - first);
    tails.starts.push_back(static_cast<int64_t>(rows.size()));
  }
  if (static_cast<int64_t>(8 * rows.size()) > 7 * pass.rows()) return std::nullopt;  // picking rows costs too
  tails.rows = at::tensor(rows, at::kLong);
  tails.wanted = at::tensor(asked, at::kLong);
  return tails;
}

Tensor attention(const Model& m, const Block& b, int64_t i, const Tensor& n, const Sites& board, const Pass& pass) {
  const At at(i, pass.layout.get());
  const bool warm = pass.cache && pass.cache->lengths[0] > 0;  // then the rows in front lie in the cache
  const KvRows extra = warm ? KvRows{} : board.kv(at, n);
  const auto some = tails_of(m, i, extra, pass);
  const Tails* const tails = some ? &*some : nullptr;
  const auto asked_for = [&](const Tensor& x) { return tails ? x.index_select(0, tails->wanted) : wanted(m, i, x, pass); };
  Heads h = project(m, b, at, n, board, tails);
  if (m.config.qk_norm != QkNorm::None) {
    board.visited(Site::QNorm, i);
    h.q = norm_heads(m.config, b.q_norms, h.q);
    board.visited(Site::KNorm, i);
    h.k = norm_heads(m.config, b.k_norms, h.k);
  }
  const auto& sides = board.sides(i);
  if (sides.empty()) return board.linear(Site::O, at, b.o, asked_for(attend(m, i, h, extra, pass, tails)));
  std::vector<Beside> beside;
  for (auto& side : sides) {
    const Heads rows = project(m, b, i, side->rows().to(n.scalar_type()), Sites(m.layers()));
    beside.push_back({{m.config.qk_norm == QkNorm::None ? rows.k : norm_heads(m.config, b.k_norms, rows.k), rows.v}, {}});
  }
  const Tensor own = attend(m, i, h, extra, pass, tails, beside);
  Tensor gated;
  for (size_t s = 0; s < sides.size(); ++s) {
    const Tensor gate = sides[s]->gate(), term = (beside[s].result.to(gate.scalar_type()) * gate).to(own.scalar_type());
    gated = gated.defined() ? gated + term : term;
  }
  if (!sides[0]->behind_output()) return board.linear(Site::O, at, b.o, asked_for(own + gated));
  return board.linear(Site::O, at, b.o, asked_for(own)) + asked_for(gated);
}

Tensor mlp(const Model& m, const Block& b, At i, const Tensor& n, const Sites& board, bool values_needed) {
  const auto& c = m.config;
  Tensor inner;
  if (!b.gate_up.path.empty()) {
    const auto halves = board.linear(Site::GateUp, i, b.gate_up, n).chunk(2, 1);
    inner = kernels::gated(halves[0], halves[1], c.activation);
  } else if (!b.gate.path.empty()) {
    const Sites::Member members[] = {{Site::Gate, &b.gate}, {Site::Up, &b.up}};
    const auto parts = board.linears(i, members, n);
    inner = kernels::gated(parts[0], parts[1], c.activation);
  } else {
    inner = kernels::activate(board.linear(Site::Up, i, b.up, n), c.activation);
  }
  return board.linear(Site::Down, i, b.down, board.hidden(Site::MlpAct, i, inner), values_needed);
}

}  // namespace

Tensor normalised(const ModelConfig& c, const Norm& norm, const Tensor& x) {
  if (norm.path.empty()) return x;
  switch (c.norm) {
    case NormKind::Rms: return kernels::rms_norm(x, norm.weight, c.norm_eps);
    case NormKind::RmsPlusOne: return kernels::rms_norm(x, norm.weight.to(at::promote_types(norm.weight.scalar_type(), at::kFloat)) + 1, c.norm_eps);
    case NormKind::Layer: break;
  }
  return kernels::layer_norm(x, norm.weight, norm.bias, c.norm_eps);
}

Tensor decoder_block(const Model& m, int64_t i, const Tensor& input, const Sites& board, const Pass& pass) {
  const Block& b = m.blocks[static_cast<size_t>(i)];
  const auto& c = m.config;
  const At at(i, pass.layout.get());
  const auto norm = [&](Site site, const Norm& n, const Tensor& x) {
    if (!n.path.empty()) board.visited(site, i);
    return normalised(c, n, x);
  };
  // What a sub-layer adds to the stream: behind its own norm, scaled, and open to edits.
  const auto added = [&](Site norm_site, const Norm& post, Site site, const Tensor& y, const Tensor& residual) {
    const Tensor behind = norm(norm_site, post, y);
    return board.hidden(site, at, c.residual_scale == 1 ? behind : behind * c.residual_scale, residual);
  };
  // f(n2 x), or f(x) for an x that is normalised already.
  const bool read_behind = !b.post_norm2.path.empty() || c.norm_after || board.has_edit(Site::MlpOut, i) || board.has_edit(Site::BlockOut, i);
  const auto feed_forward = [&](const Tensor& from, bool normed) {
    const auto run = [&m, &b, &board, i, normed, layout = pass.layout](const Tensor& x, bool values_needed) {
      if (!normed && !b.norm2.path.empty()) board.visited(Site::Norm2, i);
      return mlp(m, b, At(i, layout.get()), normed ? x : normalised(m.config, b.norm2, x), board, values_needed);
    };
    if (i < pass.recomputed.mlps && i >= pass.recomputed.blocks) return checkpointed([run](const Tensor& x, bool again) { return run(x, !again); }, from);
    return run(from, !pass.again || read_behind);
  };
  const Tensor n = c.norm_after ? input : norm(Site::Norm1, b.norm1, input);
  const Tensor stream = wanted(m, i, c.residual_from_norm ? n : input, pass);
  const Tensor mixed = added(Site::PostNorm1, b.post_norm1, Site::AttnOut, attention(m, b, i, n, board, pass), stream);
  if (c.parallel) {
    const Tensor y = b.norm2.path.empty() ? feed_forward(wanted(m, i, n, pass), true) : feed_forward(wanted(m, i, input, pass), false);
    return board.hidden(Site::BlockOut, at, stream + mixed + added(Site::PostNorm2, b.post_norm2, Site::MlpOut, y, stream));
  }
  Tensor x = stream + mixed;
  if (c.norm_after) x = norm(Site::Norm1, b.norm1, x);
  if (c.residual_from_norm) x = norm(Site::Norm2, b.norm2, x);
  const Tensor y = feed_forward(x, c.norm_after || c.residual_from_norm);
  x = x + added(Site::PostNorm2, b.post_norm2, Site::MlpOut, y, x);
  if (c.norm_after) x = norm(Site::Norm2, b.norm2, x);
  return board.hidden(Site::BlockOut, at, x);
}

}  // namespace graft
