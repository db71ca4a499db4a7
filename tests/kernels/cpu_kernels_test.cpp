// The CPU bodies by themselves: each instruction set against plain tensor operations, and products that go to another library.
#include "core/torch.h"
#include "kernels/attention.h"
#include "kernels/cpu/attention_kernel.h"
#include "kernels/gemm.h"
#include "kernels/twins.h"
#include "support/support.h"

namespace graft::kernels {
namespace {

double apart(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>()); }

TEST(Gemm, LargeProductsOfEveryLayout) {
  at::manual_seed(5);
  const Tensor a = at::randn({610, 300}), b = at::randn({270, 300}), bias = at::randn({270});  // above the size where oneDNN begins
  const Tensor wide = at::randn({610, 400});
  EXPECT_LT(apart(product_t(a, b), at::mm(a, b.t())), 1e-5);
  EXPECT_LT(apart(product_t(a, b, bias), at::addmm(bias, a, b.t())), 1e-5);
  EXPECT_LT(apart(product(a, b.t()), at::mm(a, b.t())), 1e-5);
  EXPECT_LT(apart(product_t(wide.narrow(1, 16, 300), b), at::mm(wide.narrow(1, 16, 300), b.t())), 1e-5);  // rows with gaps
  EXPECT_LT(apart(product_t(a, wide.narrow(0, 0, 300).t().narrow(0, 7, 390)), at::mm(a, wide.narrow(0, 0, 300).narrow(1, 7, 390))), 1e-5);
  const Tensor row = at::randn({1, 300});
  EXPECT_LT(apart(product_t(row.expand({610, 300}), b), at::mm(row, b.t()).expand({610, 270})), 1e-5);  // strides of zero
  EXPECT_EQ(product_t(a, b).size(0), 610);
}

TEST(AttentionKernels, EveryInstructionSetComputesTheSame) {
  at::manual_seed(6);
  std::vector<std::pair<const char*, const cpu::AttentionKernels*>> sets{{"plain", &cpu::kAttentionPlain}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.emplace_back("AVX2", &cpu::kAttentionAvx2);
  if (&cpu::attention_kernels() == &cpu::kAttentionAvx512) sets.emplace_back("AVX-512", &cpu::kAttentionAvx512);
#endif
  int cases = 0;
  for (const int64_t rows : {1, 47, 131})
    for (const int64_t dim : {8, 20, 64})
      for (const int64_t prefix : {0, 5})
        for (const int64_t window : {0, 33}) {
          const Tensor q = at::randn({rows, dim}), k = at::randn({prefix + rows, dim}), v = at::randn({prefix + rows, dim}), dy = at::randn({rows, dim});
          const Tensor leaf_q = q.clone().requires_grad_(), leaf_k = k.clone().requires_grad_(), leaf_v = v.clone().requires_grad_();
          AttentionShape shape(0.3);
          shape.window = window;
          const auto own = [&](const Tensor& x) { return x.narrow(0, prefix, rows).unsqueeze(1); };
          const auto front = [&](const Tensor& x) { return prefix ? x.narrow(0, 0, prefix).unsqueeze(1) : Tensor(); };
          const Tensor expected =
              packed_attention_composed(leaf_q.unsqueeze(1), own(leaf_k), own(leaf_v), {0, rows}, shape, {front(leaf_k), front(leaf_v)}).squeeze(1);
          expected.backward(dy);
          for (auto& [name, kernels] : sets) {
            const cpu::HeadShape head{rows, prefix, dim, window, 0.3f};
            Tensor out = at::empty_like(q), lse = at::empty({rows}), dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
            Tensor scratch = at::full({std::max(cpu::forward_scratch(head), cpu::backward_scratch(head))}, std::nanf(""));
            const auto of = [&](const Tensor& x, int64_t row = 0) { return cpu::Rows{x.const_data_ptr<float>() + row * dim, dim}; };
            const auto into = [&](Tensor& x) { return cpu::MutableRows{x.mutable_data_ptr<float>(), dim}; };
            const cpu::HeadInput input{of(q), of(k, prefix), of(v, prefix), of(k), of(v)};
            kernels->forward(head, input, into(out), lse.mutable_data_ptr<float>(), scratch.mutable_data_ptr<float>());
            kernels->backward(head, input, of(out), lse.const_data_ptr<float>(), of(dy), into(dq), into(dk), into(dv), scratch.mutable_data_ptr<float>());
            const std::string what = fmt::format("{}: {} rows, dim {}, prefix {}, window {}", name, rows, dim, prefix, window);
            EXPECT_LT(apart(out, expected.detach()), 1e-5) << what;
            EXPECT_LT(apart(dq, leaf_q.grad()), 2e-5) << what;
            EXPECT_LT(apart(dk, leaf_k.grad()), 2e-5) << what;
            EXPECT_LT(apart(dv, leaf_v.grad()), 2e-5) << what;
            ++cases;
          }
        }
  EXPECT_EQ(cases, 36 * static_cast<int>(sets.size()));
}

}  // namespace
}  // namespace graft::kernels
