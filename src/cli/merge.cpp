#include "adapter/merge.h"

#include <cmath>

#include "cli/commands.h"
#include "cli/loaded.h"
#include "core/check.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "core/torch.h"
#include "model/loader.h"

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

}  // namespace

void add_merge(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("merge", "folds an adapter into the base and writes a model folder");
  auto model = std::make_shared<std::string>(), adapter = std::make_shared<std::string>(), out = std::make_shared<std::string>(), dtype = std::make_shared<std::string>("auto");
  auto threads = std::make_shared<int64_t>(0);
  auto shard = std::make_shared<std::string>("5GB");
  auto json = std::make_shared<bool>(false);
  sub->add_option("--model", *model, "folder of the base model")->required();
  sub->add_option("--adapter", *adapter, "folder of the adapter")->required();
  sub->add_option("--out", *out, "folder to write")->required();
  sub->add_option("--dtype", *dtype, "stored type: auto (the base's), float32, float16, bfloat16")->capture_default_str();
  sub->add_option("--threads", *threads, "CPU threads; 0: all cores");
  sub->add_option("--max-shard-size", *shard, "largest file of weights: 5GB, 500MB, 2GiB")->capture_default_str();
  sub->add_flag("--json", *json, "one JSON document on stdout");
  sub->callback([=] {
    const std::map<std::string, at::ScalarType> known{{"float32", at::kFloat}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16}};
    if (*dtype != "auto" && !known.count(*dtype)) usage_error("merge", fmt::format("unknown dtype '{}'", *dtype), "known: auto, float32, float16, bfloat16");
    const int64_t shard_bytes = size_in_bytes(*shard);
    if (same_place(*out, *model)) usage_error("merge", "--out is the base's own folder", "choose another folder");
    if (same_place(*out, *adapter)) usage_error("merge", "--out is the adapter's own folder", "choose another folder");
    ModelFlags flags;
    flags.model = *model;
    flags.adapter = *adapter;
    flags.threads = *threads;
    const Adapted adapted = flags.load();
    const Model folded = merged(adapted);
    PartialFolder folder(*out);
    save_model(folded, folder.path(), *model, *dtype == "auto" ? stored_dtype(*model) : known.at(*dtype), shard_bytes);
    const Model written = load_model(folder.path());
    const double difference = largest_logit_difference(written, Sites(written.layers()), adapted.model, adapted.sites);
    if (!std::isfinite(difference)) input_error("merge", "the merged model's logits are not finite", "look at the adapter's training: did it diverge?");
    refuse_other_weights(*out, folder.path());
    folder.commit_files();
    const bool untied = adapted.model.config.tied_head && !written.config.tied_head;
    if (*json) print_json({{"out", *out}, {"largest_logit_difference", difference}, {"tied_head", written.config.tied_head}});
    else fmt::print("merged into {}; largest difference of the logits {:.3g}{}\n", *out, difference, untied ? "; head and embedding are no longer tied" : "");
  });
}

}  // namespace graft
