"""In every split tuned on some seeds and rows, judged on others, paired."""

import jax
import numpy as np
import pytest
from simulated import simulate, toy, truth_table

from jaxnn.lab import Recipe, Settings, Task, comparison, replay, splits, task
from jaxnn.lab.plan import Group, Plan

FIVE = Settings(activations=("relu", "tanh", "elu", "gelu", "sin"), learning_rates=(0.01, 0.1), tuning_seeds=3, seeds=4)


def noise(*where):
    """A random number that belongs to its arguments, uniform in 0 … 1."""
    return np.random.default_rng(list(repr(where).encode())).random()


class TestTuning:
    def test_takes_in_each_split_the_rate_that_is_best_on_its_validation_rows_whatever_the_test_rows_say(
        self, monkeypatch
    ):
        def draw(arm, numbers, rows):
            value = noise(arm, numbers["learning_rate"], numbers["seed"])
            return {"best_validation_metric": value, "test_metric": 1 - value}

        found, _ = simulate(monkeypatch, draw, FIVE)
        for arm in FIVE.activations:
            table = found.tuning.where(activation=arm)
            for split in range(10):
                means = {
                    rate: table.where(split=split, learning_rate=rate)["best_validation_metric"].mean()
                    for rate in FIVE.learning_rates
                }
                assert found.chosen[arm][split] == max(means, key=means.get)
        assert {len(set(chosen.tolist())) for chosen in found.chosen.values()} == {2}

    def test_the_verdict_has_the_chosen_rates_and_seeds_that_nobody_else_has(self, monkeypatch):
        settings = Settings(activations=("relu", "tanh"), learning_rates=(0.01, 0.1), null_pair=True)
        found, _ = simulate(monkeypatch, lambda arm, n, _: {"test_metric": noise(arm, *n.values())}, settings)
        seeds = [found.tuning.where(activation="relu"), found.verdict.where(activation="relu"), found.again]
        assert [table.size for table in seeds] == [10 * 2 * 2, 10 * 3, 10 * 3]
        per_split = [set(table.where(split=split)["seed"].tolist()) for table in seeds for split in range(10)]
        assert sum(map(len, per_split)) == len(set.union(*per_split))
        for table in (found.verdict.where(activation="relu"), found.again):
            np.testing.assert_array_equal(table["learning_rate"], np.repeat(found.chosen["relu"], 3))

    def test_seeds_and_rows_are_the_same_for_all_activations(self, monkeypatch):
        found, _ = simulate(monkeypatch, lambda *_: {}, FIVE)
        for name in ("split", "seed"):
            columns = [found.verdict.where(activation=arm)[name].tolist() for arm in found.arms]
            assert all(column == columns[0] for column in columns)

    def test_equals_are_decided_by_the_validation_loss(self, monkeypatch):
        found, _ = simulate(monkeypatch, lambda arm, n, _: {"validation_loss": n["learning_rate"]}, FIVE)
        assert set(found.chosen["relu"]) == {0.01}

    def test_means_that_are_equal_but_for_rounding_are_equals(self, monkeypatch):
        """The same accuracies of 30 rows in another order or in other shares: the loss decides, every time."""
        rng, unequal = np.random.default_rng(0), 0
        for _ in range(20):
            right = rng.integers(20, 30, 3)
            other = right + np.array([1, 0, -1])
            values = {0.01: np.float32(right) / np.float32(30), 0.1: np.float32(other) / np.float32(30)}
            unequal += values[0.01].mean() != values[0.1].mean()

            def draw(arm, n, rows, values=values):
                return {
                    "best_validation_metric": values[n["learning_rate"]][n["seed"] % 3],
                    "validation_loss": 1 - n["learning_rate"],
                }

            found, _ = simulate(monkeypatch, draw, FIVE)
            assert set(found.chosen["relu"]) == {0.1}
        assert unequal > 0

    def test_of_a_truth_table_by_solved_runs_then_by_steps(self, monkeypatch):
        def draw(arm, numbers, rows):
            solved = arm == "relu" or numbers["learning_rate"] == 0.01
            return {"test_metric": 0.9 * solved, "target_step": int(100 * numbers["learning_rate"])}

        found, _ = simulate(monkeypatch, draw, FIVE, truth_table())
        assert {rate for chosen in found.chosen.values() for rate in chosen} == {0.01}

    def test_a_rate_at_which_a_run_diverged_is_not_taken(self, monkeypatch):
        def draw(arm, numbers, rows):
            high = numbers["learning_rate"] == 0.1
            return {"test_metric": 0.6 + 0.3 * high, "diverged": arm == "sin" or (high and numbers["seed"] % 3 == 1)}

        found, answer = simulate(monkeypatch, draw, FIVE)
        assert set(found.chosen["relu"]) == {0.01}
        tuning = answer.choice("relu").tuning
        assert (tuning.values[1], tuning.diverged, tuning.chosen, tuning.rate) == (None, (0, 10), (10, 0), 0.01)


class TestMixtures:
    @staticmethod
    def draw(arm, numbers, rows):
        """Mixtures are better the further down the alphabet, and better than their parts."""
        return {"test_metric": 0.5 + 0.01 * " 0.5 relu + 0.5 tanh, elu gelu sin".count(arm[:3]) + 0.3 * (" " in arm)}

    def mixed(self, monkeypatch, *activations, hidden=(8,)):
        settings = Settings(activations=activations, mixtures=True, recipe=Recipe(hidden=hidden), learning_rates=(0.1,))
        found, answer = simulate(monkeypatch, self.draw, settings)
        tuned = list(dict.fromkeys(found.tuning["activation"].tolist()))
        return tuned[len(activations) + 1 :], list(found.arms)[len(activations) + 1 :], answer

    def test_as_many_as_activations_and_the_best_one_joins(self, monkeypatch):
        tried, joined, answer = self.mixed(monkeypatch, "relu", "tanh", "elu")
        assert len(tried) == 3
        assert len(joined) == 1
        assert joined[0] in tried
        assert answer.best == tuple(joined)
        assert answer.choice(joined[0]).kind == "mixture"
        assert len(answer.choices) == 4
        assert "The mixture is the best of 3 on validation rows" in answer.notes[0]

    def test_in_depth_each_layer_may_have_its_own(self, monkeypatch):
        tried, _, _ = self.mixed(monkeypatch, "relu", "tanh", "elu", hidden=(8, 8, 8))
        first, second = tried[0].removeprefix("0.5 ").split(" + 0.5 ")
        assert tried[1:] == [f"{first}, {second}, {first}", f"{second}, {first}, {second}"]

    def test_one_activation_has_nothing_to_be_mixed_with(self, monkeypatch):
        tried, joined, answer = self.mixed(monkeypatch, "relu")
        assert tried == joined == []
        assert answer.best == ("relu",)

    def test_mixtures_among_the_activations_are_neither_mixed_nor_repeated(self, monkeypatch):
        tried, _, _ = self.mixed(monkeypatch, "relu", "tanh", {"relu": 0.5, "tanh": 0.5}, {"tanh": 0.5, "relu": 0.5})
        assert tried == []

    def test_shares_that_do_not_divide_are_left_out(self, monkeypatch):
        tried, _, _ = self.mixed(monkeypatch, "relu", "crelu", "tanh", hidden=(6,))
        assert [sorted(name.split()[1::3]) for name in tried] == [["relu", "tanh"]]


def same(x):
    return jax.nn.relu(x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(folder):
    """Iris in earnest: ReLU under two names, and once more under other seeds."""
    settings = comparison.checked(
        Settings(
            ("relu", same), (0.03, 0.3), tuning_seeds=1, seeds=2, repeats=1, null_pair=True, references=True,
            recipe=Recipe(hidden=(4,), epochs=30, init="he_normal", target=0.8),
        )
    )  # fmt: skip
    return comparison.run(splits(task("iris"), repeats=1), settings, folder=folder)


class TestTrained:
    def test_pairs_share_rows_raw_weights_and_order(self, trained):
        """One function under two names makes the same runs, seed by seed; one's own has a program of its own."""
        one, other = (trained.verdict.where(activation=name) for name in ("relu", "same"))
        for name in ("seed", "split", "learning_rate", "test_rows", "test_loss", "target_step", "curve_loss"):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5)
        assert len(set(one["curve_loss"][:, 0].tolist())) == 10

    def test_the_numbers_are_those_of_a_trial_replayed(self, trained):
        arm, number = trained.arms["same"], 7
        row = trained.verdict.where(activation="same").take([number])
        columns = {name: row[name] for name in ("split", "learning_rate", "seed")}
        plan = Plan((Group("iris", arm.activation, arm.recipe, columns),))
        run = replay(plan, {"iris": trained.splits}, 0)
        np.testing.assert_allclose(row["curve_loss"][0], run.history.loss, rtol=1e-3, atol=1e-4)

    def test_a_step_is_timed_of_every_arm(self, trained):
        assert list(trained.step_seconds) == ["identity", "relu", "same"]
        assert all(0 < times[0] <= times[-1] < 1e-2 for times in trained.step_seconds.values())

    def test_references_are_judged_on_the_same_rows(self, trained):
        assert list(trained.references) == ["gradient boosting", "forest"]
        for values in trained.references.values():
            assert values.shape == trained.splits.test.shape
            np.testing.assert_allclose(np.round(values), values, atol=1e-6)
            assert values.mean() > 0.9

    def test_a_folder_keeps_what_was_timed_and_trained(self, trained, folder, monkeypatch):
        monkeypatch.setattr(comparison.timing, "step_seconds", None)
        monkeypatch.setattr(comparison.references, "judged", None)
        again = comparison.run(trained.splits, trained.settings, folder=folder)
        for name, seconds in trained.step_seconds.items():
            np.testing.assert_array_equal(seconds, again.step_seconds[name])
        np.testing.assert_array_equal(trained.verdict["test_rows"], again.verdict["test_rows"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activations": ()}, "no activation; expected at least one"),
        ({"activations": ("relu", "rellu")}, "unknown activation 'rellu'; did you mean 'relu'"),
        ({"activations": ("relu", "ReLU")}, "two activations have the name 'relu'; expected each name once"),
        ({"activations": ("relu", "step")}, "step cannot be trained"),
        ({"baseline": "maxout"}, "the baseline 'maxout' is not among the activations relu, leaky_relu"),
        ({"learning_rates": ()}, "no learning rate; expected at least one"),
        ({"learning_rates": (-0.1,)}, r"learning_rate=\[-0.1\]; expected finite numbers of at least 0"),
        ({"seeds": 0}, "seeds=0; expected at least 1"),
        ({"tuning_seeds": 0}, "tuning_seeds=0; expected at least 1"),
        ({"repeats": 0}, "repeats=0; expected at least 1"),
        ({"budget": 0.0}, "budget=0.0; expected seconds above 0"),
        ({"budget": 1.0, "timing": False}, "a budget needs the time of a step"),
        ({"rate": 1.0}, "rate=1.0; expected a probability between 0 and 1"),
        ({"confidence": 0.0}, "confidence=0.0; expected a probability between 0 and 1"),
        ({"tolerance": -0.01}, "tolerance=-0.01; expected a share from 0 to below 1"),
        ({"recipe": Recipe(optimizer="adamm")}, "unknown optimizer 'adamm'"),
        ({"recipe": Recipe(head="softmix")}, "softmix"),
        ({"recipe": Recipe(hidden=(0,))}, "each at least 1"),
        ({"recipe": Recipe(target=1.01)}, "target=1.01; expected a share between 0 and 1, as 0.97"),
        ({"recipe": Recipe(target=float("nan"))}, "target=nan"),
        ({"recipe": Recipe(metric="brier")}, "the metric 'brier' does not judge; expected accuracy, balanced_accuracy"),
        ({"recipe": Recipe(metric="acuracy")}, "unknown metric 'acuracy'; did you mean 'accuracy'"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(changes, message):
    with pytest.raises(ValueError, match=message):
        comparison.run(truth_table(), comparison.checked(Settings(**changes)))


@pytest.mark.parametrize("metric", ["roc_auc", "balanced_accuracy", "macro_f1"])
def test_a_metric_that_needs_every_class_is_refused_where_a_part_lacks_one(metric):
    """120 rows, 2 of them positive: no number, rather than a confident 0."""
    y = (np.arange(120) < 2).astype(np.int32)
    rare = splits(Task("rare", np.random.default_rng(0).normal(size=(120, 3)), y, ("no", "yes")))
    settings = comparison.checked(Settings(recipe=Recipe(metric=metric)))
    with pytest.raises(
        ValueError, match=f"{metric} needs rows of every class .* 'yes' has 2 of 120; expected 5 or more"
    ):
        comparison.run(rare, settings)


def test_accuracy_with_a_rare_class_says_so(monkeypatch):
    y = (np.arange(120) < 2).astype(np.int32)
    rare = splits(Task("rare", np.random.default_rng(0).normal(size=(120, 3)), y, ("no", "yes")))
    _, answer = simulate(monkeypatch, lambda *_: {}, FIVE, rare)
    assert answer.notes == (
        "Some parts of some splits lack classes with fewer than five rows: yes (2).",
        "Always 'no' would be right in 98.3 %: none of these networks is known to do better.",
    )
    _, answer = simulate(monkeypatch, lambda *_: {"test_metric": 0.9}, FIVE, toy())
    assert answer.notes == ()
