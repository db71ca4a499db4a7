// WaveFT (arXiv 2505.12532): an update whose wavelet transform has few entries.
//   ΔW = scaling · idwt2(F),  F [out, in] 0 but for n trained entries
// With db1 (Haar), the only wavelet here, an entry at (i, j) of a quadrant of F changes the square of four entries of ΔW at (2i,
// 2j) by a half, with signs by the quadrant: ΔW has 4 n entries at most. use_idwt = false: ΔW = scaling · F. Trained: the n
// entries. Init 0: the identity. Merges: W + ΔW. Odd sizes are filled up to even ones and cut. Their places are the first n of a
// random order of all places, drawn from random_loc_seed as PEFT draws it: they are not in the file.
#include <cmath>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/places.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct WaveFtConfig : WeightMethodConfig {
  int64_t n_frequency = 2592, random_loc_seed = 777;
  double scaling = 25;
  std::string wavelet_family = "db1";
  Json n_frequency_pattern = Json::object();
  bool use_idwt = true, proportional_parameters = false, init_weights = true;
  void visit(Fields& f) override {
    f("n_frequency", n_frequency, "number of trained entries of each module's transform", at_least(1));
    f("scaling", scaling, "factor of the update", above(0));
    f("wavelet_family", wavelet_family, "the wavelet", one_of({"db1"}));
    f("use_idwt", use_idwt, "false: the entries themselves are the update");
    f("random_loc_seed", random_loc_seed, "the entries' places are drawn from it", at_least(0));
    f("n_frequency_pattern", n_frequency_pattern, "other numbers for modules whose path a key matches: {regex: n}");
    f("proportional_parameters", proportional_parameters, "share out the modules' entries by their sizes");
    f("init_weights", init_weights, "true: no update at the start; false: a small random one");
    visit_common(f, "waveft_only", true);
  }
};

struct WaveFtEdit : SparseEdit {
  Tensor spectrum;          // [n]
  Tensor sources, factors;  // which entry of it goes to a place, and with which factor

  void place(const RandomPlaces::Places& p, bool idwt, double scaling) {
    const Tensor number = at::arange(p.rows.size(0), p.rows.options());
    if (!idwt) {
      places = p.rows * in + p.columns, sources = number;
      factors = at::full({number.size(0)}, scaling, spectrum.options().requires_grad(false));
      return;
    }
    const int64_t half_rows = (out + 1) / 2, half_columns = (in + 1) / 2;
    const Tensor low = p.rows.ge(half_rows), right = p.columns.ge(half_columns);
    std::vector<Tensor> all_places, all_factors;
    for (int64_t dr = 0; dr < 2; ++dr)
      for (int64_t dc = 0; dc < 2; ++dc) {  // PEFT calls the right quadrants horizontal: they differ between the two rows
        const Tensor row = 2 * p.rows.remainder(half_rows) + dr, column = 2 * p.columns.remainder(half_columns) + dc;
        const Tensor negative = (right & at::full_like(right, dr == 1)) ^ (low & at::full_like(low, dc == 1));
        const Tensor inside = row.lt(out) & column.lt(in);
        all_places.push_back(at::where(inside, row * in + column, 0));
        all_factors.push_back(at::where(inside, at::where(negative, -0.5, 0.5), 0.0) * scaling);
      }
    places = at::cat(all_places), factors = at::cat(all_factors).to(spectrum.scalar_type()), sources = number.repeat({4});
  }
  Tensor entries() const override { return spectrum.index_select(0, sources) * factors; }
};

class WaveFt : public WeightMethod {
 public:
  WaveFt() : WeightMethod("waveft", config_) {}

 protected:
  const std::vector<std::string>& default_targets(const Model& model) const override {
    return defaults_ = spectral_targets(model);
  }
  void prepare(AttachContext&) override {
    total_ = 0;
    for (auto& target : targets_) total_ += static_cast<double>(target.linear->in() * target.linear->out());
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t size = linear.in() * linear.out(), n = number_of(linear);
    if (n > size) does_not_fit(linear, fmt::format("n_frequency must be in 1..in · out = {} but is {}", size, n), "choose fewer");
    const auto options = adapter_options(context.model);
    auto edit = std::make_shared<WaveFtEdit>();
    edit->in = linear.in(), edit->out = linear.out();
    edit->spectrum = param(linear, "waveft_spectrum",
                           config_.init_weights ? zeros({n}, options) : normal({n}, 0.01, options, context.generator));
    edit->place(places_.of(linear, n, config_.random_loc_seed), config_.use_idwt, config_.scaling);
    edit->trained = {edit->spectrum};
    return edit;
  }

 private:
  int64_t number_of(const Linear& linear) {
    if (!config_.proportional_parameters)
      return static_cast<int64_t>(
          patterned("n_frequency_pattern", config_.n_frequency_pattern, linear, static_cast<double>(config_.n_frequency), true));
    const double share = static_cast<double>(linear.in() * linear.out()) / total_,
                 budget = static_cast<double>(config_.n_frequency) * static_cast<double>(targets_.size());
    return std::max<int64_t>(1, std::llrint(share * budget));  // halves to even, as Python rounds
  }
  WaveFtConfig config_;
  RandomPlaces places_;
  double total_ = 0;
  mutable std::vector<std::string> defaults_;
};

}  // namespace

extern const MethodRow kWaveFt;
const MethodRow kWaveFt{.name = "waveft",
                        .peft_type = "WAVEFT",
                        .title = "WaveFT",
                        .paper = "arXiv 2505.12532",
                        .trains = "a few entries of the wavelet transform of an update of the weights",
                        .idea = Idea::Spectral,
                        .formula = "y = (W + scaling · idwt2(F)) x + b,  F 0 but for n entries",
                        .size = "n a linear",
                        .cost = "a gradient of the whole weight; none after merging",
                        .format = Format::Peft,
                        .mergeable = true,
                        .identity = true,
                        .learning_rate = 1e-3,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<WaveFt>(); }};

}  // namespace graft
