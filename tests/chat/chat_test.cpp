// Templates against what transformers renders (tools/golden/chat.py, and the fixtures beside the checkout), and their limits.
#include <fstream>

#include "chat/chat_template.h"
#include "core/files.h"
#include "support/support.h"

namespace graft::chat {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(__FILE__).parent_path() / "golden";

// The text, or "error: ..." for what is refused.
std::string outcome(const std::string& text, const Value& variables) {
  try {
    return Template::parse(text, "template").render(variables).text;
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::Input) << e.what();
    return std::string("error: ") + e.what();
  }
}
std::string outcome(const std::string& text, const char* variables = "{}") { return outcome(text, Value::parse(variables, "variables")); }

TEST(Chat, SnippetsEqualTransformers) {
  const Value golden = Value::parse(read_file(kGolden / "snippets.json"), "snippets.json");
  const Values& rows = golden.get("rows")->list_data().items;
  ASSERT_GT(rows.size(), 650u);
  size_t refused = 0;
  for (auto& row : rows) {
    const std::string& text = row.get("template")->string();
    const std::string got = outcome(text, *golden.get("variables"));
    if (const Value* expected = row.get("text")) {
      EXPECT_EQ(got, expected->string()) << text;
      continue;
    }
    ++refused;
    EXPECT_TRUE(got.starts_with("error: ")) << text << "\nreference: " << row.get("error")->string() << "\ngot: " << got;
    const std::string& reason = row.get("error")->string();  // undefined values and the template's own words read the same
    for (const std::string kind : {"UndefinedError: ", "TemplateError: "})
      if (reason.starts_with(kind)) {
        EXPECT_NE(got.find(reason.substr(kind.size())), std::string::npos) << text << "\n" << reason << "\n" << got;
      }
  }
  EXPECT_GT(refused, 80u);
}

TEST(Chat, FixturesEqualTheReference) {
  NEEDS_SHARED_DATA();
  const fs::path folder = testing::shared_data() / "chat_templates";
  const Value conversations = Value::parse(read_file(folder / "conversations.json"), "conversations"), tokens = Value::parse(read_file(folder / "tokens.json"), "tokens");
  std::map<std::string, Template> templates;
  std::ifstream rows(folder / "rendered.jsonl");
  size_t count = 0, refused = 0;
  for (std::string line; std::getline(rows, line); ++count) {
    const Value row = Value::parse(line, "rendered.jsonl");
    const std::string name = row.get("template")->string();
    if (!templates.count(name)) templates.emplace(name, Template::parse(read_file(folder / (name + ".jinja")), name));
    Value variables = Value::dict(tokens.get(name)->dict_data().entries);
    variables.set(Value("messages"), conversations.list_data().items[static_cast<size_t>(row.get("conversation")->integer())]);
    variables.set(Value("add_generation_prompt"), *row.get("add_generation_prompt"));
    if (const Value* expected = row.get("rendered")) {
      EXPECT_EQ(templates.at(name).render(variables).text, expected->string()) << line;
      continue;
    }
    ++refused;
    const std::string reason = row.get("error")->string();
    const std::string got = testing::error_of([&] { templates.at(name).render(variables); }, Fault::Input);
    EXPECT_NE(got.find(reason.substr(reason.find(": ") + 2)), std::string::npos) << line << "\n" << got;
  }
  EXPECT_EQ(count, 264u);
  EXPECT_GT(refused, 0u);
}

TEST(Chat, ErrorsNameLineAndColumn) {
  const auto at = [](const std::string& text, const std::string& place) {
    const std::string message = outcome(text, "{\"d\": {}, \"l\": [1]}");
    EXPECT_NE(message.find("template " + place + ": "), std::string::npos) << text << "\n" << message;
  };
  at("a\n  {% include 'x' %}", "line 2, column 6");
  at("{% block x %}{% endblock %}", "line 1, column 4");
  at("{% for x in l recursive %}{% endfor %}", "line 1, column 15");
  at("ä\nüö {{ l | xmlattr }}", "line 2, column 11");
  at("{{ l is escaped }}", "line 1, column 9");
  at("{{ 1 +\n * 2 }}", "line 2, column 2");
  at("\r\n\r\n{{ 'open }}", "line 3, column 4");
  at("{% if 1 %}", "line 1, column 11");
  at("{{ 99999999999999999999 }}", "line 1, column 4");
  // While it runs.
  at("\n{{ d.x.y }}", "line 2, column 7");
  at("{% for x in l %}\n {{ x / 0 }}{% endfor %}", "line 2, column 7");
  at("{{ d() }}", "line 1, column 5");
  EXPECT_NE(outcome("{{ l | mapp }}").find("did you mean 'map'"), std::string::npos);
}

TEST(Chat, NothingEndless) {
  const auto refused = [](const std::string& text, const std::string& reason) {
    const std::string message = outcome(text);
    EXPECT_NE(message.find(reason), std::string::npos) << text.substr(0, 200) << "\n" << message.substr(0, 300);
  };
  const auto repeated = [](const std::string& text, int times) {
    std::string all;
    for (int i = 0; i < times; ++i) all += text;
    return all;
  };
  refused("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "too much work");
  refused("{% for a in range(99999) %}{{ 'x' * 10000 }}{% endfor %}", "16 million");
  refused("{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}", "too much work");
  refused("{{ 'x' * 99999999999 }}", "16 million");
  refused("{{ [1] * 99999999999 }}", "16 million");
  refused("{{ 'x'.center(99999999999) }}", "too large");
  refused("{{ '%99999999s' % 1 }}", "too large");
  refused("{{ 2 ** 99 }}", "64 bits");
  refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "too deep");
  refused("{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}", "deep");
  refused("{{ " + repeated("not ", 5000) + "1 }}", "deep");
  refused("{{ 1" + repeated(" + 1", 5000) + " }}", "deep");
  refused("{{ d" + repeated(".a", 5000) + " }}", "deep");
  refused(repeated("{% if 1 %}", 5000), "deep");
  refused("{% if 0 %}" + repeated("{% elif 0 %}", 5000) + "{% endif %}", "deep");
  refused("{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}", "nest");
  refused("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", "nest");
  refused(std::string(2000000, 'x'), "at most");
  // Rings of namespaces and chains of macros are taken apart without a word.
  EXPECT_EQ(outcome("{% set ns = namespace(x=0) %}{% for i in range(9000) %}{% set n = namespace(y=ns.x) %}{% set ns.x = n %}{% endfor %}ok"), "ok");
  EXPECT_EQ(outcome("{% set ns = namespace(f=0) %}{% macro m(f) %}{% macro g() %}{% endmacro %}{% set ns.f = g %}{% endmacro %}{% for i in range(9000) %}{{ m(ns.f) }}{% endfor %}ok"), "ok");
}

TEST(Chat, BrokenTemplatesNeverCrash) {
  const std::string whole = "{%- macro f(a, b=[1, 2]) %}{% for x in a if x is not none %}{{ x['k'][1:-1] | tojson(indent=2) ~ loop.index }}{% else %}{# c #}{% endfor %}{% endmacro %}{{ f({'a': 'b\\n'}, *[1]) }}";
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    outcome(whole.substr(0, cut));
    outcome(whole.substr(cut));
    for (const char* odd : {"\xFF", "{{", "%}", "'", "(", "|", "0x"}) outcome(whole.substr(0, cut) + odd + whole.substr(cut));
  }
}

TEST(Chat, GenerationBlocksAreTold) {
  const Template with = Template::parse("ä{% for m in l %}{% generation %}{{ m }}!{% endgeneration %}\n {% endfor %}", "template");
  EXPECT_TRUE(with.has_generation_blocks());
  const Rendered rendered = with.render(Value::parse("{\"l\": [\"ü\", \"b\"]}", "v"));
  EXPECT_EQ(rendered.text, "äü!b!");
  ASSERT_EQ(rendered.generated.size(), 2u);
  EXPECT_EQ(rendered.text.substr(rendered.generated[0].begin, rendered.generated[0].end - rendered.generated[0].begin), "ü!");
  EXPECT_EQ(rendered.text.substr(rendered.generated[1].begin, rendered.generated[1].end - rendered.generated[1].begin), "b!");
  EXPECT_FALSE(Template::parse("{{ 1 }}", "template").has_generation_blocks());
}

TEST(Chat, TheFolderTellsTemplateAndTokens) {
  testing::TempFolder folder;
  const Value row = Value::parse(R"({"messages": [{"role": "user", "content": "hi", "tool_calls": null}]})", "row");
  const Conversation conversation = Conversation::from(row, "row");
  const auto shown = [&](const Conversation& c) { return ChatTemplate::load(folder.path()).render(c, true).text; };
  EXPECT_NE(testing::error_of([&] { shown(conversation); }, Fault::Input).find("--chat-template"), std::string::npos);
  write_json(folder / "chat_template.json", {{"chat_template", "json"}});
  EXPECT_EQ(shown(conversation), "json");
  const char* text = "{{ bos_token }}{{ messages[0].content }}{{ messages[0].tool_calls is defined }}{{ tools is none }}{{ eos_token }}{{ image_token }}{{ boi }}{{ pad_token is defined }}{{ add_generation_prompt }}";
  Json config = {{"chat_template", text}, {"bos_token", {{"content", "<s>"}}}, {"eos_token", "</s>"}, {"pad_token", nullptr}, {"image_token", "<i>"}, {"extra_special_tokens", {{"boi", "<b>"}}}, {"add_bos_token", true}};
  write_json(folder / "tokenizer_config.json", config);
  EXPECT_EQ(shown(conversation), "<s>hiFalseTrue</s><i><b>FalseTrue");
  config["chat_template"] = Json::array({{{"name", "default"}, {"template", "plain"}}, {{"name", "tool_use"}, {"template", "tools {{ tools | tojson }}"}}, {{"name", "rag"}, {"template", "{% broken"}}});
  write_json(folder / "tokenizer_config.json", config);
  EXPECT_EQ(shown(conversation), "plain");
  Conversation with_tools = conversation;
  with_tools.tools = Value::parse(R"([{"z": 1, "a": 2}])", "tools");  // the order of keys stays
  EXPECT_EQ(shown(with_tools), R"(tools [{"z": 1, "a": 2}])");
  write_file(folder / "chat_template.jinja", "file\n");
  EXPECT_EQ(shown(with_tools), "file");
  write_file(folder / "chat_template.jinja", "\n{{ x");
  EXPECT_NE(testing::error_of([&] { shown(conversation); }, Fault::Input).find("chat_template.jinja line 2, column"), std::string::npos);
  for (const char* bad : {R"({"messages": []})", R"({"messages": 3})", R"({"messages": [1]})", R"({"messages": [{"content": "x"}]})", "{}", R"({"messages": [{"role": "user"}], "tools": 1})"})
    EXPECT_NE(testing::error_of([&] { Conversation::from(Value::parse(bad, "row"), "the row"); }, Fault::Input).find("the row"), std::string::npos) << bad;
}

}  // namespace
}  // namespace graft::chat
