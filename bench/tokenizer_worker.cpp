// The graft side of the tokenizer benchmark: encodes, or decodes, all texts once for each line on standard input and prints the
// seconds.
//   bench_tokenizer_worker MODEL_DIR TEXTS.json
// TEXTS.json: a list of texts. Lines: "encode" or "decode".
#include <chrono>
#include <iostream>

#include "core/json.h"
#include "core/system.h"
#include "tokenizer/tokenizer.h"

int main(int argc, char** argv) {
  using namespace graft;
  if (argc != 3) return 2;
  keep_freed_memory();
  const Tokenizer tokenizer = Tokenizer::load(argv[1]);
  const auto texts = read_json(argv[2]).get<std::vector<std::string>>();
  std::vector<std::vector<int64_t>> ids;
  for (auto& text : texts) ids.push_back(tokenizer.encode(text, false));
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    size_t total = 0;
    const auto start = std::chrono::steady_clock::now();
    if (line == "encode")
      for (auto& text : texts) total += tokenizer.encode(text, false).size();
    else
      for (auto& row : ids) total += tokenizer.decode(row).size();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << json_line({{"seconds", seconds.count()}, {"total", total}}) << std::endl;
  }
}
