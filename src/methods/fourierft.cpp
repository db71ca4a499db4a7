// FourierFT (arXiv 2405.03003): the update's spectrum, of which a few random entries are trained.
//   ΔW = scaling · Re(ifft2(F)),  F [out, in] real, 0 but for n entries
// Trained: the n entries. Init normal, which is not the identity; init_weights: 0. Merges: W + ΔW.
// Their places are the first n of a random order of all places, drawn from random_loc_seed as PEFT draws it: they are not in the
// file. ΔW is the inverse transform of the spectrum's Hermitian part, so that half of it is enough.
#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/places.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct FourierFtConfig : WeightMethodConfig {
  int64_t n_frequency = 1000, random_loc_seed = 777;
  double scaling = 150;
  Json n_frequency_pattern = Json::object();
  bool init_weights = false;
  void visit(Fields& f) override {
    f("n_frequency", n_frequency, "number of trained entries of each module's spectrum", at_least(1));
    f("scaling", scaling, "factor of the update", above(0));
    f("random_loc_seed", random_loc_seed, "the entries' places are drawn from it", at_least(0));
    f("n_frequency_pattern", n_frequency_pattern, "other numbers for modules whose path a key matches: {regex: n}");
    f("init_weights", init_weights, "true: no update at the start; false: a random one");
    visit_common(f, "fourier_only", true);
  }
};

struct FourierFtEdit : DeltaEdit {
  Tensor spectrum;         // [n]
  Tensor places, sources;  // in the flattened left half [out, in / 2 + 1], and which entry goes there, half of it
  int64_t in = 0, out = 0;
  double scaling = 1;

  void place(const RandomPlaces::Places& p) {
    const int64_t half = in / 2 + 1;
    const Tensor rows = at::cat({p.rows, (-p.rows).remainder(out)}), columns = at::cat({p.columns, (-p.columns).remainder(in)});
    const Tensor kept = columns.lt(half).nonzero().flatten();
    places = (rows * half + columns).index_select(0, kept);
    sources = kept.remainder(p.rows.size(0));
  }
  Tensor delta(const Tensor&) const override {
    const int64_t half = in / 2 + 1;
    const Tensor values = spectrum.index_select(0, sources) * (scaling / 2);
    const Tensor left = at::zeros({out * half}, values.options()).index_add(0, places, values).view({out, half});
    return at::fft_irfft2(at::complex(left, at::zeros_like(left)), at::IntArrayRef{out, in});
  }
};

class FourierFt : public WeightMethod {
 public:
  FourierFt() : WeightMethod("fourierft", config_) {}

 protected:
  const std::vector<std::string>& default_targets(const Model& model) const override {
    return defaults_ = spectral_targets(model);
  }
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t n = static_cast<int64_t>(
        patterned("n_frequency_pattern", config_.n_frequency_pattern, linear, static_cast<double>(config_.n_frequency), true));
    const int64_t most = linear.in() * linear.out();
    if (n > most) does_not_fit(linear, fmt::format("n_frequency must be in 1..in · out = {} but is {}", most, n), "choose fewer");
    const auto options = adapter_options(context.model);
    auto edit = std::make_shared<FourierFtEdit>();
    edit->in = linear.in(), edit->out = linear.out(), edit->scaling = config_.scaling;
    edit->place(places_.of(linear, n, config_.random_loc_seed));
    edit->spectrum = param(linear, "fourierft_spectrum",
                           config_.init_weights ? zeros({n}, options) : normal({n}, 1, options, context.generator));
    edit->trained = {edit->spectrum};
    return edit;
  }

 private:
  FourierFtConfig config_;
  RandomPlaces places_;
  mutable std::vector<std::string> defaults_;
};

}  // namespace

extern const MethodRow kFourierFt;
const MethodRow kFourierFt{
    .name = "fourierft",
    .peft_type = "FOURIERFT",
    .title = "FourierFT",
    .paper = "arXiv 2405.03003",
    .trains = "a few entries of the spectrum of an update of the weights",
    .idea = Idea::Spectral,
    .formula = "y = (W + scaling · Re(ifft2(F))) x + b,  F 0 but for n entries",
    .size = "n a linear",
    .cost = "a gradient of the whole weight, and its Fourier transform once a pass, not a token; none after merging",
    .format = Format::Peft,
    .mergeable = true,
    .identity = false,
    .learning_rate = 1e-2,
    .make = []() -> std::unique_ptr<Method> { return std::make_unique<FourierFt>(); }};

}  // namespace graft
