#include "embedded/grammar/grammar.h"

#include <algorithm>

#include "core/check.h"
#include "embedded/grammar/english.h"

namespace graft {
namespace {

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

// Splits at `mark` where no bracket is open.
std::vector<std::string_view> split(std::string_view text, char mark) {
  std::vector<std::string_view> parts;
  size_t start = 0;
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (std::string_view("([{<").find(text[i]) != std::string_view::npos) ++depth;
    if (std::string_view(")]}>").find(text[i]) != std::string_view::npos) --depth;
    CHECK_THAT(depth >= 0, "a bracket is closed but not open in '{}'", text);
    if (depth == 0 && text[i] == mark) {
      parts.push_back(text.substr(start, i - start));
      start = i + 1;
    }
  }
  CHECK_THAT(depth == 0, "a bracket stays open in '{}'", text);
  parts.push_back(text.substr(start));
  return parts;
}

// The index of the bracket that closes the one at `open`.
size_t closing(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (std::string_view("([{<").find(text[i]) != std::string_view::npos) ++depth;
    if (std::string_view(")]}>").find(text[i]) != std::string_view::npos && --depth == 0) return i;
  }
  CHECK_THAT(false, "a bracket stays open in '{}'", text);
}

char gender(std::string_view value) {
  const size_t mark = value.rfind('~');
  return mark == std::string_view::npos || mark + 1 >= value.size() ? 'n' : value[mark + 1];
}
std::string without_gender(std::string_view value) { return std::string(value.substr(0, value.rfind('~'))); }

}  // namespace

Grammar::Grammar(const std::vector<std::string_view>& rule_texts) {
  for (const std::string_view text : rule_texts) {
    std::vector<std::pair<std::string, std::string>> lines;  // rule, its alternatives
    for (size_t start = 0; start < text.size();) {
      const size_t end = std::min(text.find('\n', start), text.size());
      const std::string_view line = text.substr(start, end - start);
      start = end + 1;
      if (trimmed(line).empty() || line.front() == '#') continue;
      if (line.front() == ' ') {
        CHECK_THAT(!lines.empty(), "no rule to continue with '{}'", line);
        lines.back().second += " " + std::string(trimmed(line));
        continue;
      }
      const size_t equals = line.find('=');
      CHECK_THAT(equals != std::string_view::npos, "a rule needs '=': '{}'", line);
      lines.emplace_back(trimmed(line.substr(0, equals)), trimmed(line.substr(equals + 1)));
    }
    for (const auto& [name, body] : lines) {
      std::vector<std::string> alternatives;
      for (const std::string_view part : split(body, '|')) {
        std::string_view alternative = trimmed(part);
        int weight = 1;
        if (alternative.size() > 2 && alternative[1] == '*' && alternative[0] >= '1' && alternative[0] <= '9') {
          weight = alternative[0] - '0';
          alternative = trimmed(alternative.substr(2));
        }
        for (int i = 0; i < weight; ++i) alternatives.emplace_back(alternative);
      }
      CHECK_THAT(rules_.emplace(name, std::move(alternatives)).second, "the rule '{}' stands twice", name);
    }
  }
}

const std::vector<std::string>& Grammar::alternatives(std::string_view rule) const {
  const auto found = rules_.find(rule);
  CHECK_THAT(found != rules_.end(), "the grammar has no rule '{}'", rule);
  return found->second;
}

std::vector<std::string> Grammar::rules() const {
  std::vector<std::string> names;
  for (const auto& rule : rules_) names.push_back(rule.first);
  return names;
}

std::string Telling::tell(std::string_view rule) { return finish_text(choose(rule)); }

std::string Telling::choose(std::string_view rule) {
  CHECK_THAT(++depth_ < 60, "the rule '{}' contains itself without end", rule);
  std::string text = expand(rng_.pick(grammar_.alternatives(rule)));
  --depth_;
  return text;
}

std::string Telling::expand(std::string_view markup) {
  std::string out;
  for (size_t i = 0; i < markup.size(); ++i) {
    const char c = markup[i];
    if (std::string_view("([{<").find(c) == std::string_view::npos) {
      out += c;
      continue;
    }
    const size_t end = closing(markup, i);
    const std::string_view content = markup.substr(i + 1, end - i - 1);
    if (c == '(') {
      const auto parts = split(content, '/');
      out += expand(parts[rng_.below(parts.size())]);
    } else if (c == '<') {
      out += verb(content);
    } else if (c == '{') {
      out += content.starts_with('=') ? sum(content.substr(1)) : reference(content);
    } else {
      const size_t dot = std::min(content.find('.'), content.size());
      const std::string value = choose(content.substr(0, dot));
      out += dot < content.size() ? modified(value, content.substr(dot + 1)) : value;
    }
    i = end;
  }
  return out;
}

std::string Telling::reference(std::string_view content) {
  const size_t dot = std::min(content.find('.'), content.size());
  const std::string_view modifier = dot < content.size() ? content.substr(dot + 1) : std::string_view();
  const std::string_view subject = content.substr(0, dot);
  const size_t colon = std::min(subject.find(':'), subject.size());
  const std::string name(subject.substr(0, colon));
  if (!values_.contains(name)) {
    CHECK_THAT(colon < subject.size(), "'{}' stands for nothing yet", name);
    const std::string_view from = subject.substr(colon + 1);
    const size_t bang = std::min(from.find('!'), from.size());
    std::vector<std::string> others;
    if (bang < from.size())
      for (const std::string_view other : split(from.substr(bang + 1), ','))
        if (const auto found = values_.find(other); found != values_.end()) others.push_back(found->second);
    // Unlike the others in words, and for people in gender too, so that "he" and "she" stay clear.
    std::string value;
    for (int attempt = 0; attempt < 24; ++attempt) {
      value = choose(from.substr(0, bang));
      if (std::none_of(others.begin(), others.end(), [&](const std::string& other) {
            return other == value || (value.find('~') != std::string::npos && gender(other) == gender(value));
          }))
        break;
    }
    values_[name] = value;
  }
  return modified(values_.find(name)->second, modifier);
}

std::string Telling::modified(const std::string& value, std::string_view modifier) {
  if (modifier.empty()) return value;
  if (modifier == "s") return plural(without_gender(value));
  const char g = gender(value);
  if (modifier == "ref") return rng_.below(5) < 3 ? modified(value, "he") : value;
  if (modifier == "he") return g == 'm' ? "he" : g == 'f' ? "she" : "it";
  if (modifier == "him") return g == 'm' ? "him" : g == 'f' ? "her" : "it";
  if (modifier == "his") return g == 'm' ? "his" : g == 'f' ? "her" : "its";
  CHECK_THAT(false, "the grammar has no modifier '{}'", modifier);
}

std::string Telling::verb(std::string_view content) {
  const size_t at = std::min(content.find('@'), content.size());
  const std::string_view form = at < content.size() ? content.substr(at + 1) : std::string_view();
  const bool many = at == content.size() && content.ends_with('+');
  const std::string phrase = expand(content.substr(0, many ? content.size() - 1 : at));
  if (form == "s") return phrase_form(phrase, VerbForm::ThirdPerson);
  if (form == "ing") return phrase_form(phrase, VerbForm::Gerund);
  if (form == "ed") return phrase_form(phrase, VerbForm::Past);
  if (form == "en") return phrase_form(phrase, VerbForm::Participle);
  CHECK_THAT(form.empty(), "the grammar has no verb form '{}'", form);
  if (past_) return phrase_form(phrase, many ? VerbForm::PastPlural : VerbForm::Past);
  return phrase_form(phrase, many ? VerbForm::Base : VerbForm::ThirdPerson);
}

std::string Telling::sum(std::string_view content) const {
  const size_t sign = content.find_first_of("+-");
  CHECK_THAT(sign != std::string_view::npos, "a sum needs + or -: '{}'", content);
  const auto value = [&](std::string_view name) {
    const auto found = values_.find(name);
    CHECK_THAT(found != values_.end(), "'{}' stands for nothing yet", name);
    return number_value(found->second);
  };
  const int left = value(content.substr(0, sign)), right = value(content.substr(sign + 1));
  return number_word(content[sign] == '+' ? left + right : left - right);
}

}  // namespace graft
