#include "core/check.h"
#include "tokenizer/fields.h"
#include "tokenizer/stages.h"

namespace graft {

std::string decode_base64(std::string_view text, const std::string& where) {
  std::string out;
  out.reserve(text.size() / 4 * 3);
  uint32_t bits = 0;
  int count = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (const char c : text) {
    uint32_t value;
    if (c >= 'A' && c <= 'Z')
      value = static_cast<uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      value = static_cast<uint32_t>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      value = static_cast<uint32_t>(c - '0') + 52;
    else if (c == '+')
      value = 62;
    else if (c == '/')
      value = 63;
    else
      tokenizer_error(fmt::format("{} is not base64", where));
    bits = bits << 6 | value;
    if (++count % 4 != 1) out += static_cast<char>(bits >> (count % 4 == 2 ? 4 : count % 4 == 3 ? 2 : 0));
  }
  return out;
}

// Four bytes with the size of the trie, the trie's units, then texts that each end in a zero byte.
CharsMap::CharsMap(const std::string& bytes, const std::string& where) {
  const auto word = [&](size_t at) {
    const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])); };
    return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
  };
  const size_t size = bytes.size() < 4 ? 0 : word(0);
  if (bytes.size() < 8 || size < 4 || size % 4 != 0 || size > bytes.size() - 4)
    tokenizer_error(fmt::format("{}: a table of {} bytes says that its trie has {} bytes", where, bytes.size(), size));
  for (size_t at = 4; at < 4 + size; at += 4) units_.push_back(word(at));
  texts_ = bytes.substr(4 + size);
}

// A double-array trie as Darts-clone lays it out: bits 0 to 7 the label, bit 8 whether a value follows, bits 10 to 30 the offset.
template <class F>
void CharsMap::prefixes(std::string_view text, F found) const {
  const auto offset = [](uint32_t unit) { return unit >> 10 << ((unit & (1u << 9)) >> 6); };
  size_t node = offset(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    node ^= c;
    if (c == 0 || node >= units_.size()) return;
    const uint32_t unit = units_[node];
    if ((unit & (1u << 31 | 0xFFu)) != c) return;
    node ^= offset(unit);
    if (!(unit >> 8 & 1)) continue;
    if (node >= units_.size()) return;
    if (!found(units_[node] & ~(1u << 31), i + 1)) return;
  }
}

const char* CharsMap::text_at(uint32_t offset) const {
  return offset < texts_.size() ? texts_.c_str() + offset : "";
}

const char* CharsMap::shortest(std::string_view text) const {
  const char* result = nullptr;
  prefixes(text, [&](uint32_t offset, size_t) {
    result = text_at(offset);
    return false;
  });
  return result;
}

const char* CharsMap::longest(std::string_view text, size_t* length) const {
  const char* result = nullptr;
  prefixes(text, [&](uint32_t offset, size_t n) {
    result = text_at(offset);
    *length = n;
    return true;
  });
  return result;
}

}  // namespace graft
