// A method: its options, the tensors it trains, and the edits that put them to work.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Generator.h>

#include "core/config.h"
#include "core/safetensors.h"
#include "model/model.h"

namespace graft {

// One trained tensor. The list of a method's parameters is all that saving, counting, moving and optimising need.
struct Param {
  std::string name;   // as in the adapter's file
  Tensor value;       // a leaf that requires grad; float32 whatever the base's dtype (float64 in gradient checks)
  bool decay = true;  // false for biases, norms and factors whose identity is 1
  bool transposed = false;  // the file holds the transpose: a base weight that is stored as [in, out]
  double lr_factor = 1;     // its learning rate over the run's
  double own_lr = 0;        // its own peak learning rate in place of that; 0: none
  bool own = false;         // among the kept tensors: frozen, but the method's own, so that a file brings its value
};

struct Calibration;  // methods/common/calibration.h

// What attaching may use.
struct AttachContext {
  Model& model;     // the method's own copy: it may replace handles by trained copies
  Sites& sites;
  at::Generator generator;  // initial values are drawn from here, in the order of the parameters
  std::function<std::vector<int64_t>(const std::string&)> tokenize;  // for initialisation from a text; may be empty
  bool loading = false;  // the values come from a file next: what only a fresh start needs is neither done nor checked
  const Calibration* calibration = nullptr;  // training data, for starts that depend on it; null: there are none
};

class Method {
 public:
  virtual ~Method() = default;
  virtual Config& config() = 0;

  // Checks the options against the model, creates the parameters, fills the sites. Called once.
  virtual void attach(AttachContext& context) = 0;

  std::vector<Param>& params() { return params_; }
  const std::vector<Param>& params() const { return params_; }

  // The tensors of the adapter's file: the parameters, unless the format keeps something derived from them.
  virtual NamedTensors file_tensors() const;
  // Fills an attached method from a file. A missing, unknown or mis-shaped tensor throws Fault::Input.
  virtual void load_file_tensors(const NamedTensors& tensors, const std::string& source);
  // The method's part of the adapter's configuration file, and back.
  virtual Json file_config(const Model& model) { (void)model; return to_json(config()); }
  virtual void read_file_config(const Json& json, const std::string& tag) { from_json(config(), json, tag, ignored_keys()); }
  // How well this method with its defaults fits a configuration of AdapterHub, which names no method: −1 where it cannot read it, else more for
  // every option that agrees.
  virtual int file_fit(const Json& /*config*/) const { return -1; }
  // --- what training calls ---
  // The planned number of optimizer steps, before the first of them.
  virtual void start_training(int64_t /*steps*/) {}
  // After the backward pass, before clipping and the optimizer: may change the gradients.
  virtual void adjust_gradients() {}
  // A term that joins the gradient once a step but not the logged loss; undefined: none.
  virtual Tensor extra_loss() const { return {}; }
  // After the optimizer's step `step` (counted from 1), while the gradients are still there.
  virtual void after_step(int64_t /*step*/) {}
  // Whether every training pass runs the same operations on the same tensors, whose values alone change between steps. Otherwise passes are not
  // recorded (train/gradients.h).
  virtual bool passes_repeat() const { return true; }
  // What a resume needs beside the parameters, and back: the own frozen tensors, unless a method has more.
  virtual NamedTensors state() const;
  virtual void load_state(const NamedTensors& tensors, const std::string& source);

  // A method whose backward pass treats something as a constant by design keeps that value fixed while `held` is true, so
  // that difference quotients of the loss equal its gradients.
  virtual void hold_constants(bool /*held*/) {}
  // Keys of other programs' files that do not change the maths.
  virtual std::vector<std::string> ignored_keys() const { return {}; }

 protected:
  // Registers `value` as trained under `name` and returns it.
  Tensor add(const std::string& name, Tensor value, bool decay = true);
  // Parameters and then kept tensors from these positions on, as the file names them.
  NamedTensors named_tensors(size_t first_param = 0) const;
  std::vector<Param> params_;
  // Tensors of the file that are not trained. Those marked `own` are read as parameters are; the others are copies of base tensors
  // or of parameters under a second name: written always, and when a file holds one it must have the value that it has here.
  std::vector<Param> kept_;
};

enum class Format { Peft, AdapterHub, ModelFolder };

// What a method changes: how the list of methods is ordered.
enum class Idea { LowRank, Orthogonal, Spectral, Scaling, Adapter, Prompt, Representation, Combination, Selective };
const char* idea_title(Idea idea);

// A row of the table of methods.
struct MethodRow {
  const char* name;
  const char* peft_type;   // in adapter_config.json; nullptr where PEFT has none
  const char* title;
  const char* paper;       // arXiv number or citation
  const char* trains;      // what is trained, in one line
  Idea idea;
  const char* formula;     // what becomes of y = W x + b, or of h, in one line
  const char* size;        // trained parameters as a function of the model's shape and the options
  const char* cost;        // operations and memory, against the base or LoRA
  Format format;
  bool mergeable;
  bool identity;           // the model's outputs are unchanged at initialisation
  double learning_rate;    // default for a model about 1000 wide
  std::unique_ptr<Method> (*make)();
  const char* peft_key = "";  // of rows with one PEFT type: this one reads files whose configuration sets that key
  const char* aliases = "";  // other programs' names for the same method with the same defaults, by spaces
};

std::span<const MethodRow> methods();
// Puts a method of a program that links the library behind the table's; before anything has asked for methods().
void add_method(const MethodRow& row);
const MethodRow& find_method(const std::string& name);  // by name or alias; throws Fault::Usage with the nearest name

// Attaches a method to a copy of the base: the copy, the filled sites and the method belong together.
struct Adapted {
  Model model;
  Sites sites;
  std::unique_ptr<Method> method;
  const MethodRow* row = nullptr;
  std::vector<std::shared_ptr<const Adapted>> parts = {};  // what a composition is made of (adapter/compose.h), which has neither method nor row
};
Adapted attach(const Model& base, const MethodRow& row, std::unique_ptr<Method> method, uint64_t seed,
               std::function<std::vector<int64_t>(const std::string&)> tokenize = {}, bool loading = false, const Calibration* calibration = nullptr);
// A base without any method.
Adapted bare(const Model& base);

int64_t trainable_parameters(const Method& method);

}  // namespace graft
