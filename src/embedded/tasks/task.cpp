#include "embedded/tasks/task.h"

#include "core/check.h"

namespace graft {

void fill_splits(Task& task, const TaskSizes& sizes, uint64_t seed, const char* key,
                 const std::function<Json(Rng&, size_t, const std::string&)>& draw) {
  std::set<std::string> seen;
  const auto fill = [&](std::vector<Json>& rows, int64_t count, const std::string& split) {
    Rng rng(mix_seed(seed, task.name + "/" + split));
    for (int64_t i = 0; i < count; ++i) {
      int attempts = 0;
      Json row = draw(rng, static_cast<size_t>(i), split);
      while (!seen.insert(row.at(key).get<std::string>()).second) {
        if (++attempts > 2000)
          usage_error("embedded", fmt::format("the task '{}' has too few different inputs for {} rows in {}", task.name, count, split),
                      "ask for fewer rows");
        row = draw(rng, static_cast<size_t>(i), split);
      }
      rows.push_back(std::move(row));
    }
    rng.shuffle(rows);
  };
  fill(task.test, sizes.test, "test");
  fill(task.dev, sizes.dev, "dev");
  fill(task.train, sizes.train, "train");
}

}  // namespace graft
