#include "data/rows.h"

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>

#include "core/check.h"
#include "core/files.h"
#include "core/progress.h"
#include "data/parallel.h"
#include "data/template.h"

namespace graft {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMostLabels = 1000;  // choices grow with rows × labels; beyond this they are free text

// "a=b", a list of "a=b", or a mapping of our names to the file's; null: none.
Json column_names(const Json& columns) {
  if (columns.is_null()) return Json::object();
  if (columns.is_object()) {
    for (auto& [ours, theirs] : columns.items())
      if (!theirs.is_string()) usage_error("data", fmt::format("columns: '{}' must name a column but is {}", ours, shortened(theirs)));
    return columns;
  }
  Json names = Json::object();
  for (auto& item : columns.is_array() ? columns : Json::array({columns})) {
    const std::string text = as_text(item);
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
      usage_error("data", fmt::format("columns: '{}' must be OUR_NAME=FILE_NAME", text), "such as prompt=question,completion=answer");
    if (names.contains(text.substr(0, equals))) usage_error("data", fmt::format("columns: '{}' is named twice", text.substr(0, equals)));
    names[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return names;
}

Json renamed(const Record& record, const Json& columns) {
  Json fields = record.fields;
  for (auto& theirs : columns) {
    const auto& name = theirs.get_ref<const std::string&>();
    if (!record.fields.contains(name)) no_such_column(record.fields, name, record.where);
    fields.erase(name);
  }
  for (auto& [ours, theirs] : columns.items()) fields[ours] = record.fields.at(theirs.get_ref<const std::string&>());
  return fields;
}

std::string text_of(const Json& value, const char* key, const std::string& where) {
  if (!value.is_string() && !value.is_number()) input_error("data", fmt::format("{}: '{}' must be text but is {}", where, key, shortened(value)));
  return as_text(value);
}

// How rows are read: the options, checked once.
class RowReader {
 public:
  explicit RowReader(const DataConfig& config) : columns_(column_names(config.columns)) {
    if (config.prompt_template) template_.emplace(unescaped(*config.prompt_template));
    if (!config.response_template) return;
    if (!template_) usage_error("data", "response_template is given without template", "give --template too");
    marker_ = unescaped(*config.response_template);
    if (marker_.empty()) usage_error("data", "response_template is empty", "leave it out to learn from the whole text");
  }

  // The row's fields under our names; `storage` holds them where they are not the record's own.
  const Json& fields(const Record& record, Json& storage) const { return columns_.empty() ? record.fields : storage = renamed(record, columns_); }

  // Prompt, completion and references; the completion of a labelled row is the one for `label`.
  void read(const Json& fields, const chat::Value& ordered, TextRow& row) const {
    read_references(fields, row);
    if (template_) return read_template(fields, row);
    if (fields.contains("messages"))
      return read_conversation(fields, ordered, row);
    const auto text = [&](const char* key) { return text_of(fields.at(key), key, row.where); };
    if (fields.contains("label") && fields.contains("text")) {
      row.prompt = text("text") + "\nLabel:";
      row.completion = " " + text("label");
    } else if (fields.contains("label") && fields.contains("text_a") && fields.contains("text_b")) {
      row.prompt = text("text_a") + "\n" + text("text_b") + "\nLabel:";
      row.completion = " " + text("label");
    } else if (fields.contains("prompt")) {
      row.prompt = text("prompt");
      if (fields.contains("completion")) row.completion = text("completion");
      else if (!row.references.empty()) row.completion = row.references[0];
      else input_error("data", fmt::format("{} has a prompt but no completion", row.where), "name its column with --columns completion=NAME");
    } else if (fields.contains("text")) {
      row.completion = text("text");
    } else {
      std::vector<std::string> keys;
      for (auto& [key, value] : fields.items()) keys.push_back(key);
      input_error("data", fmt::format("{}: its columns {} say nothing that is known", row.where, fmt::join(keys, ", ")),
                  "known are text; prompt, completion; prompt, references; messages; text, label; text_a, text_b, label; use --columns or --template");
    }
  }

  // The label by which a row is classified; none for other rows.
  std::optional<std::string> label(const Json& fields, const std::string& where) const {
    if (!fields.contains("label")) return {};
    if (template_ ? marker_.empty() || !template_->names("label") : !fields.contains("text") && !fields.contains("text_a")) return {};
    std::string label = text_of(fields.at("label"), "label", where);
    if (label.empty()) input_error("data", fmt::format("{}: the label is empty", where));
    return label;
  }

 private:
  static void read_references(const Json& fields, TextRow& row) {
    if (!fields.contains("references")) return;
    const Json& list = fields.at("references");
    if (!list.is_array() || list.empty()) input_error("data", fmt::format("{}: 'references' must be a list of texts but is {}", row.where, list.is_array() ? "empty" : shortened(list)));
    for (auto& reference : list) row.references.push_back(text_of(reference, "references", row.where));
  }

  // `ordered` is the row as it stands in the file, before columns are renamed.
  void read_conversation(const Json& fields, const chat::Value& ordered, TextRow& row) const {
    chat::Value source = chat::Value::dict();
    for (const char* key : {"messages", "tools", "documents"}) {
      if (!fields.contains(key)) continue;
      const std::string theirs = columns_.contains(key) ? columns_[key].get<std::string>() : std::string(key);
      const chat::Value* found = ordered.is(chat::Kind::Dict) ? ordered.get(theirs) : nullptr;
      source.set(chat::Value(key), found ? *found : chat::Value::from(fields.at(key)));
    }
    row.conversation = std::make_shared<chat::Conversation>(chat::Conversation::from(source, row.where));
    for (auto& message : row.conversation->messages.list_data().items) {
      const chat::Value *role = message.get("role"), *content = message.get("content");
      if (role->string() == "assistant") row.completion = content && content->is(chat::Kind::String) ? content->string() : std::string();
    }
  }

  void read_template(const Json& fields, TextRow& row) const {
    const std::string text = template_->fill(fields, row.where);
    size_t cut = 0;
    if (!marker_.empty()) {
      cut = text.rfind(marker_);
      if (cut == std::string::npos)
        input_error("data", fmt::format("{}: the formatted text does not hold the response template '{}'", row.where, marker_), "it must stand in --template, before the answer");
      cut += marker_.size();
    }
    row.prompt = text.substr(0, cut);
    row.completion = text.substr(cut);
  }

  Json columns_;
  std::optional<TextTemplate> template_;
  std::string marker_;
};

std::vector<std::string> read_labels(const fs::path& file) {
  const std::string content = read_file(file);
  require_utf8(content, file.string());
  std::istringstream in(content.starts_with("\xEF\xBB\xBF") ? content.substr(3) : content);
  std::vector<std::string> labels;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    if (std::find(labels.begin(), labels.end(), line) != labels.end()) input_error("data", fmt::format("{}: the label '{}' stands twice", file.string(), line));
    labels.push_back(line);
  }
  return labels;
}

// The completions of all labels behind the row's own prompt.
void add_choices(const RowReader& reader, Json fields, const std::vector<std::string>& labels, const std::string& own, TextRow& row) {
  for (auto& label : labels) {
    fields["label"] = label;
    TextRow other;
    other.where = row.where;
    reader.read(fields, {}, other);
    // The label stands in the prompt as well: what follows is no choice between labels.
    if (other.prompt != row.prompt) return row.choices.clear();
    row.choices.push_back(std::move(other.completion));
  }
  row.label = std::find(labels.begin(), labels.end(), own) - labels.begin();
}

// Records become rows block by block. Those with a label are kept, since the choices come from the labels of all.
class RowCollector {
 public:
  explicit RowCollector(const DataConfig& config) : reader_(config) {}

  void add(std::vector<Record>& block) {
    const size_t first = rows_.size();
    rows_.resize(first + block.size());
    std::vector<std::optional<std::string>> own(block.size());
    parallel_rows(block.size(), [&](size_t i) {
      Json storage;
      const Json& fields = reader_.fields(block[i], storage);
      TextRow& row = rows_[first + i];
      row.where = block[i].where;
      row.id = fields.contains("id") ? as_text(fields.at("id")) : std::to_string(first + i);
      own[i] = reader_.label(fields, row.where);
      reader_.read(fields, block[i].ordered, row);
      if (!own[i]) block[i] = {};  // here and not by one thread at the end
    });
    for (size_t i = 0; i < block.size(); ++i)
      if (own[i]) labelled_.push_back({first + i, std::move(*own[i]), std::move(block[i])});
  }

  std::vector<TextRow> finish(const fs::path& labels_file) {
    std::set<std::string> seen;
    for (auto& item : labelled_) seen.insert(item.label);
    const auto labels = seen.empty() || labels_file.empty() ? std::vector<std::string>(seen.begin(), seen.end()) : read_labels(labels_file);
    parallel_rows(labelled_.size(), [&](size_t i) {
      auto& [at, label, record] = labelled_[i];
      if (std::find(labels.begin(), labels.end(), label) == labels.end())
        input_error("data", fmt::format("{}: the label '{}' is not in {}", rows_[at].where, label, labels_file.string()), suggest(label, labels));
      Json storage;
      if (labels.size() <= kMostLabels) add_choices(reader_, reader_.fields(record, storage), labels, label, rows_[at]);
    });
    for (auto& row : rows_)
      if (row.references.empty()) row.references = {row.completion};
    return std::move(rows_);
  }

 private:
  struct Labelled {
    size_t row;
    std::string label;
    Record record;
  };
  const RowReader reader_;
  std::vector<TextRow> rows_;
  std::vector<Labelled> labelled_;
};

// MiB of all files; 0 when one is no regular file.
int64_t mebibytes(const std::vector<std::string>& files) {
  uint64_t bytes = 0;
  for (auto& file : files) {
    std::error_code error;
    const auto size = fs::file_size(file, error);
    if (error) return 0;
    bytes += size;
  }
  return static_cast<int64_t>(bytes >> 20);
}

}  // namespace

fs::path labels_beside(const std::vector<std::string>& files) {
  if (files.empty() || files[0] == "-") return {};
  const fs::path file = fs::path(files[0]).parent_path() / "labels.txt";
  std::error_code error;
  return fs::exists(file, error) ? file : fs::path();
}

std::vector<TextRow> text_rows(std::vector<Record> records, const DataConfig& config, const fs::path& labels_file) {
  RowCollector collector(config);
  collector.add(records);
  return collector.finish(labels_file);
}

std::vector<TextRow> read_rows(const std::vector<std::string>& files, const DataConfig& config, const fs::path& labels_file) {
  RowCollector collector(config);
  SlowProgress progress("reading", mebibytes(files), "MiB");
  size_t bytes = 0;
  each_block(files, [&](std::vector<Record>& block, size_t of_file) {
    collector.add(block);
    bytes += of_file;
    progress.update(static_cast<int64_t>(bytes >> 20));
  });
  progress.finish();
  return collector.finish(labels_file);
}

}  // namespace graft
