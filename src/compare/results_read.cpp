#include "compare/results_read.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/check.h"
#include "core/files.h"

namespace graft {
namespace fs = std::filesystem;

std::optional<double> number_at(const Json& object, const std::string& key) {
  if (!object.is_object()) return {};
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number()) return {};
  const double value = it->get<double>();
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

std::string text_at(const Json& object, const std::string& key, std::string_view fallback) {
  if (object.is_object())
    if (const auto it = object.find(key); it != object.end() && it->is_string()) return it->get<std::string>();
  return std::string(fallback);
}

const Json& part_at(const Json& object, const std::string& key) {
  static const Json empty = Json::object();
  if (object.is_object())
    if (const auto it = object.find(key); it != object.end() && it->is_structured()) return *it;
  return empty;
}

Json number_or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

namespace {

constexpr size_t kTextsKept = 8;

// Calls row(json) for each line that is a JSON object; returns the number of lines that are not. A last line without
// a newline is what a killed run leaves: it is passed over.
template <class Row>
size_t for_each_row(const std::string& text, const Row& row) {
  size_t bad = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    const bool whole = end != std::string::npos;
    const std::string_view line(text.data() + begin, (whole ? end : text.size()) - begin);
    begin = whole ? end + 1 : text.size();
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const Json value = Json::parse(line, nullptr, false);
    if (value.is_object())
      row(value);
    else if (whole)
      ++bad;
  }
  return bad;
}

std::string id_text(const Json& row) {
  const auto it = row.find("id");
  if (it == row.end() || it->is_null()) return "";
  return it->is_string() ? it->get<std::string>() : it->dump();
}

void read_items(const fs::path& path, Run& run, std::vector<std::string>& problems) {
  std::map<std::string, std::set<std::string>> seen;
  std::set<std::string> broken;  // metrics with an unusable row
  const auto take = [&](const Json& row) {
    const std::string metric = text_at(row, "metric"), id = id_text(row);
    if (metric.empty() || id.empty()) {
      broken.insert("");
      return;
    }
    const std::optional<double> score = number_at(row, "score");
    const Json& stats = part_at(row, "stats");
    ItemScores& items = run.items[metric];
    std::vector<double> numbers;
    if (stats.is_array())
      for (const Json& v : stats) numbers.push_back(v.is_number() ? v.get<double>() : NAN);
    if (items.ids.empty()) items.width = numbers.size();
    const bool finite = std::all_of(numbers.begin(), numbers.end(), [](double v) { return std::isfinite(v); });
    if ((!score && numbers.empty()) || !finite || numbers.size() != items.width || !seen[metric].insert(id).second) {
      broken.insert(metric);
      return;
    }
    items.ids.push_back(id);
    items.scores.push_back(score.value_or(0));
    items.stats.insert(items.stats.end(), numbers.begin(), numbers.end());
    std::vector<ItemText>& texts = run.texts[metric];
    if (texts.size() < kTextsKept)
      texts.push_back({id, text_at(row, "prompt"), text_at(row, "prediction"), text_at(row, "reference"), score});
  };
  const size_t bad = for_each_row(read_file(path), take);
  if (bad) problems.push_back(fmt::format("{}/items.jsonl: {} lines are not JSON objects", run.folder, bad));
  for (const std::string& metric : broken) {
    problems.push_back(
        metric.empty() ? fmt::format("{}/items.jsonl: rows without id or metric are left out", run.folder)
                       : fmt::format("{}/items.jsonl: rows of '{}' repeat an id or have no finite score", run.folder, metric));
  }
}

void read_losses(const fs::path& path, Run& run, std::vector<std::string>& problems) {
  size_t not_finite = 0;
  const size_t bad = for_each_row(read_file(path), [&](const Json& row) {
    const auto step = number_at(row, "step");
    if (!step || !row.contains("loss")) return;
    if (const auto loss = number_at(row, "loss")) {
      run.steps.push_back(*step);
      run.losses.push_back(*loss);
    } else {
      ++not_finite;
    }
  });
  if (bad + not_finite)
    problems.push_back(
        fmt::format("{}/metrics.jsonl: {} rows have no finite loss or are not JSON", run.folder, bad + not_finite));
}

// A file that cannot be read is a problem of this run, not of the report.
template <class Read>
void read_beside(const fs::path& out, const char* name, Run& run, std::vector<std::string>& problems, const Read& read) {
  const fs::path path = out / run.folder / name;
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return;
  try {
    read(path, run, problems);
  } catch (const Error& e) {
    problems.push_back(e.what());
  }
}

// `planned`: what the plan says of this run; all that is known of one that has no result yet.
Run read_run(const fs::path& out, const fs::path& folder, const Json& planned, std::vector<std::string>& problems) {
  Run run;
  run.folder = folder.generic_string();
  run.label = run.method = text_at(planned, "label", folder.parent_path().filename().string());
  run.stage = text_at(planned, "stage");
  run.lr = number_at(planned, "lr");
  if (const auto seed = number_at(planned, "seed")) run.seed = static_cast<int64_t>(*seed);
  const auto give_up = [&](const char* status, std::string reason) {
    run.status = status;
    run.reason = std::move(reason);
    return run;
  };
  std::error_code error;
  if (!fs::exists(out / folder / "result.json", error)) return give_up("missing", "no result.json: not started or interrupted");
  Json result;
  try {
    result = read_json(out / folder / "result.json");
  } catch (const Error& e) {
    return give_up("broken", e.what());
  }
  if (!result.is_object()) return give_up("broken", "result.json is not an object");
  run.label = text_at(result, "label", text_at(result, "method", run.label));
  run.method = text_at(result, "method", run.label);
  run.stage = text_at(result, "stage", run.stage);
  run.status = text_at(result, "status");
  run.reason = text_at(result, "reason");
  run.hash = text_at(result, "hash");
  if (const auto seed = number_at(result, "seed")) run.seed = static_cast<int64_t>(*seed);
  if (const auto lr = number_at(result, "lr")) run.lr = lr;
  run.rung = number_at(result, "rung");
  run.forgetting_loss = number_at(result, "forgetting_loss");
  run.dev = part_at(result, "dev");
  run.test = part_at(result, "test");
  run.costs = part_at(result, "costs");
  if (const Json& rungs = part_at(result, "rungs"); rungs.is_array()) run.rungs = rungs;
  static const std::set<std::string> known = {"done", "failed", "diverged", "running", "skipped"};
  if (!known.contains(run.status)) return give_up("broken", fmt::format("result.json has the status '{}'", run.status));
  if (run.stage != "search" && run.stage != "final")
    return give_up("broken", fmt::format("result.json has the stage '{}'", run.stage));
  if (run.final() && !run.seed) return give_up("broken", "result.json of a final run has no seed");
  if (run.final()) {
    if (run.done()) read_beside(out, "items.jsonl", run, problems, read_items);
    read_beside(out, "metrics.jsonl", run, problems, read_losses);
  }
  return run;
}

std::vector<fs::path> folders_below(const fs::path& out) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& method : fs::directory_iterator(out / "runs", error)) {
    if (!method.is_directory(error)) continue;
    for (const auto& trial : fs::directory_iterator(method.path(), error))
      if (trial.is_directory(error) && trial.path().extension() != ".partial")
        found.push_back(fs::path("runs") / method.path().filename() / trial.path().filename());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

RunFolders read_run_folders(const fs::path& out) {
  std::error_code error;
  if (!fs::exists(out / "comparison.json", error))
    input_error("report", fmt::format("'{}' holds no comparison.json", out.string()),
                "name the --out folder of a `graft compare`");
  RunFolders read{.setup = read_json(out / "comparison.json"), .runs = {}, .problems = {}};
  if (!read.setup.is_object())
    input_error("report", fmt::format("'{}' is not a JSON object", (out / "comparison.json").string()));
  std::vector<fs::path> folders = folders_below(out);
  std::map<fs::path, Json> planned;
  if (const Json& listed = part_at(read.setup, "runs"); listed.is_array()) {
    const std::vector<fs::path> present = std::move(folders);
    folders.clear();
    for (const Json& entry : listed)
      if (const fs::path folder = text_at(entry, "folder"); !folder.empty() && planned.emplace(folder, entry).second)
        folders.push_back(folder);
    const auto extra = std::count_if(present.begin(), present.end(), [&](const fs::path& p) { return !planned.contains(p); });
    if (extra) read.problems.push_back(fmt::format("{} run folders belong to an earlier plan and are left out", extra));
  }
  std::set<std::string> labels;
  const Json& methods = part_at(read.setup, "methods");
  if (methods.is_array())
    for (const Json& method : methods) labels.insert(text_at(method, "label", text_at(method, "name")));
  for (const fs::path& folder : folders) {
    Run run = read_run(out, folder, planned[folder], read.problems);
    if (!labels.empty() && !labels.contains(run.label))
      read.problems.push_back(fmt::format("{}: '{}' is not a method of the plan; left out", run.folder, run.label));
    else
      read.runs.push_back(std::move(run));
  }
  return read;
}

}  // namespace graft
