// How values are looked into: items, length, attributes, slices; and the arguments of calls.
#include <algorithm>

#include "chat/builtins.h"
#include "chat/text.h"
#include "core/check.h"

namespace graft::chat {
namespace {

Value loop_attribute(const Value& value, const std::string& name) {
  const LoopData& loop = value.loop_data();
  const int64_t index = static_cast<int64_t>(loop.index), size = static_cast<int64_t>(loop.items.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == size;
  if (name == "length") return size;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "depth") return 1;
  if (name == "depth0") return 0;
  if (name == "previtem") return index > 0 ? loop.items[loop.index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem") return index + 1 < size ? loop.items[loop.index + 1] : Value::undefined("there is no next item");
  if (name == "cycle")
    return Value::function("cycle", [value](Evaluator&, Arguments& a) {
      if (a.positional.empty()) render_error("no items for cycling given");
      return a.positional[value.loop_data().index % a.positional.size()];
    });
  if (name == "changed")
    return Value::function("changed", [value](Evaluator&, Arguments& a) {
      LoopData& data = value.loop_data();
      Value now = Value::list(a.positional, Sequence::Tuple);
      const bool changed = !data.changed_before || !equal(data.changed, now);
      data.changed = std::move(now);
      data.changed_before = true;
      return Value(changed);
    });
  return {};
}

Value no_attribute(const Value& value, const std::string& name) {
  return Value::undefined(fmt::format("'{} object' has no attribute {}", value.type(), string_repr(name)));
}

// A method or the like; none where the value has no such name.
bool own_attribute(const Value& value, const std::string& name, Value& found) {
  if (value.is(Kind::Loop)) {
    found = loop_attribute(value, name);
    return !found.is(Kind::Undefined) || name == "previtem" || name == "nextitem";
  }
  if (value.is(Kind::Namespace)) {
    const Value* entry = value.get(name);
    if (entry) found = *entry;
    return entry;
  }
  if (value.is(Kind::Function) && name == "name") {
    found = value.function_data().name;
    return true;
  }
  return method(value, name, found);
}

bool subscriptable(const Value& value) {
  return value.is(Kind::String) || value.is_sequence(Sequence::List) || value.is_sequence(Sequence::Tuple) || value.is_sequence(Sequence::Range);
}

}  // namespace

Bound::Bound(Arguments& given, const char* function, std::initializer_list<const char*> names, size_t needed)
    : function_(function), values_(names.size()), given_(names.size(), false) {
  if (given.positional.size() > names.size()) render_error(fmt::format("{}() takes at most {} arguments but {} were given", function, names.size(), given.positional.size()));
  for (size_t i = 0; i < given.positional.size(); ++i) values_[i] = std::move(given.positional[i]), given_[i] = true;
  for (auto& [name, value] : given.named) {
    const auto found = std::find_if(names.begin(), names.end(), [&, &n = name](const char* known) { return n == known; });
    if (found == names.end()) render_error(fmt::format("{}() has no parameter '{}'", function, name));
    const size_t i = static_cast<size_t>(found - names.begin());
    if (given_[i]) render_error(fmt::format("{}() got two values for '{}'", function, name));
    values_[i] = std::move(value);
    given_[i] = true;
  }
  for (size_t i = 0; i < needed; ++i)
    if (!given_[i]) render_error(fmt::format("{}() lacks its argument '{}'", function, *(names.begin() + i)));
}

int64_t Bound::integer(size_t i, int64_t otherwise) const {
  if (!given_[i] || values_[i].is(Kind::None)) return otherwise;
  require_defined(values_[i]);
  if (!values_[i].is_integral()) render_error(fmt::format("{}() needs an integer, not '{}'", function_, values_[i].type()));
  return values_[i].integer();
}

std::string Bound::text(size_t i, const char* otherwise) const { return given_[i] ? values_[i].str() : std::string(otherwise); }

const std::string& Bound::string(size_t i) const {
  require_defined(values_[i]);
  if (!values_[i].is(Kind::String)) render_error(fmt::format("{}() needs a text, not '{}'", function_, values_[i].type()));
  return values_[i].string();
}

Values items_of(const Value& value) {
  switch (value.kind()) {
    case Kind::Undefined: return {};
    case Kind::String: {
      Values items;
      for (const uint32_t code : code_points(value.string())) {
        std::string one;
        append_code_point(one, code);
        items.emplace_back(std::move(one));
      }
      return items;
    }
    case Kind::List: {
      ListData& list = value.list_data();
      if (list.sequence != Sequence::Iterator) return list.items;
      Values rest(list.items.begin() + static_cast<std::ptrdiff_t>(list.at), list.items.end());
      list.at = list.items.size();
      return rest;
    }
    case Kind::Dict: {
      Values keys;
      for (auto& entry : value.dict_data().entries) keys.push_back(entry.first);
      return keys;
    }
    default: render_error(fmt::format("'{}' object is not iterable", value.type()));
  }
}

int64_t length_of(const Value& value) {
  switch (value.kind()) {
    case Kind::Undefined: return 0;
    case Kind::String: return static_cast<int64_t>(length(value.string()));
    case Kind::Dict: return static_cast<int64_t>(value.dict_data().entries.size());
    case Kind::Loop: return static_cast<int64_t>(value.loop_data().items.size());
    case Kind::List:
      if (!value.is_sequence(Sequence::Iterator)) return static_cast<int64_t>(value.list_data().items.size());
      [[fallthrough]];
    default: render_error(fmt::format("object of type '{}' has no len()", value.type()));
  }
}

bool contains(const Value& container, const Value& item) {
  switch (container.kind()) {
    case Kind::Undefined: return false;
    case Kind::String:
      if (!item.is(Kind::String)) render_error(fmt::format("'in <string>' requires string as left operand, not {}", item.type()));
      return container.string().find(item.string()) != std::string::npos;
    case Kind::Dict:
      if (item.is(Kind::Dict) || item.is_sequence(Sequence::List)) render_error(fmt::format("unhashable type: '{}'", item.type()));
      return container.find(item) != nullptr;
    case Kind::List: {
      ListData& list = container.list_data();
      for (size_t i = list.at; i < list.items.size(); ++i) {
        if (list.sequence == Sequence::Iterator) list.at = i + 1;  // what was looked at is used up
        if (equal(list.items[i], item)) return true;
      }
      return false;
    }
    default: render_error(fmt::format("argument of type '{}' is not iterable", container.type()));
  }
}

Value attribute_of(const Value& value, const std::string& name) {
  require_defined(value);
  Value found;
  if (own_attribute(value, name, found)) return found;
  if (value.is(Kind::Dict))
    if (const Value* entry = value.get(name)) return *entry;
  return no_attribute(value, name);
}

Value item_of(const Value& value, const Value& key) {
  require_defined(value);
  if (value.is(Kind::Dict)) {
    if (const Value* entry = value.find(key)) return *entry;
  } else if (key.is_integral() && subscriptable(value)) {
    const bool text = value.is(Kind::String);
    const int64_t size = length_of(value), i = key.integer() < 0 ? key.integer() + size : key.integer();
    if (i >= 0 && i < size) {
      if (!text) return value.list_data().items[static_cast<size_t>(i)];
      std::string one;
      if (is_ascii(value.string())) one = value.string()[static_cast<size_t>(i)];
      else append_code_point(one, code_points(value.string())[static_cast<size_t>(i)]);
      return one;
    }
  }
  if (!key.is(Kind::String)) return Value::undefined(fmt::format("{} object has no element {}", value.type(), key.repr()));
  Value found;
  return own_attribute(value, key.string(), found) ? found : no_attribute(value, key.string());
}

Value slice_of(const Value& value, const Value& start, const Value& stop, const Value& step) {
  require_defined(value);
  for (const Value* bound : {&start, &stop, &step})
    if (!bound->is(Kind::None) && !bound->is_integral()) render_error("slice indices must be integers or None");
  if (!subscriptable(value)) render_error(fmt::format("'{}' object is not subscriptable", value.type()));
  const int64_t by = step.is(Kind::None) ? 1 : step.integer(), size = length_of(value);
  if (by == 0) render_error("slice step cannot be zero");
  const auto bound = [&](const Value& given, int64_t otherwise) {
    if (given.is(Kind::None)) return otherwise;
    const int64_t i = given.integer() < 0 ? given.integer() + size : given.integer();
    return by > 0 ? std::clamp<int64_t>(i, 0, size) : std::clamp<int64_t>(i, -1, size - 1);
  };
  const int64_t from = bound(start, by > 0 ? 0 : size - 1), to = bound(stop, by > 0 ? size : -1);
  std::vector<size_t> taken;
  for (int64_t i = from; by > 0 ? i < to : i > to;) {
    taken.push_back(static_cast<size_t>(i));
    if (by > 0 ? by >= to - i : by <= to - i) break;  // adding `by` could overflow
    i += by;
  }
  if (value.is(Kind::String)) {
    std::string out;
    const auto codes = code_points(value.string());
    for (const size_t i : taken) append_code_point(out, codes[i]);
    return out;
  }
  Values items;
  for (const size_t i : taken) items.push_back(value.list_data().items[i]);
  return Value::list(std::move(items), value.list_data().sequence);
}

}  // namespace graft::chat
