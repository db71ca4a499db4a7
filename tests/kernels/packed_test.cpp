// Products in own tiles against the same products in float64.
#include "kernels/packed.h"

#include "core/torch.h"
#include "kernels/cpu.h"
#include "kernels/gemm.h"
#include "support/support.h"

namespace graft::kernels {
namespace {

double off(const Tensor& y, const Tensor& expected) { return (y - expected).abs().max().item<double>() / expected.abs().max().item<double>(); }

class PackedProducts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cpu_isa() != Isa::Avx2) GTEST_SKIP() << "this processor has no AVX2";
    at::manual_seed(21);
  }
  const AssumedMklRate elsewhere_{false};
  const LimitedIsa limit_{Isa::Avx2};
  const at::NoGradGuard no_grad_;
};

// Tiles that are cut at the right and below, one and several pieces of the depth, rows and columns that are laid out in parts.
TEST_F(PackedProducts, OfEverySizeLayoutAndType) {
  for (const auto& [rows, columns, depth] : {std::tuple<int64_t, int64_t, int64_t>{64, 32, 520}, {67, 515, 33}, {301, 130, 321}, {605, 49, 2500}, {2000, 100, 300}})
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf})
      for (const bool turned : {false, true}) {
        const std::string what = fmt::format("{} x {} x {} {} {}", rows, columns, depth, c10::toString(dtype), turned ? "turned" : "");
        const Tensor b = turned ? at::randn({depth, columns}).to(dtype).t() : at::randn({columns, depth + 3}).to(dtype).narrow(1, 2, depth), bias = at::randn({columns});
        const Tensor wide = b.to(at::kDouble).t();
        for (const Tensor& a : {at::randn({rows, depth}), at::randn({rows, depth + 5}).narrow(1, 1, depth), at::randn({depth, rows}).t(), at::randn({rows, 2 * depth}).slice(1, 0, 2 * depth, 2)}) {
          ASSERT_TRUE(packed_here(a, b)) << what;
          const Tensor expected = at::mm(a.to(at::kDouble), wide);
          Tensor y = at::full({rows, columns + 9}, 7.0).narrow(1, 4, columns);
          packed_product_t_into(y, a, b, 1, false, bias);
          EXPECT_LT(off(y, expected + bias), 1e-5) << what;
          packed_product_t_into(y, a, b, -0.5, false, {});
          EXPECT_LT(off(y, -0.5 * expected), 1e-5) << what;
          packed_product_t_into(y, a, b, 2, true, {});
          EXPECT_LT(off(y, 1.5 * expected), 1e-5) << what;
        }
      }
}

TEST_F(PackedProducts, LeaveWhatLiesBesideThem) {
  const Tensor around = at::full({80, 70}, 3.0), a = at::randn({70, 600}), b = at::randn({50, 600});
  Tensor y = around.narrow(0, 5, 70).narrow(1, 10, 50);
  packed_product_t_into(y, a, b, 1, false, {});
  EXPECT_LT(off(y, at::mm(a.to(at::kDouble), b.to(at::kDouble).t())), 1e-5);
  y.fill_(3);
  EXPECT_TRUE(at::equal(around, at::full({80, 70}, 3.0)));
}

// Products that share the rows of their left factor: narrow and wide ones in any order, small factors and those in pieces of which nothing is kept.
TEST_F(PackedProducts, WithOneLeftFactor) {
  for (const auto& [rows, depth, kept] : {std::tuple<int64_t, int64_t, bool>{67, 321, true}, {1501, 2500, true}, {2100, 2500, false}}) {
    const Tensor a = at::randn({rows, depth});
    LaidOutRows laid_out;
    for (const int64_t columns : {40, 130, 32, 48, 515}) {
      const Tensor b = at::randn({columns, depth}), expected = at::mm(a.to(at::kDouble), b.to(at::kDouble).t());
      ASSERT_TRUE(packed_here(a, b));
      Tensor y = at::empty({rows, columns}), alone = at::empty({rows, columns});
      packed_product_t_into(y, a, b, 1, false, {}, &laid_out);
      packed_product_t_into(alone, a, b, 1, false, {});
      EXPECT_LT(off(y, expected), 1e-5) << rows << " x " << columns;
      EXPECT_TRUE(at::equal(y, alone)) << rows << " x " << columns;
      packed_product_t_into(y, a, b, 2, true, {}, &laid_out);
      EXPECT_LT(off(y, 3 * expected), 1e-5) << rows << " x " << columns;
    }
    EXPECT_EQ(laid_out.memory.defined(), kept) << rows;
  }
}

// The sum over rows that a trained weight's gradient is.
TEST_F(PackedProducts, OverRows) {
  const Tensor dy = at::randn({700, 96}), x = at::randn({700, 200});
  ASSERT_TRUE(packed_here(dy.t(), x.t()));
  EXPECT_LT(off(product_over_rows(dy, x, at::kFloat), at::mm(dy.t().to(at::kDouble), x.to(at::kDouble))), 1e-5);
}

TEST_F(PackedProducts, AreForLargeFactorsAndThisInstructionSet) {
  const Tensor a = at::randn({100, 600}), b = at::randn({50, 600});
  EXPECT_TRUE(packed_here(a, b));
  EXPECT_FALSE(packed_here(a.narrow(0, 0, 63), b));
  EXPECT_FALSE(packed_here(a, b.narrow(0, 0, 16)));
  EXPECT_FALSE(packed_here(a.to(at::kDouble), b));
  EXPECT_FALSE(packed_here(a, at::randn({100, 1200}).slice(0, 0, 100, 2).slice(1, 0, 1200, 2)));  // neither rows nor columns in one piece
  const AssumedMklRate fast(true);
  EXPECT_FALSE(packed_here(a, b));
}

}  // namespace
}  // namespace graft::kernels
