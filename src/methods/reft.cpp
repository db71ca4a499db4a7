// Representation fine-tuning (arXiv 2404.03592): an edit of the residual stream behind a block, at the first prefix_positions and the last suffix_positions
// tokens of each document's prompt, in a space of r dimensions:
//   LoReFT  h ← h + Rᵀ (f(W h + b) − R h), the rows of R orthonormal
//   NoReFT  the same with a free R
//   DiReFT  h ← h + Rᵀ f(W h + b), R free
// f is the identity unless non_linearity names another. Trained: W [r, width], b [r], R [r, width], one set for first and one for last positions unless
// tied_weights. Init: as torch's linears, LoReFT's R made orthonormal. Not the identity, not mergeable.
// Positions. A document's prompt is what stands in front of its first learned token, or what a generation starts from; where all of a document is learned it is
// the document (sites/edit.h). So training, evaluation and generation edit the same tokens, and nothing depends on how long an answer is. A token that is both
// among the first and the last belongs to the last. AdapterHub, which knows no prompts, takes the last tokens of the whole sequence, and the first of what it
// is given: token by token out of a cache it edits every one.
// Deviations: dropout acts on the edit (AdapterHub and pyreft drop parts of the hidden state itself); the Householder factors of R see no weight decay, which
// ends AdapterHub's LoReFT after one step. AdapterHub's files do not tell DiReFT from NoReFT, and it reads both as NoReFT: a DiReFT without non_linearity is
// written as the NoReFT that it equals, with W + R for W. With one, the file says subtract_projection false, which this program understands and AdapterHub does not.
// LoReFT's R = (base · Q)ᵀ, Q the product of the reflections that the strictly lower triangle of originalᵀ holds, times the sign on its diagonal: torch's
// orthogonal parametrisation. base [width, width] is a product of r reflections too, kept as such and made whole for the file alone; one that a file
// brings stays whole, so that training goes on in its coordinates.
#include <algorithm>
#include <map>

#include "core/check.h"
#include "core/torch.h"
#include "kernels/activation.h"
#include "kernels/dropout.h"
#include "methods/common/base_params.h"
#include "methods/common/init.h"
#include "methods/common/targets.h"

namespace graft {
namespace {

struct ReftConfig : Config {
  Json layers = "all";
  int64_t prefix_positions = 3, suffix_positions = 0, r = 1;
  bool tied_weights = false;
  double dropout = 0.05;
  std::optional<std::string> non_linearity;
  void visit(Fields& f) override {
    f("layers", layers, "blocks whose output is edited: \"all\" or a list of numbers");
    f("prefix_positions", prefix_positions, "how many of a document's first tokens are edited", at_least(0));
    f("suffix_positions", suffix_positions, "how many of its prompt's last tokens are", at_least(0));
    f("r", r, "dimensions of the edit", at_least(1));
    f("tied_weights", tied_weights, "the same edit at first and last tokens");
    f("dropout", dropout, "dropout on the edit", between(0, 0.999));
    f("non_linearity", non_linearity, "activation behind W h + b; null: none");
  }
};

// R with orthonormal rows, as reflections.
struct Frame {
  Tensor original;             // [r, width], trained; its diagonal holds signs
  Tensor reflectors, factors;  // [width, r], [r]: the base, as geqrf writes it
  Tensor whole;                // [width, width]: the base of a file, in their place

  // The frame that orthonormalising these rows in turn gives.
  void start_at(const Tensor& rows) {
    at::NoGradGuard no_grad;
    std::tie(reflectors, factors) = at::geqrf(rows.t().contiguous());
    original.diagonal().copy_(-reflectors.diagonal().sign());
  }
  Tensor rows() const {
    const Tensor lower = original.t().tril(-1), signs = original.detach().diagonal().sign();
    return times_base(at::linalg_householder_product(lower, 2 / (1 + lower.square().sum(0))) * signs).t();
  }
  Tensor base() const { return times_base(at::eye(original.size(1), original.options())); }

 private:
  Tensor times_base(const Tensor& q) const { return whole.defined() ? at::matmul(whole, q) : at::ormqr(reflectors, factors, q); }
};

struct Unit {
  Tensor weight, bias, projection;
  Frame frame;
  Tensor rows() const { return frame.original.defined() ? frame.rows() : projection; }
};

struct ReftEdit : HiddenEdit {
  const ReftConfig* config = nullptr;
  bool subtract = true;
  std::shared_ptr<Unit> first, last;  // null where no position is edited

  Tensor hidden(const Tensor& h, const Tensor&, const Documents& documents, bool training) const override {
    std::vector<int64_t> at_first, at_last;
    for (int64_t d = 0; d < documents.count(); ++d) {
      const int64_t begin = documents.first[d], end = begin + documents.starts[d + 1] - documents.starts[d];
      const auto take = [&](std::vector<int64_t>& rows, int64_t from, int64_t to) {
        for (int64_t position = std::max(from, begin); position < std::min(to, end); ++position) rows.push_back(documents.starts[d] + position - begin);
      };
      const int64_t head = config->prefix_positions, prompt = documents.prompt[d], tail = std::max(prompt - config->suffix_positions, int64_t{0});
      take(at_last, tail, prompt);
      take(at_first, 0, std::min(head, tail));
      take(at_first, prompt, head);
    }
    return edited(edited(h, at_first, first, training), at_last, last, training);
  }
  Reads reads() const override { return config->suffix_positions > 0 ? Reads::Document : Reads::Position; }

 private:
  Tensor edited(const Tensor& h, const std::vector<int64_t>& rows, const std::shared_ptr<Unit>& unit, bool training) const {
    if (rows.empty()) return h;
    const Tensor index = at::tensor(rows, at::kLong).to(h.device()), x = h.index_select(0, index).to(unit->weight.scalar_type()), r = unit->rows();
    Tensor source = at::addmm(unit->bias, x, unit->weight.t());
    if (config->non_linearity) source = kernels::activate(source, *config->non_linearity);
    if (subtract) source = source - at::matmul(x, r.t());
    Tensor edit = at::matmul(source, r);
    if (training && config->dropout > 0) edit = kernels::dropout(edit, config->dropout);
    return h.index_add(0, index, edit.to(h.scalar_type()));
  }
};

class Reft : public Method {
 public:
  Reft(const char* name, bool orthogonal, bool subtract) : name_(name), orthogonal_(orthogonal), subtract_(subtract) {}
  Config& config() override { return config_; }

  void attach(AttachContext& context) override {
    const Model& model = context.model;
    if (config_.prefix_positions + config_.suffix_positions == 0) usage_error(name_, "prefix_positions and suffix_positions are both 0: there is nothing to edit");
    if (config_.r > model.config.width) usage_error(name_, fmt::format("r must be at most the model's width {} but is {}", model.config.width, config_.r));
    if (config_.non_linearity) kernels::check_activation(*config_.non_linearity, name_);
    for (const int64_t layer : chosen_layers(model)) {
      auto edit = std::make_shared<ReftEdit>();
      edit->config = &config_;
      edit->subtract = subtract_;
      const std::string name = model.blocks[layer].path + ".reft_layer.refts.default.units.";
      if (config_.prefix_positions > 0 || config_.tied_weights) edit->first = make_unit(context, name + "0.");
      if (config_.tied_weights) edit->last = edit->first;
      else if (config_.suffix_positions > 0) edit->last = make_unit(context, name + "1.");
      context.sites.put(Site::BlockOut, layer, edit);
    }
  }

  NamedTensors file_tensors() const override {
    at::NoGradGuard no_grad;
    NamedTensors tensors;
    for (auto& p : params_) {
      Tensor value = p.value.detach();
      if (p.name.ends_with(kOriginal)) {  // what is not read stands at what it means
        value = value.triu();
        value.diagonal().copy_(p.value.detach().diagonal().sign());
      }
      if (as_noreft() && p.name.ends_with(kSource)) value = value + units_.at(unit_of(p.name))->projection.detach();
      tensors.emplace_back(p.name, value);
    }
    for (auto& [name, unit] : units_)
      if (orthogonal_) tensors.emplace_back(name + kBase, unit->frame.base());
    if (!config_.tied_weights)  // the reference wants both units
      for (const NamedTensors own = tensors; auto& [name, value] : own)
        if (const std::string other = with_other_unit(name); !units_.contains(unit_of(other))) tensors.emplace_back(other, value);
    return tensors;
  }
  void load_file_tensors(const NamedTensors& tensors, const std::string& source) override {
    NamedTensors own;
    std::map<std::string, Tensor> bases;
    for (auto& [name, value] : tensors) {
      const bool unread = !config_.tied_weights && !units_.contains(unit_of(name)) && units_.contains(unit_of(with_other_unit(name)));
      if (orthogonal_ && name.ends_with(kBase) && units_.contains(unit_of(name))) bases[unit_of(name)] = value;
      else if (!unread) own.emplace_back(name, value);
    }
    Method::load_file_tensors(own, source);
    at::NoGradGuard no_grad;
    if (as_noreft() && !plain_file_)
      for (auto& [name, unit] : units_) unit->weight.sub_(unit->projection);
    if (!orthogonal_) return;
    for (auto& [name, unit] : units_) {
      const Tensor base = bases[name];
      if (!base.defined()) input_error("adapter", fmt::format("{}: the tensor '{}' is missing", source, name + kBase));
      const int64_t width = unit->frame.original.size(1);
      if (!base.is_floating_point() || base.sizes() != at::IntArrayRef({width, width}))
        input_error("adapter", fmt::format("{}: '{}' must have the shape [{}, {}]", source, name + kBase, width, width));
      const Tensor whole = base.to(unit->frame.original.options());
      if (!at::equal(whole, unit->frame.base())) unit->frame.whole = whole;
    }
  }

  Json file_config(const Model&) override {
    Json json = to_json(config_);
    json.update({{"architecture", "reft"}, {"orthogonality", orthogonal_}, {"output_reft", true}, {"dtype", nullptr}, {"init_weights_seed", nullptr}});
    if (!subtract_ && !as_noreft()) json["subtract_projection"] = false;
    return json;
  }
  void read_file_config(const Json& json, const std::string& tag) override {
    Json own = json;
    for (const char* key : {"architecture", "orthogonality", "subtract_projection", "dtype", "init_weights_seed"}) own.erase(key);
    if (own.value("output_reft", Json(true)) != true) usage_error(tag, "output_reft = false is not supported", "it must be true");
    own.erase("output_reft");
    plain_file_ = json.contains("subtract_projection");
    from_json(config_, own, tag);
  }
  int file_fit(const Json& json) const override {
    return json.value("architecture", Json()) == "reft" && json.value("orthogonality", Json(false)) == orthogonal_ && json.value("subtract_projection", Json(true)) == subtract_ ? 1 : -1;
  }

 private:
  bool as_noreft() const { return !subtract_ && !config_.non_linearity; }
  static constexpr const char* kSource = "learned_source.weight";
  static constexpr const char* kOriginal = "projection.parametrizations.weight.original";
  static constexpr const char* kBase = "projection.parametrizations.weight.0.base";

  // "….units.0." of a tensor's name, or nothing.
  static std::string unit_of(const std::string& name) {
    const size_t at = name.find(".units.");
    return at == std::string::npos || name.size() < at + 9 ? "" : name.substr(0, at + 9);
  }
  static std::string with_other_unit(std::string name) {
    if (const size_t at = name.find(".units."); at != std::string::npos && at + 7 < name.size()) name[at + 7] = name[at + 7] == '0' ? '1' : '0';
    return name;
  }

  std::set<int64_t> chosen_layers(const Model& model) const {
    std::set<int64_t> chosen;
    if (config_.layers != "all") chosen = layer_numbers(config_.layers, "layers", model, name_);
    else
      for (int64_t layer = 0; layer < model.layers(); ++layer) chosen.insert(layer);
    if (chosen.empty()) usage_error(name_, "layers is an empty list: there is nothing to edit", "give \"all\" or layer numbers");
    return chosen;
  }

  std::shared_ptr<Unit> make_unit(AttachContext& context, const std::string& name) {
    const auto options = adapter_options(context.model);
    const int64_t width = context.model.config.width, r = config_.r;
    auto unit = std::make_shared<Unit>();
    unit->weight = add(name + "learned_source.weight", kaiming_uniform({r, width}, options, context.generator));
    unit->bias = add(name + "learned_source.bias", uniform({r}, 1 / std::sqrt(static_cast<double>(width)), options, context.generator), false);
    const Tensor start = kaiming_uniform({r, width}, options, context.generator);
    if (orthogonal_) {
      unit->frame.original = add(name + kOriginal, zeros({r, width}, options), false);
      unit->frame.start_at(start);
    } else {
      unit->projection = add(name + "projection.weight", start);
    }
    units_[name] = unit;
    return unit;
  }

  const char* name_;
  bool orthogonal_, subtract_;
  bool plain_file_ = false;  // a DiReFT that says so, not the NoReFT that it equals
  ReftConfig config_;
  std::map<std::string, std::shared_ptr<Unit>> units_;
};

}  // namespace

extern const MethodRow kLoReft, kNoReft, kDiReft;
const MethodRow kLoReft{.name = "loreft",
                        .peft_type = nullptr,
                        .title = "LoReFT",
                        .paper = "arXiv 2404.03592",
                        .trains = "a low-rank edit of some tokens' hidden states behind each block, in an orthonormal frame",
                        .idea = Idea::Representation,
                        .formula = "h ← h + Rᵀ (W h + b − R h),  R Rᵀ = I, at the first and last tokens of a prompt",
                        .size = "r (2 d + 1) a block",
                        .cost = "6 r d operations for each edited token alone; stays at inference, while prompts are read",
                        .format = Format::AdapterHub,
                        .mergeable = false,
                        .identity = false,
                        .learning_rate = 9e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<Reft>("loreft", true, true); }};
const MethodRow kNoReft{.name = "noreft",
                        .peft_type = nullptr,
                        .title = "NoReFT",
                        .paper = "arXiv 2404.03592",
                        .trains = "a low-rank edit of some tokens' hidden states behind each block",
                        .idea = Idea::Representation,
                        .formula = "h ← h + Rᵀ (W h + b − R h), at the first and last tokens of a prompt",
                        .size = "r (2 d + 1) a block",
                        .cost = "as LoReFT, without the frame",
                        .format = Format::AdapterHub,
                        .mergeable = false,
                        .identity = false,
                        .learning_rate = 9e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<Reft>("noreft", false, true); }};
const MethodRow kDiReft{.name = "direft",
                        .peft_type = nullptr,
                        .title = "DiReFT",
                        .paper = "arXiv 2404.03592",
                        .trains = "a low-rank addition to some tokens' hidden states behind each block",
                        .idea = Idea::Representation,
                        .formula = "h ← h + Rᵀ (W h + b), at the first and last tokens of a prompt",
                        .size = "r (2 d + 1) a block",
                        .cost = "as NoReFT, one product less",
                        .format = Format::AdapterHub,
                        .mergeable = false,
                        .identity = false,
                        .learning_rate = 9e-4,
                        .make = []() -> std::unique_ptr<Method> { return std::make_unique<Reft>("direft", false, false); }};

}  // namespace graft
