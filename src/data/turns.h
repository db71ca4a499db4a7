// Which part of a rendered conversation is the assistant's.
#pragma once
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace graft {

struct ChatText {
  std::string text;                 // the whole conversation as the template writes it
  std::vector<chat::Span> answers;  // the assistant's turns with what the template ends them with, in order
};

// With {% generation %} blocks, the answers are what stands in them. Otherwise each begins where the conversation before it
// ends with its generation prompt, and ends where the conversation up to it ends; white space behind a turn's last special
// token is not part of it. Where a template writes a beginning otherwise than the whole (Qwen3 leaves out earlier thoughts,
// Mistral moves the system message), the turn is found by its content instead.
// Throws Fault::Input naming `where`: the template refuses the conversation, or a turn cannot be told (unless `strict` is off:
// such a turn is left out).
ChatText chat_text(const chat::ChatTemplate& chat_template, const chat::Conversation& conversation, const Tokenizer& tokenizer, const std::string& where, bool strict = true);

// The tokens [begin, end) that a span of the text lies in. ids and cuts: the text's. From the last cut in front of each end, text is encoded again.
struct TokenSpan {
  int64_t begin = 0, end = 0;
};
TokenSpan tokens_in(const ChatText& rendered, const chat::Span& span, const std::vector<int64_t>& ids, const std::vector<Tokenizer::Cut>& cuts, const Tokenizer& tokenizer);

}  // namespace graft
