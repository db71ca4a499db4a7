// The filters.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_map>

#include "chat/builtins.h"
#include "chat/evaluator.h"
#include "chat/text.h"
#include "core/check.h"

namespace graft::chat {
namespace {

using Filter = Value (*)(Evaluator& evaluator, const Value& value, Arguments& arguments);

// "a.b.0" as a path of names and numbers, looked up from an item.
class Getter {
 public:
  Getter() = default;
  explicit Getter(const Value& path) {
    if (path.is(Kind::Undefined) || path.is(Kind::None)) return;
    if (path.is_integral()) {
      keys_.push_back(path);
      return;
    }
    for (auto& part : split(path.str(), ".", -1)) {
      const bool number = !part.empty() && part.size() < 18 && part.find_first_not_of("0123456789") == std::string::npos;
      keys_.push_back(number ? Value(static_cast<int64_t>(std::stoll(part))) : Value(part));
    }
  }
  Value operator()(Value item, const Value* otherwise = nullptr) const {
    for (auto& key : keys_) {
      item = item_of(item, key);
      if (otherwise && item.is(Kind::Undefined)) item = *otherwise;
    }
    return item;
  }

 private:
  Values keys_;
};

Value without_case(Value value) { return value.is(Kind::String) ? Value(lower(value.string())) : value; }

Value sort_key(const Getter& getter, const Value& item, bool case_sensitive) {
  Value key = getter(item);
  return case_sensitive ? key : without_case(std::move(key));
}

Value iterator(Values items) { return Value::list(std::move(items), Sequence::Iterator); }

Value filter_default(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "default", {"default_value", "boolean"}, 0);
  if (value.is(Kind::Undefined) || (a.flag(1, false) && !value.truth())) return a.has(0) ? a[0] : Value("");
  return value;
}

Value filter_tojson(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, 0);
  JsonStyle style;
  style.ensure_ascii = a.flag(0, false);
  style.sort_keys = a.flag(3, false);
  if (a.set(1)) {
    style.indented = true;
    style.item_separator = ",";
    style.indent = a[1].is(Kind::String) ? a[1].string() : std::string(static_cast<size_t>(std::clamp<int64_t>(a.integer(1, 0), 0, 1000)), ' ');
  }
  if (a.set(2)) {
    const Values pair = items_of(a[2]);
    if (pair.size() != 2 || !pair[0].is(Kind::String) || !pair[1].is(Kind::String)) render_error("tojson: separators must be two texts");
    style.item_separator = pair[0].string();
    style.key_separator = pair[1].string();
  }
  return to_json(value, style);
}

Value filter_join(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "join", {"d", "attribute"}, 0);
  const Getter getter(a[1]);
  std::string text;
  const std::string between = a.text(0, "");
  const Values items = items_of(value);
  for (size_t i = 0; i < items.size(); ++i) text += (i ? between : "") + getter(items[i]).str();
  return text;
}

Value filter_first(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "first", {}, 0);
  if (value.is_sequence(Sequence::Iterator)) {
    ListData& list = value.list_data();
    if (list.at < list.items.size()) return list.items[list.at++];
    return Value::undefined("No first item, sequence was empty.");
  }
  const Values items = items_of(value);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value filter_last(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "last", {}, 0);
  if (value.is_sequence(Sequence::Iterator)) render_error("'generator' object is not reversible");
  const Values items = items_of(value);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value filter_reverse(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "reverse", {}, 0);
  if (value.is(Kind::String)) return slice_of(value, Value::none(), Value::none(), -1);
  Values items = items_of(value);
  std::reverse(items.begin(), items.end());
  return value.is_sequence(Sequence::Iterator) ? Value::list(std::move(items)) : iterator(std::move(items));
}

Value filter_map(Evaluator& evaluator, const Value& value, Arguments& arguments) {
  Values results;
  if (arguments.positional.empty()) {
    const Bound a(arguments, "map", {"attribute", "default"}, 0);
    if (!a.has(0)) render_error("map requires a filter argument");
    const Getter getter(a[0]);
    for (auto& item : items_of(value)) results.push_back(getter(item, a.has(1) ? &a[1] : nullptr));
    return iterator(std::move(results));
  }
  const std::string name = arguments.positional[0].str();
  if (!is_filter(name)) render_error(fmt::format("No filter named {}.", string_repr(name)));
  for (auto& item : items_of(value)) {
    Arguments rest{{arguments.positional.begin() + 1, arguments.positional.end()}, arguments.named};
    results.push_back(apply_filter(evaluator, name, item, rest));
  }
  return iterator(std::move(results));
}

Value chosen(Evaluator& evaluator, const Value& value, Arguments& arguments, bool by_attribute, bool wanted) {
  Getter getter;
  size_t used = 0;
  if (by_attribute) {
    if (arguments.positional.empty()) render_error("Missing parameter for attribute name");
    getter = Getter(arguments.positional[used++]);
  }
  std::string test;
  if (used < arguments.positional.size()) {
    test = arguments.positional[used++].str();
    if (!is_test(test)) render_error(fmt::format("No test named {}.", string_repr(test)));
  }
  Values kept;
  for (auto& item : items_of(value)) {
    const Value subject = getter(item);
    Arguments rest{{arguments.positional.begin() + static_cast<std::ptrdiff_t>(used), arguments.positional.end()}, arguments.named};
    const bool holds = test.empty() ? subject.truth() : apply_test(evaluator, test, subject, rest);
    if (holds == wanted) kept.push_back(item);
  }
  return iterator(std::move(kept));
}

void sort_values(Values& items, const std::vector<Getter>& getters, bool case_sensitive, bool reverse) {
  const auto before = [&](const Value& x, const Value& y) {
    for (auto& getter : getters) {
      const Value a = sort_key(getter, x, case_sensitive), b = sort_key(getter, y, case_sensitive);
      if (!equal(a, b)) return compare(a, b, "'<'") < 0;
    }
    return false;
  };
  std::stable_sort(items.begin(), items.end(), [&](const Value& x, const Value& y) { return reverse ? before(y, x) : before(x, y); });
}

Value filter_sort(Evaluator& evaluator, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "sort", {"reverse", "case_sensitive", "attribute"}, 0);
  std::vector<Getter> getters;
  if (a[2].is(Kind::String))
    for (auto& path : split(a[2].string(), ",", -1)) getters.emplace_back(Value(path));
  else getters.emplace_back(a[2]);
  Values items = items_of(value);
  evaluator.spend(items.size() * 16);
  sort_values(items, getters, a.flag(1, false), a.flag(0, false));
  return Value::list(std::move(items));
}

Value filter_dictsort(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "dictsort", {"case_sensitive", "by", "reverse"}, 0);
  require_defined(value);
  if (!value.is_mapping()) render_error(fmt::format("'{}' object has no attribute 'items'", value.type()));
  const std::string by = a.text(1, "key");
  if (by != "key" && by != "value") render_error("You can only sort by either \"key\" or \"value\"");
  Values items;
  for (auto& [key, item] : value.dict_data().entries) items.push_back(Value::list({key, item}, Sequence::Tuple));
  sort_values(items, {Getter(Value(by == "key" ? 0 : 1))}, a.flag(0, false), a.flag(2, false));
  return Value::list(std::move(items));
}

Value extreme(const Value& value, Arguments& arguments, bool largest) {
  const Bound a(arguments, largest ? "max" : "min", {"case_sensitive", "attribute"}, 0);
  const Values items = items_of(value);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const Getter getter(a[1]);
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    const int order = compare(sort_key(getter, items[i], a.flag(0, false)), sort_key(getter, items[best], a.flag(0, false)), largest ? "'>'" : "'<'");
    if (largest ? order > 0 : order < 0) best = i;
  }
  return items[best];
}

Value filter_unique(Evaluator& evaluator, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "unique", {"case_sensitive", "attribute"}, 0);
  const Getter getter(a[1]);
  Values kept, seen;
  for (auto& item : items_of(value)) {
    Value key = sort_key(getter, item, a.flag(0, false));
    evaluator.spend(seen.size());
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equal(s, key); })) continue;
    seen.push_back(std::move(key));
    kept.push_back(item);
  }
  return iterator(std::move(kept));
}

Value filter_sum(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "sum", {"attribute", "start"}, 0);
  const Getter getter(a[0]);
  Value total = a.has(1) ? a[1] : Value(0);
  for (auto& item : items_of(value)) total = arithmetic("+", total, getter(item));
  return total;
}

Value filter_items(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "items", {}, 0);
  if (value.is(Kind::Undefined)) return iterator({});
  if (!value.is_mapping()) render_error("Can only get item pairs from a mapping.");
  Values pairs;
  for (auto& [key, item] : value.dict_data().entries) pairs.push_back(Value::list({key, item}, Sequence::Tuple));
  return iterator(std::move(pairs));
}

bool parse_integer(const std::string& given, int64_t base, int64_t& result) {
  std::string text(strip_left(strip_right(given)));
  for (size_t i = 1; i + 1 < text.size(); ++i)
    if (text[i] == '_' && std::isalnum(static_cast<unsigned char>(text[i - 1])) && std::isalnum(static_cast<unsigned char>(text[i + 1]))) text.erase(i, 1);
  const size_t digits = !text.empty() && (text[0] == '-' || text[0] == '+');
  if (text.size() <= digits || !std::isalnum(static_cast<unsigned char>(text[digits]))) return false;
  errno = 0;
  char* end = nullptr;
  if (base < 0 || base == 1 || base > 36) return false;
  if ((base == 2 || base == 8) && text.size() > digits + 2 && text[digits] == '0' && (text[digits + 1] | 0x20) == (base == 2 ? 'b' : 'o')) text.erase(digits, 2);
  result = std::strtoll(text.c_str(), &end, static_cast<int>(base));
  if (*end == '\0' && errno == ERANGE) render_error("an integer grows beyond 64 bits");
  return *end == '\0';
}

bool parse_float(const Value& value, double& result) {
  require_defined(value);
  if (value.is_number()) {
    result = value.number();
    return true;
  }
  if (!value.is(Kind::String)) return false;
  const std::string text(strip_left(strip_right(value.string())));
  if (text.empty() || text.find_first_of("xXpP()") != std::string::npos) return false;
  char* end = nullptr;
  result = std::strtod(text.c_str(), &end);
  return *end == '\0';
}

Value filter_int(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "int", {"default", "base"}, 0);
  int64_t whole = 0;
  double real = 0;
  if (value.is_integral()) return value.integer();
  if (value.is(Kind::String) && parse_integer(value.string(), a.integer(1, 10), whole)) return whole;
  if (parse_float(value, real) && std::isfinite(real)) {
    if (std::fabs(real) >= 9.2e18) render_error("an integer grows beyond 64 bits");
    return static_cast<int64_t>(real);
  }
  return a.has(0) ? a[0] : Value(0);
}

Value filter_float(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "float", {"default"}, 0);
  double real = 0;
  if (parse_float(value, real)) return real;
  return a.has(0) ? a[0] : Value(0.0);
}

Value filter_abs(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "abs", {}, 0);
  require_defined(value);
  if (!value.is_number()) render_error(fmt::format("bad operand type for abs(): '{}'", value.type()));
  return value.is(Kind::Float) ? Value(std::fabs(value.number())) : Value(value.integer() < 0 ? -value.integer() : value.integer());
}

Value filter_round(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "round", {"precision", "method"}, 0);
  require_defined(value);
  const int64_t precision = a.integer(0, 0);
  const std::string how = a.text(1, "common");
  if (how != "common" && how != "ceil" && how != "floor") render_error("method must be common, ceil or floor");
  if (!value.is_number()) render_error(fmt::format("type {} doesn't define __round__ method", value.type()));
  if (how != "common") {
    const double scale = std::pow(10.0, static_cast<double>(precision)), scaled = value.number() * scale;
    if (!std::isfinite(scaled) || scale == 0) render_error("round(): the number is too large");
    return (how == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
  }
  if (value.is_integral()) {
    if (precision >= 0) return value.integer();
    if (precision < -18) return 0;
    int64_t unit = 1;
    for (int64_t i = precision; i < 0; ++i) unit *= 10;
    const int64_t down = (value.integer() / unit - (value.integer() % unit < 0)) * unit, rest = value.integer() - down;
    const bool up = rest * 2 > unit || (rest * 2 == unit && (down / unit) % 2 != 0);  // halves go to the even neighbour
    return down + (up ? unit : 0);
  }
  if (!std::isfinite(value.number()) || precision > 300) return value;
  if (precision >= 0) return std::strtod(fmt::format("{:.{}f}", value.number(), precision).c_str(), nullptr);
  const double unit = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value.number() / unit) * unit;
}

// Jinja's own: words begin behind spaces, hyphens and opening brackets only.
Value filter_title(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "title", {}, 0);
  std::string out, word;
  const auto finish = [&] {
    if (word.empty()) return;
    const auto codes = code_points(word);
    out += upper(from_code_points({codes[0]})) + lower(from_code_points({codes.begin() + 1, codes.end()}));
    word.clear();
  };
  for (const uint32_t code : code_points(value.str())) {
    if (is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<') {
      finish();
      append_code_point(out, code);
    } else {
      append_code_point(word, code);
    }
  }
  finish();
  return out;
}

Value filter_indent(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "indent", {"width", "first", "blank"}, 0);
  require_defined(value);
  if (!value.is(Kind::String)) render_error(fmt::format("indent needs a text, not '{}'", value.type()));
  const std::string indent = a[0].is(Kind::String) ? a[0].string() : padded("", a.integer(0, 4), Align::Left);
  const auto lines = split_lines(value.string() + "\n");
  std::string out = a.flag(1, false) ? indent : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i) out += "\n" + (lines[i].empty() && !a.flag(2, false) ? std::string() : indent);
    out += lines[i];
    if (out.size() > size_t{1} << 24) render_error("a text grows beyond 16 million bytes");
  }
  return out;
}

Value filter_batch(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "batch", {"linecount", "fill_with"}, 1);
  const int64_t size = a.integer(0, 1);
  Values batches, batch;
  const auto finish = [&] { batches.push_back(Value::list(std::exchange(batch, {}))); };
  for (auto& item : items_of(value)) {
    if (static_cast<int64_t>(batch.size()) == size) finish();
    batch.push_back(item);
  }
  if (!batch.empty()) {
    if (a.set(1))
      while (static_cast<int64_t>(batch.size()) < std::min<int64_t>(size, 100000)) batch.push_back(a[1]);
    finish();
  }
  return iterator(std::move(batches));
}

Value filter_truncate(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "truncate", {"length", "killwords", "end", "leeway"}, 0);
  const auto codes = code_points(value.str());
  const std::string end = a.text(2, "...");
  const int64_t most = a.integer(0, 255), leeway = a.integer(3, 5), end_length = static_cast<int64_t>(length(end));
  if (most < end_length) render_error(fmt::format("expected length >= {}, got {}", end_length, most));
  if (leeway < 0) render_error(fmt::format("expected leeway >= 0, got {}", leeway));
  if (static_cast<int64_t>(codes.size()) <= most + leeway) return from_code_points(codes);
  std::string kept = from_code_points({codes.begin(), codes.begin() + (most - end_length)});
  if (!a.flag(1, false)) kept = kept.substr(0, kept.rfind(' '));
  return kept + end;
}

Value filter_wordcount(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "wordcount", {}, 0);
  int64_t words = 0;
  bool inside = false;
  for (const uint32_t code : code_points(value.str())) {
    const bool word = is_alpha(code) || is_numeric(code) || code == '_';
    words += word && !inside;
    inside = word;
  }
  return words;
}

Value filter_format(Evaluator&, const Value& value, Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) render_error("can't handle positional and keyword arguments at the same time");
  if (arguments.named.empty()) return percent_format(value.str(), Value::list(arguments.positional, Sequence::Tuple));
  Value named = Value::dict();
  for (auto& [name, item] : arguments.named) named.set(Value(name), item);
  return percent_format(value.str(), named);
}

template <std::string (*Change)(std::string_view)>
Value text_filter(Evaluator&, const Value& value, Arguments& arguments) {
  const Bound a(arguments, "the filter", {}, 0);
  return Change(value.str());
}

const std::unordered_map<std::string, Filter>& filters() {
  static const std::unordered_map<std::string, Filter> table = {
      {"default", filter_default}, {"d", filter_default}, {"tojson", filter_tojson}, {"join", filter_join}, {"first", filter_first}, {"last", filter_last},
      {"reverse", filter_reverse}, {"map", filter_map}, {"sort", filter_sort}, {"dictsort", filter_dictsort}, {"unique", filter_unique}, {"sum", filter_sum},
      {"items", filter_items}, {"int", filter_int}, {"float", filter_float}, {"abs", filter_abs}, {"round", filter_round}, {"title", filter_title},
      {"indent", filter_indent}, {"batch", filter_batch}, {"truncate", filter_truncate}, {"wordcount", filter_wordcount}, {"format", filter_format},
      {"upper", text_filter<upper>}, {"lower", text_filter<lower>}, {"capitalize", text_filter<capitalize>}, {"escape", text_filter<escape_html>}, {"e", text_filter<escape_html>},
      {"string", [](Evaluator&, const Value& v, Arguments& args) { const Bound a(args, "string", {}, 0); return Value(v.str()); }},
      {"safe", [](Evaluator&, const Value& v, Arguments& args) { const Bound a(args, "safe", {}, 0); return Value(v.str()); }},
      {"length", [](Evaluator&, const Value& v, Arguments& args) { const Bound a(args, "length", {}, 0); return Value(length_of(v)); }},
      {"count", [](Evaluator&, const Value& v, Arguments& args) { const Bound a(args, "count", {}, 0); return Value(length_of(v)); }},
      {"list", [](Evaluator&, const Value& v, Arguments& args) { const Bound a(args, "list", {}, 0); return Value::list(items_of(v)); }},
      {"min", [](Evaluator&, const Value& v, Arguments& args) { return extreme(v, args, false); }},
      {"max", [](Evaluator&, const Value& v, Arguments& args) { return extreme(v, args, true); }},
      {"select", [](Evaluator& e, const Value& v, Arguments& args) { return chosen(e, v, args, false, true); }},
      {"reject", [](Evaluator& e, const Value& v, Arguments& args) { return chosen(e, v, args, false, false); }},
      {"selectattr", [](Evaluator& e, const Value& v, Arguments& args) { return chosen(e, v, args, true, true); }},
      {"rejectattr", [](Evaluator& e, const Value& v, Arguments& args) { return chosen(e, v, args, true, false); }},
      {"trim", [](Evaluator&, const Value& v, Arguments& args) {
         const Bound a(args, "trim", {"chars"}, 0);
         const std::string text = v.str(), *chars = a.set(0) ? &a.string(0) : nullptr;
         return Value(std::string(strip_left(strip_right(text, chars), chars)));
       }},
      {"replace", [](Evaluator&, const Value& v, Arguments& args) {
         const Bound a(args, "replace", {"old", "new", "count"}, 2);
         return Value(replace(v.str(), a.text(0, ""), a.text(1, ""), a.integer(2, -1)));
       }},
      {"center", [](Evaluator&, const Value& v, Arguments& args) { const Bound a(args, "center", {"width"}, 0); return Value(padded(v.str(), a.integer(0, 80), Align::Center)); }},
      {"attr", [](Evaluator&, const Value& v, Arguments& args) {
         const Bound a(args, "attr", {"name"}, 1);
         const std::string name = a.text(0, "");
         if (v.is(Kind::Dict)) {  // methods only, not keys
           Value found;
           return method(v, name, found) ? found : Value::undefined(fmt::format("'dict object' has no attribute {}", string_repr(name)));
         }
         return attribute_of(v, name);
       }},
  };
  return table;
}

}  // namespace

bool is_filter(const std::string& name) { return filters().count(name) > 0; }

std::vector<std::string> filter_names() {
  std::vector<std::string> names;
  for (auto& entry : filters()) names.push_back(entry.first);
  std::sort(names.begin(), names.end());
  return names;
}

Value apply_filter(Evaluator& evaluator, const std::string& name, const Value& value, Arguments& arguments) { return filters().at(name)(evaluator, value, arguments); }

}  // namespace graft::chat
