// Distribution functions that the tests need, in double precision (relative error about 1e-12 in the tails used here).
// Arguments outside the domain give NaN; quantiles want p in (0, 1).
#pragma once

namespace graft {

double normal_cdf(double z);
double normal_quantile(double p);

// Regularised incomplete beta function I_x(a, b), a, b > 0, and gamma functions P(a, x), Q(a, x) = 1 - P, a > 0.
double incomplete_beta(double a, double b, double x);
double lower_gamma(double a, double x);
double upper_gamma(double a, double x);

double beta_quantile(double p, double a, double b);

double t_cdf(double t, double degrees);
double t_two_sided_p(double t, double degrees);  // P[|T| >= |t|], exact in the far tail
double t_quantile(double p, double degrees);

double chi2_cdf(double x, double degrees);
double chi2_tail(double x, double degrees);  // 1 - cdf, exact in the far tail
double chi2_quantile(double p, double degrees);

double binomial_cdf(double k, double n, double p);  // P[X <= k]

}  // namespace graft
