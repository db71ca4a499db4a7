#include "chat/lexer.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "chat/text.h"
#include "core/check.h"
#include "tokenizer/unicode.h"

namespace graft::chat {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  Lexer(const std::string& source, const std::string& name) : source_(source), name_(name) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = next_tag();
      if (tag == std::string::npos) {
        add_data(at_, source_.size());
        at_ = source_.size();
        break;
      }
      const char kind = source_[tag + 1];
      const char sign = sign_at(tag + 2);
      add_stripped_data(at_, tag, sign, kind != '{');
      const size_t inside = tag + 2 + (sign != 0);
      if (kind == '#') comment(tag, inside);
      else if (kind == '%' && raw_begins(inside)) raw(tag);
      else tag_tokens(tag, inside, kind == '%');
    }
    tokens_.push_back({Token::End, "", {}, source_.size()});
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void error(size_t at, const std::string& message) const { template_error(name_, source_, at, message); }
  char sign_at(size_t at) const { return at < source_.size() && (source_[at] == '-' || source_[at] == '+') ? source_[at] : '\0'; }
  bool stands(size_t at, std::string_view text) const { return source_.compare(at, text.size(), text) == 0; }
  size_t skip_space(size_t at) const { return source_.size() - strip_left(std::string_view(source_).substr(at)).size(); }

  size_t next_tag() const {
    for (size_t at = source_.find('{', at_); at != std::string::npos && at + 1 < source_.size(); at = source_.find('{', at + 1))
      if (source_[at + 1] == '{' || source_[at + 1] == '%' || source_[at + 1] == '#') return at;
    return std::string::npos;
  }

  void add_data(size_t begin, size_t end) {
    if (end > begin) tokens_.push_back({Token::Data, source_.substr(begin, end - begin), {}, begin});
  }

  // The text before a tag: "-" takes the white space before it, a block or comment alone on its line its indentation.
  void add_stripped_data(size_t begin, size_t end, char sign, bool block) {
    const std::string_view text = std::string_view(source_).substr(begin, end - begin);
    if (sign == '-') {
      end = begin + strip_right(text).size();
    } else if (sign != '+' && block) {
      const size_t line = text.rfind('\n') + 1;  // npos + 1 == 0
      if ((line > 0 || line_starts_) && strip_left(text.substr(line)).empty()) end = begin + line;
    }
    add_data(begin, end);
  }

  // Behind a tag's end at `at`: what "-" takes, or the line end that a block takes.
  void finish_tag(size_t at, char sign, bool trims) {
    at_ = at;
    if (sign == '-') at_ = skip_space(at);
    else if (sign != '+' && trims && at_ < source_.size() && source_[at_] == '\n') ++at_;
    line_starts_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  void comment(size_t tag, size_t inside) {
    const size_t end = source_.find("#}", inside);
    if (end == std::string::npos) error(tag, "the comment has no end '#}'");
    finish_tag(end + 2, end > inside ? sign_at(end - 1) : '\0', true);
  }

  bool raw_begins(size_t inside) const { return raw_tag_end(inside, "raw") != std::string::npos; }

  // The offset of the "%}" that ends the tag of this word, where only that word stands in it.
  size_t raw_tag_end(size_t inside, std::string_view word) const {
    size_t at = skip_space(inside);
    if (!stands(at, word)) return std::string::npos;
    at = skip_space(at + word.size());
    if (at < source_.size() && (source_[at] == '-' || (word == "endraw" && source_[at] == '+'))) ++at;
    return stands(at, "%}") ? at : std::string::npos;
  }

  void raw(size_t tag) {
    const size_t begin_end = raw_tag_end(tag + 2 + (sign_at(tag + 2) != 0), "raw");
    finish_tag(begin_end + 2, sign_at(begin_end - 1), false);
    for (size_t at = source_.find("{%", at_); at != std::string::npos; at = source_.find("{%", at + 1)) {
      const char sign = sign_at(at + 2);
      const size_t end = raw_tag_end(at + 2 + (sign != 0), "endraw");
      if (end == std::string::npos) continue;
      add_stripped_data(at_, at, sign, true);
      finish_tag(end + 2, sign_at(end - 1), true);
      return;
    }
    error(tag, "the raw block has no {% endraw %}");
  }

  void tag_tokens(size_t tag, size_t inside, bool block) {
    tokens_.push_back({block ? Token::BlockBegin : Token::VariableBegin, "", {}, tag});
    std::string open;  // brackets that wait for their partner
    for (at_ = inside;;) {
      at_ = skip_space(at_);
      if (at_ >= source_.size()) error(tag, block ? "the block has no end '%}'" : "the expression has no end '}}'");
      if (open.empty() && tag_ends(block)) return;
      if (number() || word() || text()) continue;
      sign(open);
    }
  }

  bool tag_ends(bool block) {
    const char sign = source_[at_] == '-' || (block && source_[at_] == '+') ? source_[at_] : '\0';
    const size_t end = at_ + (sign != 0);
    if (!stands(end, block ? "%}" : "}}")) return false;
    tokens_.push_back({block ? Token::BlockEnd : Token::VariableEnd, "", {}, at_});
    finish_tag(end + 2, sign, block);
    return true;
  }

  // Digits with single underscores between them; the offset behind them.
  size_t digits(size_t at) const {
    if (at >= source_.size() || !digit(source_[at])) return at;
    while (at < source_.size() && (digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() && digit(source_[at + 1])))) ++at;
    return at;
  }

  bool number() {
    if (!digit(source_[at_])) return false;
    size_t end = digits(at_);
    bool real = false;
    if (at_ == 0 || source_[at_ - 1] != '.') {
      if (end < source_.size() && source_[end] == '.' && digits(end + 1) > end + 1) end = digits(end + 1), real = true;
      if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
        const size_t exponent = end + 1 + (sign_at(end + 1) != 0);
        if (digits(exponent) > exponent) end = digits(exponent), real = true;
      }
    }
    int base = 10;
    size_t begin = at_;
    if (!real && source_[at_] == '0' && at_ + 2 < source_.size()) {
      const char letter = static_cast<char>(source_[at_ + 1] | 0x20);
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      if (base != 10) {
        begin += 2;
        for (end = begin; end < source_.size() && (std::isxdigit(static_cast<unsigned char>(source_[end])) || source_[end] == '_');) ++end;
      }
    }
    std::string text = source_.substr(begin, end - begin);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    if (!real && base == 10 && text.size() > 1 && text[0] == '0' && text.find_first_not_of('0') != std::string::npos) error(at_, fmt::format("'{}' is not a number: a zero in front is not allowed", text));
    errno = 0;
    char* rest = nullptr;
    const Value value = real ? Value(std::strtod(text.c_str(), &rest)) : Value(static_cast<int64_t>(std::strtoll(text.c_str(), &rest, base)));
    if (text.empty() || *rest != '\0') error(at_, fmt::format("'{}' is not a number", source_.substr(at_, end - at_)));
    if (!real && errno == ERANGE) error(at_, fmt::format("the number {} is beyond 64 bits", text));
    tokens_.push_back({Token::Number, "", value, at_});
    at_ = end;
    return true;
  }

  bool word() {
    size_t end = at_;
    for (size_t size = 0; end < source_.size() && is_word(decode_utf8(source_, end, &size)); end += size) {
    }
    if (end == at_) return false;
    tokens_.push_back({Token::Name, source_.substr(at_, end - at_), {}, at_});
    at_ = end;
    return true;
  }

  bool text() {
    const char quote = source_[at_];
    if (quote != '"' && quote != '\'') return false;
    std::string out;
    for (size_t at = at_ + 1; at < source_.size();) {
      if (source_[at] == quote) {
        tokens_.push_back({Token::String, std::move(out), {}, at_});
        at_ = at + 1;
        return true;
      }
      if (source_[at] == '\\' && at + 1 < source_.size()) at = escape(at, out);
      else out += source_[at++];
    }
    error(at_, "the text has no closing quote");
  }

  // Python's escapes in texts; unknown ones stand for themselves. Returns the offset behind.
  size_t escape(size_t at, std::string& out) const {
    const char c = source_[at + 1];
    static constexpr std::string_view kNames = "abfnrtv\\'\"", kMeanings = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t found = kNames.find(c); found != std::string_view::npos) {
      out += kMeanings[found];
      return at + 2;
    }
    if (c == '\n') return at + 2;
    if (c >= '0' && c <= '7') {
      uint32_t code = 0;
      size_t end = at + 1;
      for (; end < at + 4 && end < source_.size() && source_[end] >= '0' && source_[end] <= '7'; ++end) code = code * 8 + static_cast<uint32_t>(source_[end] - '0');
      append_code_point(out, code);
      return end;
    }
    const size_t size = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (size == 0) {
      if (c == 'N') error(at, "\\N{...} is not supported in texts");
      out += '\\';  // the character itself follows as it is
      return at + 1;
    }
    const std::string digits = source_.substr(at + 2, size);
    char* rest = nullptr;
    const unsigned long code = std::strtoul(digits.c_str(), &rest, 16);
    if (digits.size() < size || *rest != '\0' || code > 0x10FFFF) error(at, fmt::format("'\\{}{}' is no character", c, digits));
    if (code >= 0xD800 && code < 0xE000) error(at, fmt::format("'\\{}{}' is half of a surrogate pair", c, digits));
    append_code_point(out, static_cast<uint32_t>(code));
    return at + 2 + size;
  }

  void sign(std::string& open) {
    static constexpr std::array<std::string_view, 25> kSigns = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                                                "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};
    for (const std::string_view s : kSigns) {
      if (!stands(at_, s)) continue;
      if (s == "(") open += ')';
      if (s == "[") open += ']';
      if (s == "{") open += '}';
      if (s == ")" || s == "]" || s == "}") {
        if (open.empty()) error(at_, fmt::format("unexpected '{}'", s));
        if (open.back() != s[0]) error(at_, fmt::format("unexpected '{}', expected '{}'", s, open.back()));
        open.pop_back();
      }
      tokens_.push_back({Token::Operator, std::string(s), {}, at_});
      at_ += s.size();
      return;
    }
    error(at_, fmt::format("unexpected character '{}'", source_.substr(at_, utf8_length(source_, at_))));
  }

  const std::string& source_;
  const std::string& name_;
  size_t at_ = 0;
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string normalized_source(std::string_view text) {
  std::string source;
  source.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      source += '\n';
      if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
    } else {
      source += text[i];
    }
  }
  if (source.ends_with('\n')) source.pop_back();
  return source;
}

std::vector<Token> tokens_of(const std::string& source, const std::string& name) { return Lexer(source, name).run(); }

void template_error(const std::string& name, const std::string& source, size_t at, const std::string& message, const std::string& hint) {
  const std::string_view before = std::string_view(source).substr(0, std::min(at, source.size()));
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  input_error("chat", fmt::format("{} line {}, column {}: {}", name, line, length(before.substr(before.rfind('\n') + 1)) + 1, message), hint);
}

}  // namespace graft::chat
