// Values of a chat template, as Python has them: what templates print and compare must come out as there.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"

namespace graft::chat {

class Value;
class Evaluator;
using Values = std::vector<Value>;

enum class Kind : uint8_t { Undefined, None, Bool, Int, Float, String, List, Dict, Namespace, Function, Loop };

// What a List is in Python: this decides how it prints, compares and whether it is true.
enum class Sequence : uint8_t { List, Tuple, Range, Iterator, DictItems, DictKeys, DictValues };

struct Arguments;  // of a call
using Callable = std::function<Value(Evaluator&, Arguments&)>;

struct ListData;
struct DictData;
struct FunctionData;
struct LoopData;

// Lists and dicts do not change once made, and nest at most kDeepestValue levels: comparing, printing and freeing them recurses.
constexpr int kDeepestValue = 200;

class Value {
 public:
  Value() {}  // undefined
  // An undefined value whose use is an error that says `why`; printing it gives nothing.
  static Value undefined(std::string why);
  static Value none();
  static Value list(Values items, Sequence sequence = Sequence::List);
  static Value dict(std::vector<std::pair<Value, Value>> entries = {});
  static Value name_space();
  static Value function(std::string name, Callable call);
  static Value method(std::string name, Callable call, const Value& receiver);
  static Value loop(std::shared_ptr<LoopData> data);
  Value(bool value) : kind_(Kind::Bool), int_(value) {}
  Value(int64_t value) : kind_(Kind::Int), int_(value) {}
  Value(int value) : Value(static_cast<int64_t>(value)) {}
  Value(double value) : kind_(Kind::Float), float_(value) {}
  Value(std::string value) : kind_(Kind::String), data_(std::make_shared<std::string>(std::move(value))) {}
  Value(const char* value) : Value(std::string(value)) {}
  template <class T>
  Value(T*) = delete;  // would become a bool

  // From JSON text, with the keys of objects in the order in which they stand. Throws Fault::Input.
  static Value parse(std::string_view json, std::string_view what);
  // From a document whose keys are sorted already.
  static Value from(const Json& json);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return kind_ == Kind::Int || kind_ == Kind::Float || kind_ == Kind::Bool; }
  bool is_integral() const { return kind_ == Kind::Int || kind_ == Kind::Bool; }
  bool is_sequence(Sequence sequence) const;
  bool is_mapping() const { return kind_ == Kind::Dict; }

  int64_t integer() const { return int_; }                                                         // Int, Bool
  double number() const { return kind_ == Kind::Float ? float_ : static_cast<double>(int_); }      // Int, Bool, Float
  const std::string& string() const;  // String; Undefined: why
  ListData& list_data() const { return *static_cast<ListData*>(data_.get()); }
  DictData& dict_data() const { return *static_cast<DictData*>(data_.get()); }  // Dict, Namespace
  const FunctionData& function_data() const { return *static_cast<const FunctionData*>(data_.get()); }
  LoopData& loop_data() const { return *static_cast<LoopData*>(data_.get()); }
  bool same(const Value& other) const;  // Python's `is`

  int depth() const;  // of nested lists, dicts and bound methods; 0 for anything else
  bool truth() const;
  std::string str() const;   // str(value)
  std::string repr() const;  // repr(value)
  const char* type() const;  // Python's name of the type
  // A key of a Dict or Namespace; nullptr when there is none.
  const Value* find(const Value& key) const;
  const Value* get(std::string_view key) const;
  void set(const Value& key, Value value);  // Dict, Namespace

 private:
  Kind kind_ = Kind::Undefined;
  int64_t int_ = 0;
  double float_ = 0;
  std::shared_ptr<void> data_;
};

struct ListData {
  Sequence sequence = Sequence::List;
  Values items;
  size_t at = 0;  // of an Iterator: what was taken already
  int depth = 1;
  int64_t stop = 0;  // of a Range that range() made: it is printed
};

struct DictData {
  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;
};

struct FunctionData {
  std::string name;
  Callable call;
  int depth = 0;
};

// What `loop` knows inside a for block.
struct LoopData {
  Values items;
  size_t index = 0;
  Value changed;  // the arguments of the last loop.changed(...)
  bool changed_before = false;
};

bool equal(const Value& a, const Value& b);
// -1, 0 or 1; throws RenderError for kinds that have no order, which `what` names ("'<'").
int compare(const Value& a, const Value& b, const char* what);

// Something that a template may not do: the evaluator adds line and column.
struct RenderError {
  std::string message;
  bool raised = false;  // by raise_exception
};
[[noreturn]] void render_error(std::string message);
// Where an undefined value is used: an error that says why it is undefined.
void require_defined(const Value& value);

// json.dumps as HF's tojson calls it; indent < 0: one line.
struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false, indented = false;
  std::string indent, item_separator = ", ", key_separator = ": ";
};
std::string to_json(const Value& value, const JsonStyle& style);

std::string float_repr(double value);

}  // namespace graft::chat
