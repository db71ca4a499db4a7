#include "tokenizer/token_map.h"

#include <atomic>
#include <cstring>
#include <memory>

#include "core/check.h"
#include "tokenizer/fields.h"

namespace graft {
namespace {

constexpr size_t kFirstSlots = 64, kCachedBytes = 24, kCachedIds = 8, kCacheEntries = 1 << 14, kMostCaches = 8;
// Ids may have holes, but a file whose largest id is far from its number of tokens is broken.
constexpr int64_t kMostHoles = 1 << 20;

// Eight bytes at a time: every word of a text is looked up by it.
uint64_t word_hash(std::string_view text) {
  constexpr uint64_t kFactor = 0x9E3779B97F4A7C15u;
  uint64_t hash = text.size() * kFactor;
  const char* at = text.data();
  size_t left = text.size();
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * kFactor;
    hash ^= hash >> 32;
  };
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  if (left) {
    uint64_t word = 0;
    std::memcpy(&word, at, left);
    mix(word);
  }
  return hash ^ hash >> 29;
}

}  // namespace

TokenMap TokenMap::from_json(const Json& vocab, const std::string& where) {
  if (!vocab.is_object()) tokenizer_error(where + " needs a vocab, an object of ids by token");
  TokenMap map;
  const int64_t most = std::min(kLargestId, static_cast<int64_t>(vocab.size()) * 16 + kMostHoles);
  for (auto& [token, id] : vocab.items())
    map.add(token, static_cast<int32_t>(count_value(id, fmt::format("{}: the id of '{}'", where, token), most)));
  return map;
}

size_t TokenMap::slot_of(std::string_view token, uint64_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  while (slots_[at].id >= 0 && !(slots_[at].hash == static_cast<uint32_t>(hash >> 32) && slots_[at].text == token))
    at = (at + 1) & mask;
  return at;
}

void TokenMap::grow() {
  std::vector<Slot> old(slots_.empty() ? kFirstSlots : slots_.size() * 2);
  old.swap(slots_);
  for (auto& slot : old)
    if (slot.id >= 0) slots_[slot_of(slot.text, word_hash(slot.text))] = std::move(slot);
}

bool TokenMap::add(std::string_view token, int32_t id) {
  if (slots_.size() < (count_ + 1) * 2) grow();
  const uint64_t hash = word_hash(token);
  Slot& slot = slots_[slot_of(token, hash)];
  const bool fresh = slot.id < 0;
  if (fresh) {
    slot.hash = static_cast<uint32_t>(hash >> 32);
    slot.text = token;
    ++count_;
  }
  slot.id = id;
  const auto at = static_cast<size_t>(id);
  if (at >= texts_.size()) {
    texts_.resize(at + 1);
    present_.resize(at + 1);
  }
  const bool taken = present_[at];
  texts_[at] = token;
  present_[at] = true;
  return fresh && !taken;
}

int32_t TokenMap::find(std::string_view token) const {
  return slots_.empty() ? -1 : slots_[slot_of(token, word_hash(token))].id;
}

struct WordCache::Entry {
  uint8_t bytes = 0, count = 0;
  char word[kCachedBytes];
  int32_t ids[kCachedIds];
};

WordCache::WordCache() {
  static std::atomic<uint64_t> next{1};
  owner_ = next++;
}

WordCache::Entry& WordCache::entry(std::string_view word) const {
  struct Table {
    uint64_t owner = 0;
    std::unique_ptr<Entry[]> entries;
  };
  // The caches of this thread, each of one tokenizer; the last used stands first.
  thread_local std::vector<Table> tables;
  if (tables.empty() || tables.front().owner != owner_) {
    size_t at = 0;
    while (at < tables.size() && tables[at].owner != owner_) ++at;
    if (at == tables.size()) {
      if (tables.size() == kMostCaches) tables.pop_back();
      at = tables.size();
      tables.push_back({owner_, std::make_unique<Entry[]>(kCacheEntries)});
    }
    std::swap(tables[0], tables[at]);
  }
  return tables.front().entries[word_hash(word) & (kCacheEntries - 1)];
}

bool WordCache::find(std::string_view word, std::vector<int64_t>& ids) const {
  if (word.size() > kCachedBytes) return false;
  const Entry& e = entry(word);
  if (e.bytes != word.size() || e.count == 0 || std::memcmp(e.word, word.data(), word.size()) != 0) return false;
  ids.insert(ids.end(), e.ids, e.ids + e.count);
  return true;
}

void WordCache::keep(std::string_view word, const int64_t* ids, size_t count) const {
  if (word.size() > kCachedBytes || count > kCachedIds || count == 0) return;
  Entry& e = entry(word);
  e.bytes = static_cast<uint8_t>(word.size());
  e.count = static_cast<uint8_t>(count);
  std::memcpy(e.word, word.data(), word.size());
  for (size_t i = 0; i < count; ++i) e.ids[i] = static_cast<int32_t>(ids[i]);
}

}  // namespace graft
