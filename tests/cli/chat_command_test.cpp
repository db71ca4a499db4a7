// graft chat as a person's pipe and a script meet it.
#include <sys/wait.h>

#include "core/files.h"
#include "core/json.h"
#include "core/torch.h"
#include "model/loader.h"
#include "support/conformance.h"
#include "support/support.h"

namespace graft {
namespace {

class ChatCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    save_model(random_model(testing::tiny_config("llama"), 3), folder_ / "model", {}, at::kFloat);
    Json vocab = Json::object();
    for (char c = 'a'; c <= 'z'; ++c) vocab[std::string(1, c)] = 2 + c - 'a';
    for (const char* other : {"</s>", " ", ":", "\n", "L"}) vocab[other] = vocab.size() + 2;
    write_json(folder_ / "model/tokenizer.json", {{"decoder", {{"type", "Fuse"}}}, {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}});
    write_json(folder_ / "model/tokenizer_config.json", {{"eos_token", "</s>"}});
    write_file(folder_ / "model/chat_template.jinja", "{% for m in messages %}{{ m.role[0] }}: {{ m.content }}\n{% endfor %}{{ 'a: ' if add_generation_prompt }}");
  }
  // The exit code; what was written is in out_ and err_.
  int run(const std::string& arguments, const std::string& input = "") {
    write_file(folder_ / "in.txt", input);
    const std::string command = fmt::format("cd '{}' && '{}' {} >out.txt 2>err.txt <in.txt", folder_.path().string(), GRAFT_COMMAND, arguments);
    const int status = std::system(command.c_str());
    out_ = read_file(folder_ / "out.txt");
    err_ = read_file(folder_ / "err.txt");
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::vector<Json> lines() const {
    std::vector<Json> rows;
    for (size_t at = 0, end; at < out_.size(); at = end + 1) {
      end = std::min(out_.find('\n', at), out_.size());
      rows.push_back(parse_json(out_.substr(at, end - at), "a line"));
    }
    return rows;
  }
  std::string out_, err_;
  testing::TempFolder folder_;
};

TEST_F(ChatCommand, EachLineIsATurnOfOneConversation) {
  ASSERT_EQ(run("chat --model model --json --max-new-tokens 5", "ab\n\ncd\n/reset\nab\n/system L\nab\n/quit\nnever\n"), 0) << err_;
  const auto turns = lines();
  ASSERT_EQ(turns.size(), 4u);
  EXPECT_EQ(turns[0]["user"], "ab");
  EXPECT_EQ(turns[1]["user"], "cd");
  EXPECT_EQ(turns[2], turns[0]);  // forgotten
  // What the model was asked, asked again through generate.
  const auto continued = [&](const std::string& prompt) {
    write_file(folder_ / "prompt.txt", prompt);
    EXPECT_EQ(run("generate --model model --json --max-new-tokens 5 --prompt \"$(cat prompt.txt)\""), 0) << err_;
    return parse_json(out_, "generate")["text"].get<std::string>();
  };
  const std::string first = turns[0]["assistant"].get<std::string>();
  EXPECT_EQ(continued("u: ab\na: "), "u: ab\na: " + first);
  const std::string second = "u: ab\na: " + first + "\nu: cd\na: ";
  EXPECT_EQ(continued(second), second + turns[1]["assistant"].get<std::string>());
  EXPECT_EQ(continued("s: L\nu: ab\na: "), "s: L\nu: ab\na: " + turns[3]["assistant"].get<std::string>());
  ASSERT_EQ(run("chat --model model --max-new-tokens 5 --system L", "ab\n"), 0) << err_;
  EXPECT_EQ(out_, turns[3]["assistant"].get<std::string>() + "\n");
}

TEST_F(ChatCommand, AdaptersAreSwitched) {
  write_file(folder_ / "rows.jsonl", R"({"text":"ab cd ef gh"})" "\n");
  for (const char* name : {"one", "two"})
    ASSERT_EQ(run(std::string("train --model model --data rows.jsonl --method lora -o r=4 -o target_modules=all-linear --steps 8 --lr 0.3 --batch-size 1 --seed ") + (name[0] == 'o' ? "1" : "2") + " --out " + name), 0) << err_;
  const auto answer = [&](const std::string& arguments, const std::string& commands) {
    EXPECT_EQ(run("chat --model model --json --max-new-tokens 8 " + arguments, commands + "ab\n"), 0) << err_;
    return lines().back()["assistant"];
  };
  const std::string both = "--adapter one --adapter two ";
  const Json base = answer("", ""), one = answer("--adapter one", ""), two = answer("--adapter two", ""), all = answer(both, "");
  EXPECT_NE(one, base);
  EXPECT_NE(all, one);
  EXPECT_EQ(answer(both, "/adapter one\n"), one);
  EXPECT_EQ(answer(both, "/adapter one\n/adapter two\n"), two);
  EXPECT_EQ(answer(both, "/adapter none\n"), base);
  EXPECT_EQ(answer(both, "ab\n/adapter none\n/reset\n/adapter all\n"), all);
  EXPECT_EQ(run("chat --model model " + both, "/adapter three\n"), 2);
  EXPECT_NE(err_.find("known: none, all, one, two"), std::string::npos) << err_;
}

TEST_F(ChatCommand, WhatItRefuses) {
  EXPECT_EQ(run("chat --model model", "/rest\n"), 2);
  EXPECT_NE(err_.find("/reset"), std::string::npos);
  EXPECT_EQ(run("chat --model model", "\xFF\n"), 3);
  EXPECT_EQ(run("chat"), 2);
  write_file(folder_ / "own.jinja", "{{ raise_exception('not today') }}");
  EXPECT_EQ(run("chat --model model --chat-template own.jinja", "ab\n"), 3);
  EXPECT_NE(err_.find("not today"), std::string::npos) << err_;
  std::filesystem::remove(folder_ / "model/chat_template.jinja");
  EXPECT_EQ(run("chat --model model", "ab\n"), 3);
  EXPECT_NE(err_.find("--chat-template"), std::string::npos) << err_;
  EXPECT_EQ(run("help chat"), 0);
  for (const char* word : {"/system", "/reset", "/adapter", "/quit", "--render", "--chat-template", "--adapter", "--temperature"}) EXPECT_NE(out_.find(word), std::string::npos) << word;
}

TEST_F(ChatCommand, RendersFiles) {
  write_file(folder_ / "rows.jsonl", R"({"messages":[{"role":"user","content":"ab"}],"add_generation_prompt":true}
{"messages":[{"role":"user","content":"ab"}],"template":"{{ x | tojson }}{{ eos_token }}","variables":{"x":{"z":1,"a":2}}}
{"messages":[{"role":"user","content":"ab"}],"template":"\n{{ nope("}
)");
  ASSERT_EQ(run("chat --model model --render rows.jsonl"), 0) << err_;
  const auto rows = lines();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0]["text"], "u: ab\na: ");
  EXPECT_EQ(rows[0]["ids"].size(), 9u);
  EXPECT_EQ(rows[1]["text"], "{\"z\": 1, \"a\": 2}</s>");
  EXPECT_NE(rows[2]["error"].get<std::string>().find("line 2"), std::string::npos);
  EXPECT_EQ(run("chat --render rows.jsonl"), 2);  // the first row has no template of its own
}

TEST_F(ChatCommand, TrainsOnConversationsAndScoresThem) {
  std::string rows;
  for (int i = 0; i < 8; ++i) rows += R"({"messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"cd"},{"role":"user","content":"e"},{"role":"assistant","content":"f"}]})" "\n";
  write_file(folder_ / "rows.jsonl", rows);
  ASSERT_EQ(run("train --model model --data rows.jsonl --method lora -o r=2 --steps 2 --batch-size 4 --out adapter"), 0) << err_;
  const std::string metrics = read_file(folder_ / "adapter/metrics.jsonl");
  EXPECT_EQ(parse_json(metrics.substr(0, metrics.find('\n')), "step")["supervised"], 4 * 5);  // "cd\n" and "f\n"
  ASSERT_EQ(run("eval --model model --adapter adapter --data rows.jsonl --metric exact_match --items items.jsonl --json"), 0) << err_;
  const std::string items = read_file(folder_ / "items.jsonl");
  EXPECT_EQ(parse_json(items.substr(0, items.find('\n')), "item")["reference"], "f");
  ASSERT_EQ(run("chat --model model --adapter adapter --max-new-tokens 3", "ab\n"), 0) << err_;
  std::filesystem::remove(folder_ / "model/chat_template.jinja");
  EXPECT_EQ(run("train --model model --data rows.jsonl --method lora --steps 1 --out none"), 3);
  EXPECT_NE(err_.find("no chat template"), std::string::npos) << err_;
}

}  // namespace
}  // namespace graft
