// The command `graft`. Help, version and tables it answers at once, from pages that the engine wrote while this was built;
// for all else it becomes the engine: graft-engine, beside it, with libtorch, which takes long to load.
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace {

// Pages as cli/pages.h says.
constexpr char kText[] =
#include "launcher/pages.inc"
    ;
constexpr std::string_view kPages(kText, sizeof kText - 1);

// The arguments with a space between them; empty if one of them could be taken for two.
std::string question(int argc, char** argv) {
  std::string text;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.empty() || argument.find_first_of(" \n\x1e\x1f") != argument.npos) return {};
    if (i > 1) text += ' ';
    text += argument;
  }
  return text;
}

// The page that answers, or one without data.
std::string_view find_page(const std::string& asked) {
  const std::string line = '\n' + asked + '\n';
  for (size_t begin = kPages.find('\x1e'); begin != kPages.npos;) {
    const size_t text = kPages.find('\x1f', begin), end = kPages.find('\x1e', text);
    if (kPages.substr(begin + 1, text - begin - 1).find(line) != kPages.npos) return kPages.substr(text + 1, end == kPages.npos ? end : end - text - 1);
    begin = end;
  }
  return {};
}

// The engine in the folder where this program really lies, whatever link it was called through.
std::string engine_path() {
  char self[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", self, sizeof self);
  const std::string_view path(self, length > 0 ? static_cast<size_t>(length) : 0);
  return std::string(path.substr(0, path.rfind('/') + 1)) + "graft-engine";
}

}  // namespace

int main(int argc, char** argv) {
  const std::string asked = question(argc, argv);
  if (const std::string_view page = asked.empty() ? std::string_view() : find_page(asked); page.data()) {
    std::signal(SIGPIPE, SIG_IGN);
    if (std::fwrite(page.data(), 1, page.size(), stdout) == page.size() && std::fflush(stdout) == 0) return 0;
    std::fputs("graft: [output] the result could not be written\n", stderr);
    return 3;
  }
  const std::string engine = engine_path();
  execv(engine.c_str(), argv);
  std::fprintf(stderr, "graft: [engine] cannot start '%s': %s. Hint: graft and graft-engine belong into one folder; ./dev build makes both\n", engine.c_str(), std::strerror(errno));
  return 1;
}
