// Jinja templates as models' chat templates use them, rendered as Hugging Face's transformers does: trim_blocks and
// lstrip_blocks, break and continue, generation blocks, tojson without HTML escapes, and a sandbox in which nothing that is
// given to a template can be changed by it.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/value.h"

namespace graft::chat {

struct Span {
  size_t begin = 0, end = 0;  // bytes of the text
};

struct Rendered {
  std::string text;
  std::vector<Span> generated;  // what stood in {% generation %} blocks, in order
};

class Template {
 public:
  // `name` stands in messages ("tokenizer_config.json"). Throws Fault::Input with line and column for broken syntax and for
  // tags, filters and tests that are not supported.
  static Template parse(std::string_view text, std::string name);

  // `variables` is a dict. Throws Fault::Input: with line and column for what Python would refuse, for texts beyond 16
  // million bytes and for templates that do not come to an end; with the template's own words for its raise_exception.
  // May be called from several threads.
  Rendered render(const Value& variables) const;
  bool has_generation_blocks() const;  // loss masks can come from them

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace graft::chat
