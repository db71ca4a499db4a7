#include "data/table.h"

#include "core/check.h"

namespace graft {
namespace {

class TableReader {
 public:
  TableReader(std::string_view text, char separator, const std::string& name) : text_(text), separator_(separator), name_(name) {}

  bool more() const { return at_ < text_.size(); }

  // False for an empty line.
  bool read(TableRow& row) {
    row.line = line_;
    bool quoted = false;
    for (;;) {
      quoted = more() && text_[at_] == '"';
      row.fields.push_back(quoted ? quoted_field(row.line) : plain_field());
      if (!more() || text_[at_] != separator_) break;
      ++at_;
    }
    skip_line_end();
    return quoted || row.fields.size() > 1 || !row.fields[0].empty();
  }

 private:
  std::string plain_field() {
    const size_t begin = at_;
    while (more() && text_[at_] != separator_ && !at_line_end()) ++at_;
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::string quoted_field(int64_t row_line) {
    std::string field;
    for (++at_; more(); ++at_) {
      if (text_[at_] == '"') {
        if (at_ + 1 >= text_.size() || text_[at_ + 1] != '"') {
          ++at_;
          if (more() && text_[at_] != separator_ && !at_line_end())
            input_error("data", fmt::format("{} line {}: a closing quote must end its field", name_, line_), "double a quote that is part of the text");
          return field;
        }
        ++at_;
      }
      if (text_[at_] == '\n') ++line_;
      field += text_[at_];
    }
    input_error("data", fmt::format("{}: a quote that opens in the row of line {} never closes", name_, row_line), "double a quote that is part of the text");
  }

  bool at_line_end() const { return text_[at_] == '\n' || (text_[at_] == '\r' && (at_ + 1 == text_.size() || text_[at_ + 1] == '\n')); }

  void skip_line_end() {
    if (more() && text_[at_] == '\r') ++at_;
    if (more() && text_[at_] == '\n') ++at_, ++line_;
  }

  std::string_view text_;
  char separator_;
  const std::string& name_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

std::vector<TableRow> parse_table(std::string_view text, char separator, const std::string& name) {
  std::vector<TableRow> rows;
  for (TableReader reader(text, separator, name); reader.more();) {
    TableRow row;
    if (reader.read(row)) rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace graft
