// The report of a comparison: report.html (one file, no network, no script; screen, phone and paper, light and dark),
// report.md and results.csv, all from the document that results.h describes.
#pragma once
#include <filesystem>
#include <string>

#include "core/json.h"

namespace graft {

// Collects OUT's run folders and writes results.json, report.html, report.md and results.csv there.
// Fault::Input where OUT holds no comparison or cannot be written.
void write_report(const std::filesystem::path& out);

std::string report_html(const Json& results);
std::string report_markdown(const Json& results);
std::string report_csv(const Json& results);  // one row per run, RFC 4180

}  // namespace graft
