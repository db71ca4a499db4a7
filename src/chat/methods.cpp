// The methods of texts, lists and dicts.
#include <algorithm>
#include <unordered_map>

#include "chat/builtins.h"
#include "chat/text.h"
#include "core/check.h"

namespace graft::chat {
namespace {

using Method = Value (*)(const Value& self, Arguments& arguments);
using Methods = std::unordered_map<std::string, Method>;

Value text_list(std::vector<std::string> texts) {
  Values items;
  for (auto& text : texts) items.emplace_back(std::move(text));
  return Value::list(std::move(items));
}

const std::string* strip_set(const Bound& a) { return a.set(0) ? &a.string(0) : nullptr; }

// The part of the text that the optional start and end leave, and the code points before it.
std::string_view part_of(const std::string& text, const Bound& a, size_t first, int64_t& before) {
  const int64_t size = static_cast<int64_t>(length(text));
  const auto place = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
  const int64_t begin = place(a.integer(first, 0)), end = std::max(begin, place(a.integer(first + 1, size)));
  before = begin;
  const auto offset = [&](int64_t codes) {
    size_t at = 0;
    for (; at < text.size(); ++at)
      if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80 && codes-- == 0) break;
    return at;
  };
  const size_t from = offset(begin);
  return std::string_view(text).substr(from, offset(end) - from);
}

// The code point at which `what` stands, or -1.
int64_t found_at(const Value& self, Arguments& arguments, const char* name, bool from_right) {
  const Bound a(arguments, name, {"sub", "start", "end"}, 1);
  int64_t before = 0;
  const std::string_view part = part_of(self.string(), a, 1, before);
  const size_t at = from_right ? part.rfind(a.string(0)) : part.find(a.string(0));
  return at == std::string_view::npos ? -1 : before + static_cast<int64_t>(length(part.substr(0, at)));
}

bool stands_at(const Value& self, Arguments& arguments, const char* name, bool (*holds)(std::string_view, std::string_view)) {
  const Bound a(arguments, name, {"prefix", "start", "end"}, 1);
  int64_t before = 0;
  const std::string_view part = part_of(self.string(), a, 1, before);
  if (!a[0].is_sequence(Sequence::Tuple)) return holds(part, a.string(0));
  const Values& any = a[0].list_data().items;
  return std::any_of(any.begin(), any.end(), [&](const Value& one) { return one.is(Kind::String) && holds(part, one.string()); });
}

template <bool (*Property)(uint32_t)>
Value all_are(const Value& self, Arguments& arguments) {
  const Bound a(arguments, "is...", {}, 0);
  const auto codes = code_points(self.string());
  return !codes.empty() && std::all_of(codes.begin(), codes.end(), Property);
}

bool alphanumeric(uint32_t code) { return is_alpha(code) || is_numeric(code); }

// Some character has case, and each that has is of this one.
template <bool (*Right)(uint32_t), bool (*Wrong)(uint32_t)>
Value case_is(const Value& self, Arguments& arguments) {
  const Bound a(arguments, "is...", {}, 0);
  const auto codes = code_points(self.string());
  return std::any_of(codes.begin(), codes.end(), Right) && std::none_of(codes.begin(), codes.end(), Wrong);
}

template <std::string (*Change)(std::string_view)>
Value changed(const Value& self, Arguments& arguments) {
  const Bound a(arguments, "the method", {}, 0);
  return Change(self.string());
}

Value aligned(const Value& self, Arguments& arguments, const char* name, Align align) {
  const Bound a(arguments, name, {"width", "fillchar"}, 1);
  const std::string fill = a.has(1) ? a.string(1) : " ";
  if (length(fill) != 1) render_error("The fill character must be exactly one character long");
  return padded(self.string(), a.integer(0, 0), align, fill);
}

Value zero_filled(const Value& self, Arguments& arguments) {
  const Bound a(arguments, "zfill", {"width"}, 1);
  const std::string& text = self.string();
  const bool sign = !text.empty() && (text[0] == '-' || text[0] == '+');
  return text.substr(0, sign) + padded(std::string_view(text).substr(sign), a.integer(0, 0) - sign, Align::Right, "0");
}

Value partitioned(const Value& self, Arguments& arguments, bool from_right) {
  const Bound a(arguments, "partition", {"sep"}, 1);
  const std::string &text = self.string(), &separator = a.string(0);
  if (separator.empty()) render_error("empty separator");
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  Values parts;
  if (at != std::string::npos) parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  else if (from_right) parts = {"", "", text};
  else parts = {text, "", ""};
  return Value::list(std::move(parts), Sequence::Tuple);
}

Value joined(const Value& self, Arguments& arguments) {
  const Bound a(arguments, "join", {"iterable"}, 1);
  require_defined(a[0]);
  std::string text;
  const Values items = items_of(a[0]);
  for (size_t i = 0; i < items.size(); ++i) {
    require_defined(items[i]);
    if (!items[i].is(Kind::String)) render_error(fmt::format("sequence item {}: expected str instance, {} found", i, items[i].type()));
    text += (i ? self.string() : "") + items[i].string();
    if (text.size() > size_t{1} << 24) render_error("a text grows beyond 16 million bytes");
  }
  return text;
}

Value counted(const Value& self, Arguments& arguments) {
  const Bound a(arguments, "count", {"sub", "start", "end"}, 1);
  int64_t count = 0, before = 0;
  const std::string_view part = part_of(self.string(), a, 1, before);
  const std::string& what = a.string(0);
  if (what.empty()) return static_cast<int64_t>(length(part)) + 1;
  for (size_t at = part.find(what); at != std::string_view::npos; at = part.find(what, at + what.size())) ++count;
  return count;
}

Value tabs_expanded(const Value& self, Arguments& arguments) {
  const Bound a(arguments, "expandtabs", {"tabsize"}, 0);
  const int64_t size = std::min<int64_t>(a.integer(0, 8), 1000);
  std::string out;
  int64_t column = 0;
  for (const uint32_t code : code_points(self.string())) {
    if (code == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      out += std::string(static_cast<size_t>(spaces), ' ');
      column += spaces;
    } else {
      append_code_point(out, code);
      column = code == '\n' || code == '\r' ? 0 : column + 1;
    }
  }
  return out;
}

const Methods& text_methods() {
  static const Methods table = {
      {"upper", changed<upper>}, {"lower", changed<lower>}, {"title", changed<title>}, {"capitalize", changed<capitalize>}, {"swapcase", changed<swapcase>},
      {"casefold", [](const Value& s, Arguments& args) { const Bound a(args, "casefold", {}, 0); return Value(lower(replace(s.string(), "ß", "ss", -1))); }},
      {"strip", [](const Value& s, Arguments& args) { const Bound a(args, "strip", {"chars"}, 0); return Value(std::string(strip_left(strip_right(s.string(), strip_set(a)), strip_set(a)))); }},
      {"lstrip", [](const Value& s, Arguments& args) { const Bound a(args, "lstrip", {"chars"}, 0); return Value(std::string(strip_left(s.string(), strip_set(a)))); }},
      {"rstrip", [](const Value& s, Arguments& args) { const Bound a(args, "rstrip", {"chars"}, 0); return Value(std::string(strip_right(s.string(), strip_set(a)))); }},
      {"split", [](const Value& s, Arguments& args) {
         const Bound a(args, "split", {"sep", "maxsplit"}, 0);
         return text_list(a.set(0) ? split(s.string(), a.string(0), a.integer(1, -1)) : split_space(s.string(), a.integer(1, -1)));
       }},
      {"rsplit", [](const Value& s, Arguments& args) {
         const Bound a(args, "rsplit", {"sep", "maxsplit"}, 0);
         return text_list(a.set(0) ? split_from_right(s.string(), a.string(0), a.integer(1, -1)) : split_space_from_right(s.string(), a.integer(1, -1)));
       }},
      {"splitlines", [](const Value& s, Arguments& args) { const Bound a(args, "splitlines", {"keepends"}, 0); return text_list(split_lines(s.string(), a.flag(0, false))); }},
      {"startswith", [](const Value& s, Arguments& args) { return Value(stands_at(s, args, "startswith", [](std::string_view text, std::string_view what) { return text.starts_with(what); })); }},
      {"endswith", [](const Value& s, Arguments& args) { return Value(stands_at(s, args, "endswith", [](std::string_view text, std::string_view what) { return text.ends_with(what); })); }},
      {"replace", [](const Value& s, Arguments& args) { const Bound a(args, "replace", {"old", "new", "count"}, 2); return Value(replace(s.string(), a.string(0), a.string(1), a.integer(2, -1))); }},
      {"find", [](const Value& s, Arguments& args) { return Value(found_at(s, args, "find", false)); }},
      {"rfind", [](const Value& s, Arguments& args) { return Value(found_at(s, args, "rfind", true)); }},
      {"index", [](const Value& s, Arguments& args) {
         const int64_t at = found_at(s, args, "index", false);
         if (at < 0) render_error("substring not found");
         return Value(at);
       }},
      {"rindex", [](const Value& s, Arguments& args) {
         const int64_t at = found_at(s, args, "rindex", true);
         if (at < 0) render_error("substring not found");
         return Value(at);
       }},
      {"count", counted}, {"join", joined}, {"zfill", zero_filled}, {"expandtabs", tabs_expanded},
      {"format", [](const Value& s, Arguments& args) { return Value(brace_format(s.string(), args)); }},
      {"format_map", [](const Value& s, Arguments& args) {
         const Bound a(args, "format_map", {"mapping"}, 1);
         if (!a[0].is_mapping()) render_error("format_map() needs a mapping");
         Arguments named;
         for (auto& [key, value] : a[0].dict_data().entries) named.named.emplace_back(key.str(), value);
         return Value(brace_format(s.string(), named));
       }},
      {"center", [](const Value& s, Arguments& args) { return aligned(s, args, "center", Align::Center); }},
      {"ljust", [](const Value& s, Arguments& args) { return aligned(s, args, "ljust", Align::Left); }},
      {"rjust", [](const Value& s, Arguments& args) { return aligned(s, args, "rjust", Align::Right); }},
      {"partition", [](const Value& s, Arguments& args) { return partitioned(s, args, false); }},
      {"rpartition", [](const Value& s, Arguments& args) { return partitioned(s, args, true); }},
      {"removeprefix", [](const Value& s, Arguments& args) {
         const Bound a(args, "removeprefix", {"prefix"}, 1);
         return s.string().starts_with(a.string(0)) ? Value(s.string().substr(a.string(0).size())) : s;
       }},
      {"removesuffix", [](const Value& s, Arguments& args) {
         const Bound a(args, "removesuffix", {"suffix"}, 1);
         return s.string().ends_with(a.string(0)) ? Value(s.string().substr(0, s.string().size() - a.string(0).size())) : s;
       }},
      {"isalpha", all_are<is_alpha>}, {"isdigit", all_are<is_digit>}, {"isdecimal", all_are<is_decimal>}, {"isnumeric", all_are<is_numeric>},
      {"isspace", all_are<is_space>}, {"isalnum", all_are<alphanumeric>},
      {"isascii", [](const Value& s, Arguments& args) { const Bound a(args, "isascii", {}, 0); return Value(is_ascii(s.string())); }},
      {"isprintable", [](const Value& s, Arguments& args) { return Value(s.string().empty() || all_are<is_printable>(s, args).truth()); }},
      {"isupper", case_is<is_upper, is_lower>}, {"islower", case_is<is_lower, is_upper>},
  };
  return table;
}

Value view(const Value& self, Sequence sequence) {
  Values items;
  for (auto& [key, value] : self.dict_data().entries) {
    if (sequence == Sequence::DictKeys) items.push_back(key);
    else if (sequence == Sequence::DictValues) items.push_back(value);
    else items.push_back(Value::list({key, value}, Sequence::Tuple));
  }
  return Value::list(std::move(items), sequence);
}

const Methods& dict_methods() {
  static const Methods table = {
      {"items", [](const Value& s, Arguments& args) { const Bound a(args, "items", {}, 0); return view(s, Sequence::DictItems); }},
      {"keys", [](const Value& s, Arguments& args) { const Bound a(args, "keys", {}, 0); return view(s, Sequence::DictKeys); }},
      {"values", [](const Value& s, Arguments& args) { const Bound a(args, "values", {}, 0); return view(s, Sequence::DictValues); }},
      {"copy", [](const Value& s, Arguments& args) { const Bound a(args, "copy", {}, 0); return s; }},
      {"get", [](const Value& s, Arguments& args) {
         const Bound a(args, "get", {"key", "default"}, 1);
         if (const Value* found = s.find(a[0])) return *found;
         return a.has(1) ? a[1] : Value::none();
       }},
  };
  return table;
}

const Methods& list_methods() {
  static const Methods table = {
      {"index", [](const Value& s, Arguments& args) {
         const Bound a(args, "index", {"value", "start", "stop"}, 1);
         const Values& items = s.list_data().items;
         const int64_t size = static_cast<int64_t>(items.size());
         const auto place = [&](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size); };
         for (int64_t i = place(a.integer(1, 0)), end = place(a.integer(2, size)); i < end; ++i)
           if (equal(items[static_cast<size_t>(i)], a[0])) return Value(i);
         render_error(fmt::format("{} is not in list", a[0].repr()));
       }},
      {"count", [](const Value& s, Arguments& args) {
         const Bound a(args, "count", {"value"}, 1);
         const Values& items = s.list_data().items;
         return Value(static_cast<int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& item) { return equal(item, a[0]); })));
       }},
      {"copy", [](const Value& s, Arguments& args) { const Bound a(args, "copy", {}, 0); return s; }},
  };
  return table;
}

bool would_change(const Value& value, const std::string& name) {
  const auto any = [&](std::initializer_list<const char*> names) { return std::any_of(names.begin(), names.end(), [&](const char* n) { return name == n; }); };
  if (value.is(Kind::Dict)) return any({"clear", "pop", "popitem", "setdefault", "update"});
  return value.is_sequence(Sequence::List) && any({"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
}

}  // namespace

bool method(const Value& value, const std::string& name, Value& found) {
  if (would_change(value, name)) {
    found = Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, value.type()));
    return true;
  }
  const Methods* table = value.is(Kind::String) ? &text_methods() : value.is(Kind::Dict) ? &dict_methods() : nullptr;
  if (value.is_sequence(Sequence::List) || value.is_sequence(Sequence::Tuple) || value.is_sequence(Sequence::Range)) table = &list_methods();
  if (!table) return false;
  const auto entry = table->find(name);
  if (entry == table->end() || (name == "copy" && value.is(Kind::List) && !value.is_sequence(Sequence::List))) return false;
  found = Value::method(name, [run = entry->second, self = value](Evaluator&, Arguments& arguments) { return run(self, arguments); }, value);
  return true;
}

}  // namespace graft::chat
