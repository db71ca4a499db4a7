#include "core/safetensors.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "core/files.h"
#include "core/json.h"
#include "core/rng.h"
#include "core/signals.h"
#include "core/system.h"
#include "core/torch.h"
#include "support/support.h"

namespace graft {
namespace {
namespace fs = std::filesystem;
using testing::error_of;
using testing::TempFolder;

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

// {name, hex, accepted}: files with the reference's verdict, made by tools/golden/safetensors_cases.py.
Json reference_cases() { return read_json(fs::path(__FILE__).parent_path() / "golden" / "safetensors_cases.json"); }

std::string reference_file(const std::string& name) {
  for (auto& row : reference_cases())
    if (row["name"] == name) return from_hex(row["hex"].get<std::string>());
  throw std::runtime_error("no case " + name);
}

std::string with_header(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
  return bytes + header + data;
}

// Reads everything a file says; throws what reading throws.
void read_all(const fs::path& path) {
  const SafetensorsFile file(path);
  for (auto& [name, info] : file.tensors()) {
    const at::Tensor t = file.tensor(name);
    ASSERT_EQ(t.numel(), info.numel());
    if (t.numel() > 0) t.to(at::kDouble).sum().item<double>();
  }
}

TEST(Safetensors, ReadsEveryDtypeOfTheReference) {
  TempFolder folder;
  write_file(folder / "x.safetensors", reference_file("every_dtype"));
  const SafetensorsFile file(folder / "x.safetensors");
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}}));
  const std::map<std::string, at::ScalarType> types = {{"f64", at::kDouble}, {"f32", at::kFloat}, {"f16", at::kHalf}, {"bf16", at::kBFloat16},
                                                       {"i64", at::kLong},   {"i32", at::kInt},   {"i16", at::kShort}, {"i8", at::kChar}};
  const at::Tensor expected = at::tensor({1.0, 2.0, 3.0, -1.0}, at::kDouble).reshape({2, 2});
  for (auto& [name, type] : types) {
    const at::Tensor t = file.tensor(name);
    EXPECT_EQ(t.scalar_type(), type) << name;
    EXPECT_TRUE(t.to(at::kDouble).equal(expected)) << name;
  }
  EXPECT_TRUE(file.tensor("u8").equal(at::tensor({1, 2, 3, 255}, at::kByte).reshape({2, 2})));
  EXPECT_TRUE(file.tensor("bool").to(at::kLong).equal(at::tensor({1, 0, 1, 1}, at::kLong).reshape({2, 2})));
  EXPECT_EQ(file.tensor("none").sizes(), at::IntArrayRef({0, 3}));
  EXPECT_EQ(file.tensor("scalar").dim(), 0);
  EXPECT_EQ(file.tensor("scalar").item<float>(), 7);
  EXPECT_EQ(file.tensors().size(), 12u);
}

TEST(Safetensors, AcceptsAndRefusesWhatTheReferenceDoes) {
  // Where this reader is stricter: the format's text asks for a leading '{' and unique keys, the reference lets both pass.
  const std::set<std::string> stricter = {"leading_space", "duplicate_name"};
  // Types that torch lacks or that nothing here computes with: the file opens, the tensor does not.
  const std::set<std::string> foreign = {"f8", "u64"};
  TempFolder folder;
  int accepted = 0, refused = 0;
  for (auto& row : reference_cases()) {
    const std::string name = row["name"];
    SCOPED_TRACE(name);
    const fs::path path = folder / (name + ".safetensors");
    write_file(path, from_hex(row["hex"].get<std::string>()));
    if (row["accepted"].get<bool>() && !stricter.count(name)) {
      ++accepted;
      if (!foreign.count(name)) {
        EXPECT_NO_THROW(read_all(path));
        continue;
      }
      EXPECT_EQ(SafetensorsFile(path).tensors().size(), 1u);
    }
    const std::string error = error_of([&] { read_all(path); }, Fault::Input);
    EXPECT_NE(error.find(name + ".safetensors"), std::string::npos) << error;
    EXPECT_LT(error.size(), 600u) << error;
    ++refused;
  }
  EXPECT_EQ(accepted, 11);
  EXPECT_EQ(refused, 45);
}

TEST(Safetensors, ErrorsSayWhatIsWrong) {
  TempFolder folder;
  const auto error = [&](const std::string& name) {
    write_file(folder / "x", reference_file(name));
    return error_of([&] { SafetensorsFile file(folder / "x"); }, Fault::Input);
  };
  const std::map<std::string, std::string> expected = {{"length_over_limit", "100000001 bytes, but at most 100000000"},
                                                       {"length_beyond_file", "10000 bytes, but only"},
                                                       {"duplicate_name", "'a' stands twice"},
                                                       {"unknown_dtype", "'F33'"},
                                                       {"negative_shape", "[-2]"},
                                                       {"overflowing_shape", "too large"},
                                                       {"shape_larger_than_offsets", "needs 12 bytes"},
                                                       {"overlap", "'b' overlaps"},
                                                       {"gap_between", "gap of 4 bytes before 'b'"},
                                                       {"trailing_byte", "1 bytes follow"},
                                                       {"missing_byte", "the file has 7 bytes of data"}};
  for (auto& [name, words] : expected) EXPECT_NE(error(name).find(words), std::string::npos) << name << ": " << error(name);
}

TEST(Safetensors, NothingButRegularFiles) {
  TempFolder folder;
  EXPECT_NE(error_of([&] { SafetensorsFile(folder / "none"); }, Fault::Input).find("No such file"), std::string::npos);
  EXPECT_NE(error_of([&] { SafetensorsFile(folder.path()); }, Fault::Input).find("not a regular file"), std::string::npos);
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_NE(error_of([&] { SafetensorsFile(folder / "pipe"); }, Fault::Input).find("not a regular file"), std::string::npos);
}

TEST(Safetensors, HostileHeaders) {
  TempFolder folder;
  const auto error = [&](const std::string& header, const std::string& data = {}) {
    write_file(folder / "x", with_header(header, data));
    return error_of([&] { read_all(folder / "x"); }, Fault::Input);
  };
  const std::string deep = std::string(2'000'000, '[');
  EXPECT_NE(error("{\"a\":" + deep + std::string(2'000'000, ']') + "}"), "");  // must not exhaust the stack
  EXPECT_NE(error("{\"a\":" + deep), "");
  EXPECT_NE(error(R"({"a":{"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]}})"), "");
  EXPECT_NE(error(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904,0],"data_offsets":[0,0]}})"), "");
  EXPECT_NE(error(R"({"a":{"dtype":"F32","shape":[9223372036854775808,0],"data_offsets":[0,0]}})"), "");
}

// Every changed byte gives a tensor list or graft's own error, nothing else.
TEST(Safetensors, RandomDamageNeverCrashes) {
  TempFolder folder;
  const std::string whole = reference_file("every_dtype");
  Rng rng(7);
  int refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string bytes = whole;
    const uint64_t changes = 1 + rng.below(3);
    for (uint64_t i = 0; i < changes; ++i) {
      const size_t at = rng.below(rng.below(4) == 0 ? bytes.size() : 780);
      const char* likely = "0123456789,:{}[]\"-.e FU";
      bytes[at] = rng.below(2) ? likely[rng.below(23)] : static_cast<char>(rng.below(256));
    }
    if (rng.below(5) == 0) bytes.resize(rng.below(bytes.size()));
    {  // no fsync: this writes often
      std::FILE* out = std::fopen((folder / "x").c_str(), "wb");
      ASSERT_NE(out, nullptr);
      std::fwrite(bytes.data(), 1, bytes.size(), out);
      std::fclose(out);
    }
    try {
      read_all(folder / "x");
    } catch (const Error& e) {
      ASSERT_EQ(e.fault(), Fault::Input) << e.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 700);
  EXPECT_LT(refused, 1500);
}

TEST(Safetensors, TensorsAreViewsThatOutliveTheFile) {
  TempFolder folder;
  save_safetensors(folder / "x", {{"a", at::arange(1000, at::kFloat)}});
  at::Tensor a;
  {
    const SafetensorsFile file(folder / "x");
    a = file.tensor("a");
    EXPECT_EQ(a.const_data_ptr(), file.tensor("a").const_data_ptr());
  }
  save_safetensors(folder / "x", {{"a", at::zeros(3)}});  // another file under the name; the old bytes stay mapped
  fs::remove(folder / "x");
  EXPECT_TRUE(a.equal(at::arange(1000, at::kFloat)));
}

TEST(Safetensors, ReleasedTensorsLeaveMemoryAndReadAgain) {
  TempFolder folder;
  const at::Tensor values = at::arange(16 << 20, at::kFloat);
  save_safetensors(folder / "x", {{"a", values}, {"b", at::ones({3})}});
  const SafetensorsFile file(folder / "x");
  const at::Tensor a = file.tensor("a");
  ASSERT_TRUE(a.equal(values));
  const int64_t before = resident_memory();
  file.release("a");
  EXPECT_LT(resident_memory(), before - (60 << 20));
  EXPECT_TRUE(a.equal(values));
  EXPECT_TRUE(file.tensor("b").equal(at::ones({3})));
}

TEST(Safetensors, AFileThatIsShortenedInUseEndsTheProgramWithAMessage) {
  TempFolder folder;
  save_safetensors(folder / "x", {{"a", at::ones({1 << 20})}});
  const SafetensorsFile file(folder / "x");
  const at::Tensor a = file.tensor("a");
  const auto* last = a.const_data_ptr<float>() + a.numel() - 1;
  const auto use = [&] {
    explain_bus_errors();
    fs::resize_file(folder / "x", 4096);
    std::exit(*static_cast<const volatile float*>(last) == 0 ? 4 : 5);
  };
  EXPECT_EXIT(use(), ::testing::ExitedWithCode(3), "x' was shortened or became unreadable");
}

TEST(Safetensors, UnalignedTensorsAreCopied) {
  TempFolder folder;
  std::string data(8, 0);
  const float values[] = {1.5f, -2.5f};
  std::memcpy(data.data(), values, 8);
  std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  for (size_t shift = 0; shift < 4; ++shift, header += ' ') {
    write_file(folder / "x", with_header(header, data));
    const SafetensorsFile file(folder / "x");
    const at::Tensor a = file.tensor("a");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.const_data_ptr()) % 4, 0u);
    EXPECT_EQ(a.const_data_ptr() == file.tensor("a").const_data_ptr(), header.size() % 4 == 0);
    EXPECT_TRUE(a.equal(at::tensor({1.5f, -2.5f})));
  }
}

TEST(Safetensors, MissingTensorNamesTheNearest) {
  TempFolder folder;
  save_safetensors(folder / "x", {{"model.norm.weight", at::zeros(3)}});
  const SafetensorsFile file(folder / "x");
  EXPECT_TRUE(file.contains("model.norm.weight"));
  EXPECT_FALSE(file.contains("model.norm.wieght"));
  EXPECT_NE(error_of([&] { file.tensor("model.norm.wieght"); }, Fault::Input).find("'model.norm.weight'"), std::string::npos);
}

TEST(Safetensors, SavedTensorsReadBackEqual) {
  TempFolder folder;
  at::manual_seed(1);
  const at::Tensor random = at::randn({3, 5});
  const NamedTensors tensors = {{"b", random.t()},
                                {"a", random.slice(1, 0, 5, 2)},
                                {"half", random.to(at::kHalf)},
                                {"brain", random.to(at::kBFloat16)},
                                {"double", random.to(at::kDouble)},
                                {"flags", random > 0},
                                {"ids", at::arange(7)},
                                {"odd", at::arange(3, at::kByte)},
                                {"none", at::empty({4, 0})},
                                {"scalar", at::scalar_tensor(2.5)}};
  save_safetensors(folder / "x", tensors, {{"note", "größe \"1\"\n"}});
  const SafetensorsFile file(folder / "x");
  EXPECT_EQ(file.tensors().size(), tensors.size());
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"note", "größe \"1\"\n"}}));
  for (auto& [name, value] : tensors) {
    EXPECT_EQ(file.tensor(name).scalar_type(), value.scalar_type()) << name;
    EXPECT_TRUE(file.tensor(name).equal(value)) << name;
    const size_t width = static_cast<size_t>(value.element_size());
    EXPECT_EQ(file.tensors().at(name).begin % width, 0u) << name;  // so that every tensor is a view
  }
  save_safetensors(folder / "empty", {});
  EXPECT_TRUE(SafetensorsFile(folder / "empty").tensors().empty());
}

// The same tensors as in the reference's file, saved here: the same entries, and the same bytes at them.
TEST(Safetensors, SavesWhatTheReferenceSaves) {
  TempFolder folder;
  write_file(folder / "theirs", reference_file("every_dtype"));
  const SafetensorsFile theirs(folder / "theirs");
  NamedTensors tensors;
  for (auto& [name, info] : theirs.tensors()) tensors.emplace_back(name, theirs.tensor(name));
  save_safetensors(folder / "ours", tensors);
  const SafetensorsFile ours(folder / "ours");
  ASSERT_EQ(ours.tensors().size(), theirs.tensors().size());
  EXPECT_EQ(ours.metadata(), theirs.metadata());
  const auto bytes = [](const SafetensorsFile& file, const TensorInfo& info) {
    const std::string all = read_file(file.path());
    const size_t data = all.size() - std::max_element(file.tensors().begin(), file.tensors().end(), [](auto& a, auto& b) {
                                       return a.second.end < b.second.end;
                                     })->second.end;
    return all.substr(data + info.begin, info.end - info.begin);
  };
  for (auto& [name, info] : theirs.tensors()) {
    const TensorInfo& mine = ours.tensors().at(name);
    EXPECT_EQ(mine.dtype, info.dtype) << name;
    EXPECT_EQ(mine.shape, info.shape) << name;
    EXPECT_EQ(bytes(ours, mine), bytes(theirs, info)) << name;
  }
  EXPECT_EQ(fs::file_size(folder / "ours"), fs::file_size(folder / "theirs"));
}

TEST(Safetensors, AFailedSaveLeavesTheOldFile) {
  TempFolder folder;
  save_safetensors(folder / "x", {{"a", at::ones(3)}});
  EXPECT_NE(error_of([&] { save_safetensors(folder / "x", {{"a", at::ones(1)}, {"a", at::ones(2)}}); }, Fault::Internal).find("'a'"), std::string::npos);
  error_of([&] { save_safetensors(folder / "x", {{"a", at::ones(3, at::kComplexFloat)}}); }, Fault::Internal);
  error_of([&] { save_safetensors(folder.path() / "no" / "x", {{"a", at::ones(3)}}); }, Fault::Input);
  EXPECT_TRUE(SafetensorsFile(folder / "x").tensor("a").equal(at::ones(3)));
  EXPECT_FALSE(fs::exists(folder / "x.partial"));
}

class Shards : public ::testing::Test {
 protected:
  void SetUp() override {
    save_safetensors(folder_ / "model-1.safetensors", {{"a", at::full({2}, 1.0f)}, {"b", at::full({2}, 2.0f)}});
    save_safetensors(folder_ / "model-2.safetensors", {{"c", at::full({2}, 3.0f)}});
  }
  void index(const Json& weight_map) { write_json(folder_ / "model.safetensors.index.json", {{"metadata", {{"total_size", 24}}}, {"weight_map", weight_map}}); }
  std::string error() {
    return error_of([&] { TensorFolder folder(folder_.path()); }, Fault::Input);
  }
  TempFolder folder_;
  const Json right_ = {{"a", "model-1.safetensors"}, {"b", "model-1.safetensors"}, {"c", "model-2.safetensors"}};
};

TEST_F(Shards, AreReadAsOne) {
  index(right_);
  const TensorFolder folder(folder_.path());
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(folder.tensor("b")[0].item<float>(), 2);
  EXPECT_EQ(folder.tensor("c")[1].item<float>(), 3);
  EXPECT_EQ(folder.info("c").dtype, "F32");
  EXPECT_FALSE(folder.contains("d"));
}

TEST_F(Shards, OneFileNeedsNoIndex) {
  save_safetensors(folder_ / "adapter_model.safetensors", {{"w", at::ones(2)}});
  EXPECT_EQ(TensorFolder(folder_.path(), "adapter_model").names(), std::vector<std::string>{"w"});
}

TEST_F(Shards, ErrorsNameTheShard) {
  EXPECT_NE(error().find("neither model.safetensors nor model.safetensors.index.json"), std::string::npos);
  Json map = right_;
  map["d"] = "model-3.safetensors";
  index(map);
  EXPECT_NE(error().find("model-3.safetensors"), std::string::npos);
  map = right_;
  map["d"] = "model-2.safetensors";
  index(map);
  EXPECT_NE(error().find("says that 'd' is in model-2.safetensors"), std::string::npos);
  for (const Json& bad : {Json("../model-1.safetensors"), Json("/etc/passwd"), Json(3)}) {
    map = right_;
    map["a"] = bad;
    index(map);
    EXPECT_NE(error().find("'a'"), std::string::npos) << bad;
  }
  index(right_);
  save_safetensors(folder_ / "model-2.safetensors", {{"c", at::ones(2)}, {"a", at::ones(2)}});
  EXPECT_NE(error().find("'a' stands in two shards"), std::string::npos);
  for (const Json& bad : {Json::array(), Json(), Json("x")}) {
    index(bad);
    EXPECT_NE(error().find("weight_map"), std::string::npos) << bad;
  }
}

}  // namespace
}  // namespace graft
