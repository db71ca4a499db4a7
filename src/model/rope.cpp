#include "model/rope.h"

#include <cmath>
#include <numbers>

#include "core/check.h"
#include "core/device.h"
#include "core/torch.h"

namespace graft {
namespace {

constexpr const char* kKinds[] = {"default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional"};
constexpr const char* kRopeKeys[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "attention_factor", "low_freq_factor",
                                     "high_freq_factor", "beta_fast", "beta_slow", "truncate", "mscale", "mscale_all_dim", "short_factor",
                                     "long_factor", "original_max_position_embeddings"};

double magnitude(double scale, double weight) { return scale <= 1 ? 1 : 0.1 * weight * std::log(scale) + 1; }

// Which part of a head turns, from the block, the file's own key or the family's default.
void read_rotated_part(const ConfigReader& r, const ConfigReader& inner, const ModelConfig& c, const UsualKeys& keys, Rope& rope) {
  double part = keys.rotary ? r.number(keys.rotary, keys.rotary_default) : 1;
  part = inner.number("partial_rotary_factor", part);
  rope.dim = c.head_dim;
  if (rope.kind == "proportional") {
    if (!(part > 0) || part > 1) inner.refuse("partial_rotary_factor", "above 0 and at most 1");
    rope.proportion = part;
  } else if (keys.rotary) {
    rope.dim = static_cast<int64_t>(static_cast<double>(c.head_dim) * part);
    if (rope.dim < 2 || rope.dim > c.head_dim)
      input_error("config", fmt::format("{}: {} of the head dimension {} must be rotated, which is not in 2..{}", r.source(), part, c.head_dim, c.head_dim),
                  fmt::format("see {} or partial_rotary_factor", keys.rotary));
  } else if (part != 1) {
    inner.refuse("partial_rotary_factor", "1 for this family");
  }
  if (rope.dim % 2 != 0) input_error("config", fmt::format("{}: the rotated part of a head must be even but is {}", r.source(), rope.dim));
}

void read_scaling(const ConfigReader& r, const ConfigReader& inner, const ModelConfig& c, const UsualKeys& keys, Rope& rope) {
  const double reach = static_cast<double>(c.max_positions);
  // A key of the file itself goes first, as the reference has it.
  rope.original_max_positions = r.size("original_max_position_embeddings", keys.original_positions ? keys.original_positions
                                                                                                         : inner.size("original_max_position_embeddings", c.max_positions));
  const double ratio = reach / static_cast<double>(rope.original_max_positions);
  const bool by_ratio = rope.kind == "longrope" || (rope.kind == "yarn" && inner.json().contains("factor"));
  if (!by_ratio && !inner.has("factor")) inner.refuse("factor", fmt::format("a number, since rope_type is {}", rope.kind));
  rope.factor = inner.positive("factor", ratio);
  if (rope.kind == "llama3") {
    rope.low_freq_factor = inner.positive("low_freq_factor", 1);
    rope.high_freq_factor = inner.positive("high_freq_factor", 4);
    if (!(rope.high_freq_factor > rope.low_freq_factor)) inner.refuse("high_freq_factor", "above low_freq_factor");
  } else if (rope.kind == "yarn") {
    rope.beta_fast = inner.positive("beta_fast", 32);
    rope.beta_slow = inner.positive("beta_slow", 1);
    rope.truncate = inner.flag("truncate", true);
    const double m = inner.number("mscale", 0), all = inner.number("mscale_all_dim", 0);
    rope.attention_factor = inner.number("attention_factor", m != 0 && all != 0 ? magnitude(rope.factor, m) / magnitude(rope.factor, all)
                                                                                 : magnitude(rope.factor, 1));
  } else if (rope.kind == "longrope") {
    rope.short_factor = inner.numbers("short_factor", rope.dim / 2);
    rope.long_factor = inner.numbers("long_factor", rope.dim / 2);
    const double standard = rope.factor <= 1 ? 1 : std::sqrt(1 + std::log(rope.factor) / std::log(static_cast<double>(rope.original_max_positions)));
    rope.attention_factor = inner.number("attention_factor", standard);
  }
}

// arXiv 2309.00071: fast waves are kept, slow ones stretched, those between blended.
double yarn(const Rope& rope, double plain, int64_t i) {
  const auto dimension = [&](double turns) {
    return static_cast<double>(rope.dim) * std::log(static_cast<double>(rope.original_max_positions) / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = dimension(rope.beta_fast), high = dimension(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.dim - 1));
  if (low == high) high += 0.001;
  const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return plain / rope.factor * stretched + plain * (1 - stretched);
}

// Llama 3.1: long waves are stretched, short ones kept, those between blended.
double llama3(const Rope& rope, double plain) {
  const double reach = static_cast<double>(rope.original_max_positions), wave = 2 * std::numbers::pi / plain;
  if (wave > reach / rope.low_freq_factor) return plain / rope.factor;
  if (wave < reach / rope.high_freq_factor) return plain;
  const double blend = (reach / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - blend) * plain / rope.factor + blend * plain;
}

}  // namespace

const Json& rope_block(const ConfigReader& r, std::string& name) {
  static const Json none = nullptr;
  const bool old_style = r.has("rope_scaling"), new_style = r.has("rope_parameters");
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if ((key == std::string("rope_scaling") ? old_style : new_style) && !r.json().at(key).empty()) {
      name = key;
      if (!r.json().at(key).is_object()) r.refuse(key, "a mapping");
      return r.json().at(key);
    }
  name = "rope_parameters";
  return none;
}

Rope read_rope(const ConfigReader& r, const ModelConfig& c, const Json& block, const std::string& name, const UsualKeys& keys) {
  static const Json empty = Json::object();
  const ConfigReader inner(block.is_null() ? empty : block, r.source() + ": " + name);
  for (auto& [key, value] : inner.json().items())
    if (std::find(std::begin(kRopeKeys), std::end(kRopeKeys), key) == std::end(kRopeKeys) && !value.is_null())
      input_error("config", fmt::format("{}: '{}' is not a known rotary option", inner.source(), key), fmt::format("known: {}", fmt::join(kRopeKeys, ", ")));
  Rope rope;
  rope.theta = inner.positive("rope_theta", r.positive(keys.theta, keys.theta_default));
  rope.kind = inner.text("rope_type", inner.text("type", "default"));
  if (std::find(std::begin(kKinds), std::end(kKinds), rope.kind) == std::end(kKinds))
    input_error("config", fmt::format("{}: rope_type '{}' is not supported", inner.source(), rope.kind), fmt::format("known: {}", fmt::join(kKinds, ", ")));
  read_rotated_part(r, inner, c, keys, rope);
  if (rope.kind == "proportional") rope.factor = inner.positive("factor", 1);
  else if (rope.kind != "default") read_scaling(r, inner, c, keys, rope);
  return rope;
}

Tensor rope_frequencies(const Rope& rope, const ModelConfig& config, int64_t length) {
  const int64_t half = rope.dim / 2;
  double theta = rope.theta;
  if (rope.kind == "dynamic") {
    const double reach = static_cast<double>(config.max_positions), seen = std::max(static_cast<double>(length), reach), dim = static_cast<double>(rope.dim);
    theta *= std::pow(rope.factor * seen / reach - (rope.factor - 1), dim / (dim - 2));
  }
  const auto& factors = length > rope.original_max_positions ? rope.long_factor : rope.short_factor;
  const int64_t turning = static_cast<int64_t>(rope.proportion * static_cast<double>(rope.dim) / 2);  // of "proportional"
  Tensor frequencies = at::empty({half}, at::kFloat);
  float* out = frequencies.mutable_data_ptr<float>();
  for (int64_t i = 0; i < half; ++i) {
    double f = 1 / std::pow(theta, static_cast<double>(2 * i) / static_cast<double>(rope.dim));
    if (rope.kind == "linear") f /= rope.factor;
    else if (rope.kind == "llama3") f = llama3(rope, f);
    else if (rope.kind == "yarn") f = yarn(rope, f, i);
    else if (rope.kind == "longrope") f /= factors[static_cast<size_t>(i)];
    else if (rope.kind == "proportional") f = i < turning ? f / rope.factor : 0;
    out[i] = static_cast<float>(f);
  }
  return frequencies;
}

Angles rope_angles(const Rope& rope, const ModelConfig& config, const Tensor& positions, const std::vector<int64_t>& starts,
                   const std::vector<int64_t>& lengths, at::ScalarType dtype) {
  const Tensor at = positions.to(at::kFloat);
  Tensor angle;
  if (!rope.by_length()) {
    angle = at::outer(at, moved(rope_frequencies(rope, config, 0), positions.device()));
  } else {
    std::vector<Tensor> each;
    for (const int64_t length : lengths) each.push_back(rope_frequencies(rope, config, length));
    const Tensor all = moved(at::stack(each), positions.device());  // one copy for all documents
    std::vector<Tensor> parts;
    for (size_t d = 0; d < lengths.size(); ++d) parts.push_back(at::outer(at.narrow(0, starts[d], starts[d + 1] - starts[d]), all[static_cast<int64_t>(d)]));
    angle = at::cat(parts, 0);
  }
  return {(angle.cos() * rope.attention_factor).to(dtype), (angle.sin() * rope.attention_factor).to(dtype)};
}

Tensor alibi_bias(const ModelConfig& config, int64_t keys) {
  if (config.alibi == Alibi::None) return {};
  const int64_t power = int64_t{1} << static_cast<int64_t>(std::floor(std::log2(static_cast<double>(config.heads))));
  Tensor slopes = at::empty({config.heads, 1}, at::kFloat);
  float* slope = slopes.mutable_data_ptr<float>();
  const double base = std::exp2(-8.0 / static_cast<double>(power)), between = std::exp2(-4.0 / static_cast<double>(power));
  for (int64_t h = 0; h < config.heads; ++h)
    slope[h] = static_cast<float>(h < power ? std::pow(base, static_cast<double>(h + 1)) : std::pow(between, static_cast<double>(2 * (h - power) + 1)));
  const Tensor index = at::arange(keys, at::kFloat).unsqueeze(0);
  if (config.alibi == Alibi::Exact) return slopes * index;
  const Tensor rounded = (slopes.to(at::kBFloat16).to(at::kFloat) * index.to(at::kBFloat16).to(at::kFloat)).to(at::kBFloat16).to(at::kFloat);
  return rounded / std::sqrt(static_cast<double>(config.head_dim));
}

}  // namespace graft
