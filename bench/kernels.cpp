// Time of each fused operation against its composed twin, forward and backward, on the shapes of real steps: 1024 and 600 rows, the
// widths of SmolLM2-135M (576, MLP 1536, vocabulary 49152) and of models about 1B (2048, MLP 8192).
//   ./dev bench kernels [--benchmark_filter=NAME] [--threads=N]
#include <benchmark/benchmark.h>

#include <ATen/Parallel.h>

#include <functional>
#include <map>

#include "core/system.h"
#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/linear.h"
#include "kernels/norm.h"
#include "kernels/rope.h"
#include "kernels/scale.h"
#include "kernels/twins.h"

namespace graft {
namespace {

using kernels::ComposedOnly;
using Step = std::function<void()>;

// Forward and backward of an operation on leaves; the gradient of the output is given.
Step training(std::vector<Tensor> leaves, const std::function<Tensor(const std::vector<Tensor>&)>& operation) {
  for (auto& leaf : leaves) leaf.requires_grad_();
  return [leaves, operation, slope = Tensor()]() mutable {
    const Tensor y = operation(leaves);
    if (!slope.defined()) slope = at::randn(y.sizes(), y.options());
    y.backward(slope);
    for (auto& leaf : leaves) leaf.mutable_grad().reset();
  };
}

void add(const std::string& name, const Step& step) {
  for (const bool composed : {false, true})
    benchmark::RegisterBenchmark((name + (composed ? "|composed" : "|fused")).c_str(),
                                 [step, composed](benchmark::State& state) {
                                   const std::unique_ptr<ComposedOnly> twin(composed ? new ComposedOnly : nullptr);
                                   for (auto _ : state) step();
                                 })
        ->UseRealTime()
        ->MinTime(0.05)
        ->Repetitions(3)
        ->Unit(benchmark::kMicrosecond);
}

void add_rowwise(int64_t rows, int64_t width, int64_t inner) {
  const auto named = [&](const char* kernel, int64_t columns) { return fmt::format("{} {}x{}", kernel, rows, columns); };
  const Tensor x = at::randn({rows, width}), gain = at::randn({width}), shift = at::randn({width});
  add(named("rms_norm", width), training({x}, [=](auto& t) { return kernels::rms_norm(t[0], gain, 1e-5); }));
  add(named("rms_norm trained", width), training({x, gain}, [](auto& t) { return kernels::rms_norm(t[0], t[1], 1e-5); }));
  add(named("layer_norm", width), training({x}, [=](auto& t) { return kernels::layer_norm(t[0], gain, shift, 1e-5); }));
  add(named("layer_norm trained", width), training({x, gain, shift}, [](auto& t) { return kernels::layer_norm(t[0], t[1], t[2], 1e-5); }));
  add(named("scaled", width), training({x, gain}, [](auto& t) { return kernels::scaled(t[0], t[1]); }));
  const Tensor heads = at::randn({rows, width / 64, 64}), angle = at::randn({rows, 32}), cos = angle.cos(), sin = angle.sin();
  add(named("rope", width), training({heads}, [=](auto& t) { return kernels::rope(t[0], cos, sin); }));
  const Tensor gate = at::randn({rows, inner}), up = at::randn({rows, inner});
  add(named("swiglu", inner), training({gate, up}, [](auto& t) { return kernels::swiglu(t[0], t[1]); }));
  for (const char* name : {"gelu", "gelu_new", "relu2"}) {
    add(named(name, inner), training({gate}, [=](auto& t) { return kernels::activate(t[0], name); }));
    add(named((std::string(name) + " gated").c_str(), inner), training({gate, up}, [=](auto& t) { return kernels::gated(t[0], t[1], name); }));
  }
}

// The norms of the changed rows of a weight that is stored in bfloat16.
void add_row_norms(int64_t out, int64_t in) {
  const kernels::LowRankLinear changed{at::randn({out, in}).to(at::kBFloat16), {}, at::randn({16, in}), at::randn({out, 16}), 2};
  add(fmt::format("row_norms {}x{}", out, in), [=] { kernels::composed_only() ? kernels::row_norms_composed(changed) : kernels::row_norms(changed); });
}

// Of a frozen weight that is stored in bfloat16.
void add_linear(int64_t rows, int64_t in, int64_t out) {
  const Tensor x = at::randn({rows, in}), weight = at::randn({out, in}).to(at::kBFloat16);
  add(fmt::format("linear {}x{}x{}", rows, in, out), training({x}, [=](auto& t) { return kernels::linear(t[0], weight, {}); }));
}

void add_loss(int64_t rows, int64_t width, int64_t vocab, double label_smoothing = 0) {
  const Tensor h = at::randn({rows, width}), weight = at::randn({vocab, width}) * 0.02, targets = at::randint(0, vocab, {rows}, at::kLong);
  add(fmt::format("linear_cross_entropy {}x{}x{}{}", rows, width, vocab, label_smoothing > 0 ? ", smoothed" : ""),
      training({h}, [=](auto& t) { return kernels::linear_cross_entropy(t[0], weight, {}, targets, {}, {.label_smoothing = label_smoothing}); }));
}

// The optimizer's part of a step: the norm of the gradients, clipping, the update.
void add_optimizer(const std::string& name, const std::vector<std::vector<int64_t>>& shapes) {
  std::vector<kernels::AdamWTensor> tensors;
  std::vector<Tensor> gradients;
  for (auto& shape : shapes) {
    tensors.push_back({at::randn(shape), at::randn(shape), at::zeros(shape), at::zeros(shape), at::zeros({})});
    gradients.push_back(tensors.back().gradient);
  }
  add(name, [tensors, gradients]() mutable {
    const double norm = kernels::composed_only() ? kernels::total_norm_composed(gradients) : kernels::total_norm(gradients);
    kernels::adamw(tensors, {.learning_rate = 1e-4, .gradient_factor = 1 / (1 + norm * 1e-12)});
  });
}

// The factors of LoRA on all linears of a model of SmolLM2-135M's shape, and all its weights.
std::vector<std::vector<int64_t>> lora_shapes(int64_t r) {
  std::vector<std::vector<int64_t>> shapes;
  for (int layer = 0; layer < 30; ++layer)
    for (auto [in, out] : {std::pair<int64_t, int64_t>{576, 576}, {576, 192}, {576, 192}, {576, 576}, {576, 1536}, {576, 1536}, {1536, 576}})
      shapes.insert(shapes.end(), {{r, in}, {out, r}});
  return shapes;
}
std::vector<std::vector<int64_t>> all_shapes() {
  std::vector<std::vector<int64_t>> shapes{{49152, 576}};
  for (int layer = 0; layer < 30; ++layer) shapes.insert(shapes.end(), {{576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}, {576}, {576}});
  return shapes;
}

class Table : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (auto& run : runs) {
      const std::string name = run.run_name.function_name;
      const size_t bar = name.find('|');
      const std::string kernel = name.substr(0, bar);
      auto& times = name.substr(bar) == "|fused" ? fused_ : composed_;
      if (run.run_type != Run::RT_Iteration) continue;
      if (&times == &fused_ && !fused_.count(kernel)) order_.push_back(kernel);
      const double time = run.GetAdjustedRealTime();
      times[kernel] = times.count(kernel) ? std::min(times[kernel], time) : time;  // of the repetitions: what other processes do not slow down
    }
  }
  void Finalize() override {
    fmt::print("{:40} {:>11} {:>12} {:>6}\n", "forward and backward", "fused, µs", "composed, µs", "ratio");
    for (auto& name : order_) fmt::print("{:40} {:11.0f} {:12.0f} {:5.2f}x\n", name, fused_[name], composed_[name], composed_[name] / fused_[name]);
  }

 private:
  std::map<std::string, double> fused_, composed_;
  std::vector<std::string> order_;
};

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  using namespace graft;
  benchmark::Initialize(&argc, argv);
  keep_freed_memory();
  at::set_num_threads(thread_count(0));
  at::manual_seed(1);
  for (const int64_t rows : {600, 1024}) {
    add_linear(rows, 576, 576);
    add_linear(rows, 576, 1536);
    add_linear(rows, 1536, 576);
  }
  add_row_norms(1536, 576);
  add_row_norms(8192, 2048);
  add_rowwise(1024, 576, 1536);
  add_rowwise(600, 2048, 8192);
  add_loss(600, 576, 49152);
  add_loss(600, 576, 49152, 0.1);
  add_optimizer("adamw of LoRA r 16, 420 tensors", lora_shapes(16));
  add_optimizer("adamw of 135M weights", all_shapes());
  Table table;
  fmt::print("{}, {} threads\n", cpu_model(), at::get_num_threads());
  benchmark::RunSpecifiedBenchmarks(&table);
}
