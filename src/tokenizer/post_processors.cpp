#include <optional>

#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/stages.h"

namespace graft {
namespace {

constexpr int kDeepestProcessor = 32;
constexpr size_t kMostParts = 4096;

// Stages work on segments: one at first, after a template one for each of its parts.
using Segment = std::vector<PostProcessor::Part>;
struct Segments {
  std::vector<Segment> list;
  bool special;
};

PostProcessor::Part special_part(std::vector<int64_t> ids) {
  return {false, std::move(ids)};
}

int64_t pair_id(const Json& json, const char* key, const std::string& where) {
  const Json& pair = list_field(json, key, where);
  if (pair.size() != 2 || !pair[0].is_string()) tokenizer_error(fmt::format("{}: '{}' must be [token, id]", where, key));
  return count_value(pair[1], fmt::format("{}: the id of '{}'", where, key), kLargestId);
}

// BertProcessing and RobertaProcessing differ in what stands before a second segment.
int64_t apply_pair(const Json& json, const std::string& type, Segments& segments) {
  const std::string where = "post_processor " + type;
  const int64_t cls = pair_id(json, "cls", where), sep = pair_id(json, "sep", where);
  if (!segments.special) return 2;
  for (size_t i = 0; i < segments.list.size(); ++i) {
    Segment& segment = segments.list[i];
    if (i == 0)
      segment.insert(segment.begin(), special_part({cls}));
    else if (type == "RobertaProcessing")
      segment.insert(segment.begin(), special_part({sep}));
    segment.push_back(special_part({sep}));
  }
  return 2;
}

std::vector<int64_t> special_ids(const Json& json, const std::string& name, const std::string& where) {
  const Json& tokens = json.contains("special_tokens") ? json["special_tokens"] : Json();
  if (!tokens.is_object() || !tokens.contains(name) || !tokens[name].is_object())
    tokenizer_error(fmt::format("{}: the special token '{}' is not defined", where, name));
  std::vector<int64_t> ids;
  for (auto& id : list_field(tokens[name], "ids", where))
    ids.push_back(count_value(id, fmt::format("{}: an id of '{}'", where, name), kLargestId));
  return ids;
}

// One part of a template: the number of a segment, or ids.
struct TemplatePart {
  std::optional<size_t> segment;
  std::vector<int64_t> ids;
};

TemplatePart read_part(const Json& item, const Json& json, const std::string& where) {
  if (item.is_object() && item.size() == 1 && item.begin().value().is_object()) {
    const std::string kind = item.begin().key(), id = text_field(item.begin().value(), "id", where);
    if (kind == "Sequence" && (id == "A" || id == "B")) return {id == "A" ? 0u : 1u, {}};
    if (kind == "SpecialToken") return {std::nullopt, special_ids(json, id, where)};
  }
  tokenizer_error(
      fmt::format("{}: a part must be a Sequence A or B or a SpecialToken but is {}", where, json_line(item).substr(0, 120)));
}

int64_t apply_template(const Json& json, Segments& segments) {
  const std::string where = "post_processor TemplateProcessing";
  int64_t added = 0;
  for (auto& item : list_field(json, "single", where)) added += static_cast<int64_t>(read_part(item, json, where).ids.size());
  if (segments.list.size() > 2) tokenizer_error(where + ": a template after one with more than two parts is not supported");
  std::vector<Segment> out;
  for (auto& item : list_field(json, segments.list.size() == 2 ? "pair" : "single", where)) {
    const TemplatePart part = read_part(item, json, where);
    if (part.segment) {
      if (*part.segment >= segments.list.size()) tokenizer_error(where + ": the template for one text names the sequence B");
      out.push_back(segments.list[*part.segment]);
    } else if (segments.special) {
      out.push_back({special_part(part.ids)});
    }
  }
  segments.list = std::move(out);
  return added;
}

int64_t apply(const Json& json, Segments& segments, int depth) {
  const std::string type = type_of(json, "post_processor");
  if (type == "ByteLevel") return 0;  // only about offsets
  if (type == "BertProcessing" || type == "RobertaProcessing") return apply_pair(json, type, segments);
  if (type == "TemplateProcessing") return apply_template(json, segments);
  if (type != "Sequence")
    unknown_type("post_processor", type, "Sequence, TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel");
  if (depth > kDeepestProcessor) tokenizer_error("the post_processor has too many sequences in one another");
  int64_t added = 0;
  for (auto& inner : list_field(json, "processors", "post_processor Sequence")) added += apply(inner, segments, depth + 1);
  return added;
}

std::vector<PostProcessor::Part> flat(const Segments& segments) {
  std::vector<PostProcessor::Part> parts;
  for (auto& segment : segments.list)
    for (auto& part : segment)
      if (part.sequence || !part.ids.empty()) parts.push_back(part);
  if (parts.size() > kMostParts)
    tokenizer_error(fmt::format("the post_processor puts {} parts together, more than {}", parts.size(), kMostParts));
  return parts;
}

}  // namespace

PostProcessor read_post_processor(const Json& json) {
  if (json.is_null()) return PostProcessor::none();
  PostProcessor result;
  Segments with{{{{true, {}}}}, true}, without{{{{true, {}}}}, false};
  result.added = apply(json, with, 0);
  apply(json, without, 0);
  result.with = flat(with);
  result.without = flat(without);
  return result;
}

}  // namespace graft
