// Python's operators on numbers, texts and lists.
#include <cmath>

#include "chat/builtins.h"
#include "core/check.h"

namespace graft::chat {
namespace {

constexpr size_t kMostRepeated = 1 << 24;

[[noreturn]] void no_operator(const std::string& sign, const Value& a, const Value& b) {
  render_error(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", sign, a.type(), b.type()));
}

// `result` is what the call in front of it wrote.
int64_t within_64_bits(bool overflow, const int64_t& result) {
  if (overflow) render_error("an integer grows beyond 64 bits");
  return result;
}

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == -1) return within_64_bits(a == INT64_MIN, a == INT64_MIN ? 0 : -a);
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

Value integers(const std::string& sign, int64_t a, int64_t b) {
  int64_t result = 0;
  if (sign == "+") return within_64_bits(__builtin_add_overflow(a, b, &result), result);
  if (sign == "-") return within_64_bits(__builtin_sub_overflow(a, b, &result), result);
  if (sign == "*") return within_64_bits(__builtin_mul_overflow(a, b, &result), result);
  if (sign == "**") {
    if (b < 0) {
      if (a == 0) render_error("0 cannot be raised to a negative power");
      return std::pow(static_cast<double>(a), static_cast<double>(b));
    }
    result = 1;
    bool overflow = false;
    for (int64_t base = a, left = b; left > 0 && !overflow; left >>= 1) {
      if (left & 1) overflow = __builtin_mul_overflow(result, base, &result);
      // Overflow of the next square matters only when it is used.
      if (left > 1 && __builtin_mul_overflow(base, base, &base)) overflow = true;
    }
    return within_64_bits(overflow, result);
  }
  if (b == 0) render_error("division by zero");
  if (sign == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (sign == "//") return floor_divide(a, b);
  return b == -1 ? Value(0) : Value(a - floor_divide(a, b) * b);
}

Value floats(const std::string& sign, double a, double b) {
  if (sign == "+") return a + b;
  if (sign == "-") return a - b;
  if (sign == "*") return a * b;
  if (sign == "**") {
    if (a == 0 && b < 0) render_error("0.0 cannot be raised to a negative power");
    if (a < 0 && b != std::floor(b)) render_error("complex numbers are not supported");
    return std::pow(a, b);
  }
  if (b == 0) render_error(sign == "/" ? "float division by zero" : "float modulo or floor division by zero");
  if (sign == "/") return a / b;
  double rest = std::fmod(a, b);
  double whole = (a - rest) / b;
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b, whole -= 1;
  else if (rest == 0) rest = std::copysign(0.0, b);
  if (sign == "%") return rest;
  const double below = std::floor(whole);
  return whole - below > 0.5 ? below + 1 : below;
}

Value repeated(const Value& value, int64_t times) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  const size_t size = value.is(Kind::String) ? value.string().size() : value.list_data().items.size();
  if (size && count > kMostRepeated / size) render_error("a text or list grows beyond 16 million");
  if (value.is(Kind::String)) {
    std::string out;
    out.reserve(size * count);
    for (size_t i = 0; size && i < count; ++i) out += value.string();
    return out;
  }
  Values items;
  for (size_t i = 0; size && i < count; ++i) items.insert(items.end(), value.list_data().items.begin(), value.list_data().items.end());
  return Value::list(std::move(items), value.list_data().sequence);
}

bool repeatable(const Value& value) { return value.is(Kind::String) || value.is_sequence(Sequence::List) || value.is_sequence(Sequence::Tuple); }

}  // namespace

Value arithmetic(const std::string& sign, const Value& a, const Value& b) {
  require_defined(a);
  if (sign == "%" && a.is(Kind::String)) return percent_format(a.string(), b);
  require_defined(b);
  if (a.is_integral() && b.is_integral()) return integers(sign, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return floats(sign, a.number(), b.number());
  if (sign == "+") {
    if (a.is(Kind::String) && b.is(Kind::String)) {
      if (a.string().size() + b.string().size() > kMostRepeated) render_error("a text grows beyond 16 million bytes");
      return a.string() + b.string();
    }
    for (const Sequence s : {Sequence::List, Sequence::Tuple}) {
      if (!a.is_sequence(s) || !b.is_sequence(s)) continue;
      Values items = a.list_data().items;
      items.insert(items.end(), b.list_data().items.begin(), b.list_data().items.end());
      return Value::list(std::move(items), s);
    }
    if (a.is(Kind::String)) render_error(fmt::format("can only concatenate str (not \"{}\") to str", b.type()));
  }
  if (sign == "*" && repeatable(a) && b.is_integral()) return repeated(a, b.integer());
  if (sign == "*" && repeatable(b) && a.is_integral()) return repeated(b, a.integer());
  no_operator(sign, a, b);
}

}  // namespace graft::chat
