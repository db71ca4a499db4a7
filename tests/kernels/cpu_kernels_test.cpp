// The CPU bodies by themselves: each instruction set against plain tensor operations, and products that go to another library.
#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/cpu.h"
#include "kernels/cpu/attention_kernel.h"
#include "kernels/cpu/elementwise_kernel.h"
#include "kernels/cross_entropy.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/twins.h"
#include "support/support.h"

namespace graft::kernels {
namespace {

double apart(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>()); }

void expect_products_of_every_layout() {
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
  const Tensor before = at::randn({610, 270});
  for (const Tensor& weight : {b, b.to(at::kBFloat16)}) {  // sums and scaled products, into rows with gaps
    const Tensor expected = at::mm(a, weight.to(at::kFloat).t());
    Tensor sum = at::cat({before, before}, 1).narrow(1, 135, 270), scaled = at::empty({610, 540}).narrow(1, 100, 270);
    const Tensor sum_before = sum.clone();
    add_product_t(sum, a, weight, 0.5);
    EXPECT_LT(apart(sum, sum_before + 0.5 * expected), 1e-5);
    add_product(sum, a, weight.t());
    EXPECT_LT(apart(sum, sum_before + 1.5 * expected), 1e-5);
    product_into(scaled, a, weight.t(), 2);
    EXPECT_LT(apart(scaled, 2 * expected), 1e-5);
  }
}

// Every library, and own tiles: whoever computes on this machine, and on others.
template <class Check>
void with_every_library(const Check& check) {
  for (const bool mkl : {true, false})
    for (const Isa isa : {Isa::Plain, Isa::Avx2, Isa::AmxBf16}) {
      const AssumedMklRate assumed(mkl);
      const LimitedIsa limit(isa);
      check();
    }
}

TEST(Gemm, LargeProductsOfEveryLayout) { with_every_library(expect_products_of_every_layout); }

// Weights that are converted a piece at a time: columns of the result, and sums over the inner size.
TEST(Gemm, WeightsOfSeveralPieces) {
  at::manual_seed(8);
  with_every_library([] {
    for (const auto& [n, k] : {std::pair<int64_t, int64_t>{4100, 1100}, {1100, 4100}}) {
      const Tensor a = at::randn({65, k}), b = at::randn({n, k}).to(at::kBFloat16), bias = at::randn({n});
      ASSERT_GT(b.numel() * 4, kPieceBytes);
      const Tensor expected = at::mm(a, b.to(at::kFloat).t());
      EXPECT_LT(apart(product_t(a, b, bias), expected + bias), 1e-5);
      Tensor sum = at::ones({65, n});
      add_product_t(sum, a, b, 0.5);
      EXPECT_LT(apart(sum, 1 + 0.5 * expected), 1e-5);
      product_into(sum, a, b.t(), 2);
      EXPECT_LT(apart(sum, 2 * expected), 1e-5);
    }
  });
}

// Every body of each operation, reached as the operations reach it.
std::vector<Isa> instruction_sets() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::Plain, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::AmxBf16})
    if (isa <= cpu_isa()) all.push_back(isa);
  return all;
}

TEST(Cpu, ALimitChoosesTheBody) {
  const LimitedIsa limit(Isa::Plain);
  EXPECT_EQ(cpu_isa(), Isa::Plain);
  EXPECT_EQ(&cpu::elementwise_kernels(), &cpu::kElementwisePlain);
  EXPECT_EQ(&cpu::attention_kernels(), &cpu::kAttentionPlain);
  EXPECT_FALSE(cpu_multiplies_bf16());
}

TEST(ElementwiseKernels, EveryInstructionSetComputesTheSame) {
  at::manual_seed(7);
  const Tensor x = at::randn({33, 53}) * 3, up = at::randn({33, 53}), gain = at::randn({53}), targets = at::randint(0, 1003, {33}, at::kLong), head = at::randn({1003, 53});
  const auto run = [&] {
    const Tensor a = x.clone().requires_grad_(), b = up.clone().requires_grad_(), g = gain.clone().requires_grad_();
    const Tensor n = rms_norm(a, g, 1e-5);
    Tensor y = layer_norm(a, g, b[0], 1e-5) * 0.1;
    for (const char* name : {"silu", "gelu", "gelu_new", "quick_gelu", "relu", "relu2"}) y = y + gated(n, b, name) + activate(a, name);
    const Tensor loss = linear_cross_entropy(y, head, {}, targets, {}, {.label_smoothing = 0.1});
    loss.backward();
    std::vector<AdamWTensor> tensors{{x.clone(), a.grad(), at::zeros_like(x), at::zeros_like(x), at::zeros({})}};
    const Tensor norm = at::full({}, total_norm({a.grad(), b.grad()}));
    adamw(tensors, {.learning_rate = 1, .weight_decay = 0.01, .gradient_factor = 0.5});
    return std::vector<Tensor>{y.detach(), loss.detach(), a.grad(), b.grad(), g.grad(), norm, tensors[0].param, tensors[0].first, tensors[0].second};
  };
  std::vector<Tensor> expected;
  {
    const ComposedOnly composed;
    expected = run();
  }
  for (const Isa isa : instruction_sets()) {
    const LimitedIsa limit(isa);
    const auto values = run();
    ASSERT_EQ(values.size(), expected.size());
    for (size_t i = 0; i < values.size(); ++i) EXPECT_LT(apart(values[i], expected[i]), 2e-5) << isa_title(isa) << ": value " << i;
  }
}

TEST(AttentionKernels, EveryInstructionSetComputesTheSame) {
  at::manual_seed(6);
  std::vector<std::pair<const char*, const cpu::AttentionKernels*>> sets;
  for (const Isa isa : instruction_sets()) {
    const LimitedIsa limit(isa);
    sets.emplace_back(isa_title(isa), &cpu::attention_kernels());
  }
  int cases = 0;
  for (const int64_t rows : {1, 47, 131, 401})  // less than a block of queries, several, and more than a block of keys is fetched for
    for (const int64_t dim : {8, 20, 64})
      for (const int64_t prefix : {0, 5})
        for (const int64_t window : {0, 33}) {
          const int64_t heads = window ? 3 : 1;  // that share the keys
          const Tensor q = at::randn({rows, heads, dim}), k = at::randn({prefix + rows, dim}), v = at::randn({prefix + rows, dim}), dy = at::randn({rows, heads, dim});
          const Tensor leaf_q = q.clone().requires_grad_(), leaf_k = k.clone().requires_grad_(), leaf_v = v.clone().requires_grad_();
          AttentionShape shape(0.3);
          shape.window = window;
          const auto own = [&](const Tensor& x) { return x.narrow(0, prefix, rows).unsqueeze(1); };
          const auto front = [&](const Tensor& x) { return prefix ? x.narrow(0, 0, prefix).unsqueeze(1) : Tensor(); };
          const Tensor expected =
              packed_attention_composed(leaf_q, own(leaf_k), own(leaf_v), {0, rows}, shape, {front(leaf_k), front(leaf_v)});
          expected.backward(dy);
          for (auto& [name, kernels] : sets) {
            const cpu::HeadShape head{rows, prefix, heads, dim, window, 0.3f, prefix};
            Tensor out = at::empty_like(q), lse = at::empty({heads, rows}), dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
            Tensor scratch = at::full({std::max(cpu::forward_scratch(head), cpu::backward_scratch(head))}, std::nanf(""));
            const auto of = [&](const Tensor& x, int64_t row = 0) { return cpu::Rows{x.const_data_ptr<float>() + row * dim, x.stride(0)}; };
            const auto into = [&](Tensor& x) { return cpu::MutableRows{x.mutable_data_ptr<float>(), x.stride(0)}; };
            const cpu::HeadInput input{of(q), of(k, prefix), of(v, prefix), of(k), of(v)};
            kernels->forward(head, input, into(out), into(lse), scratch.mutable_data_ptr<float>());
            kernels->backward(head, input, of(out), of(lse), of(dy), into(dq), into(dk), into(dv), scratch.mutable_data_ptr<float>());
            const std::string what = fmt::format("{}: {} rows, {} heads, dim {}, prefix {}, window {}", name, rows, heads, dim, prefix, window);
            EXPECT_LT(apart(out, expected.detach()), 1e-5) << what;
            EXPECT_LT(apart(dq, leaf_q.grad()), 2e-5) << what;
            EXPECT_LT(apart(dk, leaf_k.grad()), 2e-5) << what;
            EXPECT_LT(apart(dv, leaf_v.grad()), 2e-5) << what;
            ++cases;
          }
        }
  EXPECT_EQ(cases, 48 * static_cast<int>(sets.size()));
}

}  // namespace
}  // namespace graft::kernels
