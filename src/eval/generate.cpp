#include "eval/generate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/check.h"
#include "core/log.h"
#include "core/rng.h"
#include "core/torch.h"
#include "data/shared_prefixes.h"
#include "model/decoder.h"

namespace graft {
namespace {

// One draw from softmax(logits / temperature) cut to top_k and top_p.
int64_t sample(const float* logits, int64_t vocab, const GenerateConfig& config, Rng& rng) {
  std::vector<int64_t> order(static_cast<size_t>(vocab));
  std::iota(order.begin(), order.end(), int64_t{0});
  const int64_t kept = config.top_k > 0 ? std::min(config.top_k, vocab) : vocab;
  std::partial_sort(order.begin(), order.begin() + kept, order.end(), [&](int64_t a, int64_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  std::vector<double> weights(static_cast<size_t>(kept));
  double total = 0;
  for (int64_t i = 0; i < kept; ++i) total += weights[i] = std::exp((logits[order[i]] - logits[order[0]]) / config.temperature);
  if (config.top_p < 1) {
    double sum = 0;
    for (int64_t i = 0; i < kept; ++i) {
      sum += weights[i];
      if (sum >= config.top_p * total) {
        weights.resize(static_cast<size_t>(i) + 1);
        total = sum;
        break;
      }
    }
  }
  double left = rng.uniform() * total;
  for (size_t i = 0; i < weights.size(); ++i)
    if ((left -= weights[i]) < 0) return order[i];
  return order[weights.size() - 1];
}

struct Sequence {
  size_t prompt;
  Rng rng;
};

}  // namespace

std::vector<std::vector<int64_t>> generate(const Model& model, const Sites& sites, const std::vector<std::vector<int64_t>>& prompts,
                                           const std::vector<int64_t>& stop_ids, const GenerateConfig& config,
                                           const std::function<void(size_t, int64_t)>& on_token) {
  at::NoGradGuard no_grad;
  std::vector<std::vector<int64_t>> results(prompts.size());
  // Prompts of like length together: their sequences end at about the same time.
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return prompts[a].size() < prompts[b].size(); });
  const int64_t extra = sites.input_row_count() + sites.kv_shift();
  if (const int64_t most = order.empty() ? 0 : static_cast<int64_t>(prompts[order.back()].size()) + extra + config.max_new_tokens;
      most > model.config.max_positions && !model.positions.weight.defined())
    log_info("up to {} positions are asked for, but the model was made for {}: texts that reach beyond are of little worth", most, model.config.max_positions);
  for (size_t begin = 0; begin < order.size(); begin += static_cast<size_t>(config.batch)) {
    const size_t end = std::min(order.size(), begin + static_cast<size_t>(config.batch));
    std::vector<PackedSequence> sequences;
    int64_t longest = 0;
    for (size_t i = begin; i < end; ++i) {
      const auto& prompt = prompts[order[i]];
      if (prompt.empty()) usage_error("generate", "a prompt holds no token", "give --prompt some text");
      longest = std::max(longest, static_cast<int64_t>(prompt.size()));
      sequences.push_back({prompt, static_cast<int64_t>(prompt.size())});
    }
    auto [batch, sequence] = std::move(pack_sequences(sequences, std::numeric_limits<int64_t>::max(), sharing_of(model, sites))[0]);
    std::vector<Sequence> alive;
    for (const int64_t i : sequence)
      if (i >= 0) {
        const size_t prompt = order[begin + static_cast<size_t>(i)];
        alive.push_back({prompt, Rng(mix_seed(static_cast<uint64_t>(config.seed), "sample " + std::to_string(prompt)))});
      }
    const int64_t limit = model.positions.weight.defined() ? model.config.max_positions - extra : longest + config.max_new_tokens;
    KvCache cache = make_cache(model, sites, static_cast<int64_t>(alive.size()), longest + config.max_new_tokens);
    for (int64_t step = 0; step < config.max_new_tokens && !alive.empty(); ++step) {
      if (must_refill(model, cache)) {
        batch = Batch{{}, {0}, {}, {}};
        for (auto& s : alive) {
          for (auto* ids : {&prompts[s.prompt], &std::as_const(results[s.prompt])}) batch.ids.insert(batch.ids.end(), ids->begin(), ids->end());
          batch.starts.push_back(batch.tokens());
          batch.prompts.push_back(static_cast<int64_t>(prompts[s.prompt].size()));
        }
        cache.lengths.assign(alive.size(), 0);
        cache.positions.assign(alive.size(), 0);
      }
      const Tensor scores = next_logits(model, sites, batch, cache).to(at::kCPU, at::kFloat).contiguous();
      const int64_t vocab = scores.size(1);
      const Tensor best = config.temperature > 0 ? Tensor() : scores.argmax(1);
      batch = Batch{{}, {0}, {}, {}};
      std::vector<int64_t> kept;
      std::vector<Sequence> going;
      for (size_t i = 0; i < alive.size(); ++i) {
        Sequence& s = alive[i];
        const int64_t id = best.defined() ? best.const_data_ptr<int64_t>()[i] : sample(scores.const_data_ptr<float>() + static_cast<int64_t>(i) * vocab, vocab, config, s.rng);
        const bool stopped = std::find(stop_ids.begin(), stop_ids.end(), id) != stop_ids.end();
        if (!stopped) {
          results[s.prompt].push_back(id);
          if (on_token) on_token(s.prompt, id);
        }
        if (stopped || static_cast<int64_t>(prompts[s.prompt].size() + results[s.prompt].size()) >= limit) continue;
        batch.ids.push_back(id);
        batch.starts.push_back(batch.tokens());
        kept.push_back(static_cast<int64_t>(i));
        going.push_back(std::move(s));
      }
      if (kept.size() < alive.size() && !kept.empty()) select_sequences(cache, kept);
      alive = std::move(going);
    }
  }
  return results;
}

}  // namespace graft
