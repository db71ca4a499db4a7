#include "core/json.h"

#include <set>

#include "core/check.h"
#include "core/files.h"

template class nlohmann::basic_json<>;

namespace graft {
namespace {
constexpr int kDeepest = 500;  // printing a value recurses
}

Json parse_json(std::string_view text, std::string_view what) {
  std::vector<std::set<std::string>> open_objects;
  std::string duplicate;
  auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDeepest) input_error("json", fmt::format("{}: nested more than {} levels deep", what, kDeepest));
    if (event == Json::parse_event_t::object_start) open_objects.emplace_back();
    if (event == Json::parse_event_t::object_end) open_objects.pop_back();
    if (event == Json::parse_event_t::key && !open_objects.back().insert(value.get<std::string>()).second && duplicate.empty())
      duplicate = value.get<std::string>();
    return true;
  };
  try {
    Json value = Json::parse(text.begin(), text.end(), watch);
    if (!duplicate.empty()) input_error("json", fmt::format("{}: the key '{}' stands twice", what, duplicate), "remove one of them");
    return value;
  } catch (const Json::exception& e) {
    std::string reason = e.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    if (const size_t end = reason.find("] "); end != std::string::npos) reason = reason.substr(end + 2);
    input_error("json", fmt::format("{} is not valid JSON: {}", what, reason));
  }
}

Json read_json(const std::filesystem::path& path) { return parse_json(read_file(path), path.string()); }

void write_json(const std::filesystem::path& path, const Json& value) {
  write_file(path, value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::string json_line(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace graft
