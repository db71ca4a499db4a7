#include <fstream>
#include <iostream>

#include "cli/commands.h"
#include "cli/loaded.h"
#include "core/check.h"
#include "core/files.h"
#include "tokenizer/tokenizer.h"

namespace graft {
namespace {

std::string decode_known(const Tokenizer& tokenizer, const std::vector<int64_t>& ids, bool skip_special_tokens) {
  for (const int64_t id : ids) tokenizer.id_to_token(id);  // an unknown id is an error here
  return tokenizer.decode(ids, skip_special_tokens);
}

// {"text"} becomes {"ids"}, and {"ids"} becomes {"text"}; a row's "special_tokens" overrules `special_tokens`.
Json answer(const Tokenizer& tokenizer, const Json& row, bool special_tokens) {
  if (!row.is_object() || row.contains("text") == row.contains("ids"))
    input_error("tokenize", "a row must be an object with either a \"text\" or \"ids\" but is " + json_line(row).substr(0, 120));
  if (row.contains("special_tokens")) {
    if (!row["special_tokens"].is_boolean()) input_error("tokenize", "\"special_tokens\" must be true or false");
    special_tokens = row["special_tokens"].get<bool>();
  }
  if (row.contains("text")) {
    if (!row["text"].is_string())
      input_error("tokenize", "\"text\" must be a string but is " + json_line(row["text"]).substr(0, 120));
    return {{"ids", tokenizer.encode(row["text"].get_ref<const std::string&>(), special_tokens)}};
  }
  std::vector<int64_t> ids;
  if (!row["ids"].is_array()) input_error("tokenize", "\"ids\" must be a list");
  for (auto& id : row["ids"]) {
    if (!id.is_number_integer()) input_error("tokenize", "\"ids\" must be integers but one is " + json_line(id).substr(0, 120));
    ids.push_back(id.get<int64_t>());
  }
  return {{"text", decode_known(tokenizer, ids, !special_tokens)}};
}

void answer_rows(const Tokenizer& tokenizer, const std::string& path, bool special_tokens) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) input_error("tokenize", fmt::format("'{}' cannot be read", path));
  }
  std::istream& in = path == "-" ? std::cin : file;
  int64_t line_number = 0;
  for (std::string line; std::getline(in, line);) {
    ++line_number;
    if (line.empty()) continue;
    fmt::print("{}\n",
               json_line(answer(tokenizer, parse_json(line, fmt::format("{} line {}", path, line_number)), special_tokens)));
  }
}

}  // namespace

void add_tokenize(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("tokenize", "token ids of a text, and back");
  auto model = std::make_shared<std::string>(), text = std::make_shared<std::string>(), file = std::make_shared<std::string>(),
       ids = std::make_shared<std::string>(), rows = std::make_shared<std::string>();
  auto plain = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  sub->add_option("--model", *model, "folder with a tokenizer")->required();
  auto* text_option = sub->add_option("--text", *text, "the text");
  auto* file_option = sub->add_option("--file", *file, "a file that is one text, its bytes unchanged");
  auto* decode_option = sub->add_option("--decode", *ids, "ids 1,2,3 to turn back into text");
  auto* rows_option = sub->add_option(
      "--jsonl", *rows, "rows {\"text\"} or {\"ids\"}, - for standard input; a row {\"ids\"} or {\"text\"} for each");
  sub->add_flag("--no-special-tokens", *plain, "without the special tokens that the tokenizer adds");
  sub->add_flag("--json", *json, "one JSON document on stdout");
  sub->callback([=] {
    if ((text_option->count() > 0) + (file_option->count() > 0) + (decode_option->count() > 0) + (rows_option->count() > 0) != 1)
      usage_error("tokenize", "exactly one of --text, --file, --decode, --jsonl must be given");
    const Tokenizer tokenizer = Tokenizer::load(*model);
    if (rows_option->count()) return answer_rows(tokenizer, *rows, !*plain);
    if (decode_option->count()) {
      const std::string decoded = decode_known(tokenizer, parse_ids(*ids), false);
      if (*json)
        print_json({{"text", decoded}});
      else
        fmt::print("{}\n", decoded);
      return;
    }
    const auto encoded = tokenizer.encode(file_option->count() ? read_file(*file) : *text, !*plain);
    if (*json) return print_json({{"ids", encoded}});
    fmt::print("{}\n", fmt::join(encoded, ","));
  });
}

}  // namespace graft
