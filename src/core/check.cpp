#include "core/check.h"

#include <algorithm>
#include <numeric>

namespace graft {
namespace {

std::string compose(std::string_view tag, std::string_view message, std::string_view hint) {
  std::string line = fmt::format("[{}] {}", tag, message);
  if (!hint.empty()) {
    if (line.back() != '.' && line.back() != '?') line += '.';
    line += fmt::format(" Hint: {}", hint);
  }
  return line;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

Error::Error(Fault fault, std::string_view tag, std::string_view message, std::string_view hint)
    : std::runtime_error(compose(tag, message, hint)), fault_(fault) {}

void fail(Fault fault, std::string_view tag, std::string_view message, std::string_view hint) {
  throw Error(fault, tag, message, hint);
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

std::string suggest(std::string_view name, const std::vector<std::string>& candidates) {
  if (const std::string near = nearest_name(name, candidates); !near.empty()) return fmt::format("did you mean '{}'?", near);
  return fmt::format("known: {}", fmt::join(candidates, ", "));
}

}  // namespace graft
