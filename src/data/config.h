// Options of reading, formatting and ordering data; names as on the command line.
#pragma once
#include "core/config.h"

namespace graft {

struct DataConfig : Config {
  Json columns;                                    // {"prompt": "question", ...}: our name → the file's
  std::optional<std::string> prompt_template;      // "Question: {question}\nAnswer: {answer}"
  std::optional<std::string> response_template;    // what stands after its last occurrence is learned
  std::optional<std::string> chat_template;        // a file in place of the model's own, for rows with messages
  std::optional<int64_t> max_length;               // tokens; unset: the model's limit
  bool train_on_inputs = false, packing = true;
  std::string order = "shuffled";
  int64_t batch_size = 8, grad_accum = 1;
  std::optional<int64_t> batch_tokens;
  void visit(Fields& f) override {
    f("columns", columns, "other names of the columns: {\"prompt\": \"question\", \"completion\": \"answer\"}");
    f("template", prompt_template, "text of a row with {column} in braces; {{ and }} stand for braces");
    f("response_template", response_template, "with template: what stands behind its last occurrence is learned from");
    f("chat_template", chat_template, "file with a chat template in place of the model's own, for rows with messages");
    f("max_length", max_length, "longest row in tokens; longer ones are cut", at_least(2));
    f("train_on_inputs", train_on_inputs, "learn from prompts too");
    f("packing", packing, "run the rows of a batch together without padding; false: one row at a time, same result");
    f("order", order, "order of the rows", one_of({"shuffled", "sequential"}));
    f("batch_size", batch_size, "rows in a batch", at_least(1));
    f("grad_accum", grad_accum, "batches in an optimizer step", at_least(1));
    f("batch_tokens", batch_tokens, "fill batches up to so many tokens instead of counting rows", at_least(1));
  }
};

}  // namespace graft
