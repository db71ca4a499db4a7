// Rows of data files, and what they mean as text: a prompt, a completion, references, choices.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "core/json.h"
#include "data/config.h"

namespace graft {

// A row as it stands in a file.
struct Record {
  Json fields;        // an object
  std::string where;  // "train.jsonl line 7"
};

// .jsonl, .json (an array), .csv, .tsv by their ending; "-" is JSONL from standard input. Several files follow one another.
// Throws Fault::Input naming file and line.
std::vector<Record> read_records(const std::vector<std::string>& files);

// A row as text.
struct TextRow {
  std::string id;                       // the row's "id", else its number from 0
  std::string prompt, completion;       // plain text rows have an empty prompt
  std::vector<std::string> references;  // for scoring; at least the completion
  std::vector<std::string> choices;     // completions to choose from, in a fixed order; empty: none
  int64_t label = -1;                   // index of the right choice
  std::string where;
};

// Kinds of rows, told apart by their keys after `columns` are renamed:
//   {"text"}                       all of it is learned
//   {"prompt", "completion"}       or {"prompt", "references": [...]}
//   {"text", "label"}              prompt "{text}\nLabel:", completions " {label}"
//   {"text_a", "text_b", "label"}  prompt "{text_a}\n{text_b}\nLabel:"
//   any columns with `template`
// `labels_file`: a labels.txt beside the data fixes the choices; otherwise they are the sorted labels of the rows.
std::vector<TextRow> text_rows(const std::vector<Record>& records, const DataConfig& config, const std::filesystem::path& labels_file = {});

// labels.txt in the folder of the first file, or an empty path.
std::filesystem::path labels_beside(const std::vector<std::string>& files);

}  // namespace graft
