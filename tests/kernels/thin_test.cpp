// Products of a few rows: each instruction set against plain tensor operations.
#include "core/torch.h"
#include "kernels/cpu.h"
#include "kernels/cpu/thin_kernel.h"
#include "kernels/gemm.h"
#include "kernels/linear.h"
#include "kernels/packed.h"
#include "kernels/thin.h"
#include "support/support.h"

namespace graft::kernels {
namespace {

double thin_apart(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>() / std::max(1.0, b.abs().max().item<double>()); }

std::vector<std::pair<const char*, const cpu::ThinKernels*>> sets_here() {
  std::vector<std::pair<const char*, const cpu::ThinKernels*>> sets{{"plain", &cpu::kThinPlain}};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.emplace_back("AVX2", &cpu::kThinAvx2);
  if (&cpu::thin_kernels() == &cpu::kThinAvx512) sets.emplace_back("AVX-512", &cpu::kThinAvx512);
#endif
  return sets;
}

TEST(ThinKernels, EveryInstructionSetMultiplies) {
  at::manual_seed(7);
  int cases = 0;
  for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 13, 63})
    for (const int64_t in : {3, 16, 50, 211})
      for (const int64_t out : {1, 6, 32})
        for (auto& [name, kernels] : sets_here()) {
          const std::string what = fmt::format("{}: {} rows, {} to {}", name, rows, in, out);
          const Tensor x = at::randn({rows, in + 5}), w = at::randn({out, in + 3}), bias = at::randn({out}), before = at::randn({rows, out});
          const Tensor rows_x = x.narrow(1, 2, in), rows_w = w.narrow(1, 1, in);
          Tensor y = before.clone();
          cpu::ThinProduct p{rows, in, rows_x.const_data_ptr<float>(), in + 5, rows_w.const_data_ptr(), in + 3, nullptr, y.mutable_data_ptr<float>(), out, 0.5f, true};
          kernels->product.f32(p, 0, out);
          EXPECT_LT(thin_apart(y, before + at::mm(rows_x, rows_w.t()) * 0.5), 1e-5) << what;
          p.add = false;
          p.scale = 1;
          p.bias = bias.const_data_ptr<float>();
          kernels->product.f32(p, 0, out);
          EXPECT_LT(thin_apart(y, at::addmm(bias, rows_x, rows_w.t())), 1e-5) << what;
          if (out % 16 == 0) {
            const Tensor stored = rows_w.t().contiguous();
            p.w = stored.const_data_ptr();
            p.w_stride = out;
            y.zero_();
            kernels->product_stored_transposed.f32(p, 0, 16);
            kernels->product_stored_transposed.f32(p, 16, out);
            EXPECT_LT(thin_apart(y, at::addmm(bias, rows_x, rows_w.t())), 1e-5) << what;
          }
          if (out % 16 == 0) {
            const Tensor summed = at::randn({in, out + 4}), transposed = at::randn({in, rows + 1});
            p = {rows, in, transposed.const_data_ptr<float>(), rows + 1, summed.const_data_ptr(), out + 4, nullptr, y.mutable_data_ptr<float>(), out, 1, false};
            y.fill_(std::nanf(""));
            kernels->product_over_rows(p, 0, 16);
            kernels->product_over_rows(p, 16, out);
            EXPECT_LT(thin_apart(y, at::mm(transposed.narrow(1, 0, rows).t(), summed.narrow(1, 0, out))), 1e-5) << what;
          }
          ++cases;
        }
  EXPECT_GE(cases, 9 * 4 * 3);
}

TEST(ThinProducts, OfEveryLayout) {
  at::manual_seed(8);
  for (const int64_t rows : {1, 5, 17}) {
    const Tensor a = at::randn({rows, 40}), b = at::randn({48, 40}), bias = at::randn({48}), wide = at::randn({48, 96});
    EXPECT_TRUE(thin_here(a, b));
    EXPECT_LT(thin_apart(product_t(a, b, bias), at::addmm(bias, a, b.t())), 1e-5);
    EXPECT_LT(thin_apart(product_t(a, wide.narrow(1, 8, 40)), at::mm(a, wide.narrow(1, 8, 40).t())), 1e-5);    // rows with gaps
    const Tensor stored = at::randn({40, 64}), odd = at::randn({40, 50}), strided = at::randn({48, 80}).slice(1, 0, 80, 2);
    EXPECT_LT(thin_apart(product(a, stored), at::mm(a, stored)), 1e-5);
    EXPECT_LT(thin_apart(product(a, stored.narrow(1, 3, 32)), at::mm(a, stored.narrow(1, 3, 32))), 1e-5);
    EXPECT_LT(thin_apart(product(a, odd), at::mm(a, odd)), 1e-5);                                                // not whole vectors
    EXPECT_LT(thin_apart(product_t(a, strided), at::mm(a, strided.t())), 1e-5);                                  // neither way contiguous
    const Tensor from = at::randn({40, rows}).t();                                                          // a's rows are not contiguous
    EXPECT_LT(thin_apart(product_t(from, b, bias), at::addmm(bias, from, b.t())), 1e-5);
    for (const Tensor& factor : {b, stored.t()}) {
      Tensor y = at::ones({rows, factor.size(0)});
      add_product_t(y, a, factor, 0.3);
      EXPECT_LT(thin_apart(y, at::mm(a, factor.t()) * 0.3 + 1), 1e-5);
    }
  }
}

TEST(ThinProducts, WithWeightsStoredInHalfPrecision) {
  at::NoGradGuard no_grad;
  at::manual_seed(11);
  for (const Isa isa : {Isa::Plain, Isa::Avx2, Isa::Avx512}) {
    const LimitedIsa limit(isa);
    for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf})
      for (const int64_t rows : {1, 9, 17}) {
        const Tensor x = at::randn({rows, 50}), bias = at::randn({48}), w = at::randn({48, 50}).to(dtype), wide = w.to(at::kFloat);
        EXPECT_TRUE(thin_here(x, w));
        EXPECT_LT(thin_apart(linear(x, w, bias), at::addmm(bias, x, wide.t())), 1e-5) << isa_title(isa) << dtype;
        const Tensor transposed = w.t().contiguous().t();
        EXPECT_TRUE(thin_here(x, transposed));
        EXPECT_LT(thin_apart(linear(x, transposed, bias), at::addmm(bias, x, wide.t())), 1e-5) << isa_title(isa) << dtype;
        EXPECT_LT(thin_apart(linear(x, w.narrow(0, 0, 38), Tensor()), at::mm(x, wide.narrow(0, 0, 38).t())), 1e-5) << isa_title(isa) << dtype;
      }
  }
}

// With one input of 1 a product is the number itself.
TEST(ThinProducts, EveryNumberOfHalfPrecision) {
  at::NoGradGuard no_grad;
  for (const Isa isa : {Isa::Plain, Isa::Avx2, Isa::Avx512}) {
    const LimitedIsa limit(isa);
    for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf}) {
      const Tensor w = at::arange(65536).to(at::kInt).to(at::kShort).view(dtype).unsqueeze(1), wide = w.to(at::kFloat).t();
      const Tensor y = thin_product_t(at::ones({1, 1}), w, Tensor()), z = thin_product_t(at::ones({1, 1}), w.t().contiguous().t(), Tensor());
      EXPECT_TRUE(at::allclose(y, wide, 0, 0, /*equal_nan=*/true)) << isa_title(isa) << dtype;
      EXPECT_TRUE(at::allclose(z, wide, 0, 0, /*equal_nan=*/true)) << isa_title(isa) << dtype;
    }
  }
}

TEST(ThinProducts, WithSmallWeights) {
  const AssumedMklRate elsewhere(false);
  at::manual_seed(10);
  const Tensor a = at::randn({301, 48}), dy = at::randn({301, 80});
  for (const int64_t out : {3, 8, 16, 50, 96})
    for (const bool transposed : {false, true}) {
      const Tensor b = transposed ? at::randn({48, out}).t() : at::randn({out, 48}), bias = at::randn({out});
      EXPECT_TRUE(thin_here(a, b) || packed_here(a, b));  // own tiles take the largest of them where they are used
      EXPECT_LT(thin_apart(product_t(a, b, bias), at::addmm(bias, a, b.t())), 1e-5) << out;
      const Tensor factor = transposed ? at::randn({out, 80}).t() : at::randn({80, out}), s = at::randn({301, out + 2}).narrow(1, 1, out);
      Tensor y = at::ones({301, 80});
      add_product_t(y, s, factor, 0.3);
      EXPECT_LT(thin_apart(y, at::mm(s, factor.t()) * 0.3 + 1), 1e-5) << out;
      EXPECT_LT(thin_apart(product_over_rows(dy, s, at::kFloat), at::mm(dy.t(), s)), 1e-5) << out;
      EXPECT_LT(thin_apart(product_over_rows(s, dy, at::kFloat), at::mm(s.t(), dy)), 1e-5) << out;
      EXPECT_LT(thin_apart(product_over_rows(s, s, at::kFloat), at::mm(s.t(), s)), 1e-5) << out;
      EXPECT_TRUE(product_over_rows(dy, s, at::kFloat).is_contiguous());
    }
}

// Where MKL has its rate, only what it loses it at is computed here; the results are the same.
TEST(ThinProducts, BesideAFastLibrary) {
  const AssumedMklRate fast(true);
  at::manual_seed(11);
  const Tensor x = at::randn({301, 48}), s = at::randn({301, 8}), down = at::randn({8, 48}), wide = at::randn({80, 48}), up = at::randn({80, 8}), bias = at::randn({80});
  EXPECT_TRUE(thin_here(x, down));
  EXPECT_FALSE(thin_here(x, wide));
  EXPECT_FALSE(thin_here(s, up));
  EXPECT_TRUE(thin_here(s, up, /*bias=*/true));
  EXPECT_TRUE(thin_here(x.narrow(0, 0, 40), wide));  // few rows
  EXPECT_TRUE(thin_over_rows_here(x, s));
  EXPECT_FALSE(thin_over_rows_here(x, at::randn({301, 32})));
  EXPECT_LT(thin_apart(product_t(s, up, bias), at::addmm(bias, s, up.t())), 1e-5);
  EXPECT_LT(thin_apart(product_over_rows(x, s, at::kFloat), at::mm(x.t(), s)), 1e-5);
}

TEST(ThinProducts, NormsOfChangedRows) {
  at::manual_seed(12);
  for (const Isa isa : {Isa::Plain, Isa::Avx2, Isa::Avx512}) {
    const LimitedIsa limit(isa);
    for (const auto& [out, in, r] : {std::tuple<int64_t, int64_t, int64_t>{13, 203, 5}, {96, 64, 16}, {1, 7, 2}})
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
        const LowRankLinear changed{at::randn({out, in}).to(dtype), {}, at::randn({r, in}), at::randn({r, out}).t(), 0.7};
        ASSERT_TRUE(low_rank_rows_here(changed.weight, changed.a, changed.b));
        EXPECT_LT(thin_apart(row_norms(changed), row_norms_composed(changed)), 1e-6) << isa_title(isa) << dtype << out;
      }
  }
}

TEST(ThinProducts, LowRankLinearsWithoutGradients) {
  at::NoGradGuard no_grad;
  at::manual_seed(9);
  for (const int64_t rows : {1, 7, 70}) {
    const Tensor x = at::randn({rows, 40});
    const std::vector<LowRankLinear> group{{at::randn({24, 40}), {}, at::randn({4, 40}), at::randn({24, 4}), 2.0},
                                           {at::randn({12, 40}), at::randn({12}), {}, {}, 1},
                                           {at::randn({12, 40}), at::randn({12}), at::randn({3, 40}), at::randn({12, 3}), 0.5}};
    const auto fused = low_rank_linears(x, group), composed = low_rank_linears_composed(x, group);
    ASSERT_EQ(fused.size(), 3u);
    for (size_t i = 0; i < 3; ++i) EXPECT_LT(thin_apart(fused[i], composed[i]), 1e-5) << rows << " rows, member " << i;
  }
}

}  // namespace
}  // namespace graft::kernels
