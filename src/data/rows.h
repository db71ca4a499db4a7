// What rows mean as text: a prompt, a completion, references, choices.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "data/config.h"
#include "data/records.h"

namespace graft {

struct TextRow {
  std::string id;                       // the row's "id", else its number from 0
  std::string prompt, completion;       // plain text rows have an empty prompt
  std::vector<std::string> references;  // for scoring; at least the completion
  std::vector<std::string> choices;     // completions to choose from, in a fixed order; empty: none
  int64_t label = -1;                   // index of the right choice
  std::string where;                    // "train.jsonl line 7"
  std::shared_ptr<const chat::Conversation> conversation = {};  // of rows with messages; the prompt is then filled by tokenize_rows
};

// Kinds of rows, told apart row by row by their keys after `columns` are renamed:
//   any columns with `template`    split behind the last occurrence of `response_template`; without one all is learned
//   {"text", "label"}              prompt "{text}\nLabel:", completion " {label}"
//   {"text_a", "text_b", "label"}  prompt "{text_a}\n{text_b}\nLabel:", completion " {label}"
//   {"prompt", "completion"}       with "references": [...] beside the completion or in its place
//   {"messages"}                   with "tools" where there are any: the assistant's turns are learned, as the model's chat
//                                  template writes them; the completion is the last one's content
//   {"text"}                       all of it is learned
// Values are texts; numbers are taken as they are written. Other columns are left alone.
//
// Rows with a label get `choices`: the completions of all labels, those of `labels_file` (a line each, in its order), or
// else those of the rows, sorted. With a template they are filled with each label, where `response_template` stands before it.
// More than 1000 different labels are no classes: such rows get no choices.
//
// Throws Fault::Usage for bad options, Fault::Input naming the row for a missing column (naming those
// there are), a value that is no text, and a label that is empty or not in the file.
std::vector<TextRow> text_rows(std::vector<Record> records, const DataConfig& config, const std::filesystem::path& labels_file = {});

// text_rows(read_records(files), ...) in less memory, with a progress bar when it takes seconds.
std::vector<TextRow> read_rows(const std::vector<std::string>& files, const DataConfig& config, const std::filesystem::path& labels_file = {});

// labels.txt in the folder of the first file, or an empty path.
std::filesystem::path labels_beside(const std::vector<std::string>& files);

}  // namespace graft
