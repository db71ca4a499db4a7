// A tokenizer's model: from a pre-tokenised piece to ids, and from an id to its token.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"

namespace graft {

class Vocabulary {
 public:
  virtual ~Vocabulary() = default;
  virtual void encode(const std::string& piece, std::vector<int64_t>& ids) const = 0;
  virtual std::optional<int64_t> id(const std::string& token) const = 0;
  virtual const std::string* token(int64_t id) const = 0;  // nullptr when there is none
  virtual int64_t size() const = 0;                        // largest id + 1
};

// Byte-pair encoding (arXiv 1508.07909) as tokenizer.json's model of type BPE describes it.
std::shared_ptr<const Vocabulary> read_bpe(const Json& model);

}  // namespace graft
