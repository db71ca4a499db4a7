// The safetensors format: an 8-byte little-endian header length, a JSON header {name: {dtype, shape, data_offsets}},
// then the tensors' bytes without gaps. Reading is memory-mapped and checks every rule of the format.
// A file must not change in place while it is mapped. Replacing it by renaming another over it, as all writers here do, is
// safe: the mapping keeps the old one. The pages are read-only, so that a write to a shared base is a fault, not a wrong result.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace graft {

struct TensorInfo {
  std::string dtype;            // as in the file: "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  size_t begin = 0, end = 0;    // bytes from the start of the data section
  int64_t numel() const;
};

class SafetensorsFile {
 public:
  // Maps the file and checks the header: its length, valid JSON, no duplicate names, known dtypes, non-negative
  // shapes whose size is that of the offsets, no overlap, no gap, no trailing or missing bytes. Throws Fault::Input.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::map<std::string, TensorInfo>& tensors() const;
  const std::map<std::string, std::string>& metadata() const;  // "__metadata__"; empty when absent
  const std::filesystem::path& path() const;
  bool contains(const std::string& name) const;
  // A view of the mapped bytes (copied only where the offset is not aligned for the dtype). It keeps the mapping
  // alive and must not be written to. A missing name throws Fault::Input with the nearest known name.
  at::Tensor tensor(const std::string& name) const;
  // Lets what was read of this tensor leave memory; views of it read the file again.
  void release(const std::string& name) const;

 private:
  struct Mapping;
  std::shared_ptr<Mapping> mapping_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes `tensors` (any device and strides) under a temporary name and renames. The metadata get {"format":"pt"}
// unless they say otherwise. Data are 8-byte aligned where sizes allow; tensors are laid out by dtype size, then name, as the reference does.
void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      std::map<std::string, std::string> metadata = {});

// All tensors of a model folder: model.safetensors, or the shards that model.safetensors.index.json names, checked
// against the index (missing shard, tensor in no shard, tensor in two). Throws Fault::Input.
class TensorFolder {
 public:
  explicit TensorFolder(const std::filesystem::path& folder, const std::string& stem = "model");
  std::vector<std::string> names() const;
  bool contains(const std::string& name) const;
  const TensorInfo& info(const std::string& name) const;
  at::Tensor tensor(const std::string& name) const;
  void release(const std::string& name) const;

 private:
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> where_;
};

}  // namespace graft
