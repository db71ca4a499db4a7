// A small grammar engine for generated prose. Rules are text, one name with its alternatives:
//
//   meeting = {A} <meet> {B:person!A} (in/near) [place]. | 2* {A.he} <see> a [colour] [toy].
//
// An alternative may begin with a weight ("2*"), lines that begin with a blank continue the rule above, # is a comment.
//   [rule]          an alternative of the rule; [rule.s] its plural
//   {x:rule!y,z}    the first time an alternative of the rule, unlike the values of y and z; the same again afterwards
//   {x}             what x stands for; {x.he} {x.him} {x.his} its pronouns, {x.ref} its name or "he"/"she"/"it",
//                   {x.s} its plural, {=n+m} {=n-m} sums of number words
//   <verb phrase>   third person singular in the tense of the text; <verb+> plural; <verb@s> present third person,
//                   <verb@ing>, <verb@ed>, <verb@en> that form whatever the tense
//   (one/two/)      one of these pieces, possibly nothing
//   word~m, ~f, ~n  he, she, it: the gender of a value, not printed
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"

namespace graft {

class Grammar {
 public:
  // Parses rule texts; throws an internal error for a broken line or a rule that stands twice.
  explicit Grammar(const std::vector<std::string_view>& rule_texts);

  // The alternatives of a rule, repeated by weight; an internal error names an unknown rule.
  const std::vector<std::string>& alternatives(std::string_view rule) const;
  std::vector<std::string> rules() const;

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> rules_;
};

// One text being told: the tense, and what names stand for so far.
class Telling {
 public:
  Telling(const Grammar& grammar, Rng& rng, bool past) : grammar_(grammar), rng_(rng), past_(past) {}

  // Expands markup, remembering names; the result is not finished yet (see english.h).
  std::string expand(std::string_view markup);
  // A finished text for a rule.
  std::string tell(std::string_view rule);

 private:
  std::string choose(std::string_view rule);
  std::string reference(std::string_view content);
  std::string verb(std::string_view content);
  std::string sum(std::string_view content) const;
  std::string modified(const std::string& value, std::string_view modifier);

  const Grammar& grammar_;
  Rng& rng_;
  bool past_;
  int depth_ = 0;
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace graft
