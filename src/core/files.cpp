#include "core/files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "core/check.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void fail_with_errno(const char* doing, const fs::path& path) {
  const int code = errno;
  const char* hint = code == ENOSPC   ? "free some space or choose another folder"
                     : code == ENOENT ? "check the path"
                     : code == EACCES ? "check the permissions"
                                      : "";
  input_error("file", fmt::format("cannot {} '{}': {}", doing, path.string(), std::strerror(code)), hint);
}

}  // namespace

std::string read_file(const fs::path& path) {
  if (fs::is_directory(path)) input_error("file", fmt::format("cannot read '{}': it is a folder, not a file", path.string()));
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) fail_with_errno("read", path);
  std::ostringstream content;
  content << in.rdbuf();
  if (in.bad()) fail_with_errno("read", path);
  return std::move(content).str();
}

void write_all(int fd, const void* data, size_t size, const fs::path& path) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::write(fd, next, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_with_errno("write", path);
    }
    next += written;
    size -= static_cast<size_t>(written);
  }
}

void write_file_with(const fs::path& path, const std::function<void(int fd)>& fill) {
  const fs::path partial = path.string() + ".partial";
  const int fd = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) fail_with_errno("write", path);
  try {
    fill(fd);
    if (::fsync(fd) != 0 && errno != EINVAL) fail_with_errno("write", path);
  } catch (...) {
    ::close(fd);
    ::unlink(partial.c_str());
    throw;
  }
  ::close(fd);
  if (::rename(partial.c_str(), path.c_str()) != 0) {
    const int code = errno;
    ::unlink(partial.c_str());
    errno = code;
    fail_with_errno("write", path);
  }
}

void write_file(const fs::path& path, std::string_view content) {
  write_file_with(path, [&](int fd) { write_all(fd, content.data(), content.size(), path); });
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path))
    input_error("file", fmt::format("cannot create the folder '{}': {}", path.string(), error ? error.message() : "a file is in the way"),
                "choose another place for the output");
}

PartialFolder::PartialFolder(fs::path path) : final_(std::move(path)), partial_(final_.string() + ".partial") {
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
  make_folder(partial_);
}

PartialFolder::~PartialFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(partial_, ignored);
}

void PartialFolder::commit() {
  std::error_code error;
  const fs::path old = final_.string() + ".old";
  fs::remove_all(old, error);
  if (fs::exists(final_)) fs::rename(final_, old, error);
  fs::rename(partial_, final_, error);
  if (error) input_error("file", fmt::format("cannot create '{}': {}", final_.string(), error.message()));
  committed_ = true;
  fs::remove_all(old, error);
}

void PartialFolder::commit_files() {
  make_folder(final_);
  for (auto& entry : fs::recursive_directory_iterator(partial_)) {
    const fs::path target = final_ / entry.path().lexically_relative(partial_);
    std::error_code error;
    if (entry.is_directory()) make_folder(target);
    else fs::rename(entry.path(), target, error);
    if (error) input_error("file", fmt::format("cannot write '{}': {}", target.string(), error.message()), "choose another place for the output");
  }
}

}  // namespace graft
