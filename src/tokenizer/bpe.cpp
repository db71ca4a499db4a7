#include <mutex>
#include <queue>
#include <shared_mutex>
#include <unordered_map>

#include "core/check.h"
#include "tokenizer/stages.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocabulary.h"

namespace graft {
namespace {

constexpr size_t kLongestCached = 64, kCacheEntries = 1 << 16;

struct Merge {
  int32_t rank, id;
};

class Bpe : public Vocabulary {
 public:
  explicit Bpe(const Json& model) {
    const std::string where = "model BPE";
    if (!model.contains("vocab") || !model["vocab"].is_object()) input_error("tokenizer", "model BPE needs a vocab");
    for (auto& [token, id] : model["vocab"].items()) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > (1 << 28))
        input_error("tokenizer", fmt::format("model BPE: the id of '{}' must be a small non-negative integer but is {}", token, json_line(id)));
      ids_.emplace(token, id.get<int32_t>());
    }
    for (auto& [token, id] : ids_) {
      if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
      tokens_[static_cast<size_t>(id)] = &token;
    }
    const auto optional_text = [&](const char* key) { return model.contains(key) && model[key].is_string() ? model[key].get<std::string>() : std::string(); };
    prefix_ = optional_text("continuing_subword_prefix");
    suffix_ = optional_text("end_of_word_suffix");
    byte_fallback_ = flag_field(model, "byte_fallback", false);
    fuse_unk_ = flag_field(model, "fuse_unk", false);
    ignore_merges_ = flag_field(model, "ignore_merges", false);
    if (const std::string unk = optional_text("unk_token"); !unk.empty()) unk_ = id(unk);
    if (!model.contains("merges") || !model["merges"].is_array()) input_error("tokenizer", "model BPE needs a list of merges");
    int32_t rank = 0;
    for (auto& merge : model["merges"]) add_merge(merge, rank++);
    for (int b = 0; b < 256; ++b) byte_ids_.push_back(id(fmt::format("<0x{:02X}>", b)));
  }

  std::optional<int64_t> id(const std::string& token) const override {
    const auto found = ids_.find(token);
    return found == ids_.end() ? std::nullopt : std::optional<int64_t>(found->second);
  }
  const std::string* token(int64_t id) const override { return id >= 0 && id < size() ? tokens_[static_cast<size_t>(id)] : nullptr; }
  int64_t size() const override { return static_cast<int64_t>(tokens_.size()); }

  void encode(const std::string& piece, std::vector<int64_t>& ids) const override {
    if (piece.empty()) return;
    if (ignore_merges_)
      if (const auto whole = id(piece)) return ids.push_back(*whole);
    const bool cached = piece.size() <= kLongestCached;
    if (cached) {
      std::shared_lock lock(cache_->mutex);
      if (const auto found = cache_->words.find(piece); found != cache_->words.end()) {
        ids.insert(ids.end(), found->second.begin(), found->second.end());
        return;
      }
    }
    const std::vector<int64_t> word = merged(piece);
    ids.insert(ids.end(), word.begin(), word.end());
    if (!cached) return;
    std::unique_lock lock(cache_->mutex);
    if (cache_->words.size() < kCacheEntries) cache_->words.emplace(piece, word);
  }

 private:
  struct Symbol {
    int32_t id;
    int32_t previous, next;
    bool alive = true;
  };
  static uint64_t pair(int32_t a, int32_t b) { return static_cast<uint64_t>(static_cast<uint32_t>(a)) << 32 | static_cast<uint32_t>(b); }

  void add_merge(const Json& merge, int32_t rank) {
    std::string left, right;
    if (merge.is_string()) {
      const std::string text = merge.get<std::string>();
      const size_t space = text.find(' ');
      if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) input_error("tokenizer", fmt::format("merge {} must be two tokens but is '{}'", rank, text));
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else {
      input_error("tokenizer", fmt::format("merge {} must be two tokens but is {}", rank, json_line(merge)));
    }
    std::string result = left + (right.starts_with(prefix_) ? right.substr(prefix_.size()) : right);
    const auto a = ids_.find(left), b = ids_.find(right), c = ids_.find(result);
    for (auto& [found, name] : {std::pair(a, &left), std::pair(b, &right), std::pair(c, &result)})
      if (found == ids_.end()) input_error("tokenizer", fmt::format("merge {} ('{}' + '{}') names '{}', which is not in the vocabulary", rank, left, right, *name));
    merges_.emplace(pair(a->second, b->second), Merge{rank, c->second});
  }

  // Characters as first symbols; unknown ones as bytes or as the unknown token.
  std::vector<Symbol> symbols_of(const std::string& piece) const {
    std::vector<Symbol> symbols;
    const auto push = [&](int64_t id) {
      const auto at = static_cast<int32_t>(symbols.size());
      symbols.push_back({static_cast<int32_t>(id), at - 1, at + 1});
    };
    bool after_unknown = false;
    for (size_t at = 0; at < piece.size();) {
      const size_t n = utf8_length(piece, at);
      std::string character = piece.substr(at, n);
      if (at > 0) character = prefix_ + character;
      if (at + n == piece.size()) character += suffix_;
      if (const auto known = id(character)) {
        push(*known);
        after_unknown = false;
      } else {
        bool bytes = byte_fallback_;
        for (size_t i = 0; bytes && i < n; ++i) bytes = byte_ids_[static_cast<unsigned char>(piece[at + i])].has_value();
        if (bytes) {
          for (size_t i = 0; i < n; ++i) push(*byte_ids_[static_cast<unsigned char>(piece[at + i])]);
          after_unknown = false;
        } else if (unk_) {
          if (!(fuse_unk_ && after_unknown)) push(*unk_);
          after_unknown = true;
        }
      }
      at += n;
    }
    if (!symbols.empty()) symbols.back().next = -1;
    return symbols;
  }

  // Repeatedly joins the pair of lowest rank, leftmost first, with a queue: O(n log n).
  std::vector<int64_t> merged(const std::string& piece) const {
    std::vector<Symbol> symbols = symbols_of(piece);
    struct Candidate {
      int32_t rank, at, left, right, id;  // ids as they were, to see whether the candidate is stale
      bool operator<(const Candidate& other) const { return rank != other.rank ? rank > other.rank : at > other.at; }
    };
    std::priority_queue<Candidate> queue;
    const auto consider = [&](int32_t at) {
      if (at < 0 || symbols[at].next < 0) return;
      const int32_t left = symbols[at].id, right = symbols[symbols[at].next].id;
      if (const auto found = merges_.find(pair(left, right)); found != merges_.end()) queue.push({found->second.rank, at, left, right, found->second.id});
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(static_cast<int32_t>(i));
    while (!queue.empty()) {
      const Candidate best = queue.top();
      queue.pop();
      Symbol& left = symbols[best.at];
      if (!left.alive || left.id != best.left || left.next < 0 || symbols[left.next].id != best.right) continue;
      Symbol& right = symbols[left.next];
      left.id = best.id;
      right.alive = false;
      left.next = right.next;
      if (right.next >= 0) symbols[right.next].previous = best.at;
      consider(left.previous);
      consider(best.at);
    }
    std::vector<int64_t> ids;
    for (int32_t at = symbols.empty() ? -1 : 0; at >= 0; at = symbols[at].next) ids.push_back(symbols[at].id);
    return ids;
  }

  std::unordered_map<std::string, int32_t> ids_;
  std::vector<const std::string*> tokens_;
  std::unordered_map<uint64_t, Merge> merges_;
  std::vector<std::optional<int64_t>> byte_ids_;
  std::string prefix_, suffix_;
  std::optional<int64_t> unk_;
  bool byte_fallback_ = false, fuse_unk_ = false, ignore_merges_ = false;
  struct Cache {
    std::shared_mutex mutex;
    std::unordered_map<std::string, std::vector<int64_t>> words;
  };
  std::unique_ptr<Cache> cache_ = std::make_unique<Cache>();
};

}  // namespace

std::shared_ptr<const Vocabulary> read_bpe(const Json& model) { return std::make_shared<Bpe>(model); }

}  // namespace graft
