#include "adapter/convert.h"

#include "adapter/folder.h"
#include "adapter/merge.h"
#include "cli/commands.h"
#include "core/check.h"
#include "core/files.h"
#include "core/log.h"
#include "core/torch.h"
#include "model/loader.h"
#include "train/recipe.h"

namespace graft {
namespace {
namespace fs = std::filesystem;

struct ConvertFlags {
  std::string adapter, model, out, to;
  int64_t rank = 0, threads = 0;
  bool drop_rest = false, json = false;
};

// The base, and the same model with the adapter folded in; a model folder in the adapter's place is a fine-tuned base.
struct Pair {
  Model base, changed;
  std::optional<Adapted> adapted;
};
Pair load_pair(const ConvertFlags& flags) {
  const Model base = load_model(flags.model);
  if (fs::exists(fs::path(flags.adapter) / "config.json") && !fs::exists(fs::path(flags.adapter) / "adapter_config.json")) {
    const Model tuned = load_model(flags.adapter);
    if (tuned.config.model_type != base.config.model_type || parameter_count(tuned) != parameter_count(base))
      usage_error("convert", fmt::format("'{}' and '{}' are not the same model", flags.adapter, flags.model),
                  "--model must be the base that was fine-tuned");
    return {base, tuned, std::nullopt};
  }
  Adapted adapted = load_adapter(base, flags.adapter);
  return {base, merged(adapted), std::move(adapted)};
}

LoraConversion checked_conversion(const Pair& pair, const ConvertFlags& flags) {
  if (flags.rank < 0) usage_error("convert", fmt::format("--rank must be at least 1 but is {}", flags.rank));
  const LoraConversion conversion = factor_updates(pair.base, pair.changed, pair.adapted ? &*pair.adapted : nullptr,
                                                   flags.rank ? std::optional<int64_t>(flags.rank) : std::nullopt);
  if (!conversion.lost.empty() && !flags.drop_rest)
    usage_error("convert",
                fmt::format("{} tensors change that a LoRA of the linear weights cannot hold ({}{})", conversion.lost.size(),
                            conversion.lost[0], conversion.lost.size() > 1 ? ", ..." : ""),
                "graft merge keeps them; --drop-rest leaves them out");
  if (conversion.updates.empty()) usage_error("convert", "no linear weight changes: there is nothing to convert");
  return conversion;
}

Json report(const LoraConversion& conversion) {
  Json modules = Json::object();
  for (auto& u : conversion.updates) modules[u.path] = {{"rank", u.a.size(0)}, {"relative_error", u.error}};
  return {{"modules", modules}, {"relative_error", conversion.error}, {"dropped", conversion.lost}};
}

void print_report(const Json& json, const std::string& out) {
  for (auto& [path, row] : json["modules"].items())
    fmt::print("{:60} rank {:4}  relative error {:.3g}\n", path, row["rank"].get<int64_t>(), row["relative_error"].get<double>());
  for (auto& name : json["dropped"]) fmt::print("dropped: {}\n", name.get<std::string>());
  fmt::print("written to {}; relative error of the whole update {:.3g}\n", out, json["relative_error"].get<double>());
}

void convert(const ConvertFlags& flags) {
  Json json{{"out", flags.out}, {"to", flags.to}};
  if (flags.to == "peft" || flags.to == "adapterhub") {
    Adapted adapted = load_adapter(load_model(flags.model), flags.adapter);
    const Format wanted = flags.to == "peft" ? Format::Peft : Format::AdapterHub;
    if (adapted.row->format != wanted)
      usage_error("convert",
                  fmt::format("{} has no exact counterpart in {}'s files", adapted.row->name,
                              flags.to == "peft" ? "HF PEFT" : "AdapterHub"),
                  adapted.row->mergeable ? "--to lora approximates what can be merged" : "its own format is all there is");
    PartialFolder folder(flags.out);
    save_adapter(adapted, folder.path(), flags.model);
    folder.commit_files();
    if (flags.json)
      print_json(json);
    else
      fmt::print("written to {}\n", flags.out);
    return;
  }
  const Pair pair = load_pair(flags);
  const LoraConversion conversion = checked_conversion(pair, flags);
  if (flags.to == "gguf") {
    save_gguf_lora(conversion, pair.base, flags.out);
  } else {
    PartialFolder folder(flags.out);
    save_lora(conversion.updates, folder.path(), fs::weakly_canonical(flags.model).string());
    folder.commit_files();
  }
  json.update(report(conversion));
  if (flags.json)
    print_json(json);
  else
    print_report(json, flags.out);
}

}  // namespace

void add_convert(CLI::App& app) {
  CLI::App* sub = app.add_subcommand(
      "convert", "writes an adapter in another form: a plain LoRA, llama.cpp's GGUF, the formats of PEFT or AdapterHub");
  auto flags = std::make_shared<ConvertFlags>();
  sub->add_option("adapter", flags->adapter, "folder of the adapter, or of a fine-tuned model")->required();
  sub->add_option("--model", flags->model, "folder of the base model")->required();
  sub->add_option(
         "--to", flags->to,
         "lora: a plain LoRA of the linear weights; gguf: that for llama.cpp; peft, adapterhub: the same adapter, written anew")
      ->required()
      ->check(CLI::IsMember({"lora", "gguf", "peft", "adapterhub"}));
  sub->add_option("--out", flags->out, "folder to write (gguf: file)")->required();
  sub->add_option("--rank", flags->rank,
                  "largest rank; updates without factors of that rank are approximated by a truncated SVD");
  sub->add_option("--threads", flags->threads, "CPU threads; 0: all cores");
  sub->add_flag("--drop-rest", flags->drop_rest, "leave out changes that a LoRA cannot hold (biases, norms, embeddings)");
  sub->add_flag("--json", flags->json, "one JSON document on stdout");
  sub->callback([=] {
    for (const std::string& given : {flags->adapter, flags->model})
      if (fs::exists(flags->out) && fs::exists(given) && fs::equivalent(flags->out, given))
        usage_error("convert", fmt::format("--out is '{}' itself", given), "choose another place");
    use_threads(flags->threads);
    convert(*flags);
  });
}

}  // namespace graft
