"""What test rows say about new rows: intervals, differences and the best set, from rows and runs.

Two things vary: which rows the table happens to hold, and how a run (a split, its seeds, its orders) happens to go.
Every row is tested in several runs and every run tests many rows, so both are seen, and the covariance of the means of
all activations is the sum of the two. Differences are paired: what activations share cancels.

Greater is better everywhere. `ValueError` says what does not fit.
"""

from typing import NamedTuple

import numpy as np

from jaxnn.lab.stats import Estimate

_DRAWS = 20_000  # of the Monte Carlo: a quantile at 5 % is right to 0.2 %


class Means(NamedTuple):
    """Means over runs and rows, and how they vary together."""

    value: np.ndarray  # (activations,)
    covariance: np.ndarray  # (activations, activations) of these means, V
    rows: int
    runs: int
    of_rows: np.ndarray | None = None  # the part of V that more rows make smaller; more runs make the rest smaller

    def take(self, places) -> "Means":
        """The means of some activations."""
        some = np.ix_(places, places)
        of_rows = None if self.of_rows is None else self.of_rows[some]
        return Means(self.value[places], self.covariance[some], self.rows, self.runs, of_rows)

    @property
    def spread(self) -> np.ndarray:
        """Standard errors of the differences, sᵢⱼ = √(Vᵢᵢ + Vⱼⱼ − 2 Vᵢⱼ), (activations, activations).

        Exactly 0 where two never differ, whatever rounding leaves of the three terms.
        """
        variance = np.diagonal(self.covariance)
        total = variance[:, None] + variance
        squared = total - 2 * self.covariance
        return np.sqrt(np.where(squared > 1e-12 * total, squared, 0))


class Contrast(NamedTuple):
    """The differences of all activations from one, each with its interval and p-value; arrays (activations,)."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray  # of there being no difference, adjusted by Holm for all of them; 1 for the one itself


class Best(NamedTuple):
    """Which activations may be the best, and how far each one may be behind; arrays (activations,)."""

    member: np.ndarray  # bool: the data cannot tell it from the best
    p_value: np.ndarray  # the error rate at which it would leave the set
    at_most: np.ndarray  # so far behind the best of all it is at most, simultaneously for all comparisons
    at_least: np.ndarray  # and at least; 0 for members
    critical: np.ndarray  # c, so many standard errors of the difference tell one from the best


def means(values, rows) -> Means:
    """Means of what activations did on test rows, with a covariance that holds for new rows and new runs.

    With d = e − m, m the mean of the N = runs · tested cells, n different rows and R runs, as vectors over activations:

        V = n/(n−1) Σᵢ (Σᵣ dᵣᵢ)(Σᵣ dᵣᵢ)ᵀ / N²  +  R/(R−1) Σᵣ (Σᵢ dᵣᵢ)(Σᵢ dᵣᵢ)ᵀ / N²

    the covariance clustered by rows plus that clustered by runs. What varies within a cell is in both, which errs to
    the safe side.

    Args:
      values: (activations, runs, tested), e: what each activation did on each row that a run tests, the mean over its
        seeds. A metric that is no mean over rows brings values that have its value as mean and its influence as spread.
      rows: (runs, tested), which rows these are; a row may be tested by several runs.

    Returns:
      `Means`.

    Raises:
      ValueError: shapes that do not fit, values that are not finite, fewer than two runs or rows.

    >>> found = means([[[1, 1, 0], [1, 0, 1]], [[1, 0, 0], [1, 0, 0]]], [[0, 1, 2], [0, 1, 2]])
    >>> found.value.round(3).tolist(), found.spread.round(3)[0].tolist()
    ([0.667, 0.333], [0.0, 0.167])

    Source: Cameron, Gelbach & Miller 2011; Owen 2007, "The pigeonhole bootstrap".
    """
    values, rows = np.asarray(values, float), np.asarray(rows)
    if values.ndim != 3 or values.shape[1:] != rows.shape or not np.isfinite(values).all():
        raise ValueError(
            f"values of shape {values.shape} and rows of shape {rows.shape}; expected finite values (activations, "
            "runs, tested) and rows (runs, tested)"
        )
    different, which = np.unique(rows, return_inverse=True)
    (_, runs, _), n, cells = values.shape, len(different), rows.size
    if min(runs, n) < 2:
        raise ValueError(f"{runs} runs and {n} rows; expected two or more of both")
    value = values.mean((1, 2))
    d = values - value[:, None, None]
    by_row = np.array([np.bincount(which.ravel(), one.ravel(), n) for one in d])
    by_run = d.sum(2)
    of_rows = n / (n - 1) * by_row @ by_row.T / cells**2
    return Means(value, of_rows + runs / (runs - 1) * by_run @ by_run.T / cells**2, n, runs, of_rows)


def intervals(found: Means, confidence: float = 0.95) -> Estimate:
    """Intervals for the values on new rows, of means of shares: Wilson's, with as many rows as the covariance is worth.

    A share m with variance V is worth n̂ = m(1−m)/V independent rows; all p with |m − p| ≤ z √(p(1−p)/n̂) are in.
    So an interval stays inside of 0 and 1, and has a width where every row is right (n̂ is the number of rows then).

    Args: found; confidence. Returns `Estimate`, its fields (activations,).

    >>> perfect = Means(np.array([1.0]), np.array([[0.0]]), rows=30, runs=10)
    >>> intervals(perfect).low.round(3).tolist()
    [0.886]

    Source: Wilson 1927; Korn & Graubard 1998 for the effective number.
    """
    z, m, variance = _normal().isf((1 - confidence) / 2), found.value, np.diagonal(found.covariance)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.where(variance > 0, m * (1 - m) / variance, found.rows)
    middle = (m + z**2 / (2 * worth)) / (1 + z**2 / worth)
    half = z / (1 + z**2 / worth) * np.sqrt(m * (1 - m) / worth + (z / (2 * worth)) ** 2)
    return Estimate(m, np.clip(middle - half, 0, m), np.clip(middle + half, m, 1), found.runs)


def contrast(found: Means, baseline: int, confidence: float = 0.95) -> Contrast:
    """Differences of all activations from the baseline: mᵢ − m_b ± z sᵢ_b, p-values by Holm.

    Args: found; baseline, its place; confidence. Returns `Contrast`.

    >>> found = means([[[1, 1, 0, 1], [1, 0, 1, 1]], [[1, 0, 0, 0], [0, 0, 0, 1]]], [[0, 1, 2, 3], [0, 1, 2, 3]])
    >>> contrast(found, baseline=0).value.tolist()
    [0.0, -0.5]

    Source: Holm 1979.
    """
    value, spread = found.value - found.value[baseline], found.spread[:, baseline]
    margin = _normal().isf((1 - confidence) / 2) * spread
    p = np.where(value == 0, 1, 2 * _normal().sf(np.abs(value) / np.maximum(spread, np.finfo(float).tiny)))
    others = np.flatnonzero(np.arange(len(value)) != baseline)
    order = others[np.argsort(p[others], kind="stable")]
    p[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return Contrast(value, value - margin, value + margin, p)


def best(found: Means, rate: float = 0.05) -> Best:
    """Multiple comparisons with the best: who may be the best, and how far behind each one is at most.

    i leaves the set when Tᵢ = maxⱼ (mⱼ − mᵢ)/sᵢⱼ exceeds cᵢ, the 1 − rate quantile of maxⱼ (zⱼ − zᵢ)/sᵢⱼ, z ~ N(0, V),
    by Monte Carlo with a fixed key. It is at most max(0, maxⱼ (mⱼ − mᵢ + cᵢ sᵢⱼ)) behind the best of all. A difference
    that never varies (sᵢⱼ = 0) is taken as it is. With probability 1 − rate a truly best one is in the set, and a bound
    holds.

    Args: found; rate, that of errors. Returns `Best`.

    >>> one, other = [[1, 1, 1, 1, 0, 1, 1, 1]] * 4, [[0, 1, 0, 0, 0, 1, 0, 0]] * 4
    >>> best(means([one, one, other], [range(8)] * 4)).member.tolist()
    [True, True, False]

    Source: Hsu 1981, "Simultaneous confidence intervals for all distances from the best".
    """
    spread = found.spread
    ahead = found.value - found.value[:, None]  # (i, j): mⱼ − mᵢ
    eigenvalues, vectors = np.linalg.eigh(found.covariance)
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0))
    z = np.random.default_rng(0).standard_normal((_DRAWS, len(root))) @ root.T
    p_value, at_most, at_least, critical = (np.zeros(len(root)) for _ in range(4))
    for i in range(len(root)):
        rivals = spread[i] > 0
        certain = max(0, ahead[i, ~rivals].max())  # ahead of it by the same in every row and run
        p_value[i], at_most[i], at_least[i] = certain == 0, certain, certain
        if not rivals.any():
            continue
        s, a = spread[i, rivals], ahead[i, rivals]
        furthest = ((z[:, rivals] - z[:, [i]]) / s).max(1)
        c = critical[i] = np.quantile(furthest, 1 - rate)
        p_value[i] *= np.mean(furthest >= (a / s).max())
        at_most[i], at_least[i] = max(certain, (a + c * s).max()), max(certain, (a - c * s).max())
    return Best(at_least == 0, p_value, at_most, at_least, critical)


def needed(found: Means, first: int, second: int, critical: float) -> tuple[float, float]:
    """How many rows, or else how many runs, would tell two apart at the difference that is seen; infinite if none do.

    A part of V falls with the rows, the rest with the runs: n V_rows/n' + V_runs = (d/c)², and the same for runs.

    Args: found; first, second, their places; critical, c of `Best`. Returns rows and runs in all.

    >>> found = means([[[1, 1, 0, 1], [1, 0, 1, 1]], [[1, 0, 1, 1], [0, 1, 1, 1]]], [[0, 1, 2, 3], [0, 1, 2, 3]])
    >>> needed(found, 0, 1, critical=2.0)
    (inf, inf)
    """
    of_rows = Means(found.value, found.of_rows, found.rows, found.runs).spread[first, second] ** 2
    of_runs = max(found.spread[first, second] ** 2 - of_rows, 0)
    wanted = (abs(found.value[first] - found.value[second]) / critical) ** 2
    return (
        found.rows * of_rows / (wanted - of_runs) if wanted > of_runs else np.inf,
        found.runs * of_runs / (wanted - of_rows) if wanted > of_rows else np.inf,
    )


def _normal():
    from scipy.stats import norm  # an extra

    return norm
