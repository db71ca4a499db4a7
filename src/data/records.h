// Rows of data files as they stand there.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "chat/value.h"
#include "core/json.h"

namespace graft {

struct Record {
  Json fields;        // an object
  std::string where;  // "train.jsonl line 7"
  // Of rows with lists of objects, such as messages: the same with the keys in the file's order, which templates show.
  chat::Value ordered = {};
};

// By their ending: .json holds a list of objects, .csv and .tsv a table with a header (data/table.h), any other file one
// JSON object per line (empty lines are skipped); "-" is such lines from standard input. A UTF-8 byte-order mark is
// skipped. Several files follow one another.
// Throws Fault::Input naming file and line: no such file, broken JSON, text that is not UTF-8, a row that is no object or
// has other fields than the header, no row at all. Throws Fault::Usage when no file is given.
std::vector<Record> read_records(const std::vector<std::string>& files);

// The same in blocks, in order, so that not all records are in memory at once; `bytes` is what the block took of its file.
using TakeRecords = std::function<void(std::vector<Record>& block, size_t bytes)>;
void each_block(const std::vector<std::string>& files, const TakeRecords& take);

// Throws Fault::Input naming `where` unless `text` is UTF-8.
void require_utf8(std::string_view text, const std::string& where);

// For messages: a value, shortened.
std::string shortened(const Json& value);

}  // namespace graft
