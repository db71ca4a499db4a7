// The launcher in front of the engine: answers without libtorch, says what the engine says, and finds it from anywhere.
#include <sys/wait.h>

#include "core/files.h"
#include "support/support.h"

namespace graft {
namespace {

namespace fs = std::filesystem;

class Launcher : public ::testing::Test {
 protected:
  struct Answer {
    int code;
    std::string out, err;
  };
  // A command line for the shell, run in a folder of its own.
  Answer run(const std::string& line) {
    const std::string command = fmt::format("cd '{}' && {} >out.txt 2>err.txt </dev/null", folder_.path().string(), line);
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(folder_ / "out.txt"), read_file(folder_ / "err.txt")};
  }
  testing::TempFolder folder_;
  const std::string graft_ = GRAFT_COMMAND, engine_ = GRAFT_ENGINE;
};

TEST_F(Launcher, AnswersWithoutLibtorch) {
  for (const char* asked : {"--help", "help", "-h", "help train", "compare --help", "--version", "methods", "methods lora", "methods --json", "methods lora --json", "families", "families llama"}) {
    const Answer answer = run("LD_DEBUG=libs " + graft_ + " " + asked);
    EXPECT_EQ(answer.code, 0) << asked;
    EXPECT_FALSE(answer.out.empty()) << asked;
    EXPECT_NE(answer.err.find("libc.so"), std::string::npos) << "the loader's log is missing";
    EXPECT_EQ(answer.err.find("libtorch"), std::string::npos) << asked;
  }
  // The log names libtorch when it is loaded: this test can fail.
  EXPECT_NE(run("LD_DEBUG=libs " + graft_ + " validate missing.yaml").err.find("libtorch"), std::string::npos);
}

TEST_F(Launcher, SaysWhatTheEngineSays) {
  for (const char* asked : {"--help", "-h", "help", "help train", "train --help", "help help", "compare -h", "--version", "methods", "methods --json", "methods adalora", "methods lora --json",
                            "methods --json dora", "families", "families gpt2", "families gpt2 --json"}) {
    const Answer answer = run(graft_ + " " + asked), engine = run(engine_ + " " + asked);
    EXPECT_EQ(engine.code, 0) << asked;
    EXPECT_EQ(answer.code, 0) << asked;
    EXPECT_EQ(answer.out, engine.out) << asked;
    EXPECT_EQ(answer.err, engine.err) << asked;
  }
  // What has no page is the engine's to answer, the error with it.
  for (const char* asked : {"", "methods nothing", "help nothing", "'help train'", "'methods\nlora'", "methods lora --json --no", "--help=3", "trian", "-q families"}) {
    const Answer answer = run(graft_ + " " + asked), engine = run(engine_ + " " + asked);
    EXPECT_EQ(answer.code, engine.code) << asked;
    EXPECT_EQ(answer.out, engine.out) << asked;
    EXPECT_EQ(answer.err, engine.err) << asked;
  }
}

TEST_F(Launcher, FindsTheEngineThroughLinksAndInCopies) {
  fs::create_directories(folder_ / "bin");
  fs::create_directories(folder_ / "copy here");
  fs::create_symlink(graft_, folder_ / "bin/other-name");
  EXPECT_EQ(run("bin/other-name tokenize").code, 2);
  EXPECT_EQ(run("PATH=bin:$PATH other-name tokenize").code, 2);
  fs::copy_file(graft_, folder_ / "copy here/graft");
  EXPECT_EQ(run("'copy here/graft' help").code, 0);
  const Answer alone = run("'copy here/graft' tokenize");
  EXPECT_EQ(alone.code, 1);
  EXPECT_NE(alone.err.find("copy here/graft-engine'"), std::string::npos) << alone.err;
  EXPECT_NE(alone.err.find("No such file"), std::string::npos) << alone.err;
  fs::copy_file(engine_, folder_ / "copy here/graft-engine");
  EXPECT_EQ(run("'copy here/graft' tokenize").code, 2);
}

TEST_F(Launcher, SaysWhenItCannotWrite) {
  const Answer full = run("sh -c '" + graft_ + " help >/dev/full'");
  EXPECT_EQ(full.code, 3);
  EXPECT_NE(full.err.find("could not be written"), std::string::npos);
}

}  // namespace
}  // namespace graft
