"""Many runs to estimates with intervals. SciPy does the statistics; it comes with the extra `lab`."""

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A number with its confidence interval."""

    value: float
    low: float
    high: float
    runs: int


def wilson(successes: int, runs: int, confidence: float = 0.95) -> Estimate:
    """A success rate with Wilson's score interval, {p : |k/n − p| ≤ z √(p(1−p)/n)}; it stays within [0, 1].

    Args:
      successes: k, within 0 … runs.
      runs: n, at least 1.
      confidence: of the interval, between 0 and 1.

    Returns:
      An `Estimate` of the rate.

    Raises:
      ValueError: the counts do not fit.

    Source: Wilson 1927.

    >>> wilson(8, 10).low.round(3)
    np.float64(0.49)
    """
    from scipy.stats import binomtest

    if not 0 <= successes <= runs or runs < 1:
        raise ValueError(f"wilson: {successes} successes of {runs} runs; expected 0 ≤ successes ≤ runs and runs ≥ 1")
    interval = binomtest(int(successes), int(runs)).proportion_ci(confidence, method="wilson")
    return Estimate(successes / runs, interval.low, interval.high, runs)


def censored_median(times: np.ndarray, reached: np.ndarray) -> float:
    """The median time to the target, where a run that never reached it counts as ∞.

    It is the Kaplan-Meier median when every censored run was watched at least as long as the last success; never the
    mean of the winners.

    Args:
      times: (runs,) time at which each run reached the target.
      reached: (runs,) bool.

    Returns:
      The smallest time by which at least half of the runs had arrived; infinite where fewer than half ever did.

    >>> censored_median(np.array([10, 20, 99]), np.array([True, True, False]))
    20.0
    """
    ordered = np.sort(np.where(reached, times, np.inf))
    return float(ordered[(len(ordered) - 1) // 2])
