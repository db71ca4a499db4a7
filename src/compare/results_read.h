// Reads the run folders of a comparison; what each file holds is said in results.h.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace graft {

// Lenient look-ups for files that other programs, or a killed one, may have written: a value of another type is as good as
// absent.
std::optional<double> number_at(const Json& object, const std::string& key);  // finite numbers only
std::string text_at(const Json& object, const std::string& key, std::string_view fallback = "");
const Json& part_at(const Json& object, const std::string& key);  // an object or a list; else an empty object
Json number_or_null(const std::optional<double>& value);

// What one run says about the test items, for one metric.
struct ItemScores {
  std::vector<std::string> ids;
  std::vector<double> scores;
  std::vector<double> stats;  // width numbers per item; empty when the rows have none
  size_t width = 0;
};

struct ItemText {
  std::string id, prompt, prediction, reference;
  std::optional<double> score;
};

struct Run {
  std::string folder;  // relative to the comparison's folder
  std::string method, label, stage, status, reason, hash;
  std::optional<int64_t> seed;
  std::optional<double> lr, rung, forgetting_loss;
  Json rungs = Json::array(), dev = Json::object(), test = Json::object(), costs = Json::object();
  std::map<std::string, ItemScores> items;             // by metric; final runs only
  std::map<std::string, std::vector<ItemText>> texts;  // by metric: the first few items
  std::vector<double> steps, losses;                   // training loss, final runs only
  bool done() const { return status == "done"; }
  bool final() const { return stage == "final"; }
};

struct RunFolders {
  Json setup;             // comparison.json
  std::vector<Run> runs;  // by folder name
  std::vector<std::string> problems;
};

RunFolders read_run_folders(const std::filesystem::path& out);

}  // namespace graft
