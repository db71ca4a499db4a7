#include "eval/generate.h"

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loaded.h"
#include "core/check.h"

namespace graft {

void add_generate(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("generate", "continues a prompt");
  auto model = std::make_shared<ModelFlags>();
  auto prompt = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false), stream = std::make_shared<bool>(false);
  auto config = std::make_shared<GenerateConfig>();
  model->add(*sub);
  sub->add_option("--prompt", *prompt, "the text to continue")->required();
  sub->add_flag("--stream", *stream, "show the text as it comes");
  sub->add_flag("--json", *json, "one JSON document on stdout");
  auto flags = std::make_shared<Flags>(*sub, *config, std::map<std::string, std::string>{}, std::vector<std::string>{"batch"});
  sub->callback([=] {
    flags->apply(*config, "generate");
    if (*json && *stream) usage_error("generate", "--json and --stream contradict each other");
    const Tokenizer tokenizer = Tokenizer::load(model->model);
    const Adapted adapted = model->load();
    std::vector<int64_t> ids;
    if (tokenizer.adds_bos()) ids.push_back(*tokenizer.bos_id());
    for (const int64_t id : tokenizer.encode(*prompt, false)) ids.push_back(id);
    std::vector<int64_t> stops, so_far = ids;
    if (tokenizer.eos_id()) stops.push_back(*tokenizer.eos_id());
    std::string shown = tokenizer.decode(so_far, true);
    if (*stream) fmt::print("{}", shown);
    const auto show = [&](size_t, int64_t id) {
      if (!*stream) return;
      so_far.push_back(id);
      const std::string text = tokenizer.decode(so_far, true);
      if (text.ends_with("\xEF\xBF\xBD")) return;  // in the middle of a character
      fmt::print("{}", text.substr(std::min(shown.size(), text.size())));
      std::fflush(stdout);
      shown = text;
    };
    const auto continuation = generate(adapted.model, adapted.sites, {ids}, stops, *config, show)[0];
    if (*stream) {
      fmt::print("\n");
      return;
    }
    std::vector<int64_t> all = ids;
    all.insert(all.end(), continuation.begin(), continuation.end());
    const std::string text = tokenizer.decode(all, true);
    if (*json) print_json({{"prompt", *prompt}, {"text", text}, {"ids", continuation}});
    else fmt::print("{}\n", text);
  });
}

}  // namespace graft
