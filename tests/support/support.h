// What tests share: temporary folders, the shared data beside the checkout, and checks on thrown errors.
#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>

#include "core/check.h"
#include "core/tensor.h"

namespace graft::testing {

// A fresh folder that is removed at the end of the test.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// The folder of real data: $GRAFT_SHARED, else ../shared beside the source tree; empty when absent.
std::filesystem::path shared_data();

// The checkout: where golden files lie.
std::filesystem::path source_folder();

// Runs `action`, expects graft::Error with this fault, and returns its message ("" if nothing was thrown).
std::string error_of(const std::function<void()>& action, Fault fault);

// Where tests that can run anywhere put their tensors: $GRAFT_TEST_DEVICE ("cuda", "cuda:1"), else the CPU.
at::Device test_device();

}  // namespace graft::testing

// Skips a test with a reason where the shared data are absent; with GRAFT_REQUIRE_SHARED set that is a failure.
#define NEEDS_SHARED_DATA()                                                              \
  if (::graft::testing::shared_data().empty()) {                                         \
    if (std::getenv("GRAFT_REQUIRE_SHARED")) FAIL() << "shared data are required here";  \
    GTEST_SKIP() << "needs the shared data folder beside the checkout";                  \
  }
