// Tokens by text and by id.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace graft {

class TokenMap {
 public:
  TokenMap() = default;
  // An object of ids by token, as vocab.json and tokenizer.json's models have it. Throws Fault::Input naming `where`.
  static TokenMap from_json(const Json& vocab, const std::string& where);

  // A later token of the same id or the same text replaces the older; returns false then.
  bool add(std::string_view token, int32_t id);
  int32_t find(std::string_view token) const;   // -1 when there is none
  const std::string* token(int64_t id) const {  // nullptr when there is none
    return id >= 0 && id < size() && present_[static_cast<size_t>(id)] ? &texts_[static_cast<size_t>(id)] : nullptr;
  }
  int64_t size() const { return static_cast<int64_t>(texts_.size()); }
  int64_t count() const { return static_cast<int64_t>(count_); }  // distinct texts

 private:
  void grow();
  struct Slot {
    uint32_t hash = 0;
    int32_t id = -1;
    std::string text;  // kept apart from texts_: two texts may claim one id
  };
  size_t slot_of(std::string_view token, uint64_t hash) const;
  std::vector<Slot> slots_;
  std::vector<std::string> texts_;
  std::vector<bool> present_;
  size_t count_ = 0;
};

// Short results that a thread has computed before; the oldest of two that want the same place goes.
class WordCache {
 public:
  WordCache();
  bool find(std::string_view word, std::vector<int64_t>& ids) const;
  void keep(std::string_view word, const int64_t* ids, size_t count) const;

 private:
  struct Entry;
  Entry& entry(std::string_view word) const;
  uint64_t owner_;
};

}  // namespace graft
