#include "cli/commands.h"
#include "cli/flags.h"
#include "core/log.h"
#include "embedded/embedded.h"

namespace graft {

void add_embedded(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("embedded", "writes the embedded default: a generated corpus, a tokenizer, a model configuration and tasks");
  auto config = std::make_shared<EmbeddedConfig>();
  auto out = std::make_shared<std::string>();
  auto flags = std::make_shared<Flags>(*sub, *config);
  sub->add_option("--out", *out, "folder to write")->required();
  sub->callback([=] {
    flags->apply(*config, "embedded");
    write_embedded(*out, *config);
    log_info("written to {}", *out);
  });
}

}  // namespace graft
