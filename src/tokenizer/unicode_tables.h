// Facts about code points as the reference's libraries have them; see tools/unicode_tables.py.
#pragma once

namespace graft::unicode_tables {

// Sets are runs: gap since the last run, length. Numbers have five bits a character, the lowest first; the sixth says that more
// follow.
extern const char *const kCategoryRuns,
    *const kWordSet, *const kWhitespaceSet, *const kRegexWordSet, *const kNumericSet, *const kPunctuationSet,
                                                                                          *const kAccentSet,
                                                                                              *const kBertAccentSet,
                                                                                                  *const kBertControlSet,
                                                                                                      *const kInertSet,
                                                                                                          *const kLowercaseRuns,
                                                                                                              *const kScriptRuns;

}  // namespace graft::unicode_tables
