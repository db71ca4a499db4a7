// The tests behind `is`, and the global functions.
#include <algorithm>
#include <cmath>
#include <ctime>
#include <unordered_map>

#include "chat/builtins.h"
#include "chat/evaluator.h"
#include "chat/text.h"
#include "core/check.h"

namespace graft::chat {
namespace {

using Test = std::function<bool(const Value& value, Arguments& arguments)>;

constexpr int64_t kLongestRange = 100000;  // as in Jinja's sandbox

bool has_case(const Value& value, bool wanted_upper) {
  const auto codes = code_points(value.str());
  const auto right = wanted_upper ? is_upper : is_lower, wrong = wanted_upper ? is_lower : is_upper;
  return std::any_of(codes.begin(), codes.end(), right) && std::none_of(codes.begin(), codes.end(), wrong);
}

bool indexable(const Value& v) {
  return v.is(Kind::String) || v.is(Kind::Dict) || v.is(Kind::Undefined) || v.is_sequence(Sequence::List) || v.is_sequence(Sequence::Tuple) || v.is_sequence(Sequence::Range);
}

// A test that takes no argument, and one that takes one.
Test plain(bool (*holds)(const Value&)) {
  return [holds](const Value& value, Arguments& arguments) {
    const Bound a(arguments, "the test", {}, 0);
    return holds(value);
  };
}
Test against(bool (*holds)(const Value&, const Value&)) {
  return [holds](const Value& value, Arguments& arguments) {
    const Bound a(arguments, "the test", {"other"}, 1);
    return holds(value, a[0]);
  };
}

const std::unordered_map<std::string, Test>& tests() {
  static const Test equals = against(equal);
  static const Test differs = against([](const Value& v, const Value& o) { return !equal(v, o); });
  static const Test less = against([](const Value& v, const Value& o) { return compare(v, o, "'<'") < 0; });
  static const Test at_most = against([](const Value& v, const Value& o) { return compare(v, o, "'<='") <= 0; });
  static const Test greater = against([](const Value& v, const Value& o) { return compare(v, o, "'>'") > 0; });
  static const Test at_least = against([](const Value& v, const Value& o) { return compare(v, o, "'>='") >= 0; });
  static const std::unordered_map<std::string, Test> table = {
      {"defined", plain([](const Value& v) { return !v.is(Kind::Undefined); })},
      {"undefined", plain([](const Value& v) { return v.is(Kind::Undefined); })},
      {"none", plain([](const Value& v) { return v.is(Kind::None); })},
      {"boolean", plain([](const Value& v) { return v.is(Kind::Bool); })},
      {"true", plain([](const Value& v) { return v.is(Kind::Bool) && v.truth(); })},
      {"false", plain([](const Value& v) { return v.is(Kind::Bool) && !v.truth(); })},
      {"integer", plain([](const Value& v) { return v.is(Kind::Int); })},
      {"float", plain([](const Value& v) { return v.is(Kind::Float); })},
      {"number", plain([](const Value& v) { return v.is_number(); })},
      {"string", plain([](const Value& v) { return v.is(Kind::String); })},
      {"mapping", plain([](const Value& v) { return v.is_mapping(); })},
      {"sequence", plain(indexable)},
      {"iterable", plain([](const Value& v) { return indexable(v) || v.is(Kind::List) || v.is(Kind::Loop); })},
      {"callable", plain([](const Value& v) { return v.is(Kind::Function) || v.is(Kind::Undefined); })},
      {"lower", plain([](const Value& v) { return has_case(v, false); })},
      {"upper", plain([](const Value& v) { return has_case(v, true); })},
      {"odd", plain([](const Value& v) { return equal(arithmetic("%", v, 2), 1); })},
      {"even", plain([](const Value& v) { return equal(arithmetic("%", v, 2), 0); })},
      {"filter", plain([](const Value& v) { return is_filter(v.str()); })},
      {"test", plain([](const Value& v) { return is_test(v.str()); })},
      {"divisibleby", against([](const Value& v, const Value& o) { return equal(arithmetic("%", v, o), 0); })},
      {"sameas", against([](const Value& v, const Value& o) { return v.same(o); })},
      {"in", against([](const Value& v, const Value& o) { return contains(o, v); })},
      {"eq", equals}, {"==", equals}, {"equalto", equals}, {"ne", differs}, {"!=", differs}, {"lt", less}, {"<", less}, {"lessthan", less},
      {"le", at_most}, {"<=", at_most}, {"gt", greater}, {">", greater}, {"greaterthan", greater}, {"ge", at_least}, {">=", at_least},
  };
  return table;
}

Value range(Evaluator& evaluator, Arguments& arguments) {
  const Bound a(arguments, "range", {"start", "stop", "step"}, 1);
  const int64_t start = a.has(1) ? a.integer(0, 0) : 0, stop = a.has(1) ? a.integer(1, 0) : a.integer(0, 0), step = a.integer(2, 1);
  if (step == 0) render_error("range() arg 3 must not be zero");
  const double size = std::ceil((static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step));
  if (size > static_cast<double>(kLongestRange)) render_error(fmt::format("Range too big. The sandbox blocks ranges larger than MAX_RANGE ({}).", kLongestRange));
  Values items;
  for (int64_t i = 0; i < static_cast<int64_t>(size); ++i) items.emplace_back(start + i * step);
  evaluator.spend(items.size());
  Value result = Value::list(std::move(items), Sequence::Range);
  result.list_data().stop = stop;
  return result;
}

// Entries of a mapping or of a list of pairs, then the named arguments.
void add_entries(Value& target, const Arguments& arguments, const char* function) {
  if (arguments.positional.size() > 1) render_error(fmt::format("{}() takes one mapping and named arguments", function));
  for (auto& given : arguments.positional) {
    if (given.is_mapping() || given.is(Kind::Namespace)) {
      for (auto& [key, value] : given.dict_data().entries) target.set(key, value);
      continue;
    }
    for (auto& pair : items_of(given)) {
      const Values two = items_of(pair);
      if (two.size() != 2) render_error(fmt::format("{}() needs pairs", function));
      target.set(two[0], two[1]);
    }
  }
  for (auto& [key, value] : arguments.named) target.set(Value(key), value);
}

Value strftime_now(Evaluator&, Arguments& arguments) {
  const Bound a(arguments, "strftime_now", {"format"}, 1);
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string text(std::min<size_t>(a.string(0).size() * 64 + 64, 1 << 16), '\0');
  text.resize(std::strftime(text.data(), text.size(), a.string(0).c_str(), &local));
  return text;
}

Value raise_exception(Evaluator&, Arguments& arguments) {
  const Bound a(arguments, "raise_exception", {"message"}, 1);
  throw RenderError{a[0].str(), true};
}

const std::unordered_map<std::string, Value>& globals() {
  static const std::unordered_map<std::string, Value> table = {
      {"range", Value::function("range", range)},
      {"strftime_now", Value::function("strftime_now", strftime_now)},
      {"raise_exception", Value::function("raise_exception", raise_exception)},
      {"dict", Value::function("dict", [](Evaluator&, Arguments& a) -> Value {
         Value dict = Value::dict();
         add_entries(dict, a, "dict");
         return dict;
       })},
      {"namespace", Value::function("namespace", [](Evaluator& e, Arguments& a) {
         Value space = e.new_namespace();
         add_entries(space, a, "namespace");
         return space;
       })},
      {"joiner", Value::function("joiner", [](Evaluator&, Arguments& arguments) {
         const Bound a(arguments, "joiner", {"sep"}, 0);
         auto used = std::make_shared<bool>(false);
         return Value::function("joiner", [used, separator = a.text(0, ", ")](Evaluator&, Arguments&) { return std::exchange(*used, true) ? Value(separator) : Value(""); });
       })},
  };
  return table;
}

}  // namespace

bool is_test(const std::string& name) { return tests().count(name) > 0; }

std::vector<std::string> test_names() {
  std::vector<std::string> names;
  for (auto& entry : tests()) names.push_back(entry.first);
  std::sort(names.begin(), names.end());
  return names;
}

bool apply_test(Evaluator&, const std::string& name, const Value& value, Arguments& arguments) { return tests().at(name)(value, arguments); }

Value global(const std::string& name) {
  const auto found = globals().find(name);
  return found == globals().end() ? Value() : found->second;
}

}  // namespace graft::chat
