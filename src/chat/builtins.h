// What a template finds without defining it: filters, tests, methods of texts, lists and dicts, global functions.
#pragma once
#include <initializer_list>
#include <string>
#include <vector>

#include "chat/value.h"

namespace graft::chat {

struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Arguments by the names of their parameters, in order. Throws RenderError for too many, unknown, doubled or missing ones.
class Bound {
 public:
  Bound(Arguments& given, const char* function, std::initializer_list<const char*> names, size_t needed);
  bool has(size_t i) const { return given_[i]; }
  bool set(size_t i) const { return given_[i] && !values_[i].is(Kind::None); }  // given, and not as none
  const Value& operator[](size_t i) const { return values_[i]; }
  int64_t integer(size_t i, int64_t otherwise) const;
  std::string text(size_t i, const char* otherwise) const;  // str() of it
  const std::string& string(size_t i) const;                // must be a text
  bool flag(size_t i, bool otherwise) const { return given_[i] ? values_[i].truth() : otherwise; }

 private:
  const char* function_;
  Values values_;
  std::vector<bool> given_;
};

bool is_filter(const std::string& name);
std::vector<std::string> filter_names();
Value apply_filter(Evaluator& evaluator, const std::string& name, const Value& value, Arguments& arguments);

bool is_test(const std::string& name);
std::vector<std::string> test_names();
bool apply_test(Evaluator& evaluator, const std::string& name, const Value& value, Arguments& arguments);

// Finds a bound method; one that would change the value is undefined, with the reason. False when there is none of that name.
bool method(const Value& value, const std::string& name, Value& found);

// range, dict, namespace, joiner, raise_exception, strftime_now; undefined for any other name.
Value global(const std::string& name);

// The items of a value in a for loop; an iterator is used up. Throws RenderError for what has no items.
Values items_of(const Value& value);
int64_t length_of(const Value& value);
bool contains(const Value& container, const Value& item);

// value.name and value[key] as Jinja looks them up in its sandbox.
Value attribute_of(const Value& value, const std::string& name);
Value item_of(const Value& value, const Value& key);
Value slice_of(const Value& value, const Value& start, const Value& stop, const Value& step);

// The arithmetic of + - * / // % **.
Value arithmetic(const std::string& sign, const Value& a, const Value& b);
// printf-style "%s" % x, and "{}".format(x).
Value percent_format(const std::string& pattern, const Value& arguments);
std::string brace_format(const std::string& pattern, const Arguments& arguments);
// Python's format(value, spec).
std::string format_value(const Value& value, const std::string& spec);

}  // namespace graft::chat
