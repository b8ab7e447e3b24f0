"""Tuned on some seeds and rows, judged on others, paired; equal arms are called different no more often than stated."""

import itertools
import json
from functools import partial

import jax
import numpy as np
import pytest
import scipy.stats
from simulated import simulate, toy, truth_table

from jaxnn import comparison, replay, stats, verdict, xor
from jaxnn.comparison import Settings, problem, trial_seeds
from jaxnn.data import TASKS, get_task

FIVE = Settings(
    activations=("relu", "tanh", "elu", "gelu", "sin"), learning_rates=(0.01, 0.1), tuning_seeds=3, seeds=10
)


def noise(*where):
    """A random number that belongs to its arguments, uniform in 0 … 1."""
    return np.random.default_rng(list(repr(where).encode())).random()


class TestSettingUp:
    @pytest.mark.parametrize("name", ["xor", "parity-3", "iris", "moons", "breast-cancer"])
    def test_every_task_gets_epochs_that_fit(self, name):
        task = get_task(name)
        found = problem(task.load(jax.random.key(0)), task.exhaustive)
        assert found.exhaustive == task.exhaustive
        assert found.epochs % found.evaluate_every == 0
        assert found.epochs // found.evaluate_every <= 200
        assert 480 <= found.steps <= 9000

    def test_rows_are_held_out_and_scaled_by_the_training_rows(self):
        parts = problem(get_task("wine").load(jax.random.key(0))).data
        assert [len(part.y) for part in parts] == [107, 35, 36]
        np.testing.assert_allclose(parts.train.x.mean(0), 0, atol=1e-5)
        rows = {tuple(row) for part in parts for row in part.x}
        assert len(rows) == len(TASKS["wine"].load(jax.random.key(0)).x)

    @pytest.mark.parametrize("epochs", [1, 7, 10, 25])
    def test_any_number_of_epochs_can_be_evaluated(self, epochs):
        for found in (problem(xor(), True, epochs=epochs), problem(get_task("iris").load(None), epochs=epochs)):
            assert found.epochs == epochs
            assert epochs % found.evaluate_every == 0

    def test_the_seeds_of_the_phases_are_disjoint(self):
        for settings in (Settings(), FIVE, Settings(tuning_seeds=1, seeds=2)):
            for task in (toy(), truth_table()):
                assert not set.intersection(*map(set, itertools.islice(trial_seeds(settings, task), 3)))
                assert all(not set(a) & set(b) for a, b in itertools.combinations(trial_seeds(settings, task), 2))


class TestTuning:
    def test_takes_the_rate_that_is_best_on_the_validation_rows_whatever_the_test_rows_say(self, monkeypatch):
        def draw(arm, numbers):
            value = noise(arm, numbers["learning_rate"], numbers["seed"])
            return {"best_validation_metric": value, "test_metric": 1 - value}

        settings = FIVE._replace(learning_rates=(0.001, 0.01, 0.1))
        measured, _ = simulate(monkeypatch, draw, settings)
        for arm in settings.activations:
            means = {rate: np.mean([noise(arm, rate, seed) for seed in range(3)]) for rate in settings.learning_rates}
            assert measured.chosen["toy"][arm] == max(means, key=means.get)
        assert len(set(measured.chosen["toy"].values())) > 1

    def test_the_verdict_has_the_chosen_rates_and_seeds_of_its_own(self, monkeypatch):
        measured, _ = simulate(monkeypatch, lambda arm, n: {"test_metric": noise(arm, *n.values())}, FIVE)
        tuning, table = measured.tuning.table, measured.verdict.table
        assert set(tuning["seed"]) == set(range(3))
        assert set(table["seed"]) == set(range(3, 13))
        for arm in FIVE.activations:
            of_arm = table["activation"] == arm
            assert set(table["learning_rate"][of_arm]) == {measured.chosen["toy"][arm]}
            assert table["seed"][of_arm].tolist() == list(range(3, 13))

    def test_equals_are_decided_by_the_validation_loss(self, monkeypatch):
        measured, _ = simulate(monkeypatch, lambda arm, n: {"validation_loss": n["learning_rate"]}, FIVE)
        assert set(measured.chosen["toy"].values()) == {0.01}

    def test_means_that_are_equal_but_for_rounding_are_equals(self, monkeypatch):
        """The same accuracies of 30 rows in another order or in other shares: the loss decides, every time."""
        rng, unequal = np.random.default_rng(0), 0
        for _ in range(20):
            right = rng.integers(20, 30, 3)
            other = right + np.array([1, 0, -1])
            values = {0.01: np.float32(right) / np.float32(30), 0.1: np.float32(other) / np.float32(30)}
            unequal += values[0.01].mean() != values[0.1].mean()

            def draw(arm, n, values=values):
                return {
                    "best_validation_metric": values[n["learning_rate"]][n["seed"] % 3],
                    "validation_loss": 1 - n["learning_rate"],
                }

            measured, _ = simulate(monkeypatch, draw, FIVE)
            assert set(measured.chosen["toy"].values()) == {0.1}
        assert unequal > 0

    def test_of_a_truth_table_by_solved_runs_then_by_steps(self, monkeypatch):
        def draw(arm, numbers):
            solved = arm == "relu" or numbers["learning_rate"] == 0.01
            return {"test_metric": 0.9 * solved, "target_step": int(100 * numbers["learning_rate"])}

        measured, _ = simulate(monkeypatch, draw, FIVE._replace(learning_rates=(0.1, 0.01)), {"xor": truth_table()})
        assert set(measured.chosen["xor"].values()) == {0.01}

    def test_a_rate_at_which_a_run_diverged_is_not_taken(self, monkeypatch):
        def draw(arm, numbers):
            high = numbers["learning_rate"] == 0.1
            return {"test_metric": 0.6 + 0.3 * high, "diverged": arm == "sin" or (high and numbers["seed"] == 1)}

        measured, found = simulate(monkeypatch, draw, FIVE)
        assert set(measured.chosen["toy"].values()) == {0.01}
        assert found["tasks"][0]["tuning"]["arms"]["relu"] == {"value": [0.6, None], "diverged": [0, 1], "chosen": 0}


class TestMixtures:
    @staticmethod
    def draw(arm, numbers):
        """Mixtures are better the further down the alphabet, and better than their parts."""
        return {"test_metric": 0.5 + 0.01 * " 0.5 relu + 0.5 tanh, elu gelu sin".count(arm[:3]) + 0.3 * (" " in arm)}

    def mixed(self, monkeypatch, *activations, hidden=(8,)):
        settings = FIVE._replace(activations=activations, mixtures=True, hidden=hidden, baseline=activations[0])
        measured, answer = simulate(monkeypatch, self.draw, settings)
        json.dumps(answer, allow_nan=False)
        tuned = list(dict.fromkeys(measured.tuning.table["activation"].tolist()))
        return tuned[len(activations) :], list(measured.arms["toy"])[len(activations) :], answer["tasks"][0]

    def test_as_many_as_activations_and_the_best_one_joins(self, monkeypatch):
        tried, joined, task = self.mixed(monkeypatch, "relu", "tanh", "elu")
        assert len(tried) == 3
        assert len(joined) == 1
        assert joined[0] in tried
        assert task["best"] == joined
        assert {arm["name"]: arm["kind"] for arm in task["arms"]}[joined[0]] == "mixture"
        assert len(task["arms"]) == 4

    def test_in_depth_each_layer_may_have_its_own(self, monkeypatch):
        tried, _, _ = self.mixed(monkeypatch, "relu", "tanh", "elu", hidden=(8, 8, 8))
        first, second = tried[0].removeprefix("0.5 ").split(" + 0.5 ")
        assert tried[1:] == [f"{first}, {second}, {first}", f"{second}, {first}, {second}"]

    def test_one_activation_has_nothing_to_be_mixed_with(self, monkeypatch):
        tried, joined, task = self.mixed(monkeypatch, "relu")
        assert tried == joined == []
        assert task["best"] == ["relu"]

    def test_mixtures_among_the_activations_are_neither_mixed_nor_repeated(self, monkeypatch):
        tried, _, _ = self.mixed(monkeypatch, "relu", "tanh", {"relu": 0.5, "tanh": 0.5}, {"tanh": 0.5, "relu": 0.5})
        assert tried == []

    def test_shares_that_do_not_divide_are_left_out(self, monkeypatch):
        tried, _, _ = self.mixed(monkeypatch, "relu", "crelu", "tanh", hidden=(6,))
        assert [sorted(name.split()[1::3]) for name in tried] == [["relu", "tanh"]]


def rate_of(event, repetitions):
    return np.mean([event(np.random.default_rng(i)) for i in range(repetitions)])


class TestCalibration:
    """Three hundred comparisons of five arms each, with ten seeds; what is estimated with resamples is not asked."""

    REPETITIONS = 300

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(stats, "iqm", partial(stats.iqm, resamples=9))
        monkeypatch.setattr(stats, "best_set", partial(stats.best_set, resamples=999))
        monkeypatch.setattr(stats, "compare", lambda values, baseline: {})

    def answer(self, monkeypatch, rng, better=0.0, lost=0.0, **changes):
        """Seeds differ, and runs; gelu is better by so much, and a share of the runs diverges."""
        common = rng.normal(0, 0.02, 40)

        def draw(arm, numbers):
            value = 0.8 + common[numbers["seed"]] + rng.normal(0, 0.02) + better * (arm == "gelu")
            return {"test_metric": min(value, 1.0), "diverged": rng.random() < lost}

        _, found = simulate(monkeypatch, draw, FIVE._replace(learning_rates=(0.1,), **changes))
        return found["tasks"][0]

    def test_equal_arms_are_called_different_at_the_stated_rate_at_most(self, monkeypatch):
        def called(rng):
            return len(self.answer(monkeypatch, rng, lost=rng.choice([0, 0.05]))["best"]) < 5

        assert rate_of(called, self.REPETITIONS) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / self.REPETITIONS)

    def test_separate_tests_against_the_leader_call_them_different_far_too_often(self, monkeypatch):
        """Negative control, on runs of the same kind."""

        def called(rng):
            values = [np.nan_to_num(np.array(arm["values"], float)) for arm in self.answer(monkeypatch, rng)["arms"]]
            leader, *others = sorted(values, key=np.mean, reverse=True)
            return any(scipy.stats.ttest_rel(leader, other).pvalue < 0.05 for other in others)

        assert rate_of(called, 100) > 0.1

    def test_the_null_pair_is_told_apart_at_its_rate(self, monkeypatch):
        def told(rng):
            (pair,) = self.answer(monkeypatch, rng, null_pair=True)["null_pairs"]
            return pair["p_value"] <= 0.05

        assert rate_of(told, 100) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)

    def test_a_better_arm_is_found(self, monkeypatch):
        def found(rng):
            return self.answer(monkeypatch, rng, better=0.05)["best"] == ["gelu"]

        assert rate_of(found, 50) > 0.9


@pytest.fixture(scope="module")
def trained():
    """XOR in earnest: ReLU under two names, and once more under other seeds."""

    def same(x):
        return jax.nn.relu(x)

    problems = {"xor": problem(xor(), exhaustive=True, epochs=100)}
    settings = Settings(
        ("relu", same), (0.03, 0.3), tuning_seeds=3, seeds=6, init="he_normal", null_pair=True, hidden=(4,)
    )
    measured = comparison.measure(problems, settings)
    return measured, verdict.answer(measured, problems, settings), problems, settings


class TestTrained:
    def test_pairs_share_raw_weights_and_order(self, trained):
        """One function under two names makes the same runs, seed by seed."""
        measured = trained[0]
        one, other = (measured.verdict.where(activation=name) for name in ("relu", "same"))
        one = one.take(np.arange(6))
        for name in ("seed", "learning_rate", "test_metric", "test_loss", "target_step", "reached"):
            np.testing.assert_array_equal(one.table[name], other.table[name])
        for name, curve in one.curves.items():
            np.testing.assert_array_equal(curve, other.curves[name])
        assert len(set(one.curves["loss"][:, 0].tolist())) == 6

    def test_one_function_under_two_names_ties(self, trained):
        (task,) = trained[1]["tasks"]
        assert set(task["best"]) == {"relu", "same"}
        assert task["arms"][0]["values"] == task["arms"][1]["values"]
        assert {arm["name"]: arm["p_best"] for arm in task["arms"]} == {"relu": 1, "same": 1}

    def test_the_null_pair_has_seeds_of_its_own(self, trained):
        measured, found, _, _ = trained
        table = measured.verdict.where(activation="relu").table
        assert table["seed"].tolist() == list(range(3, 15))
        (pair,) = found["tasks"][0]["null_pairs"]
        assert (pair["a"], pair["b"]) == ("relu", "relu (again)")
        assert 0 < pair["p_value"] <= 1

    def test_the_answer_counts_the_trials_of_the_plan(self, trained):
        measured, found, problems, settings = trained
        for arm in found["tasks"][0]["arms"]:
            for trial, seed in zip(arm["trials"], range(3, 9), strict=True):
                choices, numbers = measured.plan.trial(trial)
                assert choices.label("activation") == arm["name"]
                assert numbers == {"learning_rate": arm["learning_rate"], "seed": seed}
        trial = found["tasks"][0]["arms"][0]["trials"][2]
        run = replay(measured.plan, problems, trial, seed=settings.seed)
        row = measured.verdict.take([trial - len(measured.tuning.table["trial"])])
        np.testing.assert_allclose(row.curves["loss"][0], run.history.loss, atol=1e-4)

    def test_time_and_regions_are_measured(self, trained):
        measured, found, _, _ = trained
        assert all(0 < low <= high < 1e-2 for low, *_, high in (one.seconds for one in measured.alone.values()))
        regions = found["tasks"][0]["regions"]
        assert np.shape(regions["arms"]["relu"]) == (60, 60)
        assert set(np.ravel(regions["arms"]["relu"])) <= {0, 1}
        assert len(regions["points"]) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activations": ()}, "nothing to compare: expected at least one task and one activation"),
        ({"activations": ("relu", "rellu")}, "unknown activation 'rellu'; did you mean 'relu'"),
        ({"activations": ("relu", "ReLU")}, r"activations \['relu', 'relu'\]; expected each name once"),
        ({"activations": ("relu", "step")}, "step cannot be trained"),
        ({"activations": ("tanh",)}, "the baseline 'relu' is not among the activations tanh"),
        ({"learning_rates": ()}, "the plan has no trials"),
        ({"learning_rates": (-0.1,)}, r"learning_rate=\[-0.1\]; expected finite numbers of at least 0"),
        ({"optimizer": "adamm"}, "unknown optimizer 'adamm'"),
        ({"head": "softmix"}, "softmix"),
        ({"hidden": (0,)}, "each at least 1"),
        ({"seeds": 1}, "seeds=1; expected at least 2"),
        ({"tuning_seeds": 0}, "tuning_seeds=0; expected at least 1"),
        ({"target": 1.01}, "target=1.01; expected a share between 0 and 1, as 0.97"),
        ({"target": float("nan")}, "target=nan"),
        ({"budget": 0.0}, "budget=0.0; expected seconds above 0"),
        ({"rate": 1.0}, "rate=1.0; expected an error rate between 0 and 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(changes, message):
    with pytest.raises(ValueError, match=message):
        comparison.measure({"xor": truth_table()}, Settings()._replace(**changes))


@pytest.mark.parametrize("metric", ["brier", "log_likelihood"])
def test_a_metric_is_best_at_one(metric):
    with pytest.raises(ValueError, match=f"{metric} is not best at 1 and worst at 0; expected accuracy, balanced"):
        comparison.measure({"toy": toy(metric=metric)}, Settings())


def test_no_task():
    with pytest.raises(ValueError, match="nothing to compare"):
        comparison.measure({}, Settings())
