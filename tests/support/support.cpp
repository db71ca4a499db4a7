#include "support/support.h"

#include <unistd.h>

#include <cstdlib>

#include "model/loader.h"

namespace graft::testing {
namespace fs = std::filesystem;

TempFolder::TempFolder() {
  std::string pattern = (fs::temp_directory_path() / "graft-test-XXXXXX").string();
  if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}
TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

fs::path shared_data() {
  const char* named = std::getenv("GRAFT_SHARED");
  const fs::path folder = named ? fs::path(named) : fs::path(GRAFT_SOURCE_DIR) / ".." / "shared";
  return fs::exists(folder / "data") ? fs::canonical(folder / "data") : fs::path();
}

fs::path source_folder() { return GRAFT_SOURCE_DIR; }

at::Device test_device() {
  const char* named = std::getenv("GRAFT_TEST_DEVICE");
  return parse_device(named ? named : "cpu");
}

std::string error_of(const std::function<void()>& action, Fault fault) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.fault()), static_cast<int>(fault)) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace graft::testing
