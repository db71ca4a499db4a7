// GGUF, version 3, as llama.cpp reads it: magic, version, counts, key-value pairs, tensor descriptions, then the data of each
// tensor at a multiple of 32 bytes. All integers little-endian; dimensions are listed fastest first.
#include <bit>
#include <cstring>

#include "adapter/convert.h"
#include "core/check.h"
#include "core/files.h"
#include "core/torch.h"
#include "model/family.h"

namespace graft {
namespace {

static_assert(std::endian::native == std::endian::little);

class GgufWriter {
 public:
  void text(const char* key, const std::string& value) {
    begin_value(key, 8);
    append(values_, value);
  }
  void number(const char* key, float value) {
    begin_value(key, 6);
    append(values_, value);
  }
  void number(const char* key, uint32_t value) {
    begin_value(key, 4);
    append(values_, value);
  }
  void tensor(const std::string& name, const Tensor& value) {
    const Tensor data = value.detach().to(at::kCPU, at::kFloat).contiguous();
    append(tensors_, name);
    append(tensors_, static_cast<uint32_t>(data.dim()));
    for (int64_t d = data.dim() - 1; d >= 0; --d) append(tensors_, static_cast<uint64_t>(data.size(d)));
    append(tensors_, uint32_t{0});  // F32
    append(tensors_, static_cast<uint64_t>(data_.size()));
    data_.append(static_cast<const char*>(data.const_data_ptr()), data.nbytes());
    pad(data_);
    ++tensor_count_;
  }
  std::string bytes() const {
    std::string out = "GGUF";
    append(out, uint32_t{3});
    append(out, tensor_count_);
    append(out, value_count_);
    out += values_ + tensors_;
    pad(out);
    return out + data_;
  }

 private:
  static void pad(std::string& bytes) { bytes.resize((bytes.size() + 31) / 32 * 32, '\0'); }
  static void append(std::string& out, const std::string& value) {
    append(out, static_cast<uint64_t>(value.size()));
    out += value;
  }
  template <class T>
  static void append(std::string& out, T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    out.append(raw, sizeof(T));
  }
  void begin_value(const char* key, uint32_t type) {
    append(values_, std::string(key));
    append(values_, type);
    ++value_count_;
  }
  std::string values_, tensors_, data_;
  uint64_t tensor_count_ = 0, value_count_ = 0;
};

std::string gguf_name(const FactoredUpdate& update) {
  const char* part = [&] {
    switch (update.site) {
      case Site::Q:
        return "attn_q";
      case Site::K:
        return "attn_k";
      case Site::V:
        return "attn_v";
      case Site::Qkv:
        return "attn_qkv";
      case Site::O:
        return "attn_output";
      case Site::Gate:
        return "ffn_gate";
      case Site::Up:
      case Site::GateUp:
        return "ffn_up";
      case Site::Down:
        return "ffn_down";
      default:
        return "output";
    }
  }();
  return update.site == Site::Head ? "output.weight" : fmt::format("blk.{}.{}.weight", update.layer, part);
}

// HF's rotary embedding pairs row i of a head with row i + half of it, llama.cpp's pairs neighbours.
Tensor interleaved(const Tensor& rows, int64_t heads) {
  const int64_t half = rows.size(0) / heads / 2;
  return rows.view({heads, 2, half, rows.size(1)}).transpose(1, 2).reshape(rows.sizes());
}

}  // namespace

void save_gguf_lora(const LoraConversion& conversion, const Model& base, const std::filesystem::path& file) {
  const FamilyRow& family = *base.family;
  if (!family.gguf_architecture)
    usage_error(
        "convert",
        fmt::format("adapters for '{}' models cannot be written as GGUF: llama.cpp's layout of their weights is not known here",
                    family.model_type),
        "merge the adapter and convert the merged model with llama.cpp's own program");
  CHECK_THAT(!conversion.updates.empty(), "no update to write");
  const double alpha = static_cast<double>(conversion.updates.front().a.size(0));
  GgufWriter writer;
  writer.text("general.architecture", family.gguf_architecture);
  writer.text("general.type", "adapter");
  writer.text("adapter.type", "lora");
  writer.number("adapter.lora.alpha", static_cast<float>(alpha));
  writer.number("general.file_type", uint32_t{0});
  for (auto& update : conversion.updates) {
    if (update.site == Site::Head && base.config.tied_head)
      usage_error(
          "convert",
          fmt::format("'{}' is tied to the embedding, and llama.cpp has no weight of its own to adapt there", update.path),
          "leave the head out");
    Tensor b = update.b * (static_cast<double>(update.a.size(0)) / alpha);
    if (family.gguf_permutes_qk && update.site == Site::Q) b = interleaved(b, base.config.heads);
    if (family.gguf_permutes_qk && update.site == Site::K) b = interleaved(b, base.config.kv_heads);
    writer.tensor(gguf_name(update) + ".lora_a", update.a);
    writer.tensor(gguf_name(update) + ".lora_b", b);
  }
  write_file(file, writer.bytes());
}

}  // namespace graft
