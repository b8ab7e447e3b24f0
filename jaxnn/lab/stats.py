"""Many runs to estimates with intervals; the verdict is a set, and its ties are named.

Conventions. Arrays are NumPy's, with the runs (seeds) on the last axis; greater is better (negate a loss). Arms are
paired: run s of every arm has the same seed. A run that diverged is a NaN. It is counted, never dropped: it has the
worst value there is, `worst` (0, that of an accuracy, unless told otherwise), and it never reaches a target.

Arguments that mean the same everywhere: `confidence`, the probability that an interval covers the truth (at each entry,
where there are several); `worst`, the value of a diverged run; `resamples` and `seed` of the bootstrap or of the random
signs: the same seed gives the same result. `ValueError` says what does not fit: fewer than two runs, infinities, shapes
that differ, a value below `worst` beside a diverged run.
"""

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A value with its interval, and the number of runs that it stands on; arrays where there are several of them."""

    value: float
    low: float
    high: float
    runs: int
    diverged: int = 0  # so many of the runs; they are among `runs`


class Difference(NamedTuple):
    """The difference of two arms with its interval, and the p-value of there being none."""

    value: float
    low: float
    high: float
    runs: int  # pairs of runs
    diverged: int  # pairs in which one or both runs diverged
    p_value: float


class BestSet(NamedTuple):
    """The arms that the data cannot tell from the best one."""

    names: tuple[str, ...]  # the leader first, then by mean
    p_values: dict[str, float]  # of every arm being among the best, adjusted for all comparisons of all arms
    rate: float  # bound on the probability that an arm as good as the best is missing


class TimeToTarget(NamedTuple):
    """Share of the runs that have reached a target after so many steps."""

    steps: np.ndarray  # (times,) ascending
    share: Estimate  # arrays (times,)
    median: Estimate  # steps; infinite where fewer than half of the runs get there
    reached: Estimate  # share of the runs that reached the target in the steps they had


def _lab(module):
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"statistics need {module}, which an extra brings: pip install 'jaxnn[lab]'") from error


def _runs(values, worst):
    """Values (…, runs) with `worst` for each diverged run, and which runs those are."""
    values = np.asarray(values, dtype=float)
    if values.ndim == 0 or values.shape[-1] < 2:
        raise ValueError(f"values of shape {values.shape}; expected two runs or more on the last axis")
    if np.isinf(values).any():
        raise ValueError("values hold an infinity; expected finite numbers, and NaN for a run that diverged")
    diverged = np.isnan(values)
    lowest = np.min(values, where=~diverged, initial=np.inf)
    if diverged.any() and lowest < worst:
        raise ValueError(
            f"a run diverged and counts as worst={worst}, but another has the value {lowest}, which is lower; "
            "pass the worst value that the metric can take as `worst`"
        )
    return np.where(diverged, worst, values), diverged


def _arms(values: Mapping, worst):
    """Names, values (arms, runs) and which of them diverged, of a mapping from name to (runs,)."""
    shapes = {name: np.shape(v) for name, v in values.items()}
    if len(shapes) < 2 or len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 1:
        raise ValueError(f"values of shapes {shapes}; expected two arms or more, each (runs,), paired by seed")
    return list(values), *_runs(np.stack([np.asarray(v, dtype=float) for v in values.values()]), worst)


def _bootstrap(statistic, values, confidence, resamples, seed):
    """Expanded percentile interval of statistic(values (…, runs), axis) -> (…).

    The bootstrap sees the spread Σ(x − x̄)²/n instead of …/(n − 1), and normal quantiles instead of Student's. Taking
    the quantiles at Φ(∓√(n/(n − 1)) t) repairs both to first order; without it, ten runs cover 91 % instead of 95 %.

    Source: Hesterberg, "What teachers should know about the bootstrap", 2015, section 3.3.
    """
    expanded = _expanded(confidence, values.shape[-1])
    return (
        _lab("scipy.stats")
        .bootstrap(
            (values,),
            statistic,
            n_resamples=resamples,
            confidence_level=expanded,
            method="percentile",
            axis=-1,
            rng=seed,
        )
        .confidence_interval
    )


def _expanded(confidence, runs):
    stats = _lab("scipy.stats")
    return 1 - 2 * stats.norm.sf(np.sqrt(runs / (runs - 1)) * stats.t.ppf((1 + confidence) / 2, runs - 1))


def _signs(runs, resamples, seed):
    """Random signs (1 + resamples, runs). The first row, all +, is the observation, which makes p-values exact."""
    signs = 1.0 - 2.0 * np.random.default_rng(seed).integers(0, 2, (1 + resamples, runs))
    signs[0] = 1
    return signs


def _p_value(statistic):
    """Share of the rows at least as large as the first, the observation; a difference by rounding is a tie."""
    return np.mean(statistic >= statistic[0] - 1e-9 * statistic.max())


def wilson(successes, runs, confidence: float = 0.95) -> Estimate:
    """Share of successes with Wilson's interval: all p with |p̂ − p| ≤ z √(p (1 − p)/n).

    Unlike p̂ ± z √(p̂ (1 − p̂)/n) it has a width at no success and at nothing but successes, and covers near both.

    Args:
      successes: number of successes, () or (…), each in [0, runs].
      runs: number of runs n.

    Raises:
      ValueError: for no runs, or successes outside [0, runs].

    >>> print("{:.2f} [{:.3f}, {:.3f}]".format(*wilson(20, 20)[:3]))
    1.00 [0.839, 1.000]

    Source: Wilson 1927; Brown, Cai & DasGupta 2001.
    """
    successes = np.asarray(successes, dtype=float)
    if runs < 1 or not np.all((successes >= 0) & (successes <= runs)):
        raise ValueError(
            f"{successes} successes in {runs} runs; expected at least one run, and from 0 to {runs} successes"
        )
    interval = _lab("statsmodels.stats.proportion").proportion_confint
    low, high = interval(successes, runs, alpha=1 - confidence, method="wilson")
    return Estimate(successes / runs, np.maximum(low, 0), np.minimum(high, 1), runs)


def over_runs(values, statistic, *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0) -> Estimate:
    """A statistic of all networks of several runs, with the bootstrap's interval over whole runs.

    Networks of one run (a split) have its rows in common, so runs are drawn again, each with all of its networks.

    Args:
      values: (runs, networks); infinite for what never happened.
      statistic: of (…, networks of all runs), over the last axis.

    >>> shares = over_runs([[1, 1], [1, 0], [1, 1], [0, 1], [1, 1]], lambda x: x.mean(-1))
    >>> print(f"{shares.value:.1f} [{shares.low:.1f}, {shares.high:.1f}]")
    0.8 [0.5, 1.0]

    Source: Davison & Hinkley 1997, "Bootstrap methods and their application", section 3.8.
    """
    values = np.asarray(values, dtype=float)
    runs = len(values)
    if values.ndim != 2 or runs < 2:
        raise ValueError(f"values of shape {values.shape}; expected (runs, networks), two runs or more")
    drawn = values[np.random.default_rng(seed).integers(runs, size=(resamples, runs))].reshape(resamples, -1)
    outside = (1 - _expanded(confidence, runs)) / 2
    low, high = np.quantile(statistic(drawn), [outside, 1 - outside], method="inverted_cdf")
    return Estimate(statistic(values.reshape(1, -1))[0], low, high, runs)


def paired_difference(
    a, b, *, confidence: float = 0.95, worst: float = 0.0, resamples: int = 9_999, seed: int = 0
) -> Difference:
    """Mean difference a − b of two arms over the same seeds, with a bootstrap interval and an exact p-value.

    The mean, because a trimmed mean would trim diverged runs. The test is the paired permutation test: had the arms no
    difference, each dₛ = aₛ − bₛ could as well have the other sign; p is the share of the random signs ε, the observed
    ones among them, with |Σₛ εₛ dₛ| ≥ |Σₛ dₛ|. It holds its level for any number of runs and any ties.

    Args:
      a: (runs,), greater is better, NaN for a diverged run.
      b: (runs,), the baseline, with the same seeds.

    >>> difference = paired_difference([0.95, 0.96, 0.97, 0.96, 0.99, 0.98], [0.91, 0.93, 0.92, 0.94, 0.92, 0.95])
    >>> print(f"{difference.value:.2f} [{difference.low:.2f}, {difference.high:.2f}], p = {difference.p_value:.2f}")
    0.04 [0.02, 0.06], p = 0.03

    Source: Fisher 1935; Phipson & Smyth 2010 (the observation counts as one of the permutations).
    """
    _, (a, b), diverged = _arms({"a": a, "b": b}, worst)
    low, high = _bootstrap(np.mean, a - b, confidence, resamples, seed)
    p_value = _p_value(np.abs(_signs(len(a), resamples, seed) @ (a - b)))
    return Difference(np.mean(a - b), low, high, len(a), diverged.any(0).sum(), p_value)


def compare(values: Mapping, baseline: str, **settings) -> dict[str, Difference]:
    """Paired difference of every other arm from the baseline, p-values adjusted by Holm for the number of arms.

    For few arms that were named before the data were seen. With probability 1 − α no arm equal to the baseline has an
    adjusted p-value of α or less. The intervals are those of single comparisons. For "which is best?" see `best_set`.

    Args:
      values: name to (runs,), paired by seed.
      baseline: one of the names.
      **settings: as in `paired_difference`.

    Returns:
      Name to Difference, arm minus baseline.

    Raises:
      ValueError: for an unknown baseline.

    >>> runs = {"relu": [0.5, 0.6, 0.5, 0.7, 0.6], "tanh": [0.6, 0.7, 0.7, 0.8, 0.7], "elu": [0.5, 0.6, 0.6, 0.7, 0.5]}
    >>> {name: round(float(difference.value), 2) for name, difference in compare(runs, "relu").items()}
    {'tanh': 0.12, 'elu': 0.0}

    Source: Holm 1979.
    """
    if baseline not in values:
        raise ValueError(f"baseline {baseline!r} is not among the arms: {', '.join(values)}")
    differences = {
        name: paired_difference(arm, values[baseline], **settings) for name, arm in values.items() if name != baseline
    }
    holm = _lab("statsmodels.stats.multitest").multipletests([d.p_value for d in differences.values()], method="holm")
    return {name: d._replace(p_value=p) for (name, d), p in zip(differences.items(), holm[1], strict=True)}


def best_set(
    values: Mapping, *, rate: float = 0.05, worst: float = 0.0, resamples: int = 9_999, seed: int = 0
) -> BestSet:
    """All arms that may be the best: with probability 1 − rate no arm equal to the best (by mean) is missing.

    So a null pair, two arms that are one function, is called different with probability `rate` at most, however many
    arms there are and although the leader is chosen on the same runs. Arm i is behind arm j by

        Zᵢⱼ = Σₛ (xⱼₛ − xᵢₛ) / √(n Σₛ (xⱼₛ − xᵢₛ)²)

    and the arm that is furthest behind another leaves the set, as long as the share of random signs ε, one for each
    seed, that push any two arms of the set so far apart, maxᵢⱼ Zᵢⱼ(ε) ≥ maxᵢⱼ Zᵢⱼ, is at most `rate`. The p-value of an
    arm is the largest such share up to its leaving. The reference is exact for a null pair, and for any arms whose
    differences are jointly symmetric about their means. Measured at rate 0.05 with ten to twenty runs: 0.03 to 0.05 for
    skewed, tied, diverging, unequally spread arms; 0.09 for arms of equal mean and opposite skew at
    ten runs (0.07 at thirty).

    Args:
      values: name to (runs,), greater is better, paired by seed, NaN for a diverged run.
      rate: the family-wise error rate. With n runs no p-value is below 2¹⁻ⁿ: six runs at least for 0.05.

    >>> best_set({"relu": [0.7, 0.8, 0.7, 0.9, 0.8, 0.7, 0.8], "tanh": [0.8, 0.7, 0.7, 0.9, 0.8, 0.8, 0.8],
    ...           "step": [0.5, 0.5, 0.6, 0.5, 0.4, 0.5, 0.6]}).names
    ('tanh', 'relu')

    Source: the model confidence set of Hansen, Lunde & Nason 2011, with the resampling of Westfall & Young 1993.
    """
    names, x, _ = _arms(values, worst)
    means = _signs(x.shape[1], resamples, seed) @ x.T / x.shape[1]  # (1 + resamples, arms); the first row is observed
    spread = np.sqrt(np.mean((x[:, None] - x) ** 2, axis=-1))  # (arms, arms)
    spread[spread == 0] = np.inf
    behind = (means[0] - means[0][:, None]) / spread
    order, left = [], list(range(len(names)))  # the order of leaving is the observation's alone, so it comes first
    while left:
        order.append(left.pop(np.argmax(behind[np.ix_(left, left)].max(axis=1))))
    furthest, p_values = np.zeros(len(means)), []
    for place, arm in reversed(list(enumerate(order[:-1]))):  # sets that grow from the leader share their maxima
        stays = order[place + 1 :]
        furthest = np.maximum(furthest, np.abs((means[:, stays] - means[:, [arm]]) / spread[arm, stays]).max(axis=1))
        p_values.append(_p_value(furthest))
    adjusted = np.maximum.accumulate([*reversed(p_values), 1.0])
    p_values = {names[arm]: p for arm, p in zip(order, adjusted, strict=True)}
    by_mean = sorted(range(len(names)), key=lambda arm: -means[0, arm])
    return BestSet(tuple(names[arm] for arm in by_mean if p_values[names[arm]] > rate), p_values, rate)


def probability_of_improvement(a, b, confidence: float = 0.95) -> Estimate:
    """Probability that a run of `a` beats a run of `b`: P(A > B) + P(A = B)/2, over all pairs of runs.

    A diverged run loses to every other and ties with its like. The interval is Wilson's with n runs, which is never too
    narrow (also at 0 and 1) because the variance is p (1 − p)/n at most, for arms that are independent or that the
    seed moves in the same direction.

    Args:
      a: (runs,), greater is better, NaN for a diverged run.
      b: (runs,), with the same seeds.

    >>> float(probability_of_improvement([0.9, 0.8, 0.9, 0.7], [0.8, 0.7, 0.6, float("nan")]).value)
    0.875

    Source: Mann & Whitney 1947; Agarwal et al. 2021; Birnbaum & Klose 1957 for the bound.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"arms of shapes {a.shape} and {b.shape}; expected (runs,) for both")
    diverged = np.sum(np.isnan(a) | np.isnan(b))
    a, b = np.where(np.isnan(a), -np.inf, a)[:, None], np.where(np.isnan(b), -np.inf, b)
    wins = np.sum((a > b) + 0.5 * (a == b)) / len(b)
    return wilson(wins, len(b), confidence)._replace(diverged=diverged)


def kaplan_meier(steps, reached, confidence: float = 0.95) -> TimeToTarget:
    """Share of the runs that have reached the target, by steps: F(t) = 1 − ∏_{tᵢ ≤ t} (1 − dᵢ/nᵢ).

    dᵢ runs reach the target at step tᵢ of the nᵢ that had not and were still watched. Never the mean of the winners: a
    run that was stopped first counts as one that needs longer, and a diverged run as one that never gets there. The
    band is the log(−log) one of scipy, the median's interval all t at which the band holds ½ or that were not watched.

    Args:
      steps: (runs,), the step of reaching the target, or the last step of a run that did not. NaN for a diverged run.
      reached: (runs,) bool, whether the run reached the target.

    Raises:
      ValueError: for no runs, or steps that are infinite or negative.

    >>> curve = kaplan_meier([10, 20, 30, 100, float("nan")], [True, True, True, False, False])
    >>> curve.steps.tolist(), curve.share.value.round(1).tolist(), float(curve.median.value)
    ([10.0, 20.0, 30.0, 100.0], [0.2, 0.4, 0.6, 0.6], 30.0)

    Source: Kaplan & Meier 1958; Brookmeyer & Crowley 1982 for the median.
    """
    steps, reached = np.asarray(steps, dtype=float), np.asarray(reached, dtype=bool)
    if steps.shape != reached.shape or steps.ndim != 1 or np.any(np.isinf(steps) | (steps < 0)):
        raise ValueError(
            f"steps of shape {steps.shape}, reached of shape {reached.shape}; expected (runs,) for both, and steps "
            "from 0 on: the last step watched for a run that did not reach the target, NaN for one that diverged"
        )
    diverged, stats = np.isnan(steps), _lab("scipy.stats")
    reached = reached & ~diverged
    total = wilson(reached.sum(), len(steps), confidence)._replace(diverged=diverged.sum())
    steps = np.where(diverged, np.max(steps, where=~diverged, initial=0), steps)
    survival = stats.ecdf(stats.CensoredData.right_censored(steps, ~reached)).sf
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # no formula at shares of exactly 0 and 1
        band = survival.confidence_interval(confidence, method="log-log")
    low = np.nan_to_num(np.fmax.accumulate(1 - band.high.probabilities))  # F grows: earlier and later bounds bound it
    high = np.nan_to_num(np.fmin.accumulate(1 - band.low.probabilities[::-1])[::-1], nan=total.high)
    share = Estimate(1 - survival.probabilities, low, high, len(steps), diverged.sum())
    median, earliest, latest = (
        np.min(survival.quantiles, where=at >= 0.5 - 1e-9, initial=np.inf) for at in (share.value, high, low)
    )
    median = Estimate(median, np.minimum(earliest, steps.max()), latest, len(steps), diverged.sum())
    return TimeToTarget(survival.quantiles, share, median, total)
