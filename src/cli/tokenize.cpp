#include "tokenizer/tokenizer.h"

#include "cli/commands.h"
#include "cli/loaded.h"
#include "core/check.h"
#include "core/files.h"

namespace graft {

void add_tokenize(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("tokenize", "token ids of a text, and back");
  auto model = std::make_shared<std::string>(), text = std::make_shared<std::string>(), file = std::make_shared<std::string>(), ids = std::make_shared<std::string>();
  auto plain = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  sub->add_option("--model", *model, "folder with a tokenizer")->required();
  auto* text_option = sub->add_option("--text", *text, "the text");
  auto* file_option = sub->add_option("--file", *file, "a file that is one text, its bytes unchanged");
  auto* decode_option = sub->add_option("--decode", *ids, "ids 1,2,3 to turn back into text");
  sub->add_flag("--no-special-tokens", *plain, "without the special tokens that the tokenizer adds");
  sub->add_flag("--json", *json, "one JSON document on stdout");
  sub->callback([=] {
    if ((text_option->count() > 0) + (file_option->count() > 0) + (decode_option->count() > 0) != 1)
      usage_error("tokenize", "exactly one of --text, --file, --decode must be given");
    const Tokenizer tokenizer = Tokenizer::load(*model);
    if (decode_option->count()) {
      const auto given = parse_ids(*ids);
      for (const int64_t id : given) tokenizer.id_to_token(id);  // an unknown id is an error here
      const std::string decoded = tokenizer.decode(given);
      if (*json) print_json({{"text", decoded}});
      else fmt::print("{}\n", decoded);
      return;
    }
    const auto encoded = tokenizer.encode(file_option->count() ? read_file(*file) : *text, !*plain);
    if (*json) return print_json({{"ids", encoded}});
    fmt::print("{}\n", fmt::join(encoded, ","));
  });
}

}  // namespace graft
