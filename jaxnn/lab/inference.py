"""What test rows say about new rows: intervals, differences and the best set, from rows and runs.

Two things vary: which rows the table happens to hold, and how a run (a split, its seeds, its orders) happens to go.
Every row is tested in several runs and every run tests many rows, so both are seen, and the covariance of the means of
all activations is the sum of the two. Differences are paired: what activations share cancels. Ten runs are few: what
they dominate is read with Student's t, its degrees of freedom by Satterthwaite (1946).

Greater is better everywhere. `ValueError` says what does not fit.
"""

from typing import NamedTuple

import numpy as np

from jaxnn.lab.stats import Estimate

_DRAWS = 20_000  # of the Monte Carlo: a quantile at 5 % is right to 0.2 %


class Means(NamedTuple):
    """Means over runs and rows, and how they vary together."""

    value: np.ndarray  # (activations,)
    of_rows: np.ndarray  # (activations, activations), the part of their covariance that more rows make smaller
    of_runs: np.ndarray  # and that which more runs do
    rows: int
    runs: int

    def take(self, places) -> "Means":
        """The means of some activations."""
        some = np.ix_(places, places)
        return self._replace(value=self.value[places], of_rows=self.of_rows[some], of_runs=self.of_runs[some])

    @property
    def covariance(self) -> np.ndarray:
        """V, (activations, activations)."""
        return self.of_rows + self.of_runs

    @property
    def spread(self) -> np.ndarray:
        """Standard errors of the differences, sᵢⱼ = √(Vᵢᵢ + Vⱼⱼ − 2 Vᵢⱼ), (activations, activations).

        Exactly 0 where two never differ, whatever rounding leaves of the three terms.
        """
        variance = np.diagonal(self.covariance)
        squared = _of_differences(self.covariance)
        return np.sqrt(np.where(squared > 1e-12 * (variance[:, None] + variance), squared, 0))

    @property
    def freedom(self) -> np.ndarray:
        """Degrees of freedom of these standard errors, (activations, activations)."""
        return self._freedom(*map(_of_differences, (self.of_rows, self.of_runs)))

    def _freedom(self, of_rows, of_runs) -> np.ndarray:
        """(a + b)² / (a²/(n−1) + b²/(R−1)), Satterthwaite's; infinite where nothing varies."""
        each = of_rows**2 / (self.rows - 1) + of_runs**2 / max(self.runs - 1, 1)
        return np.divide((of_rows + of_runs) ** 2, each, out=np.full_like(each, np.inf), where=each > 0)


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
    critical: np.ndarray  # c, the normal deviate of a difference that tells one from the best


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
    of_rows, of_runs = (k / (k - 1) * sums @ sums.T / cells**2 for k, sums in ((n, by_row), (runs, by_run)))
    return Means(value, of_rows, of_runs, n, runs)


def intervals(found: Means, confidence: float = 0.95) -> Estimate:
    """Intervals for the values on new rows, of means of shares: Wilson's, with as many rows as the covariance is worth.

    A share m with variance V is worth n̂ = m(1−m)/V independent rows; all p with |m − p| ≤ t √(p(1−p)/n̂) are in.
    So an interval stays inside of 0 and 1, and has a width where every row is right (n̂ is the number of rows then).

    Args: found; confidence. Returns `Estimate`, its fields (activations,).

    >>> perfect = Means(np.array([1.0]), np.zeros((1, 1)), np.zeros((1, 1)), rows=30, runs=10)
    >>> intervals(perfect).low.round(3).tolist()
    [0.886]

    Source: Wilson 1927; Korn & Graubard 1998 for the effective number.
    """
    m, of_rows, of_runs = found.value, np.diagonal(found.of_rows), np.diagonal(found.of_runs)
    variance = of_rows + of_runs
    t = _student(_two_sided(confidence), found._freedom(of_rows, of_runs))
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.where(variance > 0, m * (1 - m) / variance, found.rows)
    middle = (m + t**2 / (2 * worth)) / (1 + t**2 / worth)
    half = t / (1 + t**2 / worth) * np.sqrt(m * (1 - m) / worth + (t / (2 * worth)) ** 2)
    return Estimate(m, np.clip(middle - half, 0, m), np.clip(middle + half, m, 1), found.runs)


def contrast(found: Means, baseline: int, confidence: float = 0.95) -> Contrast:
    """Differences of all activations from the baseline: mᵢ − m_b ± t sᵢ_b, p-values by Holm.

    Args: found; baseline, its place; confidence. Returns `Contrast`.

    >>> found = means([[[1, 1, 0, 1], [1, 0, 1, 1]], [[1, 0, 0, 0], [0, 0, 0, 1]]], [[0, 1, 2, 3], [0, 1, 2, 3]])
    >>> contrast(found, baseline=0).value.tolist()
    [0.0, -0.5]

    Source: Holm 1979.
    """
    value = found.value - found.value[baseline]
    spread, freedom = found.spread[:, baseline], found.freedom[:, baseline]
    margin = _student(_two_sided(confidence), freedom) * spread
    t = np.abs(value) / np.maximum(spread, np.finfo(float).tiny)
    p = np.where(value == 0, 1, 2 * _scipy().t.sf(t, freedom))
    others = np.flatnonzero(np.arange(len(value)) != baseline)
    order = others[np.argsort(p[others], kind="stable")]
    p[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return Contrast(value, value - margin, value + margin, p)


def best(found: Means, rate: float = 0.05) -> Best:
    """Multiple comparisons with the best: who may be the best, and how far behind each one is at most.

    i leaves the set when Tᵢ = maxⱼ (mⱼ − mᵢ)/sᵢⱼ exceeds cᵢ, the 1 − rate quantile of maxⱼ (zⱼ − zᵢ)/sᵢⱼ, z ~ N(0, V),
    by Monte Carlo with a fixed key; the left sides are t-distributed and enter as the normal deviates of the same
    probability. It is at most max(0, maxⱼ (mⱼ − mᵢ + t(cᵢ) sᵢⱼ)) behind the best of all. A difference that never varies
    (sᵢⱼ = 0) is taken as it is. With probability 1 − rate a truly best one is in the set, and a bound holds.

    Args: found; rate, that of errors. Returns `Best`.

    >>> one, other = [[1, 1, 1, 1, 0, 1, 1, 1]] * 4, [[0, 1, 0, 0, 0, 1, 0, 0]] * 4
    >>> best(means([one, one, other], [range(8)] * 4)).member.tolist()
    [True, True, False]

    Source: Hsu 1981, "Simultaneous confidence intervals for all distances from the best".
    """
    spread, freedom = found.spread, found.freedom
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
        s, a, own = spread[i, rivals], ahead[i, rivals], freedom[i, rivals]
        furthest = ((z[:, rivals] - z[:, [i]]) / s).max(1)
        critical[i] = np.quantile(furthest, 1 - rate)
        p_value[i] *= np.mean(furthest >= _scipy().norm.isf(_scipy().t.sf(a / s, own)).max())
        margin = _student(critical[i], own) * s
        at_most[i], at_least[i] = max(certain, (a + margin).max()), max(certain, (a - margin).max())
    return Best(at_least == 0, p_value, at_most, at_least, critical)


def needed(found: Means, first: int, second: int, critical: float) -> tuple[float, float]:
    """How many rows, or else how many runs, would tell two apart at the difference that is seen; infinite if none do.

    A part of V falls with the rows, the rest with the runs: n V_rows/n' + V_runs = (d/t(c))², and the same for runs.

    Args: found; first, second, their places; critical, c of `Best`. Returns rows and runs in all.

    >>> found = means([[[1, 1, 0, 1], [1, 0, 1, 1]], [[1, 0, 1, 1], [0, 1, 1, 1]]], [[0, 1, 2, 3], [0, 1, 2, 3]])
    >>> needed(found, 0, 1, critical=2.0)
    (inf, inf)
    """
    of_rows, of_runs = (_of_differences(part)[first, second] for part in (found.of_rows, found.of_runs))
    wanted = ((found.value[first] - found.value[second]) / _student(critical, found.freedom[first, second])) ** 2
    return (
        found.rows * of_rows / (wanted - of_runs) if wanted > of_runs else np.inf,
        found.runs * of_runs / (wanted - of_rows) if wanted > of_rows else np.inf,
    )


def _of_differences(covariance) -> np.ndarray:
    """Variances, Vᵢᵢ + Vⱼⱼ − 2 Vᵢⱼ."""
    variance = np.diagonal(covariance)
    return variance[:, None] + variance - 2 * covariance


def _two_sided(confidence):
    return _scipy().norm.isf((1 - confidence) / 2)


def _student(z, freedom):
    """t(z): the quantile of Student's t at the probability that the normal distribution has at z."""
    return _scipy().t.isf(_scipy().norm.sf(z), freedom)


def _scipy():
    from scipy import stats  # an extra

    return stats
