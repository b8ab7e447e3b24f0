"""Every interval covers at its rate, every p-value holds its level, and naive ones fail the same checks."""

import gc
import itertools
import sys
import warnings

import numpy as np
import pytest
import scipy.stats
from statsmodels.duration.survfunc import SurvfuncRight

from jaxnn.lab import stats

NAN = float("nan")


def slack(rate, repetitions):
    """Three standard errors of a rate that is estimated from so many repetitions."""
    return 3 * np.sqrt(rate * (1 - rate) / repetitions)


def coverage(truth, low, high):
    return np.mean((low <= truth) & (truth <= high), axis=0)


# What runs look like: name -> draw(rng, shape).
DRAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.beta(20, 2, shape),
    "tied": lambda rng, shape: rng.binomial(30, rng.beta(20, 2, shape)) / 30,
    "ceiling": lambda rng, shape: np.where(rng.random(shape) < 0.6, 1.0, rng.integers(50, 100, shape) / 100),
}
draws = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


class TestWilson:
    def test_equals_scipy(self):
        for successes in (0, 1, 7, 19, 20):
            interval = scipy.stats.binomtest(successes, 20).proportion_ci(0.9, method="wilson")
            estimate = stats.wilson(successes, 20, 0.9)
            np.testing.assert_allclose(estimate[:3], (successes / 20, interval.low, interval.high), atol=1e-12)

    @pytest.mark.parametrize("runs", [5, 20, 100])
    def test_covers_where_wald_does_not(self, runs):
        """Exactly, from the binomial distribution."""
        p = np.linspace(0.01, 0.99, 197)
        weight = scipy.stats.binom.pmf(np.arange(runs + 1)[:, None], runs, p)

        def covered(value, low, high):
            return np.sum(weight * ((low[:, None] <= p) & (p <= high[:, None])), axis=0)

        wilson = stats.wilson(np.arange(runs + 1), runs)
        wald = 1.96 * np.sqrt(wilson.value * (1 - wilson.value) / runs)
        assert covered(*wilson[:3]).mean() > 0.945
        assert covered(*wilson[:3]).min() > 0.83
        assert covered(wilson.value, wilson.value - wald, wilson.value + wald).min() < 0.65

    @pytest.mark.parametrize(("successes", "runs"), [(0, 0), (-1, 5), (6, 5), (NAN, 5)])
    def test_impossible_counts(self, successes, runs):
        with pytest.raises(ValueError, match="successes"):
            stats.wilson(successes, runs)


class TestPairedDifference:
    A, B = np.random.default_rng(5).binomial(10, 0.8, (2, 9)) / 10

    def test_p_value_is_that_of_all_permutations(self):
        d = self.A - self.B
        sums = np.array([np.dot(signs, d) for signs in itertools.product((-1, 1), repeat=9)])
        exact = np.mean(np.abs(sums) >= abs(d.sum()) - 1e-9)
        scipys = scipy.stats.permutation_test((d,), np.mean, permutation_type="samples", vectorized=True).pvalue
        assert scipys == pytest.approx(exact)
        assert stats.paired_difference(self.A, self.B, resamples=99_999).p_value == pytest.approx(exact, abs=0.006)

    def test_sums_that_differ_by_rounding_are_ties(self):
        """Ten seeds won, three lost, each by 0.1: the sign test's p-value."""
        b = np.arange(1, 14) / 10
        a = np.round(b + 0.1 * np.repeat([1, -1], [10, 3]), 1)
        exact = scipy.stats.binomtest(10, 13).pvalue
        assert stats.paired_difference(a, b, resamples=99_999).p_value == pytest.approx(exact, abs=0.005)

    def test_turns_with_its_arguments(self):
        there, back = stats.paired_difference(self.A, self.B), stats.paired_difference(self.B, self.A)
        assert there.value == -back.value == np.mean(self.A - self.B)
        assert there.p_value == back.p_value
        assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.01)

    def test_equal_arms(self):
        assert stats.paired_difference(self.A, self.A)[:3] == (0, 0, 0)
        assert stats.paired_difference(self.A, self.A).p_value == 1

    def test_diverged_runs_count(self):
        difference = stats.paired_difference([0.9, NAN, 0.9, 0.9], [0.9, 0.9, NAN, 0.8])
        assert difference.value == pytest.approx(0.025)
        assert (difference.runs, difference.diverged) == (4, 2)

    @draws
    def test_covers_and_holds_its_level(self, draw):
        rng = np.random.default_rng(1)
        shared, a, b = 0.3 * rng.normal(size=(600, 12)), draw(rng, (600, 12)), draw(rng, (600, 12))
        results = [stats.paired_difference(x, y, resamples=400) for x, y in zip(a + shared, b + shared, strict=True)]
        low, high, p_values = (np.array([result[field] for result in results]) for field in (1, 2, 5))
        assert 0.95 - slack(0.95, 600) < coverage(0, low, high) < 0.99
        assert np.mean(p_values <= 0.05) < 0.05 + slack(0.05, 600)


@pytest.fixture
def quick_collection():
    """statsmodels' multipletests collects garbage on each call, which takes long with jax and pandas in memory."""
    gc.freeze()
    yield
    gc.unfreeze()


class TestCompare:
    def test_holm(self):
        shifts = {"relu": 0, "tanh": 0.4, "elu": 0.5, "gelu": 0.7}
        x = np.random.default_rng(0).normal([[shift] for shift in shifts.values()], 1, (4, 30))
        values = dict(zip(shifts, x, strict=True))
        single = {name: stats.paired_difference(values[name], values["relu"]) for name in list(shifts)[1:]}
        adjusted = stats.compare(values, "relu")
        ranked = sorted(single, key=lambda name: single[name].p_value)
        by_hand = np.maximum.accumulate([(3 - i) * single[name].p_value for i, name in enumerate(ranked)])
        assert [adjusted[name].p_value for name in ranked] == pytest.approx(np.minimum(by_hand, 1))
        assert all(adjusted[name][:5] == single[name][:5] for name in single)

    def test_null_contrasts_are_called_different_at_the_rate(self, quick_collection):
        rng = np.random.default_rng(2)
        families = [stats.compare(dict(enumerate(x)), 0, resamples=200) for x in DRAWS["tied"](rng, (400, 4, 10))]
        smallest = np.array([min(d.p_value for d in family.values()) for family in families])
        assert np.mean(smallest <= 0.05) < 0.05 + slack(0.05, 400)

    def test_unknown_baseline(self):
        with pytest.raises(ValueError, match="'rleu' is not among the arms: relu, elu"):
            stats.compare({"relu": [1, 2], "elu": [1, 2]}, "rleu")


# Arms of which the first `equal` are equally good: name -> (equal, draw(rng, (arms, runs))).
FAMILIES = {
    "twelve equal": (12, lambda rng: DRAWS["skewed"](rng, (12, 10))),
    "null pair": (2, lambda rng: DRAWS["tied"](rng, (2, 20))),
    "ties and a shared seed": (6, lambda rng: np.round(rng.beta(20, 2, (6, 15)) + 0.1 * rng.random(15), 2)),
    "unequal spread": (6, lambda rng: rng.normal(0, [[1], [1], [0.1], [0.1], [0.1], [0.1]], (6, 10))),
    "worse ones beside": (
        4,
        lambda rng: rng.normal([[0]] * 4 + [[-0.5], [-1], [-2], [-9]], [[1]] * 7 + [[20]], (8, 15)),
    ),
    "diverging": (5, lambda rng: np.where(rng.random((5, 20)) < 0.1, NAN, rng.beta(20, 2, (5, 20)))),
}


class TestBestSet:
    @pytest.mark.parametrize(("equal", "draw"), FAMILIES.values(), ids=FAMILIES)
    def test_misses_one_of_the_best_at_no_more_than_the_rate(self, equal, draw):
        rng = np.random.default_rng(3)
        found = [stats.best_set(dict(enumerate(draw(rng))), worst=-99, resamples=300).names for _ in range(400)]
        missed = np.mean([not set(range(equal)) <= set(names) for names in found])
        assert missed < 0.05 + slack(0.05, 400)

    def test_opposite_skew_is_the_stated_limit(self):
        rng, sign = np.random.default_rng(3), np.array([[1], [1], [-1], [-1]])
        draws = (sign * (rng.exponential(size=(4, 10)) - 1) for _ in range(400))
        missed = np.mean([len(stats.best_set(dict(enumerate(x)), resamples=300).names) < 4 for x in draws])
        assert missed < 0.09 + slack(0.09, 400)

    @pytest.mark.parametrize("seed", range(4))
    def test_equals_its_definition(self, seed):
        """Arm by arm, with all signs."""
        x = np.random.default_rng(seed).normal([[0], [0.3], [0.6], [0.9]], [[1], [0.3], [1], [3]], (4, 8))
        left, p_value, p_values = set(range(4)), 0, {}

        def furthest(signs):
            behind = {
                i: max(np.sum(signs * (x[j] - x[i])) / np.sqrt(8 * np.sum((x[j] - x[i]) ** 2)) for j in left - {i})
                for i in left
            }
            return max(behind.values()), max(behind, key=behind.get)

        while len(left) > 1:
            observed, worst = furthest(np.ones(8))
            pushed = [furthest(np.array(signs))[0] for signs in itertools.product((-1, 1), repeat=8)]
            p_values[worst] = p_value = max(p_value, np.mean(np.array(pushed) >= observed - 1e-9))
            left.remove(worst)
        p_values[left.pop()] = 1
        assert stats.best_set(dict(enumerate(x))).p_values == pytest.approx(p_values, abs=0.02)

    def test_comparing_with_the_leader_alone_does_not_hold_the_rate(self):
        """Negative control: t-tests against the arm that came out first, as if it had been named before."""
        rng = np.random.default_rng(3)
        x = DRAWS["skewed"](rng, (400, 12, 10))
        leader = np.take_along_axis(x, x.mean(-1).argmax(-1)[:, None, None], axis=1)
        with np.errstate(invalid="ignore"), warnings.catch_warnings(action="ignore"):
            p_values = scipy.stats.ttest_rel(np.broadcast_to(leader, x.shape), x, axis=-1).pvalue
        assert np.mean(np.nanmin(p_values, axis=1) <= 0.05) > 0.3

    def test_finds_the_winner(self):
        rng = np.random.default_rng(0)
        x = rng.normal([[0], [0.1], [1], [2]], 1, (4, 40))
        winner = stats.best_set(dict(zip("abcd", x, strict=True)))
        assert winner.names == ("d",)
        assert winner.p_values["d"] == 1
        assert max(winner.p_values[name] for name in "abc") <= winner.rate == 0.05

    def test_two_arms_are_a_paired_difference(self):
        a, b = np.random.default_rng(5).normal(size=(2, 12))
        both = stats.best_set({"a": a, "b": b}, seed=4)
        assert min(both.p_values.values()) == stats.paired_difference(a, b, seed=4).p_value

    def test_identical_arms_tie(self):
        x = np.random.default_rng(0).normal(size=20)
        assert stats.best_set({"elu": x, "celu": x, "step": x - 1}).names == ("elu", "celu")

    def test_does_not_depend_on_the_order_of_the_arms(self):
        arms = dict(zip("abcd", np.random.default_rng(0).normal([[0], [0.1], [0.6], [1]], 1, (4, 15)), strict=True))
        there, back = stats.best_set(arms), stats.best_set(dict(reversed(arms.items())))
        assert there.names == back.names
        assert there.p_values == pytest.approx(back.p_values)

    def test_five_seeds_separate_nothing(self):
        assert len(stats.best_set({"good": np.ones(5), "bad": np.zeros(5)}).names) == 2
        assert len(stats.best_set({"good": np.ones(8), "bad": np.zeros(8)}).names) == 1


class TestProbabilityOfImprovement:
    def test_equals_mann_whitney(self):
        a, b = np.random.default_rng(0).binomial(10, [[0.8], [0.7]], (2, 30))
        reference = scipy.stats.mannwhitneyu(a, b).statistic / 900
        assert stats.probability_of_improvement(a, b).value == pytest.approx(reference)
        assert stats.probability_of_improvement(b, a).value == pytest.approx(1 - reference)

    def test_diverged_runs_lose(self):
        estimate = stats.probability_of_improvement([-5, NAN], [NAN, NAN])
        assert (estimate.value, estimate.runs, estimate.diverged) == (0.75, 2, 2)

    @pytest.mark.parametrize("together", [0.0, 2.0])
    @pytest.mark.parametrize("truth", [0.5, 0.9, 0.99])
    def test_covers(self, truth, together):
        rng = np.random.default_rng(0)
        shared = together * rng.normal(size=(500, 12))
        ahead = scipy.stats.norm.ppf(truth) * np.sqrt(2 * (1 + together**2))
        a, b = rng.normal(ahead, 1, (500, 12)) + shared, rng.normal(0, 1, (500, 12)) + shared
        low, high = np.array([stats.probability_of_improvement(x, y)[1:3] for x, y in zip(a, b, strict=True)]).T
        assert coverage(truth, low, high) > 0.95 - slack(0.95, 500)


class TestKaplanMeier:
    def test_equals_statsmodels(self):
        rng = np.random.default_rng(0)
        time, stop = rng.integers(1, 40, 40), rng.integers(10, 35, 40)
        steps, reached = np.minimum(time, stop), time <= stop
        curve, reference = stats.kaplan_meier(steps, reached), SurvfuncRight(steps, reached)
        at = np.isin(curve.steps, reference.surv_times)
        np.testing.assert_allclose(1 - curve.share.value[at], reference.surv_prob, atol=1e-12)
        assert curve.median.value == reference.quantile(0.5)
        assert curve.median[1:3] == reference.quantile_ci(0.5, method="cloglog")

    @pytest.mark.parametrize("horizon", [0.5, 1.0, 4.0])
    def test_covers(self, horizon):
        """Exponential times to the target, stopped at a horizon or, a fifth of the runs, before."""
        rng = np.random.default_rng(1)
        stop = np.where(rng.random((400, 30)) < 0.2, rng.uniform(0, horizon, (400, 30)), horizon)
        time = rng.exponential(size=(400, 30))
        curves = [stats.kaplan_meier(*run) for run in zip(np.minimum(time, stop), time <= stop, strict=True)]
        at = 0.45 * horizon
        entry = [np.searchsorted(curve.steps, at, side="right") - 1 for curve in curves]
        low = np.array([curve.share.low[i] for curve, i in zip(curves, entry, strict=True)])
        high = np.array([curve.share.high[i] for curve, i in zip(curves, entry, strict=True)])
        assert coverage(1 - np.exp(-at), low, high) > 0.95 - slack(0.95, 400)
        low, high = np.array([curve.median[1:3] for curve in curves]).T
        assert coverage(np.log(2), low, high) > 0.95 - slack(0.95, 400)

    def test_the_median_of_the_winners_does_not_cover(self):
        """Negative control: runs that did not reach the target are left out."""
        rng = np.random.default_rng(1)
        time = rng.exponential(size=(400, 30))
        curves = [stats.kaplan_meier(run[run < 1], run[run < 1] < 1) for run in time]
        low, high = np.array([curve.median[1:3] for curve in curves]).T
        assert coverage(np.log(2), low, high) < 0.3

    def test_no_run_and_every_run_reaches_it(self):
        none, every = (stats.kaplan_meier(np.arange(1, 21), np.full(20, reached)) for reached in (False, True))
        assert none.median[:3] == (np.inf, 20, np.inf)
        assert none.share.low[-1] == 0
        assert none.share.high[-1] == none.reached.high == pytest.approx(0.161, abs=1e-3)
        assert every.share.value[-1] == every.share.high[-1] == every.reached.value == 1
        assert every.share.low[-1] > 0.7

    def test_diverged_runs_never_reach_it(self):
        curve = stats.kaplan_meier([1, 2, 50, NAN, NAN], [True, True, False, True, False])
        assert curve.reached.value == pytest.approx(0.4)
        assert curve.share.value[-1] == pytest.approx(0.4)
        assert curve.median.value == np.inf
        assert curve.reached.diverged == curve.share.diverged == 2
        assert stats.kaplan_meier([NAN, NAN], [False, False]).reached.value == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.paired_difference([0.5], [0.4]), "two runs or more"),
        (lambda: stats.paired_difference([0.5, np.inf], [0.1, 0.2]), "NaN for a run that diverged"),
        (lambda: stats.paired_difference([-0.5, NAN], [0.1, 0.2]), "worst=0.0, but another has the value -0.5"),
        (lambda: stats.paired_difference([1, 2], [1, 2, 3]), r"'a': \(2,\), 'b': \(3,\)"),
        (lambda: stats.best_set({"relu": [1, 2]}), "two arms or more"),
        (lambda: stats.best_set({"relu": 1, "elu": 2}), r"each \(runs,\)"),
        (lambda: stats.probability_of_improvement([1, 2], [1]), r"\(2,\) and \(1,\)"),
        (lambda: stats.kaplan_meier([1, 2], [True]), r"expected \(runs,\) for both"),
        (lambda: stats.kaplan_meier([1, np.inf], [True, False]), "the last step watched"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxnn\[lab\]'"):
        stats.paired_difference([1, 2, 3], [3, 2, 1])
