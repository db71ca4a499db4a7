#include "adapter/merge.h"

#include <cmath>

#include "adapter/combine.h"
#include "cli/commands.h"
#include "cli/loaded.h"
#include "core/check.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "core/torch.h"
#include "model/loader.h"
#include "train/recipe.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

// The dtype in which most of the base's weights are stored.
at::ScalarType stored_dtype(const std::filesystem::path& folder) {
  std::map<std::string, int64_t> sizes;
  const TensorFolder files(folder);
  for (auto& name : files.names()) sizes[files.info(name).dtype] += files.info(name).numel();
  std::string most = "F32";
  for (auto& [dtype, size] : sizes)
    if (size > sizes[most]) most = dtype;
  return most == "BF16" ? at::kBFloat16 : most == "F16" ? at::kHalf : at::kFloat;
}

// "500MB", "5GB", "2GiB" or bytes, as the reference writes it.
int64_t size_in_bytes(const std::string& text) {
  static const std::vector<std::pair<std::string, double>> units{{"GIB", 1 << 30}, {"MIB", 1 << 20}, {"KIB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"", 1}};
  std::string upper;
  for (const char c : text) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (auto& [unit, factor] : units) {
    if (!upper.ends_with(unit)) continue;
    const std::string digits = upper.substr(0, upper.size() - unit.size());
    if (digits.empty() || digits.size() > 15 || digits.find_first_not_of("0123456789") != std::string::npos) break;
    if (const double bytes = std::stod(digits) * factor; bytes >= 1 && bytes < 9e18) return static_cast<int64_t>(bytes);
    break;
  }
  usage_error("merge", fmt::format("--max-shard-size must be a size such as 5GB, 500MB or 2GiB but is '{}'", text));
}

bool same_place(const fs::path& a, const fs::path& b) { return fs::exists(a) && fs::exists(b) && fs::equivalent(a, b); }

// Weights that an older model left in the folder and the new one does not replace would be read as parts of the new one.
void refuse_other_weights(const fs::path& out, const fs::path& fresh) {
  if (!fs::is_directory(out)) return;
  for (auto& entry : fs::directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    const bool weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
    if (weights && !fs::exists(fresh / name))
      input_error("merge", fmt::format("'{}' holds other weights: {}", out.string(), name), "choose another folder, or remove that file");
  }
}

struct MergeFlags {
  std::string model, out, dtype = "auto", shard = "5GB";
  AdapterFlags adapters;
  CombineOptions combine;
  int64_t threads = 0;
  bool json = false;
};

// Folds the adapters into the base and writes a model folder.
void fold(const MergeFlags& given) {
  const std::map<std::string, at::ScalarType> known{{"float32", at::kFloat}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16}};
  if (given.dtype != "auto" && !known.count(given.dtype)) usage_error("merge", fmt::format("unknown dtype '{}'", given.dtype), "known: auto, float32, float16, bfloat16");
  const int64_t shard_bytes = size_in_bytes(given.shard);
  if (same_place(given.out, given.model)) usage_error("merge", "--out is the base's own folder", "choose another folder");
  ModelFlags flags;
  flags.model = given.model;
  flags.adapters = given.adapters;
  flags.threads = given.threads;
  const Adapted adapted = flags.load();
  const Model folded = merged(adapted);
  PartialFolder folder(given.out);
  save_model(folded, folder.path(), given.model, given.dtype == "auto" ? stored_dtype(given.model) : known.at(given.dtype), shard_bytes);
  const Model written = load_model(folder.path());
  const double difference = largest_logit_difference(written, Sites(written.layers()), adapted.model, adapted.sites);
  if (!std::isfinite(difference)) input_error("merge", "the merged model's logits are not finite", "look at the adapter's training: did it diverge?");
  refuse_other_weights(given.out, folder.path());
  folder.commit_files();
  const bool untied = adapted.model.config.tied_head && !written.config.tied_head;
  if (given.json) print_json({{"out", given.out}, {"largest_logit_difference", difference}, {"tied_head", written.config.tied_head}});
  else fmt::print("merged into {}; largest difference of the logits {:.3g}{}\n", given.out, difference, untied ? "; head and embedding are no longer tied" : "");
}

// Makes one LoRA adapter of several.
void combine_adapters(const MergeFlags& given) {
  CombineOptions options = given.combine;
  options.weights = given.adapters.weight_list();
  if (options.weights.size() == 1 && given.adapters.weights.empty())
    usage_error("merge", "no model is given, and one adapter has nothing to be combined with", "--model DIR folds it into its base; --weights scales it");
  use_threads(given.threads);
  std::vector<AdapterFile> files;
  for (auto& folder : given.adapters.folders) files.push_back(read_adapter(folder));
  const Combination made = combine(files, options);
  PartialFolder folder(given.out);
  save_lora(made.updates, folder.path(), made.base_model, made.copies);
  folder.commit_files();
  int64_t rank = 0;
  for (auto& update : made.updates) rank = std::max(rank, update.a.size(0));
  const size_t tensors = 2 * made.updates.size() + made.copies.size();
  if (given.json)
    print_json({{"out", given.out}, {"combination_type", made.type}, {"r", rank}, {"modules", made.updates.size()}, {"tensors", tensors}, {"largest_relative_difference", made.difference}});
  else
    fmt::print("{} adapters combined into {} ({}): rank {}, {} tensors; a module's update differs from the weighted sum of theirs by at most {:.3g} of it\n", files.size(), given.out,
               made.type, rank, tensors, made.difference);
}

}  // namespace

void add_merge(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("merge", "folds adapters into the base and writes a model folder; without --model, one LoRA adapter from several");
  auto flags = std::make_shared<MergeFlags>();
  CombineOptions& combine = flags->combine;
  CLI::Option* model = sub->add_option("--model", flags->model, "folder of the base model");
  flags->adapters.add(*sub);
  sub->get_option("--adapter")->required();
  sub->add_option("--out", flags->out, "folder to write")->required();
  sub->add_option("--threads", flags->threads, "CPU threads; 0: all cores");
  sub->add_flag("--json", flags->json, "one JSON document on stdout");
  const std::vector<CLI::Option*> folding{
      sub->get_option("--compose"),
      sub->add_option("--dtype", flags->dtype, "stored type: auto (the base's), float32, float16, bfloat16")->capture_default_str(),
      sub->add_option("--max-shard-size", flags->shard, "largest file of weights: 5GB, 500MB, 2GiB")->capture_default_str()};
  const std::vector<CLI::Option*> combining{
      sub->add_option("--combination-type", combine.type, fmt::format("how LoRA adapters become one: {}", fmt::join(combination_types(), ", ")))->capture_default_str(),
      sub->add_option("--density", combine.density, "share of entries that ties, dare and magnitude_prune keep"),
      sub->add_option("--majority-sign-method", combine.majority_sign, "whose sign wins in ties: total (the sum's), frequency (most adapters')")->capture_default_str(),
      sub->add_option("--svd-rank", combine.svd_rank, "rank of the result of svd and those ending in _svd (default: the largest of the adapters')"),
      sub->add_option("--seed", combine.seed, "of the entries that dare keeps")->capture_default_str()};
  sub->callback([=] {
    for (CLI::Option* option : *model ? combining : folding)
      if (*option)
        usage_error("merge", fmt::format("{} has no meaning {} --model", option->get_name(), *model ? "with" : "without"),
                    *model ? "without --model LoRA adapters become one adapter" : "--model DIR folds the adapters into it");
    for (auto& folder : flags->adapters.folders)
      if (same_place(flags->out, folder)) usage_error("merge", "--out is the adapter's own folder", "choose another folder");
    if (*model) fold(*flags);
    else combine_adapters(*flags);
  });
}

}  // namespace graft
