// Rows as token ids, and packed batches of them.
#pragma once
#include <span>

#include "data/rows.h"
#include "data/turns.h"
#include "model/batch.h"
#include "tokenizer/tokenizer.h"

namespace graft {

struct Example {
  TextRow row;
  std::vector<int64_t> ids;   // prompt and completion, with BOS where the tokenizer adds it and EOS behind the completion
  int64_t prompt_length = 0;  // tokens before the completion, BOS included
  int64_t learned_from = 1;   // targets are ids[learned_from ...]; the first token is never one
  std::vector<TokenSpan> skipped;  // stretches behind learned_from that are not learned: what others say in a conversation
  int64_t supervised() const;
};

struct TokenizedData {
  std::vector<Example> examples;
  int64_t cut = 0, dropped = 0;  // rows shortened to max_length; rows without a supervised token, left out
};

// Prompt and completion are tokenised apart and joined; EOS ends completions and plain texts, and is learned. Rows longer
// than `max_length` are cut behind. A row with messages is what the chat template of `model_folder` makes of it, without any
// further BOS or EOS. Without `keep_texts` the examples' rows are empty: training needs tokens alone. Throws Fault::Input when no row is left, when there is no template, and for what it refuses.
TokenizedData tokenize_rows(std::vector<TextRow> rows, const Tokenizer& tokenizer, const DataConfig& config, int64_t max_length,
                            const std::filesystem::path& model_folder = {}, bool keep_texts = true);

// A packed batch of whole examples, in their order.
Batch pack(std::span<const Example* const> examples);
// A packed batch of plain sequences in which tokens from `learned_from` on are learned, save those in `skipped` (in order).
void append_document(Batch& batch, std::span<const int64_t> ids, int64_t learned_from, std::span<const TokenSpan> skipped = {});

// Identity of the data: of all rows' names, tokens and masks, and of what they are scored against (references, choices).
std::string fingerprint(const std::vector<Example>& examples);

}  // namespace graft
