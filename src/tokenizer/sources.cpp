#include "tokenizer/sources.h"

#include <array>
#include <sstream>

#include "core/check.h"
#include "core/files.h"
#include "tokenizer/fields.h"
#include "tokenizer/pattern.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLlama3Split =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Json byte_level_stage(bool regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", regex}};
}

void read_truncation(const Json& json, TokenizerParts& parts) {
  if (json.is_null()) return;
  const std::string where = "truncation";
  if (!json.is_object()) tokenizer_error("truncation must be an object or null but is " + json_line(json).substr(0, 120));
  parts.longest = count_field(json, "max_length", where, int64_t{1} << 40);
  const std::string direction = text_field_or(json, "direction", where, "Right");
  if (direction != "Right" && direction != "Left")
    tokenizer_error(fmt::format("truncation: the direction '{}' is not supported", direction), "known: Right, Left");
  parts.cut_left = direction == "Left";
  parts.strategy = text_field_or(json, "strategy", where, "LongestFirst");
  if (parts.strategy != "LongestFirst" && parts.strategy != "OnlyFirst" && parts.strategy != "OnlySecond")
    tokenizer_error(fmt::format("truncation: the strategy '{}' is not supported", parts.strategy),
                    "known: LongestFirst, OnlyFirst, OnlySecond");
}

}  // namespace

TokenizerParts read_tokenizer_json(const Json& json) {
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object())
    tokenizer_error("tokenizer.json: there is no model");
  if (json.contains("version") && json["version"] != "1.0")
    tokenizer_error(fmt::format("tokenizer.json: the version {} is not supported", json_line(json["version"])), "known: \"1.0\"");
  const auto stage = [&](const char* key) { return json.contains(key) ? json[key] : Json(); };
  TokenizerParts parts;
  const Json pre_tokenizer = stage("pre_tokenizer");
  const bool raw_bytes = ends_in_byte_level(pre_tokenizer) && can_read_raw_bytes(json["model"]);
  const bool is_bpe = json["model"].contains("merges");
  parts.vocabulary = read_model(json["model"], raw_bytes && is_bpe);
  parts.normalizer = read_normalizer(stage("normalizer"));
  parts.pre_tokenizer = read_pre_tokenizer(pre_tokenizer, raw_bytes && is_bpe);
  parts.decoder = read_decoder(stage("decoder"));
  parts.post_processor = read_post_processor(stage("post_processor"));
  parts.has_post_processor = !stage("post_processor").is_null();
  read_truncation(stage("truncation"), parts);
  if (const Json padding = stage("padding"); !padding.is_null() && !padding.is_object())
    tokenizer_error("padding must be an object or null but is " + json_line(padding).substr(0, 120));
  const Json added = stage("added_tokens");
  if (!added.is_null() && !added.is_array())
    tokenizer_error("added_tokens must be a list but is " + json_line(added).substr(0, 120));
  for (size_t i = 0; i < added.size(); ++i) {
    const std::string where = fmt::format("added_tokens[{}]", i);
    parts.added.push_back(read_added_token(added[i], where));
    count_field(added[i], "id", where, kLargestId);
  }
  return parts;
}

TokenizerParts read_gpt2_files(const fs::path& folder) {
  Json merges = Json::array();
  std::istringstream lines(read_file(folder / "merges.txt"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
  }
  const Json vocab = read_json(folder / "vocab.json");
  Json added = Json::array();
  if (vocab.is_object() && vocab.contains("<|endoftext|>"))
    added.push_back({{"id", vocab["<|endoftext|>"]}, {"content", "<|endoftext|>"}, {"special", true}, {"normalized", true}});
  return read_tokenizer_json({{"added_tokens", added},
                              {"pre_tokenizer", byte_level_stage(true)},
                              {"decoder", byte_level_stage(true)},
                              {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}});
}

// Lines of a token in base64 and its rank, which is its id.
bool looks_like_tiktoken(const std::string& text) {
  const size_t end = std::min(text.find('\n'), text.size()), space = text.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 >= end) return false;
  const auto base64 = [](char c) { return isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '/' || c == '='; };
  return std::all_of(text.begin(), text.begin() + static_cast<ptrdiff_t>(space), base64) &&
         std::all_of(text.begin() + static_cast<ptrdiff_t>(space) + 1, text.begin() + static_cast<ptrdiff_t>(end),
                     [](char c) { return isdigit(static_cast<unsigned char>(c)) || c == '\r'; });
}

TokenizerParts read_tiktoken(const std::string& text, const std::string& name, const Json& config) {
  BpeParts bpe;
  std::istringstream lines(text);
  int32_t rank = 0;
  for (std::string line; std::getline(lines, line); ++rank) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.substr(space + 1) != std::to_string(rank))
      tokenizer_error(fmt::format("{} line {}: it must be a token in base64 and the rank {} but is '{}'", name, rank + 1, rank,
                                  line.substr(0, 80)));
    std::string visible;
    for (const unsigned char byte :
         decode_base64(std::string_view(line).substr(0, space), fmt::format("{} line {}", name, rank + 1)))
      visible += byte_characters()[byte];
    bpe.tokens.add(visible, rank);
  }
  std::vector<int32_t> ranks(static_cast<size_t>(bpe.tokens.size()));
  for (size_t i = 0; i < ranks.size(); ++i) ranks[i] = static_cast<int32_t>(i);
  bpe.merges = merges_of_ranks(bpe.tokens, ranks);
  bpe.ignore_merges = true;
  TokenizerParts parts;
  parts.vocabulary = make_bpe(std::move(bpe), true);
  parts.pre_tokenizer = read_pre_tokenizer(
      {{"type", "Sequence"},
       {"pretokenizers",
        Json::array({Json{{"type", "Split"}, {"pattern", {{"Regex", kLlama3Split}}}, {"behavior", "Isolated"}, {"invert", false}},
                     byte_level_stage(false)})}},
      true);
  parts.decoder = read_decoder(byte_level_stage(false));
  parts.adds_bos = config.is_object() && config.contains("bos_token");
  return parts;
}

fs::path tokenizer_file(const fs::path& folder) {
  for (const char* name :
       {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model", "vocab.json"}) {
    if (!fs::exists(folder / name)) continue;
    if (std::string_view(name) != "vocab.json" || fs::exists(folder / "merges.txt")) return folder / name;
  }
  return {};
}

TokenizerParts read_tokenizer(const fs::path& folder, const Json& config) {
  const fs::path file = tokenizer_file(folder);
  if (file.filename() == "tokenizer.json") return read_tokenizer_json(read_json(file));
  if (file.filename() == "vocab.json") return read_gpt2_files(folder);
  const std::string bytes = read_file(file), name = file.filename().string();
  return looks_like_tiktoken(bytes) ? read_tiktoken(bytes, name, config) : read_sentencepiece(bytes, name, config);
}

}  // namespace graft
