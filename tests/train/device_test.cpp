// What keeps a GPU busy, checked where there is none: which operations a step runs, and what it copies.
#include <ATen/record_function.h>

#include <set>

#include "core/torch.h"
#include "model/decoder.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"
#include "train/trainer.h"

namespace graft {
namespace {

constexpr const char* kMoved = "from the CPU to the device";

// aten::_to_copy(self, dtype, layout, device, ...) of a CPU's tensor to another device.
bool moves(const at::RecordFunction& f) {
  const auto inputs = f.inputs();
  return f.name() == std::string("aten::_to_copy") && inputs.size() > 3 && inputs[0].isTensor() && inputs[0].toTensor().is_cpu() && inputs[3].isDevice() &&
         !inputs[3].toDevice().is_cpu();
}

// How often each operation ran while it lived.
class Recorder {
 public:
  Recorder() {
    seen().clear();
    handle_ = at::addThreadLocalCallback(at::RecordFunctionCallback([](const at::RecordFunction& f) -> std::unique_ptr<at::ObserverContext> {
                                           ++seen()[f.name()];
                                           if (moves(f)) ++seen()[kMoved];
                                           return nullptr;
                                         }).needsInputs(true).scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
  }
  ~Recorder() { at::removeCallback(handle_); }
  static std::map<std::string, int>& seen() {
    static std::map<std::string, int> names;
    return names;
  }

 private:
  at::CallbackHandle handle_;
};

// Operations whose result a CPU must read before it can go on: on a GPU each of them waits.
const std::set<std::string> kWaiting{"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::nonzero_numpy", "aten::is_nonzero", "aten::equal",
                                     "aten::allclose", "aten::masked_select", "aten::unique_consecutive", "aten::_unique2", "aten::repeat_interleave"};

std::string waiting_operations() {
  std::string found;
  for (auto& [name, count] : Recorder::seen())
    if (kWaiting.count(name)) found += fmt::format(" {} ({} times)", name, count);
  return found;
}

TEST(Device, NoMethodWaitsInsideAStep) {
  int tried = 0;
  for (const char* family : {"llama", "gpt2", "gemma2", "phi3", "bloom"}) {
    const Model model = random_model(testing::tiny_config(family), 3);
    for (auto& c : testing::method_cases()) {
      if (c.few && model.config.model_type != "llama") continue;
      std::optional<Adapted> adapted = testing::attached(model, c);
      if (!adapted) continue;
      Trainer trainer(*adapted, {}, 4, 1, tried % 2 ? RecomputeRule{} : [](const Batch&) { return Recomputed{0, Recomputed::kAll}; });
      const Batch batch = testing::tiny_batch(model);
      trainer.step({batch, batch});
      const Recorder recorder;
      trainer.step({batch, batch});
      EXPECT_GT(Recorder::seen().size(), 20u);
      EXPECT_EQ(waiting_operations(), "") << family << " " << c.label;
      ++tried;
    }
  }
  EXPECT_GE(tried, 75);
}

TEST(Device, TheRecorderSeesWhatWaits) {
  const Recorder recorder;
  (void)at::ones({2}).sum().item<float>();
  (void)at::ones({2}).nonzero();
  EXPECT_NE(waiting_operations().find("item"), std::string::npos);
  EXPECT_NE(waiting_operations().find("nonzero"), std::string::npos);
}

// One copy for all indices of a batch and one for each table of rotary frequencies, whatever the number of layers or documents.
TEST(Device, LayingOutABatchCopiesItsIndicesAtOnce) {
  for (auto& family : families()) {
    const Model model = converted(random_model(testing::tiny_config(family.model_type), 3), at::kBFloat16, at::kMeta);
    const Batch batch = testing::tiny_batch(model);
    const Recorder recorder;
    const Pass pass = lay_out(model, Sites(model.layers()), batch);
    const auto& c = model.config;
    EXPECT_EQ(Recorder::seen()[kMoved], 1 + static_cast<int>(c.ropes.size()) + (c.alibi != Alibi::None)) << family.model_type;
    EXPECT_EQ(pass.device_starts.scalar_type(), at::kInt);
    EXPECT_TRUE(pass.ids.is_meta() && pass.positions.is_meta() && pass.predict.is_meta() && pass.targets.is_meta());
    EXPECT_EQ(pass.positions.storage().unsafeGetStorageImpl(), pass.targets.storage().unsafeGetStorageImpl());
    for (auto& angles : pass.angles) EXPECT_TRUE(angles.cos.is_meta() && angles.cos.scalar_type() == at::kBFloat16);
  }
}

}  // namespace
}  // namespace graft
