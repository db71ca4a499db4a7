// JSON to values and back, as Python's json module does it.
#include <algorithm>

#include "chat/text.h"
#include "chat/value.h"
#include "core/check.h"

namespace graft::chat {
namespace {

constexpr size_t kDeepestJson = 150;

// Builds values while the text is read: an object keeps the order of its keys.
class Reader : public nlohmann::json_sax<Json> {
 public:
  explicit Reader(std::string_view what) : what_(what) {}
  bool null() override { return add(Value::none()); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(static_cast<int64_t>(value)); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value > static_cast<number_unsigned_t>(INT64_MAX)) return add(static_cast<double>(value));
    return add(static_cast<int64_t>(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Value::dict()); }
  bool start_array(size_t) override { return open(Value::list({})); }
  bool key(string_t& value) override {
    keys_.back() = std::move(value);
    return true;
  }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& e) override {
    input_error("chat", fmt::format("{} is not valid JSON: {}", what_, e.what()));
  }
  Value result() const { return result_; }

 private:
  bool add(Value value) {
    if (open_.empty()) result_ = std::move(value);
    else if (open_.back().is(Kind::List)) open_.back().list_data().items.push_back(std::move(value));
    else open_.back().set(keys_.back(), std::move(value));
    return true;
  }
  bool open(Value value) {
    if (open_.size() >= kDeepestJson) input_error("chat", fmt::format("{} nests lists and objects more than {} deep", what_, kDeepestJson));
    add(value);
    open_.push_back(std::move(value));  // a handle of the same list or object
    keys_.emplace_back();
    return true;
  }
  bool close() {
    const int depth = open_.back().depth();
    open_.pop_back();
    keys_.pop_back();
    if (!open_.empty()) {
      int& outer = open_.back().is(Kind::List) ? open_.back().list_data().depth : open_.back().dict_data().depth;
      outer = std::max(outer, depth + 1);
    }
    return true;
  }
  std::string_view what_;
  Value result_;
  Values open_;
  std::vector<std::string> keys_;
};

std::string quoted(const std::string& text, bool ascii) {
  std::string out = "\"";
  for (const uint32_t c : code_points(text)) {
    const auto escape = [&](uint32_t unit) { out += fmt::format("\\u{:04x}", unit); };
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000 && c != 0x7F)) {
          escape(c);
        } else if (ascii && c >= 0x10000) {
          escape(0xD800 + ((c - 0x10000) >> 10));
          escape(0xDC00 + ((c - 0x10000) & 0x3FF));
        } else {
          append_code_point(out, c);
        }
    }
  }
  return out + "\"";
}

std::string json_float(double value) {
  const std::string text = float_repr(value);
  return text == "nan" ? "NaN" : text == "inf" ? "Infinity" : text == "-inf" ? "-Infinity" : text;
}

class Writer {
 public:
  explicit Writer(const JsonStyle& style) : style_(style) {}

  void write(const Value& value, int level) {
    if (level > static_cast<int>(kDeepestJson) + 50) render_error("tojson: values nest more than 200 deep");
    switch (value.kind()) {
      case Kind::None: out += "null"; return;
      case Kind::Bool: out += value.integer() ? "true" : "false"; return;
      case Kind::Int: out += std::to_string(value.integer()); return;
      case Kind::Float: out += json_float(value.number()); return;
      case Kind::String: out += quoted(value.string(), style_.ensure_ascii); return;
      case Kind::Dict: return object(value, level);
      case Kind::List:
        if (value.is_sequence(Sequence::List) || value.is_sequence(Sequence::Tuple)) return array(value, level);
        [[fallthrough]];
      default: render_error(fmt::format("Object of type {} is not JSON serializable", value.type()));
    }
  }
  std::string out;

 private:
  void line(int level) {
    if (!style_.indented) return;
    out += '\n';
    for (int i = 0; i < level; ++i) out += style_.indent;
  }
  void array(const Value& value, int level) {
    const Values& items = value.list_data().items;
    out += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i) out += style_.item_separator;
      line(level + 1);
      write(items[i], level + 1);
    }
    if (!items.empty()) line(level);
    out += ']';
  }
  void object(const Value& value, int level) {
    auto entries = value.dict_data().entries;
    if (style_.sort_keys) std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return compare(a.first, b.first, "'<'") < 0; });
    out += '{';
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i) out += style_.item_separator;
      line(level + 1);
      out += quoted(key_text(entries[i].first), style_.ensure_ascii) + style_.key_separator;
      write(entries[i].second, level + 1);
    }
    if (!entries.empty()) line(level);
    out += '}';
  }
  static std::string key_text(const Value& key) {
    switch (key.kind()) {
      case Kind::String: return key.string();
      case Kind::None: return "null";
      case Kind::Bool: return key.integer() ? "true" : "false";
      case Kind::Int: return std::to_string(key.integer());
      case Kind::Float: return json_float(key.number());
      default: render_error(fmt::format("keys must be str, int, float, bool or None, not {}", key.type()));
    }
  }
  const JsonStyle& style_;
};

}  // namespace

Value Value::parse(std::string_view json, std::string_view what) {
  Reader reader(what);
  Json::sax_parse(json.begin(), json.end(), &reader);
  return reader.result();
}

Value Value::from(const Json& json) {
  switch (json.type()) {
    case Json::value_t::boolean: return json.get<bool>();
    case Json::value_t::number_integer: return json.get<int64_t>();
    case Json::value_t::number_unsigned: {
      const auto value = json.get<uint64_t>();
      return value > static_cast<uint64_t>(INT64_MAX) ? Value(static_cast<double>(value)) : Value(static_cast<int64_t>(value));
    }
    case Json::value_t::number_float: return json.get<double>();
    case Json::value_t::string: return json.get<std::string>();
    case Json::value_t::array: {
      Values items;
      for (auto& item : json) items.push_back(from(item));
      return list(std::move(items));
    }
    case Json::value_t::object: {
      Value value = dict();
      for (auto& [key, item] : json.items()) value.set(key, from(item));
      return value;
    }
    default: return none();
  }
}

std::string to_json(const Value& value, const JsonStyle& style) {
  Writer writer(style);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace graft::chat
