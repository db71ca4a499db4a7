#include "adapter/merge.h"

#include "cli/commands.h"
#include "cli/loaded.h"
#include "core/check.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "core/torch.h"
#include "model/loader.h"

namespace graft {
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

}  // namespace

void add_merge(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("merge", "folds an adapter into the base and writes a model folder");
  auto model = std::make_shared<std::string>(), adapter = std::make_shared<std::string>(), out = std::make_shared<std::string>(), dtype = std::make_shared<std::string>("auto");
  auto json = std::make_shared<bool>(false);
  sub->add_option("--model", *model, "folder of the base model")->required();
  sub->add_option("--adapter", *adapter, "folder of the adapter")->required();
  sub->add_option("--out", *out, "folder to write")->required();
  sub->add_option("--dtype", *dtype, "stored type: auto (the base's), float32, float16, bfloat16")->capture_default_str();
  sub->add_flag("--json", *json, "one JSON document on stdout");
  sub->callback([=] {
    const std::map<std::string, at::ScalarType> known{{"float32", at::kFloat}, {"float16", at::kHalf}, {"bfloat16", at::kBFloat16}};
    if (*dtype != "auto" && !known.count(*dtype)) usage_error("merge", fmt::format("unknown dtype '{}'", *dtype), "known: auto, float32, float16, bfloat16");
    if (std::filesystem::exists(*out) && std::filesystem::equivalent(*out, *model)) usage_error("merge", "--out is the base's own folder", "choose another folder");
    ModelFlags flags;
    flags.model = *model;
    flags.adapter = *adapter;
    const Adapted adapted = flags.load();
    const Model folded = merged(adapted);
    PartialFolder folder(*out);
    save_model(folded, folder.path(), *model, *dtype == "auto" ? stored_dtype(*model) : known.at(*dtype));
    const Model written = load_model(folder.path());
    const double difference = largest_logit_difference(written, Sites(written.layers()), adapted.model, adapted.sites);
    folder.commit();
    if (*json) print_json({{"out", *out}, {"largest_logit_difference", difference}});
    else fmt::print("merged into {}; largest difference of the logits {:.3g}\n", *out, difference);
  });
}

}  // namespace graft
