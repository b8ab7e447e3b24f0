"""What runs say: rows and runs are the replicates of a table, seeds those of a truth table; the rule of the advice."""

import math

import numpy as np
import pytest
from scipy import stats
from simulated import simulate, toy, truth_table

from jaxnn.lab import Recipe, Settings, inference, judge
from jaxnn.lab.answer import Choice, Interval

FIVE = Settings(activations=("relu", "tanh", "elu", "gelu", "sin"), learning_rates=(0.1,), tuning_seeds=1, seeds=2)


class Population:
    """Rows are hard or easy, splits lucky or not, and an activation adds to both."""

    def __init__(self, seed, better=0.0, arms=("gelu",), ease=1.3):
        self.rng, self.better, self.arms = np.random.default_rng(seed), better, arms
        self.rows = self.rng.normal(ease, 1, 60)
        self.runs = self.rng.normal(0, 0.1, 10)
        self.own = {}

    def __call__(self, arm, numbers, rows):
        split = numbers["split"]
        own = self.own.setdefault((arm, split), self.rng.normal(0, 0.1))
        score = self.rows[rows.test[split]] + self.runs[split] + own + self.better * (arm in self.arms)
        return {"test_rows": score + self.rng.normal(0, 0.4, len(score)) > 0, "best_validation_metric": 0.5}


@pytest.fixture(scope="module")
def judged():
    with pytest.MonkeyPatch.context() as patch:
        return simulate(patch, Population(0, better=0.8), FIVE)


class TestRows:
    def test_the_metric_is_the_mean_over_all_test_rows(self, judged):
        found, answer = judged
        for choice in answer.choices:
            rows = found.verdict.where(activation=choice.name)["test_rows"]
            assert choice.metric.value == pytest.approx(rows.mean())
            assert choice.metric.low < choice.metric.value < choice.metric.high
            assert choice.runs == 20

    def test_intervals_differences_and_the_best_set_are_those_of_the_inference(self, judged):
        """From the rows as they were drawn, by the formulas."""
        found, answer = judged
        arms = list(FIVE.activations)
        e = np.stack([
            found.verdict.where(activation=arm)["test_rows"].reshape(10, 2, 12).mean(1) for arm in ["identity", *arms]
        ])  # fmt: skip
        means = inference.means(e, found.splits.test)
        some = means.take([1, 2, 3, 4, 5])
        best, differences = inference.best(some), inference.contrast(some, 0)
        for i, arm in enumerate(arms):
            choice = answer.choice(arm)
            assert (choice.in_best, choice.p_best, choice.at_most) == (best.member[i], best.p_value[i], best.at_most[i])
            if arm != "relu":
                assert choice.difference.value == pytest.approx(differences.value[i])
                assert choice.difference.p_value == pytest.approx(differences.p_value[i])
        assert answer.choice("relu").difference is None
        interval = inference.intervals(means)
        assert answer.choice("gelu").metric == Interval(*(float(part[4]) for part in interval[:3]))

    def test_the_choices_are_in_order_and_identity_is_outside(self, judged):
        _, answer = judged
        values = [choice.metric.value for choice in answer.choices]
        assert values == sorted(values, reverse=True)
        assert answer.choices[0].name == "gelu"
        assert "identity" not in [choice.name for choice in answer.choices]
        (reference,) = answer.references
        assert reference.name == "identity"
        ahead = answer.choice(answer.recommended).metric.value - reference.metric.value
        assert reference.ahead.value == pytest.approx(ahead)
        assert reference.ahead.low < ahead < reference.ahead.high

    def test_wins_are_counted_in_pairs_over_the_same_split_and_seed(self, judged):
        found, answer = judged
        one, other = (found.verdict.where(activation=arm)["test_metric"] for arm in ("gelu", "relu"))
        share = np.mean((one > other) + 0.5 * (one == other))
        assert answer.choice("gelu").wins.value == pytest.approx(share)

    def test_hard_rows_are_those_that_most_networks_get_wrong(self, judged):
        found, answer = judged
        table = found.verdict.take(np.flatnonzero(found.verdict["activation"] != "identity"))
        for hard in answer.hard_rows:
            wrong = [
                not right
                for split, rights in zip(table["split"], table["test_right"], strict=True)
                for row, right in zip(found.splits.test[split], rights, strict=True)
                if row == hard.row
            ]
            assert hard.wrong == pytest.approx(np.mean(wrong))
            assert hard.wrong > 0.5
        assert 0 < len(answer.hard_rows) <= 20

    def test_a_diverged_run_is_wrong_everywhere(self, monkeypatch):
        population = Population(1)

        def draw(arm, numbers, rows):
            return population(arm, numbers, rows) | {"diverged": arm == "sin" and numbers["seed"] % 2 == 0}

        found, answer = simulate(monkeypatch, draw, FIVE)
        table = found.verdict.where(activation="sin")
        kept = np.where(table["diverged"][:, None], 0, table["test_rows"])
        assert answer.choice("sin").metric.value == pytest.approx(kept.mean())
        assert answer.choice("sin").diverged == table["diverged"].sum() == 10

    def test_everything_may_diverge(self, monkeypatch):
        _, answer = simulate(monkeypatch, lambda *_: {"diverged": True}, FIVE)
        assert {choice.metric.value for choice in answer.choices} == {0}
        assert answer.recommended == "relu"
        assert all(choice.loss.value is None for choice in answer.choices)

    def test_one_activation_is_compared_with_nothing_but_identity(self, monkeypatch):
        _, answer = simulate(monkeypatch, Population(0), Settings(activations=("tanh",), learning_rates=(0.1,)))
        assert (answer.recommended, answer.best, answer.settle) == ("tanh", ("tanh",), None)
        assert answer.choices[0].at_most == 0


def test_equals_fall_out_of_the_best_set_at_the_stated_rate_and_the_bound_holds(monkeypatch):
    """Fifty tables of one population; all five are one activation."""
    fell, behind = 0, 0
    for seed in range(50):
        _, answer = simulate(monkeypatch, Population(seed), FIVE)
        fell += any(not choice.in_best for choice in answer.choices)
        behind += any(choice.at_most < 0 for choice in answer.choices)
    assert fell / 50 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 50)
    assert behind == 0


def test_a_better_one_is_found(monkeypatch):
    """Negative control: much better, it is alone; and the others are at least somewhat behind."""
    alone = 0
    for seed in range(10):
        _, answer = simulate(monkeypatch, Population(seed, better=3.0, ease=0.3), FIVE)
        alone += answer.best == ("gelu",) and all(choice.at_least > 0 for choice in answer.choices[1:])
    assert alone >= 9


@pytest.fixture(scope="module")
def solved():
    def draw(arm, numbers, rows):
        good = arm == "tanh" or (arm != "identity" and numbers["seed"] % 4 > 0)
        return {"test_metric": 0.9 * good, "best_validation_metric": 0.9 * good, "target_step": 300}

    with pytest.MonkeyPatch.context() as patch:
        settings = Settings(activations=("relu", "tanh"), learning_rates=(0.1,), seeds=40, budget=1.0)
        return simulate(patch, draw, settings, truth_table())[1]


class TestTruthTable:
    def test_what_counts_is_the_share_of_seeds_that_solve_it(self, solved):
        shares = {choice.name: choice.metric.value for choice in solved.choices}
        assert shares == {"tanh": 1, "relu": 0.75}
        assert solved.choice("tanh").metric.low == pytest.approx(0.912, abs=1e-3)  # Wilson's, of 40
        assert (solved.metric, solved.splits, solved.seeds, solved.test_rows) == ("solved", 1, 40, 0)
        assert solved.best == ("tanh",)
        assert solved.choice("relu").at_least > 0
        assert solved.references[0].ahead.value == 1
        assert solved.references[0].ahead.p_value < 1e-6

    def test_time_to_the_target_is_censored(self, solved):
        target = solved.choice("relu").target
        assert (target.reached.value, target.steps.value) == (0.75, 300)
        assert (target.share_steps, target.share) == ((300,), (0.75,))
        assert target.within_budget.value == 0.75
        assert solved.choice("identity").target.steps.value is None
        assert solved.choice("identity").target.seconds is None

    def test_few_seeds_say_so(self, monkeypatch):
        settings = Settings(activations=("relu", "tanh"), learning_rates=(0.1,), seeds=4)
        _, answer = simulate(monkeypatch, lambda *_: {}, settings, truth_table())
        assert answer.notes == ("4 seeds are too few to tell any apart at a rate of 0.05: take 6.",)


def test_shares_of_runs_at_a_target_are_bootstrapped_over_whole_splits(monkeypatch):
    """All networks of a split reach it or none do: ten runs, not twenty networks."""

    def draw(arm, numbers, rows):
        return {"best_validation_metric": 0.9 if numbers["split"] % 2 else 0.1, "target_step": 100}

    settings = Settings(activations=("relu", "tanh"), learning_rates=(0.1,), seeds=2, recipe=Recipe(target=0.5))
    _, answer = simulate(monkeypatch, draw, settings)
    reached = answer.choice("relu").target.reached
    assert reached.value == 0.5
    assert reached.high - reached.low > 0.5  # of 20 independent networks it would be 0.4


def choice(name, at_most, seconds, spread=0.1, steps=None) -> Choice:
    nothing = dict.fromkeys(Choice.__dataclass_fields__)
    target = None
    if steps is not None:
        target = type("Target", (), {"steps": Interval(*steps)})
    time = Interval(seconds, seconds * (1 - spread), seconds * (1 + spread))
    return Choice(**nothing | {"name": name, "at_most": at_most, "step_seconds": time, "target": target})


class TestRecommendation:
    def take(self, *choices, baseline="relu", target=False):
        return judge.recommendation(choices, baseline, 0.01, target)

    def test_of_those_within_tolerance_the_fastest(self):
        found = self.take(choice("relu", 0.008, 3), choice("tanh", 0.009, 1), choice("sin", 0.02, 0.1))
        assert (found.name, found.within_tolerance, found.ties) == ("tanh", ("relu", "tanh"), ("tanh",))

    def test_of_equal_times_the_baseline_else_the_smaller_bound(self):
        assert self.take(choice("tanh", 0.001, 1), choice("relu", 0.009, 1.1)).name == "relu"
        found = self.take(choice("tanh", 0.005, 1), choice("gelu", 0.001, 1.1), choice("relu", 0.009, 2))
        assert (found.name, found.ties) == ("gelu", ("tanh", "gelu"))

    def test_where_nobody_can_be_promised_the_smallest_bound(self):
        found = self.take(choice("relu", 0.05, 1), choice("sin", 0.03, 9))
        assert (found.name, found.within_tolerance, found.ties) == ("sin", (), ())

    def test_time_is_to_the_target_where_there_is_one(self):
        slow_steps = choice("tanh", 0.0, 2, steps=(10, 10, 10))
        many_steps = choice("relu", 0.0, 1, steps=(100, 100, 100))
        never = choice("sin", 0.0, 0.1, steps=(None, None, None))
        assert self.take(slow_steps, many_steps, never, target=True).name == "tanh"
        assert self.take(slow_steps, many_steps, target=False).name == "relu"


def test_what_would_settle_it_settles_it():
    """With so many rows, or runs, and the same difference, the first two are told apart; with fewer they are not."""
    rng = np.random.default_rng(0)
    hard = rng.normal(1, 1, 200)
    e = np.stack([(hard + rng.normal(0, 0.3, (10, 200)) + 0.12 * better > 0) for better in (0, 1)]).astype(float)
    means = inference.means(e, np.tile(np.arange(200), (10, 1)))
    best = inference.best(means)
    critical = best.critical[0]
    rows, runs = inference.needed(means, 0, 1, critical)
    zero = np.zeros_like(means.covariance)
    of_rows, of_runs = (means._replace(**{part: zero}).spread[0, 1] ** 2 for part in ("of_runs", "of_rows"))
    d = abs(means.value[0] - means.value[1])
    t = stats.t.isf(stats.norm.sf(critical), means.freedom[0, 1])
    for needed, variance in (
        (rows, lambda n: of_rows * 200 / n + of_runs),
        (runs, lambda n: of_rows + of_runs * 10 / n),
    ):
        if np.isfinite(needed):
            assert d / math.sqrt(variance(needed)) == pytest.approx(t)
            assert d / math.sqrt(variance(needed * 0.9)) < t
    assert np.isfinite(rows) or np.isfinite(runs)


def test_a_plane_shows_what_most_networks_predict(monkeypatch):
    def draw(arm, numbers, rows):
        return {"plane": np.repeat([0, 1], 1800) if numbers["seed"] % 3 else np.ones(3600, int)}

    _, answer = simulate(monkeypatch, draw, Settings(activations=("relu",), learning_rates=(0.1,)), toy(features=2))
    lines = answer.plane.regions["relu"]
    assert len(lines) == 60
    assert (lines[0], lines[-1]) == ("0" * 60, "1" * 60)
    assert len(answer.plane.points) == 60
