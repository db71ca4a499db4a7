// Files: whole reads, and writes that never leave a half-written file under the final name.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace graft {

std::string read_file(const std::filesystem::path& path);

// Writes to `path` + ".partial", flushes to disk, renames. On any error (missing folder, no space, no permission)
// throws Fault::Input, removes the partial file and leaves an earlier `path` untouched.
void write_file(const std::filesystem::path& path, std::string_view content);

// The same for a writer that streams: `fill` gets a file descriptor.
void write_file_with(const std::filesystem::path& path, const std::function<void(int fd)>& fill);

// write(2) until everything is out; throws Fault::Input naming `path`.
void write_all(int fd, const void* data, size_t size, const std::filesystem::path& path);

// Creates the folder and its parents, or throws Fault::Input.
void make_folder(const std::filesystem::path& path);

// A folder that is filled under `path` + ".partial" and then put in its place.
class PartialFolder {
 public:
  explicit PartialFolder(std::filesystem::path path);
  ~PartialFolder();  // removes what was not committed
  PartialFolder(const PartialFolder&) = delete;
  PartialFolder& operator=(const PartialFolder&) = delete;
  const std::filesystem::path& path() const { return partial_; }
  void commit();        // for a folder that is ours alone: an older one is replaced as a whole
  void commit_files();  // for a folder that people name: files of the same names are replaced one by one, all others stay

 private:
  std::filesystem::path final_, partial_;
  bool committed_ = false;
};

}  // namespace graft
