// Python's two ways of formatting: "%s" % x and "{}".format(x).
#include <cctype>
#include <cmath>
#include <cstdio>

#include "chat/builtins.h"
#include "chat/text.h"
#include "core/check.h"

namespace graft::chat {
namespace {

constexpr int64_t kWidestField = 100000;

struct Spec {
  std::string fill = " ";
  char align = 0, sign = '-', type = 0, grouping = 0;
  bool alternative = false, zero = false;
  int64_t width = 0, precision = -1;
};

int64_t read_number(const std::string& text, size_t& at) {
  int64_t value = 0;
  for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])); ++at) {
    value = value * 10 + (text[at] - '0');
    if (value > kWidestField) render_error(fmt::format("'{}': a width or precision is too large", text));
  }
  return value;
}

Spec parse_spec(const std::string& text) {
  Spec spec;
  size_t at = 0;
  const auto aligns = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
  const size_t first = text.empty() ? 0 : 1 + static_cast<size_t>(static_cast<unsigned char>(text[0]) >= 0xC0) * (from_code_points({code_points(text)[0]}).size() - 1);
  if (first && first < text.size() && aligns(text[first])) spec.fill = text.substr(0, first), spec.align = text[first], at = first + 1;
  else if (!text.empty() && aligns(text[0])) spec.align = text[0], at = 1;
  const auto take = [&](std::string_view set) { return at < text.size() && set.find(text[at]) != std::string_view::npos ? text[at++] : '\0'; };
  if (const char sign = take("+- ")) spec.sign = sign;
  spec.alternative = take("#");
  spec.zero = take("0");
  spec.width = read_number(text, at);
  spec.grouping = take(",_");
  if (take(".")) {
    if (at >= text.size() || !std::isdigit(static_cast<unsigned char>(text[at]))) render_error(fmt::format("'{}' is no format: the precision is missing", text));
    spec.precision = read_number(text, at);
  }
  spec.type = take("bcdeEfFgGnosxX%");
  if (at != text.size()) render_error(fmt::format("'{}' is no format", text));
  return spec;
}

std::string in_base(uint64_t value, unsigned base, bool capital) {
  std::string digits;
  do digits += (capital ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
  while (value /= base);
  return {digits.rbegin(), digits.rend()};
}

std::string printed(double value, char type, int64_t precision, bool alternative) {
  if (!std::isfinite(value)) {
    const std::string text = std::isnan(value) ? "nan" : "inf";
    return std::isupper(static_cast<unsigned char>(type)) ? upper(text) : text;
  }
  const std::string pattern = std::string(alternative ? "%#.*" : "%.*") + type;
  const int size = std::snprintf(nullptr, 0, pattern.c_str(), static_cast<int>(precision), value);
  std::string text(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(text.data(), text.size(), pattern.c_str(), static_cast<int>(precision), value);
  text.pop_back();
  return text;
}

// Digits without their sign.
std::string float_digits(double value, const Spec& spec) {
  value = std::fabs(value);
  if (spec.type == '%') return printed(value * 100, 'f', spec.precision < 0 ? 6 : spec.precision, spec.alternative) + "%";
  if (spec.type == 0) {
    if (spec.precision < 0) return float_repr(value);
    std::string text = printed(value, 'g', spec.precision ? spec.precision : 1, false);
    return text.find_first_not_of("0123456789") == std::string::npos ? text + ".0" : text;
  }
  return printed(value, spec.type == 'n' ? 'g' : spec.type, spec.precision < 0 ? 6 : spec.precision, spec.alternative);
}

std::string integer_digits(int64_t value, const Spec& spec) {
  const uint64_t size = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  switch (spec.type) {
    case 'x': return (spec.alternative ? "0x" : "") + in_base(size, 16, false);
    case 'X': return (spec.alternative ? "0X" : "") + in_base(size, 16, true);
    case 'o': return (spec.alternative ? "0o" : "") + in_base(size, 8, false);
    case 'b': return (spec.alternative ? "0b" : "") + in_base(size, 2, false);
    default: return std::to_string(size);
  }
}

std::string grouped(const std::string& digits, char separator) {
  const size_t whole = std::min(digits.find_first_not_of("0123456789"), digits.size());
  std::string out;
  for (size_t i = 0; i < whole; ++i) {
    if (i && (whole - i) % 3 == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(whole);
}

std::string laid_out(const std::string& sign, std::string digits, const Spec& spec) {
  char align = spec.align ? spec.align : '>';
  std::string fill = spec.fill;
  if (spec.zero && !spec.align) align = '=', fill = "0";
  if (align == '=') return sign + padded(digits, spec.width - static_cast<int64_t>(sign.size()), Align::Right, fill);
  return padded(sign + digits, spec.width, align == '<' ? Align::Left : align == '^' ? Align::Center : Align::Right, fill);
}

std::string format_number(const Value& value, const Spec& spec) {
  const bool real = value.is(Kind::Float) || (spec.type && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos);
  if (real && spec.type && std::string_view("bcdoxXs").find(spec.type) != std::string_view::npos) render_error(fmt::format("Unknown format code '{}' for object of type 'float'", spec.type));
  const bool negative = value.is(Kind::Float) ? std::signbit(value.number()) : value.integer() < 0;
  std::string digits = real ? float_digits(value.number(), spec) : integer_digits(value.integer(), spec);
  if (spec.grouping) digits = grouped(digits, spec.grouping);
  return laid_out(negative ? "-" : spec.sign == '-' ? "" : std::string(1, spec.sign), digits, spec);
}

std::string first_codes(const std::string& text, int64_t count) {
  auto codes = code_points(text);
  if (static_cast<int64_t>(codes.size()) <= count) return text;
  codes.resize(static_cast<size_t>(count));
  return from_code_points(codes);
}

// Where the field that begins at `at` finds its value: "0", "name", "a.b", "a[0]".
Value field_value(const std::string& field, const Arguments& arguments, size_t& next) {
  const size_t end = std::min(field.find_first_of(".["), field.size());
  const std::string name = field.substr(0, end);
  Value value;
  if (name.empty() || name.find_first_not_of("0123456789") == std::string::npos) {
    const size_t i = name.empty() ? next++ : static_cast<size_t>(std::stoul(name.substr(0, 9)));
    if (i >= arguments.positional.size()) render_error("Replacement index out of range for positional args");
    value = arguments.positional[i];
  } else {
    bool found = false;
    for (auto& [key, item] : arguments.named)
      if (key == name) value = item, found = true;
    if (!found) render_error(fmt::format("format(): there is no argument '{}'", name));
  }
  for (size_t at = end; at < field.size();) {
    if (field[at] == '.') {
      const size_t stop = std::min(field.find_first_of(".[", at + 1), field.size());
      value = attribute_of(value, field.substr(at + 1, stop - at - 1));
      at = stop;
    } else {
      const size_t stop = field.find(']', at);
      if (stop == std::string::npos) render_error("format(): expected ']'");
      const std::string key = field.substr(at + 1, stop - at - 1);
      const bool number = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == std::string::npos;
      value = item_of(value, number ? Value(static_cast<int64_t>(std::stoll(key))) : Value(key));
      at = stop + 1;
    }
  }
  return value;
}

}  // namespace

std::string format_value(const Value& value, const std::string& text) {
  if (text.empty()) return value.str();
  const Spec spec = parse_spec(text);
  if (value.is(Kind::Bool) ? spec.type != 0 && spec.type != 's' : value.is_number()) {
    if (spec.type == 's') render_error(fmt::format("Unknown format code 's' for object of type '{}'", value.type()));
    return format_number(value, spec);
  }
  if (value.is(Kind::Bool) && spec.type == 0) return format_number(value, spec);
  if (!value.is(Kind::String)) render_error(fmt::format("unsupported format string passed to {}.__format__", value.type()));
  if (spec.type && spec.type != 's') render_error(fmt::format("Unknown format code '{}' for object of type 'str'", spec.type));
  if (spec.align == '=') render_error("'=' alignment not allowed in string format specifier");
  const std::string shown = spec.precision < 0 ? value.string() : first_codes(value.string(), spec.precision);
  const std::string fill = spec.zero && !spec.align ? "0" : spec.fill;
  return padded(shown, spec.width, spec.align == '>' ? Align::Right : spec.align == '^' ? Align::Center : Align::Left, fill);
}

std::string brace_format(const std::string& pattern, const Arguments& arguments) {
  std::string out;
  size_t next = 0;
  for (size_t at = 0; at < pattern.size();) {
    const char c = pattern[at];
    if ((c == '{' || c == '}') && at + 1 < pattern.size() && pattern[at + 1] == c) {
      out += c;
      at += 2;
    } else if (c == '}') {
      render_error("Single '}' encountered in format string");
    } else if (c == '{') {
      size_t end = at + 1;
      for (int depth = 1; end < pattern.size(); ++end) {
        depth += pattern[end] == '{' ? 1 : pattern[end] == '}' ? -1 : 0;
        if (depth == 0) break;
      }
      if (end >= pattern.size()) render_error("Single '{' encountered in format string");
      std::string field = pattern.substr(at + 1, end - at - 1), spec, conversion;
      if (const size_t colon = field.find(':'); colon != std::string::npos) spec = field.substr(colon + 1), field.resize(colon);
      if (const size_t mark = field.find('!'); mark != std::string::npos) conversion = field.substr(mark + 1), field.resize(mark);
      Value value = field_value(field, arguments, next);
      if (spec.find('{') != std::string::npos) {  // widths given as arguments, one level deep
        std::string filled;
        for (size_t i = 0; i < spec.size(); ++i) {
          if (spec[i] != '{') {
            filled += spec[i];
            continue;
          }
          const size_t stop = spec.find('}', i);
          if (stop == std::string::npos) render_error("expected '}' before end of string");
          filled += field_value(spec.substr(i + 1, stop - i - 1), arguments, next).str();
          i = stop;
        }
        spec = filled;
      }
      if (conversion == "r" || conversion == "a") value = value.repr();
      else if (conversion == "s") value = value.str();
      else if (!conversion.empty()) render_error(fmt::format("Unknown conversion specifier '{}'", conversion));
      out += format_value(value, spec);
      at = end + 1;
    } else {
      out += c;
      ++at;
    }
  }
  return out;
}

Value percent_format(const std::string& pattern, const Value& arguments) {
  const bool several = arguments.is_sequence(Sequence::Tuple);
  const Values values = several ? arguments.list_data().items : Values{arguments};
  std::string out;
  size_t next = 0;
  bool by_name = false;
  const auto take = [&]() -> const Value& {
    if (next >= values.size()) render_error("not enough arguments for format string");
    return values[next++];
  };
  for (size_t at = 0; at < pattern.size(); ++at) {
    if (pattern[at] != '%') {
      out += pattern[at];
      continue;
    }
    if (++at >= pattern.size()) render_error("incomplete format");
    if (pattern[at] == '%') {
      out += '%';
      continue;
    }
    Value value;
    bool named = false;
    if (pattern[at] == '(') {
      const size_t end = pattern.find(')', at);
      if (end == std::string::npos) render_error("incomplete format key");
      if (!arguments.is(Kind::Dict)) render_error("format requires a mapping");
      const Value* found = arguments.get(pattern.substr(at + 1, end - at - 1));
      if (!found) render_error(fmt::format("the format's key '{}' is missing", pattern.substr(at + 1, end - at - 1)));
      value = *found;
      named = by_name = true;
      at = end + 1;
    }
    Spec spec;
    bool left = false;
    for (; at < pattern.size() && std::string_view("-+ #0").find(pattern[at]) != std::string_view::npos; ++at) {
      if (pattern[at] == '-') left = true;
      else if (pattern[at] == '#') spec.alternative = true;
      else if (pattern[at] == '0') spec.zero = true;
      else spec.sign = pattern[at];
    }
    if (at < pattern.size() && pattern[at] == '*') {
      spec.width = std::min(take().integer(), kWidestField);
      ++at;
    } else {
      spec.width = read_number(pattern, at);
    }
    if (at < pattern.size() && pattern[at] == '.') spec.precision = read_number(pattern, ++at);
    if (at >= pattern.size()) render_error("incomplete format");
    if (!named) value = take();
    spec.type = pattern[at];
    spec.align = left ? '<' : 0;
    if (spec.type == 's' || spec.type == 'r' || spec.type == 'a') {
      std::string text = spec.type == 's' ? value.str() : value.repr();
      if (spec.precision >= 0) text = first_codes(text, spec.precision);
      out += padded(text, spec.width, left ? Align::Left : Align::Right);
    } else if (spec.type == 'c') {
      std::string one = value.is(Kind::String) ? value.string() : std::string();
      if (value.is_integral() && value.integer() >= 0 && value.integer() <= 0x10FFFF) append_code_point(one, static_cast<uint32_t>(value.integer()));
      if (length(one) != 1) render_error("%c requires int or char");
      out += padded(one, spec.width, left ? Align::Left : Align::Right);
    } else if (std::string_view("diuxXoeEfFgG").find(spec.type) != std::string_view::npos) {
      require_defined(value);
      if (!value.is_number()) render_error(fmt::format("%{} format: a real number is required, not {}", spec.type, value.type()));
      if (std::string_view("diu").find(spec.type) != std::string_view::npos) {
        spec.type = 'd';
        if (value.is(Kind::Float) && !(std::fabs(value.number()) < 9e18)) render_error("an integer grows beyond 64 bits");
        if (value.is(Kind::Float)) value = static_cast<int64_t>(value.number());
      }
      out += format_number(value, spec);
    } else {
      render_error(fmt::format("unsupported format character '{}'", spec.type));
    }
  }
  if (!by_name && next < values.size() && !(arguments.is(Kind::Dict) || arguments.is_sequence(Sequence::List)))
    render_error("not all arguments converted during string formatting");
  return out;
}

}  // namespace graft::chat
