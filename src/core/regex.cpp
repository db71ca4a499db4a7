#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/regex.h"

#include <pcre2.h>

#include <memory>

#include "core/check.h"

namespace graft {

bool full_match(const std::string& pattern, const std::string& text) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> regex(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP, &code, &offset, nullptr), &pcre2_code_free);
  if (!regex) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(code, message, sizeof message);
    usage_error("regex", fmt::format("'{}' is not a regular expression: {} at character {}", pattern, reinterpret_cast<const char*>(message), offset));
  }
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  const int matched = pcre2_match(regex.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, PCRE2_ANCHORED | PCRE2_ENDANCHORED,
                                  data.get(), nullptr);
  return matched >= 0;
}

}  // namespace graft
