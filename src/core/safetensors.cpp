#include "core/safetensors.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/files.h"
#include "core/json.h"
#include "core/mapped_file.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kLongestHeader = 100'000'000;  // the reference's limit

struct Dtype {
  const char* name;
  at::ScalarType type;
  size_t bytes;
};
constexpr Dtype kDtypes[] = {{"F64", at::kDouble, 8}, {"I64", at::kLong, 8}, {"F32", at::kFloat, 4}, {"I32", at::kInt, 4},
                             {"F16", at::kHalf, 2},   {"BF16", at::kBFloat16, 2}, {"I16", at::kShort, 2},
                             {"U8", at::kByte, 1},    {"I8", at::kChar, 1},  {"BOOL", at::kBool, 1}};
// Known to the format, not to this program: listed with their size, an error when read.
constexpr std::pair<const char*, size_t> kForeign[] = {{"U64", 8}, {"U32", 4}, {"U16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"C64", 8}};

const Dtype* find_dtype(const std::string& name) {
  for (auto& d : kDtypes)
    if (name == d.name) return &d;
  return nullptr;
}
size_t dtype_bytes(const std::string& name) {
  if (const Dtype* d = find_dtype(name)) return d->bytes;
  for (auto& [foreign, bytes] : kForeign)
    if (name == foreign) return bytes;
  return 0;
}
const Dtype& dtype_of(at::ScalarType type) {
  for (auto& d : kDtypes)
    if (d.type == type) return d;
  fail(Fault::Internal, "safetensors", fmt::format("tensors of type {} cannot be stored", c10::toString(type)));
}

[[noreturn]] void broken(const fs::path& path, const std::string& why) {
  input_error("safetensors", fmt::format("{}: {}", path.string(), why), "the file is damaged or incomplete: copy or download it again");
}

TensorInfo parse_entry(const fs::path& path, const std::string& name, const Json& entry, uint64_t data_bytes) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() || !entry.contains("shape") || !entry["shape"].is_array() ||
      !entry.contains("data_offsets") || !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2)
    broken(path, fmt::format("the entry of '{}' must have dtype, shape and two data_offsets but is {}", name, json_line(entry).substr(0, 200)));
  TensorInfo info;
  info.dtype = entry["dtype"].get<std::string>();
  const size_t bytes = dtype_bytes(info.dtype);
  if (bytes == 0) broken(path, fmt::format("'{}' has the unknown dtype '{}'", name, info.dtype));
  uint64_t expected = bytes, extent = bytes;  // extent: as if no size were 0, which torch's strides must hold
  for (auto& d : entry["shape"]) {
    if (!d.is_number_unsigned()) broken(path, fmt::format("'{}' has the impossible shape {}", name, json_line(entry["shape"])));
    const uint64_t size = d.get<uint64_t>();
    if (__builtin_mul_overflow(extent, std::max<uint64_t>(size, 1), &extent) || extent > (uint64_t{1} << 62))
      broken(path, fmt::format("the shape {} of '{}' is too large", json_line(entry["shape"]), name));
    expected *= size;
    info.shape.push_back(static_cast<int64_t>(size));
  }
  for (auto& offset : entry["data_offsets"])
    if (!offset.is_number_unsigned()) broken(path, fmt::format("'{}' has the impossible data_offsets {}", name, json_line(entry["data_offsets"])));
  const uint64_t begin = entry["data_offsets"][0].get<uint64_t>(), end = entry["data_offsets"][1].get<uint64_t>();
  if (begin > end || end > data_bytes)
    broken(path, fmt::format("'{}' lies at bytes {} to {}, but the file has {} bytes of data", name, begin, end, data_bytes));
  if (end - begin != expected)
    broken(path, fmt::format("'{}' needs {} bytes for its shape and dtype but its data_offsets span {}", name, expected, end - begin));
  info.begin = begin;
  info.end = end;
  return info;
}

}  // namespace

int64_t TensorInfo::numel() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

struct SafetensorsFile::Mapping {
  fs::path path;
  const unsigned char* bytes = nullptr;
  size_t size = 0, data = 0;  // file size; where the data section begins
  std::map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
  ~Mapping() {
    if (!bytes) return;
    file_unmapped(bytes);
    munmap(const_cast<unsigned char*>(bytes), size);
  }
};

SafetensorsFile::SafetensorsFile(const fs::path& path) : mapping_(std::make_shared<Mapping>()) {
  Mapping& m = *mapping_;
  m.path = path;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not block
  if (fd < 0) input_error("safetensors", fmt::format("cannot read '{}': {}", path.string(), std::strerror(errno)));
  struct stat status {};
  const bool regular = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  m.size = regular ? static_cast<size_t>(status.st_size) : 0;
  if (regular && m.size >= 8) {
    void* mapped = ::mmap(nullptr, m.size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped != MAP_FAILED) {
      m.bytes = static_cast<const unsigned char*>(mapped);
      file_mapped(m.bytes, m.size);
    }
  }
  ::close(fd);
  if (!regular) input_error("safetensors", fmt::format("'{}' is not a regular file", path.string()));
  if (m.size < 8) broken(path, fmt::format("it has {} bytes, too few for a header", m.size));
  if (!m.bytes) input_error("safetensors", fmt::format("cannot map '{}' into memory", path.string()));

  uint64_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | m.bytes[i];
  if (header > kLongestHeader) broken(path, fmt::format("its header says {} bytes, but at most {} are allowed", header, kLongestHeader));
  if (header > m.size - 8) broken(path, fmt::format("its header says {} bytes, but only {} follow", header, m.size - 8));
  m.data = 8 + header;
  const std::string_view text(reinterpret_cast<const char*>(m.bytes) + 8, header);
  if (text.empty() || text[0] != '{') broken(path, "its header does not begin with '{'");
  const Json json = parse_json(text, path.string() + " (header)");
  for (auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) broken(path, "__metadata__ must be a mapping of text to text");
      for (auto& [key, value] : entry.items()) {
        if (!value.is_string()) broken(path, fmt::format("__metadata__['{}'] must be text", key));
        m.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    m.tensors[name] = parse_entry(path, name, entry, m.size - m.data);
  }
  // The data section is covered exactly: sorted by offset, each tensor begins where the one before ends.
  std::vector<std::pair<const std::string, TensorInfo>*> order;
  for (auto& entry : m.tensors) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end); });
  size_t next = 0;
  for (auto* entry : order) {
    if (entry->second.begin < next) broken(path, fmt::format("'{}' overlaps the tensor before it", entry->first));
    if (entry->second.begin > next) broken(path, fmt::format("there is a gap of {} bytes before '{}'", entry->second.begin - next, entry->first));
    next = entry->second.end;
  }
  if (next != m.size - m.data) broken(path, fmt::format("{} bytes follow the last tensor", m.size - m.data - next));
}

const std::map<std::string, TensorInfo>& SafetensorsFile::tensors() const { return mapping_->tensors; }
const std::map<std::string, std::string>& SafetensorsFile::metadata() const { return mapping_->metadata; }
const fs::path& SafetensorsFile::path() const { return mapping_->path; }
bool SafetensorsFile::contains(const std::string& name) const { return mapping_->tensors.count(name) > 0; }

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto found = mapping_->tensors.find(name);
  if (found == mapping_->tensors.end()) {
    std::vector<std::string> names;
    for (auto& entry : mapping_->tensors) names.push_back(entry.first);
    const std::string near = nearest_name(name, names);
    input_error("safetensors", fmt::format("{} has no tensor '{}'", mapping_->path.string(), name), near.empty() ? "" : fmt::format("did you mean '{}'?", near));
  }
  const TensorInfo& info = found->second;
  const Dtype* dtype = find_dtype(info.dtype);
  if (!dtype) input_error("safetensors", fmt::format("{}: '{}' is stored as {}, which is not supported", mapping_->path.string(), name, info.dtype));
  const unsigned char* bytes = mapping_->bytes + mapping_->data + info.begin;
  if (info.end == info.begin || reinterpret_cast<uintptr_t>(bytes) % dtype->bytes != 0) {
    at::Tensor copy = at::empty(info.shape, at::TensorOptions().dtype(dtype->type));
    if (copy.numel() > 0) std::memcpy(copy.mutable_data_ptr(), bytes, info.end - info.begin);
    return copy;
  }
  auto keep = mapping_;
  return at::from_blob(const_cast<unsigned char*>(bytes), info.shape, [keep](void*) {}, at::TensorOptions().dtype(dtype->type));
}

void SafetensorsFile::release(const std::string& name) const {
  const TensorInfo& info = mapping_->tensors.at(name);
  static const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (mapping_->data + info.begin) / page * page;  // a neighbour's part of a page is read again
  ::madvise(const_cast<unsigned char*>(mapping_->bytes) + begin, mapping_->data + info.end - begin, MADV_DONTNEED);
}

void save_safetensors(const fs::path& path, const NamedTensors& tensors, std::map<std::string, std::string> metadata) {
  metadata.try_emplace("format", "pt");
  std::vector<std::pair<std::string, at::Tensor>> order;
  for (auto& [name, value] : tensors) order.emplace_back(name, value.detach().to(at::kCPU).contiguous());
  std::sort(order.begin(), order.end(), [](auto& a, auto& b) {
    const auto x = a.second.element_size(), y = b.second.element_size();
    return x != y ? x > y : a.first < b.first;
  });
  Json header = Json::object();
  header["__metadata__"] = metadata;
  size_t offset = 0;
  for (auto& [name, value] : order) {
    CHECK_THAT(!header.contains(name), "two tensors are called '{}'", name);
    header[name] = {{"dtype", dtype_of(value.scalar_type()).name}, {"shape", value.sizes().vec()}, {"data_offsets", {offset, offset + value.nbytes()}}};
    offset += value.nbytes();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begin on an 8-byte boundary
  write_file_with(path, [&](int fd) {
    unsigned char length[8];
    for (int i = 0; i < 8; ++i) length[i] = static_cast<unsigned char>(static_cast<uint64_t>(text.size()) >> (8 * i));
    write_all(fd, length, sizeof length, path);
    write_all(fd, text.data(), text.size(), path);
    for (auto& [name, value] : order) write_all(fd, value.const_data_ptr(), value.nbytes(), path);
  });
}

TensorFolder::TensorFolder(const fs::path& folder, const std::string& stem) {
  const fs::path single = folder / (stem + ".safetensors"), index = folder / (stem + ".safetensors.index.json");
  if (fs::exists(single)) {
    files_.emplace_back(single);
    for (auto& [name, info] : files_[0].tensors()) where_[name] = 0;
    return;
  }
  if (!fs::exists(index))
    input_error("model", fmt::format("'{}' has neither {} nor {}", folder.string(), single.filename().string(), index.filename().string()),
                fs::exists(folder / "pytorch_model.bin") ? "pytorch_model.bin is a pickle; save the model again as safetensors" : "is the folder complete?");
  const Json json = read_json(index);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    input_error("model", fmt::format("{} has no weight_map", index.string()));
  std::map<std::string, size_t> shards;
  for (auto& [name, file] : json["weight_map"].items()) {
    if (!file.is_string() || fs::path(file.get<std::string>()).filename() != file.get<std::string>())
      input_error("model", fmt::format("{}: '{}' must name a file of the folder but is {}", index.string(), name, json_line(file)));
    const std::string shard = file.get<std::string>();
    if (!shards.count(shard)) {
      if (!fs::exists(folder / shard)) input_error("model", fmt::format("the shard '{}' is missing", (folder / shard).string()), "is the download complete?");
      shards[shard] = files_.size();
      files_.emplace_back(folder / shard);
    }
    if (!files_[shards[shard]].contains(name))
      input_error("model", fmt::format("{} says that '{}' is in {}, but it is not there", index.string(), name, shard));
    where_[name] = shards[shard];
  }
  for (auto& [shard, i] : shards)
    for (auto& [name, info] : files_[i].tensors()) {
      const auto found = where_.find(name);
      if (found != where_.end() && found->second != i) input_error("model", fmt::format("'{}' stands in two shards, {} among them", name, shard));
      where_.emplace(name, i);
    }
}

std::vector<std::string> TensorFolder::names() const {
  std::vector<std::string> names;
  for (auto& entry : where_) names.push_back(entry.first);
  return names;
}
bool TensorFolder::contains(const std::string& name) const { return where_.count(name) > 0; }
const TensorInfo& TensorFolder::info(const std::string& name) const { return files_[where_.at(name)].tensors().at(name); }
at::Tensor TensorFolder::tensor(const std::string& name) const { return files_[where_.at(name)].tensor(name); }
void TensorFolder::release(const std::string& name) const { files_[where_.at(name)].release(name); }

}  // namespace graft
