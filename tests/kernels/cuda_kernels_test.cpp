// What GPUs run, as far as a CPU can tell: the arithmetic of the kernels, and the calls of libtorch's flash attention.
#include <c10/core/SymInt.h>
#include <torch/library.h>

#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/cuda/fused.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/varlen_attention.h"
#include "support/support.h"

namespace graft::kernels {
namespace {

using Tensors = std::vector<Tensor>;

double distance(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>());
}

// Runs `device` on inputs of `dtype` and `composed` on the same numbers in float64; compares values and all gradients.
void compare(const std::function<Tensor(const Tensors&)>& device, const std::function<Tensor(const Tensors&)>& composed, const Tensors& inputs,
             at::ScalarType dtype, const std::string& what) {
  const double allowed = dtype == at::kFloat ? 2e-6 : dtype == at::kHalf ? 2e-3 : 1.6e-2;
  Tensors own, exact;
  for (auto& input : inputs) {
    own.push_back(input.to(testing::test_device(), dtype).detach().clone().requires_grad_());
    exact.push_back(own.back().detach().to(at::kCPU, at::kDouble).requires_grad_());
  }
  const Tensor y = device(own), expected = composed(exact);
  ASSERT_EQ(y.scalar_type(), dtype) << what;
  EXPECT_LT(distance(y.detach().to(at::kCPU, at::kDouble), expected.detach()), allowed) << what;
  const Tensor dy = at::randn(y.sizes(), at::kDouble).to(dtype);
  y.backward(dy.to(y.device()));
  expected.backward(dy.to(at::kDouble));
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_TRUE(own[i].grad().defined()) << what;
    EXPECT_LT(distance(own[i].grad().to(at::kCPU, at::kDouble), exact[i].grad()), 4 * allowed) << what << ", input " << i;
  }
}

constexpr at::ScalarType kTypes[] = {at::kFloat, at::kHalf, at::kBFloat16};

struct CudaKernels : ::testing::Test {
  void SetUp() override { at::manual_seed(4); }
};

// Widths that are packs of 16 bytes and others; more rows than one part of the weight's gradient takes.
TEST_F(CudaKernels, RmsNorm) {
  for (const auto dtype : kTypes)
    for (const int64_t width : {19, 64, 1000, 4099})
      for (const int64_t rows : {1, 150})
        compare([](const Tensors& t) { return cuda::rms_norm(t[0], t[1], 1e-5); }, [](const Tensors& t) { return rms_norm_composed(t[0], t[1], 1e-5); },
                {at::randn({rows, width}), at::randn({width})}, dtype, fmt::format("{} [{}, {}]", c10::toString(dtype), rows, width));
}

TEST_F(CudaKernels, RmsNormWithAWiderTrainedWeight) {
  const Tensor x = at::randn({70, 64}).to(at::kBFloat16).requires_grad_(), w = at::randn({64}).requires_grad_();
  const Tensor y = cuda::rms_norm(x, w, 1e-6), dy = at::randn({70, 64}).to(at::kBFloat16);
  y.backward(dy);
  const Tensor exact_x = x.detach().to(at::kDouble).requires_grad_(), exact_w = w.detach().to(at::kDouble).requires_grad_();
  const Tensor expected = rms_norm_composed(exact_x, exact_w, 1e-6);
  expected.backward(dy.to(at::kDouble));
  EXPECT_LT(distance(y.detach().to(at::kDouble), expected.detach()), 1e-2);
  EXPECT_EQ(w.grad().scalar_type(), at::kFloat);
  EXPECT_LT(distance(w.grad().to(at::kDouble), exact_w.grad()), 1e-6);  // summed in float32
  EXPECT_LT(distance(x.grad().to(at::kDouble), exact_x.grad()), 1e-2);
}

TEST_F(CudaKernels, RmsNormOfRowsThatAreNotAligned) {
  const Tensor x = at::randn({5, 65}).narrow(1, 1, 64), w = at::randn({65}).narrow(0, 1, 64);
  EXPECT_LT(distance(cuda::rms_norm(x, w, 1e-5), rms_norm_composed(x, w, 1e-5)), 1e-6);
}

TEST_F(CudaKernels, Rope) {
  for (const auto dtype : kTypes)
    for (const bool interleaved : {false, true})
      for (const auto& [half, dim] : {std::pair{4, 8}, std::pair{4, 11}, std::pair{16, 32}}) {  // whole packs from 16 on
        const Tensor angle = at::randn({6, half}), cos = angle.cos(), sin = angle.sin();
        const auto as = [dtype](const Tensor& t, const Tensor& like) { return t.to(dtype).to(like.options()); };
        compare([&](const Tensors& t) { return cuda::rope(t[0], as(cos, t[0]), as(sin, t[0]), interleaved); },
                [&](const Tensors& t) { return rope_composed(t[0], as(cos, t[0]), as(sin, t[0]), interleaved); }, {at::randn({6, 3, dim})}, dtype,
                fmt::format("{} dim {}", c10::toString(dtype), dim));
      }
}

TEST_F(CudaKernels, GatedActivations) {
  const std::pair<cuda::Gate, const char*> kinds[] = {{cuda::Gate::Silu, "silu"}, {cuda::Gate::GeluErf, "gelu"}, {cuda::Gate::GeluTanh, "gelu_pytorch_tanh"}};
  for (const auto dtype : kTypes)
    for (auto& [kind, name] : kinds)
      for (const int64_t width : {3, 64})
        compare([kind = kind](const Tensors& t) { return cuda::gated(t[0], t[1], kind); },
                [name = name](const Tensors& t) { return activate(t[0], name) * t[1]; }, {at::randn({21, width}) * 3, at::randn({21, width})}, dtype,
                fmt::format("{} {} {}", c10::toString(dtype), name, width));
}

TEST_F(CudaKernels, LossesAndTheirSlopes) {
  for (const auto dtype : kTypes)
    for (const int64_t vocab : {50, 4096, 4099})
      for (const auto& [scale, smoothing] : {std::pair{1.0, 0.0}, std::pair{0.3, 0.0}, std::pair{1.0, 0.2}, std::pair{0.5, 1.0}}) {
        const std::string what = fmt::format("{} [5, {}] scale {} smoothing {}", c10::toString(dtype), vocab, scale, smoothing);
        const Tensor targets = at::randint(0, vocab, {5}, at::kLong);
        const Tensor logits = (at::randn({5, vocab}) * 4 + 30).to(testing::test_device(), dtype), exact = logits.to(at::kCPU, at::kDouble).requires_grad_();
        const Tensor log_p = at::log_softmax(exact * scale, 1);
        const Tensor expected = -(log_p.gather(1, targets.unsqueeze(1)).squeeze(1) * (1 - smoothing) + log_p.mean(1) * smoothing);
        expected.sum().backward();
        Tensor kept = logits.clone(), slopes = logits.clone();
        const Tensor wanted = targets.to(logits.device());
        EXPECT_LT(distance(cuda::row_losses(kept, wanted, scale, smoothing, false).cpu(), expected.detach()), 2e-6) << what;
        EXPECT_TRUE(at::equal(kept, logits)) << what;
        EXPECT_LT(distance(cuda::row_losses(slopes, wanted, scale, smoothing, true).cpu(), expected.detach()), 2e-6) << what;
        EXPECT_LT(distance(slopes.to(at::kCPU, at::kDouble), exact.grad()), dtype == at::kFloat ? 2e-6 : 4e-3) << what;
      }
}

// Outputs of norms and gates are not kept for a product behind them: they are computed again.
TEST_F(CudaKernels, OutputsAreComputedAgainForProducts) {
  const Tensors inputs{at::randn({21, 16}), at::randn({16}), at::randn({24, 16}), at::randn({4, 16}), at::randn({24, 4}), at::randn({5, 24}), at::randn({21, 24})};
  const auto run = [](const Tensors& t, bool device) {
    const Tensor n = device ? cuda::rms_norm(t[0], t[1], 1e-5) : rms_norm_composed(t[0], t[1], 1e-5);
    const Tensor gate = device ? low_rank_linears(n, {{t[2].detach(), {}, t[3], t[4], 2.0}})[0] : low_rank_linears_composed(n, {{t[2].detach(), {}, t[3], t[4], 2.0}})[0];
    const Tensor inner = device ? cuda::gated(gate, t[6], cuda::Gate::Silu) : activate(gate, "silu") * t[6];
    return (device ? kernels::linear(inner, t[5], {}) : linear_composed(inner, t[5], {})) + t[2].sum() * 0;
  };
  compare([&](const Tensors& t) { return run(t, true); }, [&](const Tensors& t) { return run(t, false); }, inputs, at::kFloat, "norm, low rank, gate, linear");
}

// --- libtorch's flash attention for rows of different lengths, which only GPUs have: its contract in plain operations, so that a
// CPU can check what it is called with. Queries and keys of a document end together; `left` keys before a query's own are seen. ---

struct FlashDocuments {
  Tensor q, k, v, starts_q, starts_k;
  int64_t max_q, max_k, left;
  double scale;

  // body(document's queries, keys, values [heads, rows, dim], the weights [heads, rows, keys], first query, first key)
  template <class Body>
  void each(const Body& body) const {
    const Tensor sq = starts_q.to(at::kLong), sk = starts_k.to(at::kLong);
    TORCH_CHECK(starts_q.scalar_type() == at::kInt && starts_k.scalar_type() == at::kInt);
    TORCH_CHECK(q.is_contiguous() && k.is_contiguous() && v.is_contiguous());
    TORCH_CHECK(sq[-1].item<int64_t>() == q.size(0) && sk[-1].item<int64_t>() == k.size(0));
    for (int64_t d = 0; d + 1 < sq.size(0); ++d) {
      const int64_t qb = sq[d].item<int64_t>(), qn = sq[d + 1].item<int64_t>() - qb, kb = sk[d].item<int64_t>(), kn = sk[d + 1].item<int64_t>() - kb;
      TORCH_CHECK(qn <= max_q && kn <= max_k);
      const int64_t group = q.size(1) / k.size(1);
      const auto heads = [&](const Tensor& x, int64_t begin, int64_t n, int64_t copies) {
        return x.narrow(0, begin, n).transpose(0, 1).repeat_interleave(copies, 0).to(at::kDouble);
      };
      const Tensor qs = heads(q, qb, qn, 1), ks = heads(k, kb, kn, group), vs = heads(v, kb, kn, group);
      Tensor hidden = at::ones({qn, kn}, at::kBool).triu(kn - qn + 1);
      if (left >= 0) hidden = hidden.logical_or(at::ones({qn, kn}, at::kBool).tril(kn - qn - left - 1));
      const Tensor scores = at::matmul(qs, ks.transpose(1, 2)).mul(scale).masked_fill(hidden, -std::numeric_limits<double>::infinity());
      body(qs, ks, vs, at::softmax(scores, -1), qb, kb);
    }
  }
};

using OptionalTensor = std::optional<Tensor>;
using OptionalInt = std::optional<c10::SymInt>;

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> flash_forward(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& starts_q,
                                                                 const OptionalTensor& starts_k, c10::SymInt max_q, c10::SymInt max_k, double dropout,
                                                                 bool causal, bool, std::optional<double> scale, OptionalInt left, OptionalInt right,
                                                                 const OptionalTensor&, const OptionalTensor&) {
  TORCH_CHECK(causal && dropout == 0 && right->expect_int() == 0);
  Tensor out = at::empty_like(q);
  const FlashDocuments documents{q, k, v, *starts_q, *starts_k, max_q.expect_int(), max_k.expect_int(), left->expect_int(), *scale};
  documents.each([&](const Tensor& qs, const Tensor&, const Tensor& vs, const Tensor& weights, int64_t qb, int64_t) {
    out.narrow(0, qb, qs.size(1)).copy_(at::matmul(weights, vs).transpose(0, 1));
  });
  return {out, at::zeros({q.size(1), q.size(0)}), at::empty({2}, at::kLong), at::empty({0}), Tensor()};
}

std::tuple<Tensor, Tensor, Tensor> flash_backward(const Tensor& dy, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out, const Tensor&,
                                                  const Tensor& starts_q, const Tensor& starts_k, c10::SymInt max_q, c10::SymInt max_k, double, bool causal,
                                                  const Tensor&, const Tensor&, std::optional<double> scale, OptionalInt left, OptionalInt right) {
  TORCH_CHECK(causal && right->expect_int() == 0 && dy.is_contiguous());
  Tensor dq = at::empty_like(q), dk = at::zeros_like(k), dv = at::zeros_like(v);
  const FlashDocuments documents{q, k, v, starts_q, starts_k, max_q.expect_int(), max_k.expect_int(), left->expect_int(), *scale};
  documents.each([&](const Tensor& qs, const Tensor& ks, const Tensor& vs, const Tensor& weights, int64_t qb, int64_t kb) {
    const auto laid_out = [&](const Tensor& x) { return x.narrow(0, qb, qs.size(1)).transpose(0, 1).to(at::kDouble); };
    const auto by_group = [&](const Tensor& x) { return x.view({k.size(1), -1, x.size(1), x.size(2)}).sum(1).transpose(0, 1); };
    const Tensor gradient = laid_out(dy), inner = (gradient * laid_out(out)).sum(-1, true);
    const Tensor ds = weights * (at::matmul(gradient, vs.transpose(1, 2)) - inner) * *scale;
    dq.narrow(0, qb, qs.size(1)).copy_(at::matmul(ds, ks).transpose(0, 1));
    dk.narrow(0, kb, ks.size(1)).copy_(by_group(at::matmul(ds.transpose(1, 2), qs)));
    dv.narrow(0, kb, ks.size(1)).copy_(by_group(at::matmul(weights.transpose(1, 2), gradient)));
  });
  return {dq, dk, dv};
}

TORCH_LIBRARY_IMPL(aten, CPU, library) {
  library.impl("_flash_attention_forward", flash_forward);
  library.impl("_flash_attention_backward", flash_backward);
}

TEST_F(CudaKernels, VarlenAttention) {
  const std::vector<int64_t> starts{0, 5, 6, 40};
  const at::ScalarType dtype = testing::test_device().is_cuda() ? at::kBFloat16 : at::kFloat;
  for (const int64_t kv_heads : {1, 2, 4})
    for (const bool prefix : {false, true})
      for (const int64_t window : {0, 1, 7}) {
        AttentionShape shape(0.3);
        shape.window = window;
        Tensors inputs{at::randn({40, 4, 8}), at::randn({40, kv_heads, 8}), at::randn({40, kv_heads, 8})};
        if (prefix) inputs.insert(inputs.end(), {at::randn({3, kv_heads, 8}), at::randn({3, kv_heads, 8})});
        const auto front = [&](const Tensors& t) { return prefix ? PrefixRows{t[3], t[4]} : PrefixRows{}; };
        compare([&](const Tensors& t) { return varlen_attention(t[0], t[1], t[2], starts, shape, front(t)); },
                [&](const Tensors& t) { return packed_attention_composed(t[0], t[1], t[2], starts, shape, front(t)); }, inputs, dtype,
                fmt::format("{} key heads, prefix {}, window {}", kv_heads, prefix, window));
      }
}

TEST_F(CudaKernels, VarlenAttentionKnowsItsLimits) {
  const auto fits = [](int64_t dim, at::ScalarType dtype, const AttentionShape& shape = {}, at::Device device = at::kMeta) {
    return varlen_attention_fits(at::empty({4, 2, dim}, at::TensorOptions().dtype(dtype).device(device)), shape);
  };
  for (const int64_t dim : {8, 64, 128, 192, 256}) EXPECT_TRUE(fits(dim, at::kBFloat16)) << dim;
  for (const int64_t dim : {6, 100, 200, 224, 264}) EXPECT_FALSE(fits(dim, at::kBFloat16)) << dim;
  EXPECT_TRUE(fits(64, at::kHalf));
  EXPECT_FALSE(fits(64, at::kFloat));
  EXPECT_FALSE(fits(64, at::kBFloat16, {}, at::kCPU));
  AttentionShape capped(1), biased(1), windowed(1);
  capped.softcap = 30;
  biased.key_bias = at::zeros({2, 4});
  windowed.window = 3;
  EXPECT_FALSE(fits(64, at::kBFloat16, capped));
  EXPECT_FALSE(fits(64, at::kBFloat16, biased));
  EXPECT_TRUE(fits(64, at::kBFloat16, windowed));
}

}  // namespace
}  // namespace graft::kernels
