// EVA (arXiv 2410.07170): LoRA whose A starts at the directions in which a module's inputs vary most, with ranks where they
// explain most.
//   A = the first principal components of the inputs, B = 0;  y = W x + b + s · B A x
// Trained, merging and files: LoRA's, with rank_pattern and alpha_pattern. The identity at the start. An incremental PCA per
// input goes through the run's batches until all components that are needed have converged: their cosine with those before the
// batch is at least tau. The ranks of all modules together stay what they were; components are taken in the order of the share of
// variance that they explain, up to rho · r a module (and a module's size); one without any is left alone. With
// adjust_scaling_factors alpha grows with the rank. The same as PEFT's, save that calibration_rows ends it, and that whitening is
// not repeated for every module that shares an input (q, k and v), which PEFT does by accident.
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/check.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/signals.h"
#include "core/torch.h"
#include "methods/common/calibrated_lora.h"
#include "methods/common/svd.h"

namespace graft {
namespace {

struct EvaConfig : LoraConfig {
  double rho = 2, tau = 0.99;
  bool use_label_mask = true, whiten = false, adjust_scaling_factors = true;
  int64_t calibration_rows = 1024;
  void visit(Fields& f) override {
    LoraConfig::visit(f);
    f("rho", rho, "a module's rank is at most rho * r; 1: all ranks stay r", at_least(1));
    f("tau", tau, "a component has converged when its cosine with itself a batch before is so large", between(0, 1));
    f("use_label_mask", use_label_mask, "look only at tokens that are learned");
    f("whiten", whiten, "divide components by the square roots of their singular values");
    f("adjust_scaling_factors", adjust_scaling_factors, "keep lora_alpha / r where the rank changes");
    f("calibration_rows", calibration_rows, "training rows to look at, at most", at_least(1));
  }
};

// Principal components of rows that come batch by batch, as scikit-learn and PEFT compute them, in float64.
struct IncrementalPca {
  int64_t count = 0;                                       // of components
  double seen = 0;                                         // rows
  Tensor mean, variance, components, singular, explained;  // explained: shares of all variance
  std::vector<bool> converged;

  void add(const Tensor& given, double tau) {
    const Tensor x = given.to(at::kDouble), sum = x.sum(0);
    const double rows = static_cast<double>(x.size(0)), total = seen + rows;
    const Tensor batch_mean = sum / rows, centred = x - batch_mean;
    const Tensor spread = centred.square().sum(0);
    Tensor stacked = centred;
    if (seen > 0) {
      const Tensor step = (mean - batch_mean) * std::sqrt(seen / total * rows);
      variance = (variance * seen + spread + step.square()) / total;
      stacked = at::cat({singular.unsqueeze(1) * components, centred, step.unsqueeze(0)});
      mean = (mean * seen + sum) / total;
    } else {
      variance = spread / total;
      mean = batch_mean;
    }
    at::Generator generator = at::detail::createCPUGenerator(42);
    const int64_t columns = std::min({2 * count, stacked.size(0), stacked.size(1)});
    const auto svd = randomised_svd(stacked, columns, 4, generator);
    const Tensor largest = at::gather(svd.vh, 1, svd.vh.abs().argmax(1, true));
    const Tensor now = (svd.vh * largest.sign()).narrow(0, 0, count);
    if (components.defined()) {
      const Tensor cosine = at::cosine_similarity(now, components).to(at::kCPU);
      for (int64_t c = 0; c < count; ++c) converged[static_cast<size_t>(c)] = cosine[c].item<double>() >= tau;
    }
    components = now;
    singular = svd.s.narrow(0, 0, count);
    explained = singular.square() / (variance * total).sum();
    seen = total;
  }
  bool has_converged(int64_t first) const {
    return std::all_of(converged.begin(), converged.begin() + first, [](bool c) { return c; });
  }
};

class Eva : public CalibratedLoraWith<EvaConfig> {
 public:
  Eva() : CalibratedLoraWith("eva") {}

 protected:
  bool moves_base() override { return false; }

  NamedTensors calibrate(AttachContext& context, const Calibration& data, const std::vector<Planned>& plan) override {
    at::NoGradGuard no_grad;
    std::vector<Target> adapted;
    for (auto& p : plan) adapted.push_back(p.target);
    const std::vector<Batch> batches = first_batches(data, options_.calibration_rows);
    const auto first = equal_inputs(context.model, adapted, batches[0]);
    std::vector<int64_t> most = largest_ranks(plan), ranks = most;
    std::vector<IncrementalPca> pcas(plan.size());
    for (size_t i = 0; i < plan.size(); ++i) pcas[first[i]].count = std::max(pcas[first[i]].count, most[i]);
    for (auto& pca : pcas) pca.converged.assign(static_cast<size_t>(pca.count), false);
    Progress progress("principal components", static_cast<int64_t>(batches.size()), data.quiet);
    int64_t done = 0, open = 0;
    for (auto& batch : batches) {
      std::vector<bool> wanted(plan.size());
      open = 0;
      for (size_t i = 0; i < plan.size(); ++i)
        if (first[i] == i) open += wanted[i] = !pcas[i].has_converged(std::min(ranks[i], pcas[i].count));
      if (open == 0) break;
      visit_inputs(context.model, adapted, batch, [&](size_t i, const Tensor& x) {
        const Tensor rows = looked_at(x, batch);
        if (wanted[i] && rows.size(0) >= pcas[i].count) pcas[i].add(rows, options_.tau);
      });
      const bool all = std::all_of(plan.begin(), plan.end(),
                                   [&](const Planned& p) { return pcas[first[static_cast<size_t>(&p - plan.data())]].seen > 0; });
      if (all) ranks = shared_out(plan, first, pcas, most);
      progress.update(++done, fmt::format("{} inputs have not converged", open));
      if (const int signal = pending_signal()) throw Stopped(signal);
    }
    progress.finish();
    if (open > 0 && !data.quiet)
      log_info("eva: {} inputs have not converged in {} rows; what was found is taken", open, options_.calibration_rows);
    NamedTensors factors;
    for (size_t i = 0; i < plan.size(); ++i) {
      const IncrementalPca& pca = pcas[first[i]];
      if (pca.seen == 0)
        usage_error("eva", fmt::format("no batch has {} tokens to look at for '{}'", pca.count, plan[i].target.linear->path),
                    "use a larger --batch-size, a smaller r or rho, or use_label_mask=false");
      Tensor a = pca.components.narrow(0, 0, ranks[i]);
      if (options_.whiten) a = a / pca.singular.narrow(0, 0, ranks[i]).sqrt().unsqueeze(1);
      factors.emplace_back(plan[i].target.linear->path + ".a",
                           a.to(context.model.dtype() == at::kDouble ? at::kDouble : at::kFloat).contiguous());
    }
    return factors;
  }

  void take_ranks(const std::vector<Planned>& plan, const std::map<std::string, Tensor>& factors) override {
    Json ranks = Json::object(), alphas = Json::object(), modules = Json::array();
    for (auto& p : plan) {
      const std::string& path = p.target.linear->path;
      const int64_t rank = factors.at(path + ".a").size(0);
      if (rank == 0) continue;
      modules.push_back(path);
      const double by = static_cast<double>(p.r);
      double alpha = p.scale * (options_.use_rslora ? std::sqrt(by) : by);
      if (options_.adjust_scaling_factors && rank != p.r) alpha *= static_cast<double>(rank) / by;
      if (rank != options_.r) ranks[path] = rank;
      if (alpha != options_.lora_alpha) alphas[path] = alpha;
    }
    options_.rank_pattern = ranks;
    options_.alpha_pattern = alphas;
    if (modules.size() < plan.size()) options_.targets.target_modules = modules;
  }

 private:
  std::vector<int64_t> largest_ranks(const std::vector<Planned>& plan) const {
    std::vector<int64_t> most;
    for (auto& [target, r, scale] : plan)
      most.push_back(std::min({static_cast<int64_t>(std::nearbyint(options_.rho * static_cast<double>(r))), target.linear->in(),
                               target.linear->out()}));
    return most;
  }

  // The rows of the tokens that are learned: behind each position whose next token is.
  Tensor looked_at(const Tensor& x, const Batch& batch) const {
    if (!options_.use_label_mask) return x;
    return x.index_select(0, (at::tensor(batch.predict, at::kLong) + 1).to(x.device()));
  }

  std::vector<int64_t> shared_out(const std::vector<Planned>& plan, const std::vector<size_t>& first,
                                  const std::vector<IncrementalPca>& pcas, const std::vector<int64_t>& most) const {
    std::vector<std::pair<double, size_t>>
        shares;  // of variance, with their module; those that see an input first stand in front
    int64_t budget = 0;
    for (const bool second : {false, true})
      for (size_t i = 0; i < plan.size(); ++i) {
        if ((first[i] != i) != second) continue;
        budget += plan[i].r;
        const Tensor explained = pcas[first[i]].explained.to(at::kCPU).contiguous();
        for (int64_t c = 0; c < most[i]; ++c) shares.emplace_back(explained[c].item<double>(), i);
      }
    std::stable_sort(shares.begin(), shares.end(), [](auto& x, auto& y) { return x.first > y.first; });
    std::vector<int64_t> ranks(plan.size(), 0);
    for (size_t s = 0; s < std::min(shares.size(), static_cast<size_t>(budget)); ++s) ++ranks[shares[s].second];
    for (size_t i = 0; i < plan.size(); ++i)  // the first of equals gets the highest
      if (ranks[i] > ranks[first[i]] && ranks[i] <= most[first[i]]) std::swap(ranks[i], ranks[first[i]]);
    return ranks;
  }
};

}  // namespace

extern const MethodRow kEva;
const MethodRow kEva{.name = "eva",
                     .peft_type = "LORA",
                     .title = "EVA",
                     .paper = "arXiv 2410.07170",
                     .trains = "a low-rank update in the directions in which inputs vary most",
                     .idea = Idea::LowRank,
                     .formula = "y = W x + b + s · B A x,  A = principal components of x,  ranks by explained variance",
                     .size = "r (in + out) a linear on average",
                     .cost = "as LoRA, and forward passes before the first step until the components have converged",
                     .format = Format::Peft,
                     .mergeable = true,
                     .identity = true,
                     .learning_rate = 5e-4,
                     .make = []() -> std::unique_ptr<Method> { return std::make_unique<Eva>(); }};

}  // namespace graft
