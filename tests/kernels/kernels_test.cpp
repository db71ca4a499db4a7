// Every fused operation against its composed twin: values and gradients, in float and in double.
#include <functional>
#include <set>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include "core/json.h"
#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/scale.h"
#include "support/support.h"

namespace graft::kernels {
namespace {

using Tensors = std::vector<Tensor>;
using Operation = std::function<Tensors(const Tensors&)>;

double tolerance(at::ScalarType dtype) { return dtype == at::kDouble ? 1e-10 : 2e-4; }

void expect_close(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const double scale = std::max(1.0, b.abs().max().item<double>());
  EXPECT_LT((a - b).abs().max().item<double>() / scale, tolerance(a.scalar_type())) << what;
}

// Runs both operations on the same inputs and compares outputs and the gradients of a random weighting of them.
// Inputs listed in `frozen` get no gradient.
void compare(const Operation& fused, const Operation& composed, const Tensors& inputs, const std::set<size_t>& frozen = {}) {
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    const auto run = [&](const Operation& operation, Tensors& leaves) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        Tensor leaf = (inputs[i].is_floating_point() ? inputs[i].to(dtype) : inputs[i]).to(testing::test_device()).detach().clone();
        if (inputs[i].is_floating_point() && !frozen.count(i)) leaf.requires_grad_();
        leaves.push_back(leaf);
      }
      const Tensors outputs = operation(leaves);
      at::Generator generator = at::detail::createCPUGenerator(7);
      Tensor total = at::zeros({}, at::kDouble);
      for (auto& y : outputs) total = total + (y * at::randn(y.sizes(), generator, y.options().device(at::kCPU)).to(y.device())).sum().to(at::kCPU, at::kDouble);
      total.backward();
      return outputs;
    };
    Tensors a, b;
    const Tensors ya = run(fused, a), yb = run(composed, b);
    ASSERT_EQ(ya.size(), yb.size());
    for (size_t i = 0; i < ya.size(); ++i) expect_close(ya[i].detach(), yb[i].detach(), fmt::format("output {}", i));
    for (size_t i = 0; i < a.size(); ++i) {
      if (!a[i].requires_grad()) {
        EXPECT_FALSE(a[i].grad().defined());
        continue;
      }
      ASSERT_TRUE(a[i].grad().defined()) << "input " << i;
      expect_close(a[i].grad(), b[i].grad(), fmt::format("gradient of input {}", i));
    }
  }
}

Tensor random(at::IntArrayRef shape, double scale = 1) { return (at::randn(shape, at::kDouble) * scale).to(testing::test_device()); }

struct Kernels : ::testing::Test {
  void SetUp() override { at::manual_seed(3); }
};

TEST_F(Kernels, Linear) {
  const auto fused = [](const Tensors& t) { return Tensors{kernels::linear(t[0], t[1], t[2])}; };
  const auto composed = [](const Tensors& t) { return Tensors{linear_composed(t[0], t[1], t[2])}; };
  compare(fused, composed, {random({7, 5}), random({3, 5}), random({3})});
  compare(fused, composed, {random({7, 5}), random({3, 5}), random({3})}, {1, 2});
  compare([](const Tensors& t) { return Tensors{kernels::linear(t[0], t[1].t(), {})}; },
          [](const Tensors& t) { return Tensors{linear_composed(t[0], t[1].t(), {})}; }, {random({7, 5}), random({5, 3})});
}

// Weights and biases of which some are trained, some frozen, some not there.
TEST_F(Kernels, LinearsShareTheirInput) {
  const auto given = [](const Tensors& t) { return std::vector<Tensor>{t[1], t[2], t[3], {}, t[4], t[5]}; };
  const Operation fused = [&](const Tensors& t) { return linears(t[0], given(t)); }, composed = [&](const Tensors& t) { return linears_composed(t[0], given(t)); };
  const Tensors inputs{random({70, 48}), random({40, 48}), random({40}), random({33, 48}), random({80, 48}), random({80})};
  for (const std::set<size_t>& frozen : {std::set<size_t>{}, {1, 2, 3, 4, 5}, {1, 3, 4}, {0}, {0, 1, 2, 4, 5}}) compare(fused, composed, inputs, frozen);
  const at::NoGradGuard no_grad;
  const Tensors y = fused(inputs), expected = composed(inputs);
  for (size_t i = 0; i < y.size(); ++i) expect_close(y[i], expected[i], "without gradients");
}

TEST_F(Kernels, LinearConvertsStoredHalfPrecision) {
  const Tensor x = at::randn({4, 6}), w = at::randn({3, 6}).to(at::kBFloat16);
  EXPECT_TRUE(at::allclose(kernels::linear(x, w, {}), at::matmul(x, w.to(at::kFloat).t())));
}

TEST_F(Kernels, LowRankGroupSharesItsInput) {
  const auto group = [](const Tensors& t) {
    return std::vector<LowRankLinear>{{t[1], t[2], t[3], t[4], 2.0}, {t[5], {}, {}, {}, 1.0}, {t[6], {}, t[7], t[8], 0.5}};
  };
  compare([&](const Tensors& t) { return low_rank_linears(t[0], group(t)); },
          [&](const Tensors& t) { return low_rank_linears_composed(t[0], group(t)); },
          {random({9, 6}), random({4, 6}), random({4}), random({2, 6}), random({4, 2}), random({5, 6}), random({3, 6}), random({3, 6}),
           random({3, 3})},
          {1, 2, 5, 6});
}

TEST_F(Kernels, RmsNorm) {
  compare([](const Tensors& t) { return Tensors{kernels::rms_norm(t[0], t[1], 1e-5)}; },
          [](const Tensors& t) { return Tensors{rms_norm_composed(t[0], t[1], 1e-5)}; }, {random({37, 19}), random({19})});
  compare([](const Tensors& t) { return Tensors{kernels::rms_norm(t[0], t[1], 1e-5)}; },
          [](const Tensors& t) { return Tensors{rms_norm_composed(t[0], t[1], 1e-5)}; }, {random({70, 96}), random({96})}, {1});
}

TEST_F(Kernels, ScaledColumns) {
  const auto fused = [](const Tensors& t) { return Tensors{kernels::scaled(t[0], t[1])}; };
  const auto composed = [](const Tensors& t) { return Tensors{scaled_composed(t[0], t[1])}; };
  compare(fused, composed, {random({70, 19}), random({19})});
  compare(fused, composed, {random({37, 96}), random({96})}, {0});
  compare(fused, composed, {random({37, 96}), random({96})}, {1});
  compare([](const Tensors& t) { return Tensors{kernels::scaled(t[0].t(), t[1])}; },
          [](const Tensors& t) { return Tensors{scaled_composed(t[0].t(), t[1])}; }, {random({19, 33}), random({19})});
}

TEST_F(Kernels, LayerNorm) {
  for (const int64_t width : {5, 19, 96})
    for (const int parts : {0, 1, 2}) {  // alone, with a gain, with a shift too
      const auto call = [&](auto operation) {
        return [=](const Tensors& t) { return Tensors{operation(t[0], parts > 0 ? t[1] : Tensor(), parts > 1 ? t[2] : Tensor(), 1e-5)}; };
      };
      Tensors inputs{random({37, 2, width}) + 3, random({width}), random({width})};
      inputs.resize(static_cast<size_t>(1 + parts));
      compare(call(layer_norm), call(layer_norm_composed), inputs);
      if (parts == 2) compare(call(layer_norm), call(layer_norm_composed), inputs, {1, 2});
    }
}

TEST_F(Kernels, RmsNormOfTrainedGainDoesNotDependOnThreads) {
  const Tensor x = at::randn({301, 40}), dy = at::randn({301, 40});
  std::vector<Tensor> slopes;
  const int threads = at::get_num_threads();
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    const Tensor gain = at::ones({40}).requires_grad_();
    rms_norm(x, gain, 1e-5).backward(dy);
    slopes.push_back(gain.grad());
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(slopes[0], slopes[1]) && at::equal(slopes[0], slopes[2]));
}

TEST_F(Kernels, RopeTurnsAndLeavesTheRest) {
  const Tensor angle = random({6, 3});
  for (const int64_t dim : {6, 10})
    compare([](const Tensors& t) { return Tensors{rope(t[0], t[1], t[2])}; },
            [](const Tensors& t) { return Tensors{rope_composed(t[0], t[1], t[2])}; }, {random({6, 4, dim}), angle.cos(), angle.sin()}, {1, 2});
}

TEST_F(Kernels, RopeTurnsNeighbours) {
  const Tensor angle = random({6, 3});
  for (const int64_t dim : {6, 10})
    compare([](const Tensors& t) { return Tensors{rope(t[0], t[1], t[2], true)}; },
            [](const Tensors& t) { return Tensors{rope_composed(t[0], t[1], t[2], true)}; }, {random({6, 4, dim}), angle.cos(), angle.sin()}, {1, 2});
}

TEST_F(Kernels, Swiglu) {
  compare([](const Tensors& t) { return Tensors{swiglu(t[0], t[1])}; }, [](const Tensors& t) { return Tensors{swiglu_composed(t[0], t[1])}; },
          {random({5, 8}), random({5, 8})});
}

// Widths with and without a rest behind whole vectors, values far out on both sides.
TEST_F(Kernels, ActivationsAloneAndGated) {
  for (auto& name : activation_names())
    for (const int64_t width : {3, 16, 37}) {
      const Tensor x = random({5, width}, 4), up = random({5, width});
      compare([&](const Tensors& t) { return Tensors{activate(t[0], name)}; }, [&](const Tensors& t) { return Tensors{activate_composed(t[0], name)}; }, {x});
      compare([&](const Tensors& t) { return Tensors{gated(t[0], t[1], name)}; }, [&](const Tensors& t) { return Tensors{gated_composed(t[0], t[1], name)}; }, {x, up});
      // Halves of one tensor, as fused weights give them.
      const auto halves = [&](auto operation) {
        return [=](const Tensors& t) {
          const auto parts = t[0].chunk(2, 1);
          return Tensors{operation(parts[0], parts[1], name)};
        };
      };
      compare(halves(gated), halves(gated_composed), {random({5, 2 * width})});
    }
}

TEST_F(Kernels, ActivationsFarOut) {
  const Tensor x = at::tensor({-1e30f, -200.0f, -90.0f, -20.0f, -0.0f, 0.0f, 1e-20f, 20.0f, 90.0f, 200.0f, 1e30f});
  for (auto& name : activation_names()) {
    EXPECT_TRUE(at::allclose(activate(x, name), activate_composed(x, name), 1e-5, 1e-6)) << name << "\n" << activate(x, name);
    EXPECT_TRUE(std::isnan(activate(at::full({1}, std::nanf("")), name).item<float>())) << name;
  }
}

// The slopes of a sum over rows are one row again and again: no matrix as BLAS knows it.
TEST_F(Kernels, LinearInFrontOfASumOverRows) {
  const auto call = [](auto operation) { return [=](const Tensors& t) { return Tensors{operation(t[0], t[1], t[2]).sum(0)}; }; };
  const auto fused = [](const Tensor& x, const Tensor& weight, const Tensor& bias) { return linear(x, weight, bias); };
  compare(call(fused), call(linear_composed), {random({70, 48}), random({40, 48}), random({40})});
  compare(call(fused), call(linear_composed), {random({1, 48}), random({40, 48}), random({40})});
  compare(call(fused), call(linear_composed), {random({70, 1}), random({40, 1}), random({40})});
}

// Few tasks, one for each query head, and many, one for all heads that share keys.
TEST_F(Kernels, PackedAttention) {
  for (const std::vector<int64_t>& starts : {std::vector<int64_t>{0, 5, 6, 40}, {0, 5, 5, 40, 40}, {0, 1, 4, 9, 11, 15, 16, 20, 24, 27, 30, 33, 36, 40}})
    for (const int64_t kv_heads : {1, 2, 4})
      for (const bool prefix : {false, true}) {
        const auto call = [&](auto operation) {
          return [=](const Tensors& t) { return Tensors{operation(t[0], t[1], t[2], starts, 0.3, prefix ? PrefixRows{t[3], t[4]} : PrefixRows{})}; };
        };
        Tensors inputs{random({40, 4, 8}), random({40, kv_heads, 8}), random({40, kv_heads, 8})};
        if (prefix) inputs.insert(inputs.end(), {random({3, kv_heads, 8}), random({3, kv_heads, 8})});
        compare(call(packed_attention), call(packed_attention_composed), inputs);
      }
}

// Windows, soft caps and biases, alone and together; documents shorter and longer than a window and than a block of queries.
TEST_F(Kernels, PackedAttentionWithShapes) {
  const std::vector<int64_t> starts{0, 5, 6, 6, 300, 300};
  const Tensor bias = random({4, 310}).to(at::kFloat);
  for (int variant = 1; variant < 8; ++variant)
    for (const bool prefix : {false, true}) {
      AttentionShape shape(0.3);
      if (variant & 1) shape.window = variant & 2 ? 150 : 7;
      if (variant & 2) shape.softcap = 1.5;
      if (variant & 4) shape.key_bias = bias;
      const auto call = [&](auto operation) {
        return [=](const Tensors& t) { return Tensors{operation(t[0], t[1], t[2], starts, shape, prefix ? PrefixRows{t[3], t[4]} : PrefixRows{})}; };
      };
      const int64_t kv_heads = variant % 2 ? 2 : 4;
      Tensors inputs{random({300, 4, 8}), random({300, kv_heads, 8}), random({300, kv_heads, 8})};
      if (prefix) inputs.insert(inputs.end(), {random({3, kv_heads, 8}), random({3, kv_heads, 8})});
      compare(call(packed_attention), call(packed_attention_composed), inputs);
    }
}

// Documents that continue others, on two levels: what the twin says, with every shape and prefix rows.
TEST_F(Kernels, PackedAttentionBehindOtherDocuments) {
  const std::vector<int64_t> starts{0, 5, 9, 10, 70, 74, 90, 200};
  const Tensor bias = random({4, 300}).to(at::kFloat);
  for (int variant = 0; variant < 8; ++variant)
    for (const bool prefix : {false, true}) {
      AttentionShape shape(0.3);
      shape.parents = {-1, 0, 1, 1, 0, -1, 5};
      if (variant & 1) shape.window = 12;
      if (variant & 2) shape.softcap = 1.5;
      if (variant & 4) shape.key_bias = bias;
      const auto call = [&](auto operation) {
        return [=](const Tensors& t) { return Tensors{operation(t[0], t[1], t[2], starts, shape, prefix ? PrefixRows{t[3], t[4]} : PrefixRows{})}; };
      };
      Tensors inputs{random({200, 4, 8}), random({200, 2, 8}), random({200, 2, 8})};
      if (prefix) inputs.insert(inputs.end(), {random({3, 2, 8}), random({3, 2, 8})});
      compare(call(packed_attention), call(packed_attention_composed), inputs);
    }
}

// Queries of the last rows of each document, all, some or none of them, also behind prefix rows and other documents: those rows of the whole.
TEST_F(Kernels, PackedAttentionOfLastQueries) {
  if (!takes_last_queries(testing::test_device(), at::kFloat, false)) GTEST_SKIP() << "on a CPU alone";
  const std::vector<int64_t> starts{0, 5, 9, 10, 70, 74, 74, 200}, counts{0, 2, 1, 13, 0, 0, 101};
  std::vector<int64_t> rows, query_starts{0};
  for (size_t d = 0; d < counts.size(); ++d) {
    for (int64_t row = starts[d + 1] - counts[d]; row < starts[d + 1]; ++row) rows.push_back(row);
    query_starts.push_back(static_cast<int64_t>(rows.size()));
  }
  for (const bool parents : {false, true})
    for (const bool prefix : {false, true})
      for (const int64_t window : {0, 12}) {
        AttentionShape shape(0.3);
        shape.window = window;
        if (parents) shape.parents = {-1, 0, 1, 1, 0, -1, 4};
        const auto of_rows = [&](const Tensor& x) { return x.index_select(0, at::tensor(rows, at::kLong)); };
        const auto front = [&](const Tensors& t) { return prefix ? PrefixRows{t[3], t[4]} : PrefixRows{}; };
        const auto last = [&](const Tensors& t) {
          if (t[0].scalar_type() != at::kFloat) return Tensors{of_rows(packed_attention(t[0], t[1], t[2], starts, shape, front(t)))};
          AttentionShape some = shape;
          some.query_starts = query_starts;
          return Tensors{packed_attention(of_rows(t[0]), t[1], t[2], starts, some, front(t))};
        };
        Tensors inputs{random({200, 4, 8}), random({200, 2, 8}), random({200, 2, 8})};
        if (prefix) inputs.insert(inputs.end(), {random({3, 2, 8}), random({3, 2, 8})});
        compare(last, [&](const Tensors& t) { return Tensors{of_rows(packed_attention_composed(t[0], t[1], t[2], starts, shape, front(t)))}; }, inputs);
      }
}

// The rows 9 .. 15 continue 5 .. 9, which continue 0 .. 5: as one document of 15 rows they see the same.
TEST_F(Kernels, ADocumentBehindOthersSeesWhatTheWholeOneSees) {
  const Tensor q = random({15, 4, 8}), k = random({15, 2, 8}), v = random({15, 2, 8});
  AttentionShape shape(0.3);
  shape.parents = {-1, 0, 1};
  EXPECT_TRUE(at::allclose(packed_attention(q, k, v, {0, 5, 9, 15}, shape), packed_attention(q, k, v, {0, 15}, 0.3), 1e-5, 1e-6));
}

TEST_F(Kernels, AWindowHidesOlderKeys) {
  AttentionShape shape(0.3);
  shape.window = 3;
  const Tensor q = random({9, 2, 8}), k = random({9, 2, 8}), v = random({9, 2, 8});
  const Tensor all = packed_attention(q, k, v, {0, 9}, shape);
  const Tensor last = packed_attention(q.narrow(0, 6, 3), k.narrow(0, 6, 3), v.narrow(0, 6, 3), {0, 3}, 0.3);
  EXPECT_TRUE(at::allclose(all[8], last[2]));
  EXPECT_FALSE(at::allclose(all[7], last[1]));
}

TEST_F(Kernels, PackedDocumentsDoNotSeeEachOther) {
  const Tensor q = random({9, 2, 8}), k = random({9, 2, 8}), v = random({9, 2, 8});
  const Tensor both = packed_attention(q, k, v, {0, 4, 9}, 0.3);
  const Tensor second = packed_attention(q.narrow(0, 4, 5), k.narrow(0, 4, 5), v.narrow(0, 4, 5), {0, 5}, 0.3);
  EXPECT_TRUE(at::allclose(both.narrow(0, 4, 5), second));
}

TEST_F(Kernels, DecodeAttention) {
  for (const int64_t dim : {16, 20, 64}) {  // 20: not whole vectors
    const Tensor q = random({3, 6, dim}).to(at::kFloat), keys = random({4, 2, 20, dim}).to(at::kFloat), values = random({4, 2, 20, dim}).to(at::kFloat);
    const std::vector<int64_t> lengths{1, 20, 7}, slots{2, 0, 3};
    const Tensor fused = decode_attention(q, {keys, values, slots}, lengths, 0.25);
    EXPECT_TRUE(at::allclose(fused, decode_attention_composed(q, {keys, values, slots}, lengths, 0.25), 1e-5, 1e-6));
    // The same as the last row of a whole document.
    const Tensor rows = at::cat({at::zeros({19, 6, dim}, q.options()), q.narrow(0, 1, 1)});
    EXPECT_TRUE(at::allclose(fused[1], packed_attention_composed(rows, keys[0].transpose(0, 1), values[0].transpose(0, 1), {0, 20}, 0.25)[19], 1e-5, 1e-6));
  }
}

TEST_F(Kernels, DecodeAttentionWithShapes) {
  const Tensor q = random({3, 4, 16}).to(at::kFloat), keys = random({3, 2, 20, 16}).to(at::kFloat), values = random({3, 2, 20, 16}).to(at::kFloat);
  const std::vector<int64_t> lengths{1, 20, 7}, slots{0, 1, 2};
  for (int variant = 1; variant < 8; ++variant) {
    AttentionShape shape(0.25);
    if (variant & 1) shape.window = 5;
    if (variant & 2) shape.softcap = 1.5;
    if (variant & 4) shape.key_bias = random({4, 25}).to(at::kFloat);
    const Tensor fused = decode_attention(q, {keys, values, slots}, lengths, shape);
    EXPECT_TRUE(at::allclose(fused, decode_attention_composed(q, {keys, values, slots}, lengths, shape), 1e-5, 1e-6)) << variant;
    const Tensor rows = at::cat({at::zeros({19, 4, 16}, q.options()), q.narrow(0, 1, 1)});
    EXPECT_TRUE(at::allclose(fused[1], packed_attention_composed(rows, keys[1].transpose(0, 1), values[1].transpose(0, 1), {0, 20}, shape)[19], 1e-5, 1e-6)) << variant;
  }
}

TEST_F(Kernels, LinearCrossEntropyWithScaleAndSoftcap) {
  const Tensor targets = at::randint(0, 50, {9}, at::kLong).to(testing::test_device());
  for (const LogitShape shape : {LogitShape{0.3, 0}, LogitShape{1, 1.5}, LogitShape{2, 3}}) {
    compare([&](const Tensors& t) { return Tensors{linear_cross_entropy(t[0], t[1], t[2], targets, shape)}; },
            [&](const Tensors& t) { return Tensors{linear_cross_entropy_composed(t[0], t[1], t[2], targets, shape)}; },
            {random({9, 4}), random({50, 4}), random({50})});
    const Tensor h = random({9, 4}), w = random({50, 4});
    EXPECT_NEAR(token_losses(h, w, {}, targets, shape).sum().item<double>(), linear_cross_entropy_composed(h, w, {}, targets, shape).item<double>(), 1e-8);
  }
}

TEST_F(Kernels, LinearCrossEntropySmoothed) {
  const Tensor targets = at::randint(0, 50, {9}, at::kLong).to(testing::test_device());
  for (const double smoothing : {0.1, 1.0})
    for (const LogitShape shape : {LogitShape{}, LogitShape{0.7, 1.5}})
      for (const int64_t bytes : {int64_t{1} << 20, int64_t{1000}}) {  // in one piece and by few rows
        const LossOptions options{smoothing, bytes};
        compare([&](const Tensors& t) { return Tensors{linear_cross_entropy(t[0], t[1], t[2], targets, shape, options)}; },
                [&](const Tensors& t) { return Tensors{linear_cross_entropy_composed(t[0], t[1], t[2], targets, shape, options)}; },
                {random({9, 4}), random({50, 4}), random({50})});
      }
}

TEST_F(Kernels, LinearCrossEntropyBesideGaps) {
  const Tensor learned = at::tensor({0, 2, 3, 7, 8}, at::kLong).to(testing::test_device());
  Tensor targets = at::full({9}, -1, at::kLong).to(testing::test_device());
  targets.index_put_({learned}, at::randint(0, 50, {5}, at::kLong).to(testing::test_device()));
  for (const double smoothing : {0.0, 0.1})
    for (const LogitShape shape : {LogitShape{}, LogitShape{0.7, 1.5}}) {
      const LossOptions options{smoothing, 1000, /*gaps=*/true};
      compare([&](const Tensors& t) { return Tensors{linear_cross_entropy(t[0], t[1], t[2], targets, shape, options)}; },
              [&](const Tensors& t) { return Tensors{linear_cross_entropy_composed(t[0], t[1], t[2], targets, shape, options)}; },
              {random({9, 4}), random({50, 4}), random({50})});
      const Tensor h = random({9, 4}), w = random({50, 4});
      EXPECT_NEAR(linear_cross_entropy(h, w, {}, targets, shape, options).item<double>(),
                  linear_cross_entropy(h.index_select(0, learned), w, {}, targets.index_select(0, learned), shape, {smoothing}).item<double>(), 1e-8);
    }
}

TEST_F(Kernels, LabelSmoothingIsTheReferences) {
  const Json golden = read_json(testing::source_folder() / "tests/kernels/golden/label_smoothing.json");
  const auto tensor = [](const Json& rows) {
    std::vector<Tensor> all;
    for (auto& row : rows) all.push_back(at::tensor(row.get<std::vector<double>>(), at::kDouble));
    return at::stack(all);
  };
  const Tensor targets = at::tensor(golden["targets"].get<std::vector<int64_t>>(), at::kLong), weight = tensor(golden["weight"]);
  ASSERT_EQ(golden["cases"].size(), 2u);
  for (auto& c : golden["cases"])
    for (const auto dtype : {at::kFloat, at::kDouble}) {
      const Tensor h = tensor(golden["h"]).to(dtype).requires_grad_();
      const Tensor loss = linear_cross_entropy(h, weight.to(dtype), {}, targets, {}, {.label_smoothing = c["epsilon"].get<double>()});
      loss.backward();
      EXPECT_NEAR(loss.item<double>(), c["loss"].get<double>(), dtype == at::kDouble ? 1e-6 : 1e-5);  // the file's logits come from float32 numbers
      EXPECT_LT((h.grad() - tensor(c["slope"])).abs().max().item<double>(), 1e-6);
    }
}

TEST_F(Kernels, LinearCrossEntropyInChunks) {
  const Tensor targets = at::randint(0, 50000, {150}, at::kLong).to(testing::test_device());  // 150 rows of 50000 entries: three chunks
  compare([&](const Tensors& t) { return Tensors{linear_cross_entropy(t[0], t[1], t[2], targets)}; },
          [&](const Tensors& t) { return Tensors{linear_cross_entropy_composed(t[0], t[1], t[2], targets)}; },
          {random({150, 4}), random({50000, 4}), random({50000})});
  const Tensor h = random({150, 4}), w = random({50000, 4});
  EXPECT_NEAR(token_losses(h, w, {}, targets).sum().item<double>(), linear_cross_entropy_composed(h, w, {}, targets).item<double>(), 1e-8);
}

}  // namespace
}  // namespace graft::kernels
