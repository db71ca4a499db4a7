// The charts of the report, as inline SVG. Values come in as they are shown (already scaled). A method has the same colour and
// shape in every chart, by its place in the plan; since eight colours do not tell forty methods apart, names stand beside marks.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace graft {

std::string colour_class(size_t index);  // "c0".."c7"
std::string method_mark(size_t index);   // a small mark for tables and captions

// One row per method: dot and interval, a dot per seed, and a reference line.
struct RowChart {
  struct Row {
    std::string name, text;      // text: the numbers in words, shown at the end of the row
    size_t index = 0, rank = 0;  // a thin line separates ranks; 0: none
    double mean = 0;
    std::optional<std::pair<double, double>> interval;
    std::vector<double> seeds;
  };
  std::string axis, description;
  std::vector<Row> rows;
  std::optional<double> reference;
  std::string reference_name;
};
std::string row_chart(const RowChart& chart, double width);

// Quality against one cost. The front is marked, joined by steps, and labelled first.
struct CostChart {
  struct Point {
    std::string name;
    size_t index = 0;
    double cost = 0, quality = 0;
    std::optional<std::pair<double, double>> interval;
    bool front = false;
  };
  std::string cost_axis, quality_axis, description;
  bool higher_is_better = true, log = false;
  bool bytes = false;  // costs are bytes
  std::vector<Point> points;
};
// With many points, only those on the front carry intervals, and labels stand close to their points or nowhere: the names
// left out go to `unlabelled`.
std::string cost_chart(const CostChart& chart, double width, double height, std::vector<std::string>& unlabelled);

// Dev score against learning rate for one method. Points of the same rung are joined; early rungs are faint.
struct RatePanel {
  struct Point {
    double lr = 0, rung = 1;
    std::optional<double> score;  // none: the run diverged or failed
    std::string status;
  };
  size_t index = 0;
  std::vector<Point> points;
  std::optional<double> chosen;
  double low = 0, high = 1;  // of the scores, shared by all panels
  std::string description;
};
std::string rate_panel(const RatePanel& panel, double width);

// Training loss of one method: its seeds faint, their mean strong, the other methods' means grey.
struct LossPanel {
  size_t index = 0;
  std::vector<double> steps;
  std::vector<std::optional<double>> mean;
  std::vector<std::vector<std::optional<double>>> seeds;
  std::vector<std::pair<std::vector<double>, std::vector<std::optional<double>>>> others;
  double last_step = 1, low = 0, high = 1;  // shared by all panels
  std::string description;
};
std::string loss_panel(const LossPanel& panel, double width);

}  // namespace graft
