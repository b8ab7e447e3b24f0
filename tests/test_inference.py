"""Intervals from rows and runs hold on populations that can be drawn, and naive ones fail the same checks."""

import numpy as np
import pytest
import scipy.stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests

from jaxnn.lab.inference import Means, best, contrast, intervals, means

NORMAL = scipy.stats.norm


def slack(rate, repetitions):
    """Three standard errors of a rate that is estimated from so many repetitions."""
    return 3 * np.sqrt(rate * (1 - rate) / repetitions)


def folds(rng, n, repeats=2, k=5):
    """(runs, tested): every row is tested once in each repetition."""
    return np.concatenate([rng.permutation(n).reshape(k, -1) for _ in range(repeats)])


def draw(rng, ability, n=200, repeats=2):
    """Right or wrong of activations on rows that differ in difficulty, in runs that differ in luck.

    ability (activations,) in logits; differences are made by rows that are harder for one than for another as well.
    """
    arms = len(ability)
    rows = folds(rng, n, repeats)
    hard, own = rng.normal(2, 2, n), rng.normal(0, 0.5, (arms, n))
    luck, fortune = rng.normal(0, 0.2, len(rows)), rng.normal(0, 0.2, (arms, len(rows)))
    logit = np.reshape(ability, (-1, 1, 1)) + (hard + own)[:, rows] + (luck + fortune)[..., None]
    return (logit + rng.logistic(size=logit.shape) > 0).astype(float), rows


@pytest.fixture(scope="module")
def truth():
    """The accuracy of an ability on new rows and in new runs."""
    spread = np.sqrt(2**2 + 0.5**2 + 0.2**2 + 0.2**2)
    z = np.linspace(-8, 8, 4001)
    weight = NORMAL.pdf(z) / NORMAL.pdf(z).sum()
    return lambda ability: scipy.special.expit(np.add.outer(ability, 2 + spread * z)) @ weight


class TestMeans:
    def test_is_the_covariance_clustered_by_rows_plus_that_clustered_by_runs(self):
        values, rows = draw(np.random.default_rng(0), [0.0], n=40)
        found = means(values, rows)
        fit = OLS(values.ravel(), np.ones(values.size))
        runs = np.repeat(np.arange(len(rows)), rows.shape[1])

        def clustered(groups):
            kinds = {"groups": groups, "use_correction": False}
            count = len(np.unique(groups))
            return fit.fit(cov_type="cluster", cov_kwds=kinds).cov_params()[0, 0] * count / (count - 1)

        np.testing.assert_allclose(found.covariance, [[clustered(rows.ravel()) + clustered(runs)]], rtol=1e-12)
        np.testing.assert_allclose(found.value, [values.mean()])
        assert (found.rows, found.runs) == (40, 10)

    def test_spread_is_that_of_the_differences(self):
        values, rows = draw(np.random.default_rng(1), [0.0, 1.0, 0.5])
        found = means(values, rows)
        difference = means(values[:1] - values[1:2], rows)
        np.testing.assert_allclose(found.spread[0, 1] ** 2, difference.covariance[0, 0], rtol=1e-10)
        np.testing.assert_array_equal(found.spread, found.spread.T)

    def test_one_function_under_two_names_never_differs(self):
        values, rows = draw(np.random.default_rng(2), [0.0])
        assert means(np.repeat(values, 2, axis=0) / 3, rows).spread[0, 1] == 0

    @pytest.mark.parametrize(
        ("values", "rows"),
        [
            (np.ones((2, 3, 4)), np.ones((3, 5))),
            (np.ones((3, 4)), np.ones((3, 4))),
            (np.full((1, 2, 3), np.nan), np.ones((2, 3))),
            (np.ones((1, 1, 4)), [range(4)]),
            (np.ones((1, 4, 1)), np.zeros((4, 1))),
        ],
    )
    def test_what_does_not_fit_is_refused(self, values, rows):
        with pytest.raises(ValueError, match="expected"):
            means(values, rows)


def of_rows(value, covariance, rows):
    """Means whose runs all go alike."""
    covariance = np.asarray(covariance, float)
    return Means(np.array(value), covariance, np.zeros_like(covariance), rows, runs=10)


REPETITIONS = 300
ABILITY = (0.0, 0.0, 0.4)


@pytest.fixture(scope="module")
def drawn():
    return [draw(np.random.default_rng(i), ABILITY, repeats=4) for i in range(REPETITIONS)]


class TestCoverage:
    def test_intervals_hold_for_new_rows_and_a_t_interval_over_runs_does_not(self, drawn, truth):
        """The runs of several repetitions test the same rows: more of them narrow the naive interval falsely."""
        expected = truth(ABILITY)

        def naive(values, rows):
            per_run = values.mean(2)
            return scipy.stats.t.interval(0.95, len(rows) - 1, per_run.mean(1), scipy.stats.sem(per_run, axis=1))

        ours = [intervals(means(*one))[1:3] for one in drawn]
        found, control = (
            np.mean([(low <= expected) & (expected <= high) for low, high in ends])
            for ends in (ours, [naive(*one) for one in drawn])
        )
        assert found > 0.95 - slack(0.95, REPETITIONS) > control

    def test_differences_hold(self, drawn, truth):
        expected = np.diff(truth(ABILITY))[1]
        told = [contrast(means(*one), 1) for one in drawn]
        covered = np.mean([c.low[2] <= expected <= c.high[2] for c in told])
        assert covered > 0.95 - slack(0.95, REPETITIONS)

    def test_the_best_stays_its_bound_holds_and_the_worse_one_is_found(self, drawn, truth):
        expected = truth(ABILITY)
        behind = expected.max() - expected
        found = [best(means(*one)) for one in drawn]
        held = np.mean([np.all((b.at_least <= behind) & (behind <= b.at_most)) for b in found])
        assert held > 0.95 - slack(0.95, REPETITIONS)
        assert np.mean([b.member[2] for b in found]) > 0.95 - slack(0.95, REPETITIONS)

    def test_twins_fall_out_at_the_stated_rate_and_separate_tests_lose_them_more_often(self):
        drawn = [means(*draw(np.random.default_rng(i), [0.0] * 6, n=100)) for i in range(REPETITIONS)]
        lost = np.mean([not best(found).member[0] for found in drawn])
        assert lost < 0.05 + slack(0.05, REPETITIONS)

        def separately(found):
            with np.errstate(invalid="ignore"):
                return np.nanmax((found.value - found.value[0]) / found.spread[0]) > NORMAL.isf(0.05)

        assert np.mean(list(map(separately, drawn))) > lost + 0.03


class TestIntervals:
    def test_reduce_to_wilsons_where_every_row_is_a_run_of_its_own(self):
        """A share of independent rows with variance m(1−m)/n has Wilson's interval."""
        n = 5_000
        for share in (0, 0.3, 0.98, 1):
            found = intervals(of_rows([share], [[share * (1 - share) / n]], rows=n), 0.9)
            wilson = scipy.stats.binomtest(round(share * n), n).proportion_ci(0.9, method="wilson")
            np.testing.assert_allclose([found.low[0], found.high[0]], wilson, atol=1e-5)

    def test_are_the_normal_ones_where_there_are_many_rows(self):
        found = intervals(of_rows([0.6], [[1e-8]], rows=10**8))
        np.testing.assert_allclose([found.low[0], found.high[0]], 0.6 + 1e-4 * NORMAL.ppf([0.025, 0.975]), atol=1e-7)


class TestContrast:
    def test_p_values_are_holms(self):
        found = means(*draw(np.random.default_rng(3), [0.0, 0.3, 0.6, -0.4, 0.1]))
        told = contrast(found, 2)
        others = [0, 1, 3, 4]
        t = np.abs(found.value - found.value[2])[others] / found.spread[2][others]
        p = 2 * scipy.stats.t.sf(t, found.freedom[2][others])
        np.testing.assert_allclose(told.p_value[others], multipletests(p, method="holm")[1])
        assert told.p_value[2] == 1
        assert told.value[2] == told.low[2] == told.high[2] == 0

    def test_a_narrower_confidence_is_narrower(self):
        found = means(*draw(np.random.default_rng(4), [0.0, 0.3]))
        assert contrast(found, 0, 0.5).high[1] < contrast(found, 0, 0.99).high[1]

    def test_is_the_paired_t_test_where_only_runs_differ(self):
        runs = np.random.default_rng(8).normal(0.8, 0.05, (2, 7))
        found = means(np.repeat(runs[:, :, None], 30, axis=2), [range(30)] * 7)
        told, test = contrast(found, 0, 0.9), scipy.stats.ttest_rel(*runs[::-1])
        np.testing.assert_allclose(found.freedom[0, 1], 6)
        np.testing.assert_allclose(told.p_value[1], test.pvalue)
        np.testing.assert_allclose([told.low[1], told.high[1]], test.confidence_interval(0.9))
        own = scipy.stats.ttest_1samp(runs[0], 0).confidence_interval(0.95)
        np.testing.assert_allclose([intervals(found).low[0], intervals(found).high[0]], own, atol=0.01)

    def test_freedom_is_welchs_where_rows_and_runs_are_two_samples(self):
        rng = np.random.default_rng(9)
        one, other = rng.normal(0, 1, 12), rng.normal(0, 3, 5)
        parts = (np.diag([np.var(sample, ddof=1) / len(sample), 0]) for sample in (one, other))
        np.testing.assert_allclose(
            Means(np.zeros(2), *parts, rows=12, runs=5).freedom[0, 1],
            scipy.stats.ttest_ind(one, other, equal_var=False).df,
        )


class TestBest:
    def test_twins_fall_out_at_the_stated_rate_where_only_runs_differ_and_with_z_for_t_more_often(self):
        """Of two equals the lesser leaves at one-sided 5 %, so either does in 10 %."""

        def lost(freedom):
            told = []
            for i in range(1_000):
                runs = np.random.default_rng(i).normal(0.8, 0.05, (2, freedom + 1))
                told.append(
                    not best(means(np.repeat(runs[:, :, None], 2, axis=2), [range(2)] * (freedom + 1))).member.all()
                )
            return np.mean(told)

        assert abs(lost(9) - 0.1) < slack(0.1, 1_000)
        few, normal = lost(3), 2 * scipy.stats.t.sf(1.645, 3)
        assert abs(few - 0.1) < slack(0.1, 1_000) < normal - few

    def test_of_two_the_quantile_is_that_of_one_normal(self):
        """One leaves at z = 1.645; the bound is its difference and 1.645 standard errors."""
        found = of_rows([0.9, 0.88], np.diag([1e-4, 1e-4]), rows=10_000)
        told, s = best(found), np.sqrt(2e-4)
        np.testing.assert_allclose(told.at_most, [1.645 * s - 0.02, 0.02 + 1.645 * s], atol=0.03 * s)
        np.testing.assert_allclose(told.p_value, NORMAL.sf([-0.02 / s, 0.02 / s]), atol=0.01)
        assert told.member.all()
        assert best(found._replace(value=np.array([0.9, 0.87]))).member.tolist() == [True, False]

    def test_those_that_never_differ_share_their_fate(self):
        values, rows = draw(np.random.default_rng(5), [0.0, 2.0])
        found = best(means(values[[0, 0, 1, 1]], rows))
        assert found.member.tolist() == [False, False, True, True]
        np.testing.assert_allclose(*found.at_most[:2], rtol=1e-6)

    def test_one_alone_is_the_best(self):
        told = best(means(*draw(np.random.default_rng(6), [0.0])))
        assert (told.member, told.p_value, told.at_most, told.at_least) == (True, 1, 0, 0)

    def test_the_same_numbers_give_the_same_set(self):
        found = means(*draw(np.random.default_rng(7), [0.0, 0.1, 0.2]))
        np.testing.assert_array_equal(best(found).at_most, best(found).at_most)
