// Small means for drawing charts as inline SVG: scales with readable ticks, marks, and labels that do not lie on each other.
//
// Colours come from the page's style sheet, so that a chart follows light, dark and print: marks carry the class "c0".."c7"
// (text in the colour `currentColor`), text and lines the classes "label", "faint", "axis", "grid".
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace graft {

// Text for HTML and SVG, in elements and in quoted attributes; control characters that HTML forbids become U+FFFD.
std::string escape_html(std::string_view text);

// Width in pixels of text in a common sans-serif face of this size: an estimate on the wide side.
double text_width(std::string_view text, double size);

// The text cut with "…" so that it is no wider than `width`.
std::string fit_text(std::string_view text, double size, double width);

// Data to pixels. `log` needs positive bounds. Equal bounds are widened; numbers that are not finite are the caller's to leave
// out.
class Scale {
 public:
  Scale(double low, double high, double pixel_low, double pixel_high, bool log = false);
  double operator()(double value) const;
  double low() const { return low_; }
  double high() const { return high_; }
  bool log() const { return log_; }
  // Round numbers inside the bounds, about `count` of them; on a log scale powers of ten, with 2 and 5 where those are few.
  std::vector<double> ticks(int count) const;

 private:
  double low_, high_, from_, to_;
  bool log_;
};

// "0.25", "2e-4", "1 M": as few digits as tell the ticks apart.
std::vector<std::string> tick_labels(const std::vector<double>& ticks, bool log);

struct Box {
  double x = 0, y = 0, width = 0, height = 0;
  bool overlaps(const Box& other) const;
};

// Finds room for labels beside their points, greedily: what is placed first gets the better place.
class LabelPlacer {
 public:
  explicit LabelPlacer(Box area) : area_(area) {}
  void block(const Box& box) { taken_.push_back(box); }    // nothing may lie here
  void avoid(const Box& box) { avoided_.push_back(box); }  // a line, say: only where there is no other room
  // Nearest free place for a label of this size around (x, y), at most `reach` pixels off, and blocks it; nothing where
  // no place is free.
  std::optional<Box> place(double x, double y, double width, double height, double reach = 50);

 private:
  Box area_;
  std::vector<Box> taken_, avoided_;
};

enum class Anchor { Start, Middle, End };

class Svg {
 public:
  // `description` is what a screen reader says instead of the picture.
  Svg(double width, double height, std::string_view description, std::string_view css_class = "chart");
  void line(double x1, double y1, double x2, double y2, std::string_view css_class);
  void polyline(const std::vector<std::pair<double, double>>& points, std::string_view css_class);
  void rect(const Box& box, std::string_view css_class, double radius = 0);
  void text(double x, double y, std::string_view text, std::string_view css_class, Anchor anchor = Anchor::Start);
  // One of six shapes (circle, square, triangle, diamond, triangle down, pentagon), `radius` in pixels, filled or hollow.
  void marker(double x, double y, int shape, double radius, std::string_view css_class, std::string_view tooltip = "");
  void cross(double x, double y, double radius, std::string_view css_class, std::string_view tooltip = "");
  std::string str() const;

 private:
  std::string head_, body_;
};

}  // namespace graft
