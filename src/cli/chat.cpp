#include <unistd.h>

#include <csignal>
#include <iostream>

#include "chat/chat_template.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/loaded.h"
#include "core/check.h"
#include "data/records.h"
#include "eval/generate.h"

namespace graft {
namespace {

constexpr const char* kChatHelp = R"(talks with a model through its chat template

On a terminal, type a message and press Enter. Lines that begin with a slash are commands:
  /system TEXT   sets the system message (no text: none) and starts anew
  /reset         forgets the conversation, keeps the system message
  /adapter NAME  lets this one of the adapters run, by its folder's name; none: the base alone, all: together as at the start
  /quit          ends (so does the end of the input)
When the input is no terminal, each line is a turn of the user and each answer goes to standard output.)";

// The adapters that were given, on their base, and those of them that run.
class Adapters {
 public:
  explicit Adapters(const ModelFlags& flags) : how_(flags.adapters.how()), base_(flags.load_base()), parts_(flags.adapters.load(base_)), chosen_(composed(base_, parts_, how_)) {}

  const Adapted& chosen() const { return chosen_; }
  void choose(const std::string& name) {
    std::vector<std::string> names{"none", "all"};
    std::vector<Part> parts;
    for (auto& part : parts_) {
      names.push_back(part.name);
      if (name == "all" || name == part.name) parts.push_back(part);
    }
    if (parts.empty() && name != "none") usage_error("chat", fmt::format("there is no adapter '{}'", name), fmt::format("known: {}", fmt::join(names, ", ")));
    chosen_ = composed(base_, parts, how_);
  }

 private:
  Compose how_;
  Model base_;
  std::vector<Part> parts_;
  Adapted chosen_;
};

// A conversation that goes on: what was said, and the model that answers.
class Talk {
 public:
  Talk(const chat::ChatTemplate& chat_template, const Tokenizer& tokenizer, Adapters& adapters, const GenerateConfig& config)
      : template_(chat_template), tokenizer_(tokenizer), adapters_(adapters), config_(config) {
    if (tokenizer.eos_id()) stops_.push_back(*tokenizer.eos_id());
  }

  void set_system(const std::string& text) {
    system_ = text;
    reset();
  }
  void choose_adapter(const std::string& name) { adapters_.choose(name); }
  void reset() {
    messages_.clear();
    if (!system_.empty()) say("system", system_);
  }

  // The answer; `show` gets it in pieces as it comes. A turn that cannot be rendered or has no room is taken back.
  std::string answer(const std::string& text, const std::function<void(const std::string&)>& show) {
    say("user", text);
    try {
      const std::string reply = generated(show);
      say("assistant", reply);
      return reply;
    } catch (...) {
      messages_.pop_back();
      throw;
    }
  }

 private:
  void say(const char* role, const std::string& content) { messages_.push_back(chat::Value::dict({{"role", role}, {"content", content}})); }

  std::string generated(const std::function<void(const std::string&)>& show) {
    chat::Conversation conversation;
    conversation.messages = chat::Value::list(messages_);
    const auto ids = tokenizer_.encode(template_.render(conversation, true).text, false);
    const Adapted& adapted = adapters_.chosen();
    const int64_t room = adapted.model.config.max_positions - adapted.sites.input_row_count() - adapted.sites.kv_row_count();
    if (static_cast<int64_t>(ids.size()) >= room) input_error("chat", fmt::format("the conversation has {} tokens, the model reads {}", ids.size(), room), "/reset starts anew");
    std::vector<int64_t> so_far;
    std::string shown;
    const auto on_token = [&](size_t, int64_t id) {
      so_far.push_back(id);
      const std::string text = tokenizer_.decode(so_far, true);
      if (text.ends_with("\xEF\xBF\xBD")) return;  // in the middle of a character
      show(text.substr(std::min(shown.size(), text.size())));
      shown = text;
    };
    const auto reply = tokenizer_.decode(generate(adapted.model, adapted.sites, {ids}, stops_, config_, on_token)[0], true);
    if (reply.size() > shown.size()) show(reply.substr(shown.size()));
    return reply;
  }

  const chat::ChatTemplate& template_;
  const Tokenizer& tokenizer_;
  Adapters& adapters_;
  GenerateConfig config_;
  std::vector<int64_t> stops_;
  chat::Values messages_;
  std::string system_;
};

// One line of the user; false ends the conversation.
bool take_turn(Talk& talk, const std::string& line, bool json) {
  const std::string_view text = line;
  if (text == "/quit") return false;
  if (text == "/reset") return talk.reset(), true;
  if (text == "/system" || text.starts_with("/system ")) return talk.set_system(line.size() > 8 ? line.substr(8) : ""), true;
  if (text == "/adapter" || text.starts_with("/adapter ")) return talk.choose_adapter(line.size() > 9 ? line.substr(9) : ""), true;
  if (text.starts_with("/")) usage_error("chat", fmt::format("there is no command '{}'", line.substr(0, line.find(' '))), "known: /system TEXT, /reset, /adapter NAME, /quit");
  if (text.find_first_not_of(" \t\r") == std::string_view::npos) return true;
  const auto show = [&](const std::string& piece) {
    if (json) return;
    fmt::print("{}", piece);
    std::fflush(stdout);
  };
  const std::string reply = talk.answer(line, show);
  if (json) print_json({{"user", line}, {"assistant", reply}});
  else fmt::print("\n");
  std::fflush(stdout);
  return true;
}

void converse(Talk& talk, bool json) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  int64_t number = 0;
  for (std::string line;;) {
    if (terminal) {
      fmt::print("> ");
      std::fflush(stdout);
    }
    if (!std::getline(std::cin, line)) break;
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    try {
      require_utf8(line, fmt::format("line {} of the input", number));
      if (!take_turn(talk, line, json)) return;
    } catch (const Error& e) {
      if (!terminal) throw;
      fmt::print(stderr, "{}\n", e.what());  // a person goes on
    }
  }
  if (terminal) fmt::print("\n");
}

// A row of --render: "messages", "tools", "documents", "add_generation_prompt"; "template" in place of the model's;
// "variables" for the template.
Json rendered_row(const Record& record, const std::string& folder, const chat::ChatTemplate* model_template, const Tokenizer* tokenizer) {
  const chat::Value& row = record.ordered;
  if (!row.is(chat::Kind::Dict)) input_error("chat", fmt::format("{} has no 'messages'", record.where));
  auto conversation = chat::Conversation::from(row, record.where);
  if (const chat::Value* more = row.get("variables"); more && more->is(chat::Kind::Dict))
    for (auto& [name, value] : more->dict_data().entries) conversation.more.emplace_back(name.str(), value);
  const chat::Value *text = row.get("template"), *prompt = row.get("add_generation_prompt");
  std::optional<chat::ChatTemplate> own;
  try {
    if (text) own = chat::ChatTemplate::from_text(folder, text->str(), "template");
    const auto rendered = (own ? *own : *model_template).render(conversation, prompt && prompt->truth());
    Json generated = Json::array();
    for (auto& span : rendered.generated) generated.push_back({span.begin, span.end});
    Json result = {{"text", rendered.text}, {"generated", generated}};
    if (tokenizer) result["ids"] = tokenizer->encode(rendered.text, false);
    return result;
  } catch (const Error& e) {
    return {{"error", e.what()}};
  }
}

void render_file(const std::string& file, const std::string& folder, const std::string& template_file) {
  const auto records = read_records({file});
  std::optional<chat::ChatTemplate> model_template;
  for (auto& record : records) {
    if (record.fields.contains("template") || model_template) continue;
    if (folder.empty() && template_file.empty()) usage_error("chat", fmt::format("{} has no 'template', and neither --model nor --chat-template is given", record.where));
    model_template = template_file.empty() ? chat::ChatTemplate::load(folder) : chat::ChatTemplate::load(folder, template_file);
  }
  std::optional<Tokenizer> tokenizer;
  if (!folder.empty() && Tokenizer::present(folder)) tokenizer = Tokenizer::load(folder);
  for (auto& record : records) print_json(rendered_row(record, folder, model_template ? &*model_template : nullptr, tokenizer ? &*tokenizer : nullptr));
}

}  // namespace

void add_chat(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("chat", kChatHelp);
  auto model = std::make_shared<ModelFlags>();
  auto template_file = std::make_shared<std::string>(), system = std::make_shared<std::string>(), render = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  auto config = std::make_shared<GenerateConfig>();
  config->max_new_tokens = 512;
  model->add(*sub);
  sub->get_option("--model")->required(false);
  sub->add_option("--chat-template", *template_file, "a template in place of the model's own");
  sub->add_option("--system", *system, "the system message at the start");
  sub->add_option("--render", *render,
                  "only render: a JSONL file of {\"messages\", \"tools\", \"documents\", \"add_generation_prompt\", \"template\", \"variables\"}; a line {\"text\", \"generated\", \"ids\"} or "
                  "{\"error\"} for each. The model folder needs no weights, and none is needed where each row has a template");
  sub->add_flag("--json", *json, "each turn as a line {\"user\", \"assistant\"}");
  auto flags = std::make_shared<Flags>(*sub, *config, std::map<std::string, std::string>{}, std::vector<std::string>{"batch"});
  sub->callback([=] {
    flags->apply(*config, "chat");
    if (!render->empty()) return render_file(*render, model->model, *template_file);
    if (model->model.empty()) usage_error("chat", "no model is given", "--model DIR names a Hugging Face model folder");
    const Tokenizer tokenizer = Tokenizer::load(model->model);
    const auto chat_template = template_file->empty() ? chat::ChatTemplate::load(model->model) : chat::ChatTemplate::load(model->model, *template_file);
    Adapters adapters(*model);
    Talk talk(chat_template, tokenizer, adapters, *config);
    talk.set_system(*system);
    std::signal(SIGINT, SIG_DFL);  // there is nothing to save
    converse(talk, *json);
  });
}

}  // namespace graft
