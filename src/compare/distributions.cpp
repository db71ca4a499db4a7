#include "compare/distributions.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace graft {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kEpsilon = 1e-16, kTiny = 1e-300;
constexpr int kMostTerms = 200000;

// Value of the continued fraction b0 + a1/(b1 + a2/(b2 + ...)) by the modified Lentz method (Thompson & Barnett 1986).
template <class Term>  // term(n, a, b) sets the n-th pair
double continued_fraction(double b0, Term&& term) {
  double value = b0 == 0 ? kTiny : b0, c = value, d = 0;
  for (int n = 1; n < kMostTerms; ++n) {
    double a, b;
    term(n, a, b);
    d = b + a * d;
    c = b + a / c;
    if (d == 0) d = kTiny;
    if (c == 0) c = kTiny;
    d = 1 / d;
    value *= c * d;
    if (std::abs(c * d - 1) < kEpsilon) break;
  }
  return value;
}

// The smallest double x in [low, high] with f(x) >= target, for f that does not fall.
double invert(const std::function<double(double)>& f, double target, double low, double high) {
  for (int i = 0; i < 3000; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (f(middle) < target ? low : high) = middle;
  }
  return high;
}
double upper_bracket(const std::function<double(double)>& f, double target) {
  double high = 1;
  while (f(high) < target && high < 1e300) high *= 2;
  return high;
}

}  // namespace

double normal_cdf(double z) {
  return 0.5 * std::erfc(-z / std::sqrt(2.0));
}

double normal_quantile(double p) {
  if (!(p > 0 && p < 1)) return kNan;
  if (p > 0.5) return -normal_quantile(1 - p);
  double z = -std::sqrt(-2 * std::log(p)) + 0.5;  // a start in the right region; Halley's steps converge cubically
  if (p > 0.1) z = (p - 0.5) * 2.5;
  for (int i = 0; i < 60; ++i) {
    const double density = std::exp(-0.5 * z * z) / std::sqrt(2 * M_PI);
    const double u = (normal_cdf(z) - p) / density, step = u / (1 + 0.5 * z * u);
    z -= std::clamp(step, -1.0, 1.0);
    if (std::abs(step) < 1e-15 * std::max(1.0, std::abs(z))) break;
  }
  return z;
}

double incomplete_beta(double a, double b, double x) {
  if (!(a > 0 && b > 0 && x >= 0 && x <= 1)) return kNan;
  if (x == 0 || x == 1) return x;
  if (x > (a + 1) / (a + b + 2)) return 1 - incomplete_beta(b, a, 1 - x);  // the fraction converges fast on the other side
  const double front = std::exp(a * std::log(x) + b * std::log1p(-x) + std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b)) / a;
  return front / continued_fraction(1, [&](int n, double& top, double& bottom) {
           const double m = n / 2;
           top = n % 2 ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                       : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
           bottom = 1;
         });
}

namespace {
double gamma_series(double a, double x) {  // P(a, x) for x < a + 1
  double term = 1 / a, sum = term;
  for (int n = 1; n < kMostTerms && term > sum * kEpsilon; ++n) sum += term *= x / (a + n);
  return sum * std::exp(a * std::log(x) - x - std::lgamma(a));
}
double gamma_fraction(double a, double x) {  // Q(a, x) for x >= a + 1
  const double fraction = continued_fraction(x + 1 - a, [&](int n, double& top, double& bottom) {
    top = -n * (n - a);
    bottom = x + 1 - a + 2.0 * n;
  });
  return std::exp(a * std::log(x) - x - std::lgamma(a)) / fraction;
}
}  // namespace

double lower_gamma(double a, double x) {
  if (!(a > 0 && x >= 0)) return kNan;
  if (x == 0) return 0;
  return x < a + 1 ? gamma_series(a, x) : 1 - gamma_fraction(a, x);
}
double upper_gamma(double a, double x) {
  if (!(a > 0 && x >= 0)) return kNan;
  if (x == 0) return 1;
  return x < a + 1 ? 1 - gamma_series(a, x) : gamma_fraction(a, x);
}

double beta_quantile(double p, double a, double b) {
  if (!(p > 0 && p < 1 && a > 0 && b > 0)) return kNan;
  return invert([&](double x) { return incomplete_beta(a, b, x); }, p, 0, 1);
}

double t_two_sided_p(double t, double degrees) {
  if (!(degrees > 0) || std::isnan(t)) return kNan;
  if (std::isinf(t)) return 0;
  const double square = t * t;
  // Near t = 0 the complement keeps the small argument exact; in the tail the direct form keeps the small result exact.
  return square < 3 ? 1 - incomplete_beta(0.5, degrees / 2, square / (degrees + square))
                    : incomplete_beta(degrees / 2, 0.5, degrees / (degrees + square));
}
double t_cdf(double t, double degrees) {
  const double tail = 0.5 * t_two_sided_p(t, degrees);
  return t < 0 ? tail : 1 - tail;
}
double t_quantile(double p, double degrees) {
  if (!(p > 0 && p < 1 && degrees > 0)) return kNan;
  if (p == 0.5) return 0;
  const double tail = 2 * std::min(p, 1 - p);
  const auto below = [&](double t) { return -t_two_sided_p(t, degrees); };
  const double t = invert(below, -tail, 0, upper_bracket(below, -tail));
  return p < 0.5 ? -t : t;
}

double chi2_cdf(double x, double degrees) {
  return x <= 0 ? 0 : lower_gamma(degrees / 2, x / 2);
}
double chi2_tail(double x, double degrees) {
  return x <= 0 ? 1 : upper_gamma(degrees / 2, x / 2);
}
double chi2_quantile(double p, double degrees) {
  if (!(p > 0 && p < 1 && degrees > 0)) return kNan;
  const auto cdf = [&](double x) { return chi2_cdf(x, degrees); };
  return invert(cdf, p, 0, upper_bracket(cdf, p));
}

double binomial_cdf(double k, double n, double p) {
  if (!(n >= 0 && p >= 0 && p <= 1)) return kNan;
  k = std::floor(k);
  if (k < 0) return 0;
  return k >= n ? 1 : incomplete_beta(n - k, k + 1, 1 - p);
}

}  // namespace graft
