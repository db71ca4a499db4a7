#!/usr/bin/env python3
"""Writes tests/compare/golden/stats.json: distributions, tests and corrections by scipy and statsmodels.

    pip install scipy==1.17.1 statsmodels==0.15.0
    python tools/golden/stats.py

The crossed t test has no function in either package: its mean squares come from statsmodels' analysis of variance of an
ordinary least squares fit with run and item as factors, the rest is the formula of docs/statistics.md.
"""

import json
import math
import pathlib

import numpy as np
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf
from scipy import special, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

OUT = pathlib.Path(__file__).resolve().parent.parent.parent / "tests/compare/golden/stats.json"
rng = np.random.default_rng(11)
PROBABILITIES = [1e-12, 1e-6, 0.001, 0.025, 0.05, 0.2, 0.5, 0.8, 0.95, 0.975, 0.999]

golden = {
    "normal_cdf": [[z, stats.norm.cdf(z)] for z in [-30, -8.5, -3, -1.96, -0.1, 0, 0.7, 2, 5, 9]],
    "normal_quantile": [[p, stats.norm.ppf(p)] for p in [1e-300, 1e-20] + PROBABILITIES],
    "incomplete_beta": [[a, b, x, special.betainc(a, b, x)] for a in [0.1, 0.5, 1, 3.3, 40, 2000] for b in [0.2, 1, 7, 500]
                        for x in [1e-6, 0.01, 0.3, 0.5, 0.9, 0.999] if special.betainc(a, b, x) > 1e-290],
    "beta_quantile": [[p, a, b, stats.beta.ppf(p, a, b)] for a, b in [(0.5, 0.5), (2, 3), (30, 1), (10, 990)] for p in PROBABILITIES],
    "lower_gamma": [[a, x, special.gammainc(a, x)] for a in [0.3, 1, 5, 120] for x in [1e-5, 0.5, 3, 30, 150]
                    if special.gammainc(a, x) > 1e-290],
    "upper_gamma": [[a, x, special.gammaincc(a, x)] for a in [0.3, 1, 5, 120] for x in [1e-5, 0.5, 3, 30, 150, 400]],
    "t_cdf": [[t, n, stats.t.cdf(t, n)] for n in [1, 2.5, 4, 30, 1e5] for t in [-40, -6, -2, -0.3, 0, 1e-4, 1, 3]],
    "t_two_sided_p": [[t, n, 2 * stats.t.sf(abs(t), n)] for n in [1, 2.5, 4, 30, 1e5] for t in [-12, -2, 1e-5, 0.3, 1, 20]],
    "t_quantile": [[p, n, stats.t.ppf(p, n)] for n in [1, 2.5, 4, 30, 1e5] for p in PROBABILITIES if p != 0.5],
    "chi2_cdf": [[x, n, stats.chi2.cdf(x, n)] for n in [1, 2, 7.5, 200] for x in [0.01, 1, 3.84, 60, 190]],
    "chi2_tail": [[x, n, stats.chi2.sf(x, n)] for n in [1, 2, 7.5, 200] for x in [0.01, 1, 3.84, 60, 400]],
    "chi2_quantile": [[p, n, stats.chi2.ppf(p, n)] for n in [1, 2, 7.5, 200] for p in PROBABILITIES],
    "binomial_cdf": [[k, n, p, stats.binom.cdf(k, n, p)] for n in [1, 10, 1319] for p in [0.02, 0.5, 0.9] for k in [0, 1, n // 2, n - 1, n]
                     if stats.binom.cdf(k, n, p) > 1e-290],
    "wilson": [[k, n, level, *proportion_confint(k, n, 1 - level, "wilson")] for k, n in [(0, 5), (5, 5), (1, 7), (541, 1319), (999, 1000)]
               for level in [0.9, 0.95]],
    "mcnemar": [[b, c, mcnemar([[3, b], [c, 4]], exact=True).pvalue] for b, c in [(0, 0), (1, 0), (5, 5), (2, 11), (40, 71), (300, 212)]],
    "quantile": [[q, float(np.quantile([3.5, -1, 7, 2, 2, 9.25], q))] for q in [0, 0.025, 0.3, 0.5, 0.77, 1]],
}

golden["holm"] = []
for n in [1, 2, 6, 45]:
    p = np.round(rng.random(n) ** 4, 4)
    golden["holm"].append({"p": p.tolist(), "adjusted": multipletests(p, method="holm")[1].tolist()})

golden["one_run"] = []  # paired t over items
for n in [2, 3, 50]:
    a, b = rng.normal(size=n), rng.normal(0.3, size=n)
    test = stats.ttest_rel(a, b)
    ci = test.confidence_interval(0.95)
    golden["one_run"].append({"a": a.tolist(), "b": b.tolist(), "p": test.pvalue, "ci95": [ci.low, ci.high], "degrees": n - 1})

golden["permutation"] = []  # exact sign flips
for n in [1, 3, 9, 12]:
    d = np.round(rng.normal(0.4, size=n), 2)
    p = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue if n > 1 else 1.0
    golden["permutation"].append({"d": d.tolist(), "p": float(p)})


def mean_squares(table):
    runs, items = table.shape
    frame = pd.DataFrame([(s, i, table[s, i]) for s in range(runs) for i in range(items)], columns=["run", "item", "y"])
    anova = sm.stats.anova_lm(smf.ols("y ~ C(run) + C(item)", frame).fit())
    return [anova.loc[row, "sum_sq"] / anova.loc[row, "df"] for row in ("C(run)", "C(item)", "Residual")]


def judged(difference, var, degrees):
    se, t = math.sqrt(var), stats.t(degrees)
    return {"difference": difference, "standard_error": se, "degrees": degrees, "p": 2 * t.sf(abs(difference) / se),
            "ci95": [difference - t.ppf(0.975) * se, difference + t.ppf(0.975) * se],
            "detectable": (t.ppf(0.975) + t.ppf(0.8)) * se}


golden["crossed"] = []
for runs, items, run_sd, item_sd in [(5, 40, 0.5, 1), (3, 25, 0, 1), (4, 8, 2, 0.01), (2, 60, 0.1, 0), (5, 30, 0, 0)]:
    a = rng.normal(0.2, 1, (runs, items)) + rng.normal(0, 1, (runs, 1)) * run_sd + rng.normal(0, 1, (1, items)) * item_sd
    b = rng.normal(0, 1, (runs, items)) + rng.normal(0, 1, (1, items)) * item_sd
    d, n, cells = a - b, [runs - 1, items - 1, (runs - 1) * (items - 1)], runs * items
    ms = mean_squares(d)
    both = (ms[0] + ms[1] - ms[2], (ms[0] + ms[1] - ms[2]) ** 2 / sum(m * m / k for m, k in zip(ms, n)))
    var, degrees = max([both, (ms[0], n[0]), (ms[1], n[1])])
    golden["crossed"].append({"a": a.tolist(), "b": b.tolist(), **judged(d.mean(), var / cells, degrees)})

golden["unequal_runs"] = []
for runs_a, runs_b, items in [(5, 3, 30), (2, 4, 12), (1, 3, 20)]:
    a = rng.normal(0.2, 1, (runs_a, items)) + rng.normal(0, 1, (runs_a, 1))
    b = rng.normal(0, 1, (runs_b, items)) + rng.normal(0, 1, (runs_b, 1))
    d = a.mean(0) - b.mean(0)
    terms = [(d.var(ddof=1) / items, items - 1)]
    for own, other in ((a, b), (b, a)):
        source = own if len(own) > 1 else other
        ms, n = mean_squares(source), [len(source) - 1, 0, (len(source) - 1) * (items - 1)]
        if ms[0] > ms[2]:
            terms += [(ms[0] / (items * len(own)), n[0]), (-ms[2] / (items * len(own)), n[2])]
    var = sum(t for t, _ in terms)
    golden["unequal_runs"].append({"a": a.tolist(), "b": b.tolist(), **judged(d.mean(), var, var**2 / sum(t * t / k for t, k in terms))})


class Encoder(json.JSONEncoder):
    def default(self, value):
        return value.item() if isinstance(value, np.generic) else value.tolist()


OUT.parent.mkdir(exist_ok=True)
OUT.write_text("{\n" + ",\n".join(f'"{k}": {json.dumps(v, cls=Encoder)}' for k, v in golden.items()) + "\n}\n")
