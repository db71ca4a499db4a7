// SHiRA (arXiv 2406.13175): a few entries of the weight are trained, as many as LoRA of rank r would have parameters.
//   W' = W + S,  S 0 but for r (in + out) random places
// Trained: the values. Init 0: the identity. Merges: W + S. The places are in the file, in the order of rows. Without random_seed
// they are drawn from the run's seed (PEFT: always from torch's default seed); with one, as PEFT draws them.
// Deviations: masks of the user's own making can be read from a file, not made.
#include <algorithm>

#include "core/check.h"
#include "core/torch.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/places.h"
#include "methods/common/weight_method.h"

namespace graft {
namespace {

struct ShiraConfig : WeightMethodConfig {
  int64_t r = 32;
  std::string mask_type = "random";
  std::optional<int64_t> random_seed;
  bool init_weights = true;
  void visit(Fields& f) override {
    f("r", r, "as many values are trained as LoRA of this rank has", at_least(1));
    f("mask_type", mask_type, "how the places are chosen", one_of({"random"}));
    f("random_seed", random_seed, "seed of the places; null: from the run's seed", at_least(0));
    f("init_weights", init_weights, "true: no update at the start; false: a random one");
    visit_common(f, nullptr, true);
  }
};

struct ShiraEdit : SparseEdit {
  std::string name;  // of the places in the file
  Tensor values;     // [n]

  Tensor entries() const override { return values; }
};

class Shira : public WeightMethod {
 public:
  Shira() : WeightMethod("shira", config_, /*excludes=*/false, /*layers=*/false) {}
  NamedTensors file_tensors() const override {
    NamedTensors tensors = WeightMethod::file_tensors();
    for (auto& edit : edits_)
      tensors.emplace_back(edit->name,
                           at::stack({edit->places.div(edit->in, "floor"), edit->places.remainder(edit->in)}).to(at::kInt));
    return tensors;
  }
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    NamedTensors others = tensors;
    for (auto& edit : edits_) {
      const auto found = std::find_if(others.begin(), others.end(), [&](const auto& entry) { return entry.first == edit->name; });
      if (found == others.end()) input_error("adapter", fmt::format("{}: the tensor '{}' is missing", source, edit->name));
      place(*edit, found->second, source);
      others.erase(found);
    }
    WeightMethod::load_file_tensors(others, source);
  }

 protected:
  std::shared_ptr<WeightEdit> adapt(AttachContext& context, const Linear& linear) override {
    const int64_t in = linear.in(), n = config_.r * (in + linear.out());
    if (n > in * linear.out())
      does_not_fit(linear, fmt::format("r = {} means {} values, more than the weight has", config_.r, n), "choose a smaller r");
    const auto options = adapter_options(context.model);
    const int64_t seed =
        config_.random_seed ? *config_.random_seed : at::randint(1 << 30, {1}, context.generator, at::kLong).item<int64_t>();
    const auto places = places_.of(linear, n, seed);
    auto edit = std::make_shared<ShiraEdit>();
    edit->name = kPeftPrefix + linear.path + ".shira_indices";
    edit->in = in, edit->out = linear.out();
    edit->places = std::get<0>((places.rows * in + places.columns).sort());
    edit->values =
        param(linear, "shira_weight", config_.init_weights ? zeros({n}, options) : normal({n}, 1, options, context.generator));
    edit->trained = {edit->values};
    edits_.push_back(edit);
    return edit;
  }

 private:
  static void place(ShiraEdit& edit, const Tensor& given, const std::string& source) {
    const std::vector<int64_t> shape{2, edit.values.size(0)};
    if (given.sizes() != at::IntArrayRef(shape) || given.is_floating_point())
      input_error("adapter",
                  fmt::format("{}: '{}' must hold integers of the shape [{}] but has [{}]", source, edit.name,
                              fmt::join(shape, ", "), fmt::join(given.sizes(), ", ")),
                  "was the adapter made for this base model and with these options?");
    const Tensor index = given.to(edit.places.device(), at::kLong);
    const auto outside = [](const Tensor& t, int64_t size) { return t.lt(0).logical_or(t.ge(size)).any().item<bool>(); };
    if (outside(index[0], edit.out) || outside(index[1], edit.in))
      input_error("adapter",
                  fmt::format("{}: '{}' names a place outside the {} × {} weight", source, edit.name, edit.out, edit.in));
    edit.places = index[0] * edit.in + index[1];
  }
  ShiraConfig config_;
  RandomPlaces places_;
  std::vector<std::shared_ptr<ShiraEdit>> edits_;
};

}  // namespace

extern const MethodRow kShira;
const MethodRow kShira{.name = "shira",
                       .peft_type = "SHIRA",
                       .title = "SHiRA",
                       .paper = "arXiv 2406.13175",
                       .trains = "a few random entries of the weights",
                       .idea = Idea::Spectral,
                       .formula = "y = (W + S) x + b,  S 0 but for r (in + out) entries",
                       .size = "r (in + out) a linear",
                       .cost = "a gradient of the whole weight; none after merging",
                       .format = Format::Peft,
                       .mergeable = true,
                       .identity = true,
                       .learning_rate = 1e-3,
                       .make = []() -> std::unique_ptr<Method> { return std::make_unique<Shira>(); }};

}  // namespace graft
