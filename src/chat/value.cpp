#include "chat/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "chat/text.h"
#include "core/check.h"

namespace graft::chat {
namespace {

// Namespaces can hold themselves, so printing and comparing watch their depth too.
struct Depth {
  explicit Depth(int& depth) : depth_(depth) {
    if (++depth_ > kDeepestValue + 50) {
      --depth_;
      render_error("values nest too deep");
    }
  }
  ~Depth() { --depth_; }
  int& depth_;
};
thread_local int value_depth = 0;

int one_deeper(int depth) {
  if (depth >= kDeepestValue) render_error(fmt::format("values nest more than {} deep", kDeepestValue));
  return depth + 1;
}

std::string joined_repr(const Values& items, const char* open, const char* close) {
  std::string text = open;
  for (size_t i = 0; i < items.size(); ++i) text += (i ? ", " : "") + items[i].repr();
  return text + close;
}

std::string dict_repr(const DictData& dict) {
  std::string text = "{";
  for (size_t i = 0; i < dict.entries.size(); ++i) text += (i ? ", " : "") + dict.entries[i].first.repr() + ": " + dict.entries[i].second.repr();
  return text + "}";
}

std::string list_repr(const ListData& list) {
  switch (list.sequence) {
    case Sequence::List: return joined_repr(list.items, "[", "]");
    case Sequence::Tuple: return joined_repr(list.items, "(", list.items.size() == 1 ? ",)" : ")");
    case Sequence::DictItems: return joined_repr(list.items, "dict_items([", "])");
    case Sequence::DictKeys: return joined_repr(list.items, "dict_keys([", "])");
    case Sequence::DictValues: return joined_repr(list.items, "dict_values([", "])");
    case Sequence::Iterator: return "<generator object>";
    case Sequence::Range: break;
  }
  const int64_t size = static_cast<int64_t>(list.items.size());
  if (size == 0) return fmt::format("range({0}, {0})", list.stop);
  const int64_t start = list.items[0].integer(), step = size > 1 ? list.items[1].integer() - start : 1;
  const int64_t end = list.stop ? list.stop : start + size * step;
  return step == 1 ? fmt::format("range({}, {})", start, end) : fmt::format("range({}, {}, {})", start, end, step);
}

}  // namespace

Value Value::undefined(std::string why) {
  Value value;
  value.data_ = std::make_shared<std::string>(std::move(why));
  return value;
}

Value Value::none() {
  Value value;
  value.kind_ = Kind::None;
  return value;
}

Value Value::list(Values items, Sequence sequence) {
  Value value;
  value.kind_ = Kind::List;
  int depth = 0;
  for (auto& item : items) depth = std::max(depth, item.depth());
  value.data_ = std::make_shared<ListData>(ListData{sequence, std::move(items), 0, one_deeper(depth), 0});
  return value;
}

Value Value::dict(std::vector<std::pair<Value, Value>> entries) {
  Value value;
  value.kind_ = Kind::Dict;
  value.data_ = std::make_shared<DictData>();
  for (auto& [key, item] : entries) value.set(key, std::move(item));
  return value;
}

Value Value::name_space() {
  Value value = dict();
  value.kind_ = Kind::Namespace;
  return value;
}

Value Value::function(std::string name, Callable call) { return method(std::move(name), std::move(call), Value()); }

Value Value::method(std::string name, Callable call, const Value& receiver) {
  Value value;
  value.kind_ = Kind::Function;
  value.data_ = std::make_shared<FunctionData>(FunctionData{std::move(name), std::move(call), one_deeper(receiver.depth())});
  return value;
}

Value Value::loop(std::shared_ptr<LoopData> data) {
  Value value;
  value.kind_ = Kind::Loop;
  value.data_ = std::move(data);
  return value;
}

bool Value::is_sequence(Sequence sequence) const { return kind_ == Kind::List && list_data().sequence == sequence; }

bool Value::same(const Value& other) const {
  if (kind_ != other.kind_) return false;
  if (kind_ == Kind::None) return true;
  if (kind_ == Kind::Bool || kind_ == Kind::Int) return int_ == other.int_;
  if (kind_ == Kind::String) return string() == other.string();  // short strings are interned there
  return data_ && data_ == other.data_;
}

const std::string& Value::string() const {
  static const std::string nothing = "the value is undefined";
  return data_ ? *static_cast<const std::string*>(data_.get()) : nothing;
}

int Value::depth() const {
  switch (kind_) {
    case Kind::List: return list_data().depth;
    case Kind::Dict:
    case Kind::Namespace: return dict_data().depth;
    case Kind::Function: return function_data().depth;
    default: return 0;
  }
}

bool Value::truth() const {
  switch (kind_) {
    case Kind::Undefined:
    case Kind::None: return false;
    case Kind::Bool:
    case Kind::Int: return int_ != 0;
    case Kind::Float: return float_ != 0;
    case Kind::String: return !string().empty();
    case Kind::List: return list_data().sequence == Sequence::Iterator || !list_data().items.empty();
    case Kind::Dict: return !dict_data().entries.empty();
    default: return true;
  }
}

std::string Value::str() const {
  if (kind_ == Kind::String) return string();
  return kind_ == Kind::Undefined ? std::string() : repr();
}

std::string Value::repr() const {
  const Depth deeper(value_depth);
  switch (kind_) {
    case Kind::Undefined: return "Undefined";
    case Kind::None: return "None";
    case Kind::Bool: return int_ ? "True" : "False";
    case Kind::Int: return std::to_string(int_);
    case Kind::Float: return float_repr(float_);
    case Kind::String: return string_repr(string());
    case Kind::List: return list_repr(list_data());
    case Kind::Dict: return dict_repr(dict_data());
    case Kind::Namespace: return "<Namespace " + dict_repr(dict_data()) + ">";
    case Kind::Function: return "<function " + function_data().name + ">";
    case Kind::Loop: return fmt::format("<LoopContext {}/{}>", loop_data().index + 1, loop_data().items.size());
  }
  return {};
}

const char* Value::type() const {
  switch (kind_) {
    case Kind::Undefined: return "Undefined";
    case Kind::None: return "NoneType";
    case Kind::Bool: return "bool";
    case Kind::Int: return "int";
    case Kind::Float: return "float";
    case Kind::String: return "str";
    case Kind::Dict: return "dict";
    case Kind::Namespace: return "jinja2.utils.Namespace";
    case Kind::Function: return "function";
    case Kind::Loop: return "jinja2.runtime.LoopContext";
    case Kind::List: break;
  }
  static const char* const names[] = {"list", "tuple", "range", "generator", "dict_items", "dict_keys", "dict_values"};
  return names[static_cast<size_t>(list_data().sequence)];
}

const Value* Value::find(const Value& key) const {
  for (auto& [name, value] : dict_data().entries)
    if (equal(name, key)) return &value;
  return nullptr;
}

const Value* Value::get(std::string_view key) const {
  for (auto& [name, value] : dict_data().entries)
    if (name.is(Kind::String) && name.string() == key) return &value;
  return nullptr;
}

void Value::set(const Value& key, Value value) {
  if (key.is(Kind::Dict) || key.is_sequence(Sequence::List)) render_error(fmt::format("unhashable type: '{}'", key.type()));
  // A namespace changes after others hold it, so it counts as one level; the evaluator takes all of them apart at the end.
  if (kind_ == Kind::Dict) dict_data().depth = std::max(dict_data().depth, one_deeper(value.depth()));
  for (auto& [name, old] : dict_data().entries)
    if (equal(name, key)) {
      old = std::move(value);
      return;
    }
  dict_data().entries.emplace_back(key, std::move(value));
}

bool equal(const Value& a, const Value& b) {
  const Depth deeper(value_depth);
  if (a.is_number() && b.is_number()) return a.is_integral() && b.is_integral() ? a.integer() == b.integer() : a.number() == b.number();
  if (a.kind() != b.kind()) return false;
  if (a.is(Kind::Undefined) || a.is(Kind::None)) return true;
  if (a.is(Kind::String)) return a.string() == b.string();
  if (a.is(Kind::Dict)) {
    const auto& entries = a.dict_data().entries;
    return entries.size() == b.dict_data().entries.size() && std::all_of(entries.begin(), entries.end(), [&](const auto& entry) {
             const Value* other = b.find(entry.first);
             return other && equal(entry.second, *other);
           });
  }
  if (a.is(Kind::List)) {
    const ListData &x = a.list_data(), &y = b.list_data();
    if (&x == &y) return true;
    if (x.sequence != y.sequence || x.sequence == Sequence::Iterator || x.sequence == Sequence::DictValues) return false;
    return std::equal(x.items.begin(), x.items.end(), y.items.begin(), y.items.end(), equal);
  }
  return a.same(b);
}

int compare(const Value& a, const Value& b, const char* what) {
  const Depth deeper(value_depth);
  require_defined(a);
  require_defined(b);
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_integral() && b.is_integral()) return order(a.integer(), b.integer());
  if (a.is_number() && b.is_number()) {
    if (std::isnan(a.number()) || std::isnan(b.number())) render_error("nan has no place in an order");
    return order(a.number(), b.number());
  }
  if (a.is(Kind::String) && b.is(Kind::String)) return order(a.string(), b.string());  // UTF-8 sorts as its code points do
  if ((a.is_sequence(Sequence::List) && b.is_sequence(Sequence::List)) || (a.is_sequence(Sequence::Tuple) && b.is_sequence(Sequence::Tuple))) {
    const Values &x = a.list_data().items, &y = b.list_data().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(x[i], y[i])) return compare(x[i], y[i], what);
    return order(x.size(), y.size());
  }
  render_error(fmt::format("{} not supported between instances of '{}' and '{}'", what, a.type(), b.type()));
}

void render_error(std::string message) { throw RenderError{std::move(message), false}; }

void require_defined(const Value& value) {
  if (value.is(Kind::Undefined)) render_error(value.string());
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string text(buffer, end);
  const size_t e = text.find('e');
  const int exponent = std::atoi(text.c_str() + e + 1);
  const bool negative = text[0] == '-';
  std::string digits;
  for (size_t i = negative; i < e; ++i)
    if (text[i] != '.') digits += text[i];
  std::string out = negative ? "-" : "";
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (digits.size() > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

}  // namespace graft::chat
