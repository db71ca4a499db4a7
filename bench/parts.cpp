// Where the time of a training step goes, and how far each part is from the floor: the operations that cannot be avoided, at the
// best rate that any product of this model reaches on this machine.
//   bench_parts MODEL_DIR ROWS.json [--method lora] [--options JSON] [--threads N]    (as bench_step_worker; the first step's rows)
// Base products, head and attention are timed alone, forward and backward, on this step's shapes. The method's own part is what a
// step takes beyond one that trains a single embedding row in front of the documents; the rest (norms, rotary positions, gates,
// sums) is what remains of that.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <iostream>
#include <map>

#include "core/heap.h"
#include "core/json.h"
#include "core/system.h"
#include "core/torch.h"
#include "data/examples.h"
#include "kernels/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/linear.h"
#include "model/loader.h"
#include "train/memory.h"
#include "train/recipe.h"

namespace graft {
namespace {

// The median of three after one to warm up.
double seconds(const std::function<void()>& run) {
  std::vector<double> times;
  for (int i = 0; i < 4; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(times.begin() + 1, times.end());
  return times[2];
}

// Forward and backward of an operation whose inputs all get gradients.
double seconds_both_ways(std::vector<Tensor> inputs, const std::function<Tensor(const std::vector<Tensor>&)>& operation) {
  for (auto& x : inputs) x.requires_grad_();
  return seconds([&] {
    const Tensor y = operation(inputs);
    y.backward(at::ones_like(y));
    for (auto& x : inputs) x.mutable_grad().reset();
  });
}

struct Part {
  double seconds = 0, operations = 0;
};

class Parts {
 public:
  Parts(const Model& base, const Batch& batch) : base_(base), batch_(batch) {}

  // Products with frozen weights, each shape once; behind the last attention only rows with a loss go on.
  Part base_products() {
    std::map<std::array<int64_t, 3>, double> known;
    Part part;
    Model model = base_;
    visit_linears(model, [&](Site site, int64_t layer, Linear& linear) {
      if (site == Site::Head) return;
      const bool tail = layer + 1 == model.layers() && site != Site::Q && site != Site::K && site != Site::V && site != Site::Qkv;
      const int64_t rows = tail ? supervised() : batch_.tokens();
      const double operations = 4.0 * static_cast<double>(rows * linear.in() * linear.out());
      double& time = known[{rows, linear.in(), linear.out()}];
      if (time == 0) {
        time = seconds_both_ways({at::randn({rows, linear.in()})}, [&](auto& x) { return kernels::linear(x[0], linear.weight, {}); });
        best_rate_ = std::max(best_rate_, operations / time);
      }
      part.seconds += time;
      part.operations += operations;
    });
    return part;
  }
  Part head() {
    const Linear head = base_.head_linear();
    const Tensor targets = at::randint(head.out(), {supervised()}, at::kLong);
    return {seconds_both_ways({at::randn({supervised(), head.in()})}, [&](auto& x) { return kernels::linear_cross_entropy(x[0], head.weight, {}, targets); }),
            4.0 * static_cast<double>(supervised() * head.in() * head.out())};
  }
  // Two products forward, five backward (scores are computed again), over the keys that a query may see.
  Part attention() {
    const ModelConfig& c = base_.config;
    double pairs = 0;
    for (size_t d = 0; d + 1 < batch_.starts.size(); ++d) {
      const auto n = static_cast<double>(batch_.starts[d + 1] - batch_.starts[d]);
      pairs += n * (n + 1) / 2;
    }
    const auto rows = [&](int64_t heads) { return at::randn({batch_.tokens(), heads, c.head_dim}); };
    const double one = seconds_both_ways({rows(c.heads), rows(c.kv_heads), rows(c.kv_heads)},
                                         [&](auto& x) { return kernels::packed_attention(x[0], x[1], x[2], batch_.starts, {1.0 / std::sqrt(static_cast<double>(c.head_dim))}); });
    const auto layers = static_cast<double>(base_.layers());
    return {layers * one, layers * 14.0 * pairs * static_cast<double>(c.heads * c.head_dim)};
  }
  double step(const std::string& name, const Json& options, bool again) const {
    const MethodRow& row = find_method(name);
    auto method = row.make();
    from_json(method->config(), options, row.name);
    Adapted adapted = attach(base_, row, std::move(method), 1);
    trained_ = static_cast<double>(trainable_parameters(*adapted.method));
    OptimConfig optim;
    optim.learning_rate = 1e-4;
    optim.schedule = "constant";
    Trainer trainer(adapted, optim, 1 << 20, 1, again ? usual_recomputation(adapted) : RecomputeRule());
    return seconds([&] { trainer.step({batch_}); });
  }
  double trained() const { return trained_; }  // parameters of the last step
  double best_rate() const { return best_rate_; }
  int64_t supervised() const { return static_cast<int64_t>(batch_.predict.size()); }

 private:
  const Model& base_;
  const Batch& batch_;
  double best_rate_ = 0;
  mutable double trained_ = 0;
};

}  // namespace
}  // namespace graft

int main(int argc, char** argv) {
  using namespace graft;
  CLI::App app{"where a step's time goes"};
  std::string folder, rows, method = "lora", options = "{}";
  int64_t threads = 0;
  app.add_option("model", folder)->required();
  app.add_option("rows", rows)->required();
  app.add_option("--method", method);
  app.add_option("--options", options);
  app.add_option("--threads", threads);
  CLI11_PARSE(app, argc, argv);
  keep_freed_memory();
  use_own_heap();
  use_threads(threads);
  const Model base = load_model(folder, {compute_dtype("auto", at::kCPU), "cpu", /*keep_stored=*/true});
  Batch batch;
  const Json plan = read_json(rows);
  for (auto& row : plan["steps"][0]) append_document(batch, row["ids"].get<std::vector<int64_t>>(), row["learned_from"].get<int64_t>());

  Parts parts(base, batch);
  const Part products = parts.base_products(), head = parts.head(), attention = parts.attention();
  const Json method_options = parse_json(options, "--options");
  const double bare = parts.step("prompt_tuning", {{"num_virtual_tokens", 1}}, false), own = parts.step(method, method_options, false);
  // A trained matrix is one product forward, one for its input's gradient, one for its own; only the last is new where the base itself is trained.
  const double trained = parts.trained() * static_cast<double>(batch.tokens()) * (method == "full" ? 2 : 6);
  const double whole = parts.step(method, method_options, true);
  Json result = Json::array();
  const auto add = [&](const char* name, double time, double operations) { result.push_back({{"part", name}, {"seconds", time}, {"floor", operations / parts.best_rate()}}); };
  add("base products", products.seconds, products.operations);
  add("head", head.seconds, head.operations);
  add("attention", attention.seconds, attention.operations);
  add("adapter", own - bare, trained);
  add("rest", bare - products.seconds - head.seconds - attention.seconds, 0);
  add("computed again", whole - own, 0);
  std::cout << json_line({{"rate", parts.best_rate()}, {"parts", result}}) << std::endl;
}
