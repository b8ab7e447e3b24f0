"""The answer says what the runs say: fronts, ties, divergence and words, in plain JSON."""

import json
import re

import numpy as np
import pytest
from simulated import simulate, toy, truth_table

from jaxnn import stats, verdict
from jaxnn.comparison import Settings
from jaxnn.sweep import CURVES

NAMES = ("relu", "tanh", "elu", "gelu", "sin")
FIVE = Settings(NAMES, (0.01, 0.1), tuning_seeds=3, seeds=10)
# True means of the arms; gelu is the best by far, and the seconds that are simulated grow from left to right.
MEANS = {"relu": 0.7, "tanh": 0.7, "elu": 0.6, "gelu": 0.9, "sin": 0.5}


def drawn(arm, numbers):
    rng = np.random.default_rng([NAMES.index(arm), numbers["seed"]])
    return {"test_metric": np.clip(MEANS[arm] + rng.normal(0, 0.01), 0, 1), "test_loss": 1 - MEANS[arm]}


def ask(monkeypatch, draw=drawn, settings=FIVE, problems=None):
    """The answer's tasks; the answer is JSON."""
    _, found = simulate(monkeypatch, draw, settings, problems)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    return found["tasks"]


class TestArms:
    def test_estimates_are_those_of_the_runs(self, monkeypatch):
        (task,) = ask(monkeypatch)
        assert [arm["name"] for arm in task["arms"]][0::4] == ["gelu", "sin"]
        for arm in task["arms"]:
            values = [drawn(arm["name"], {"seed": seed})["test_metric"] for seed in range(3, 13)]
            assert arm["values"] == values
            assert [arm["test"][field] for field in ("value", "low", "high")] == list(map(float, stats.iqm(values)[:3]))
            assert arm["loss"]["value"] == pytest.approx(1 - MEANS[arm["name"]])
        assert [arm["test"]["value"] for arm in task["arms"]] == sorted(
            (arm["test"]["value"] for arm in task["arms"]), reverse=True
        )

    def test_differences_are_from_the_baseline_and_ties_are_ties(self, monkeypatch):
        (task,) = ask(monkeypatch)
        arms = {arm["name"]: arm for arm in task["arms"]}
        assert arms["relu"]["difference"] is arms["relu"]["improvement"] is None
        assert arms["gelu"]["difference"]["value"] == pytest.approx(0.2, abs=0.02)
        assert arms["gelu"]["improvement"]["value"] == 1
        assert task["best"] == ["gelu"]
        assert [arm["name"] for arm in task["arms"] if arm["in_best"]] == ["gelu"]

    def test_steps_to_the_target_are_censored(self, monkeypatch):
        """Eight of ten runs reach it, at steps 10 to 17; one ends without, one diverges."""

        def draw(arm, numbers):
            late = numbers["seed"] >= 11
            return {"test_metric": 0.5 if late else 0.9, "diverged": numbers["seed"] == 12} | (
                {} if late else {"target_step": numbers["seed"] + 7}
            )

        (task,) = ask(monkeypatch, draw, FIVE._replace(budget=15e-6))
        arm = next(arm for arm in task["arms"] if arm["name"] == "relu")
        assert arm["reached"]["value"] == 0.8
        assert (arm["median_steps"]["value"], arm["seconds_to_target"]) == (14, pytest.approx(14e-6))
        assert arm["within_budget"]["value"] == 0.6
        assert arm["time_to_target"]["share"][-1] == pytest.approx(0.8)
        slow = next(arm for arm in task["arms"] if arm["name"] == "sin")
        assert slow["within_budget"]["value"] == 0

    def test_a_target_that_nothing_reaches_has_no_time(self, monkeypatch):
        (task,) = ask(monkeypatch, problems={"toy": toy(target=0.99)})
        assert all(arm["seconds_to_target"] is None for arm in task["arms"])
        assert "The target, 0.99 on the validation rows, is reached by no run." in task["sentence"]
        assert "never" in verdict.table(task)


class TestDivergence:
    def test_diverged_runs_are_counted_and_count_as_the_worst(self, monkeypatch):
        def draw(arm, numbers):
            return drawn(arm, numbers) | {"diverged": arm == "gelu" and numbers["seed"] % 2 == 1}

        (task,) = ask(monkeypatch, draw)
        gelu = next(arm for arm in task["arms"] if arm["name"] == "gelu")
        assert gelu["test"]["diverged"] == 5
        assert [value is None for value in gelu["values"]] == [True, False] * 5
        assert gelu["test"]["value"] < 0.9
        assert "gelu" not in task["best"][:1]

    def test_all_runs_diverged(self, monkeypatch):
        for problems in ({"toy": toy()}, {"xor": truth_table()}):
            (task,) = ask(monkeypatch, lambda arm, n: {"diverged": True}, problems=problems)
            assert {arm["test"]["value"] for arm in task["arms"]} == {0}
            assert {arm["test"]["diverged"] for arm in task["arms"]} == {10}
            assert set(task["best"]) == set(NAMES)
            assert not any(arm["pareto"] for arm in task["arms"] if problems)

    def test_a_loss_that_overflows_on_the_test_rows_is_no_number(self, monkeypatch):
        def draw(arm, numbers):
            return drawn(arm, numbers) | ({"test_loss": np.inf} if numbers["seed"] == 5 else {})

        (task,) = ask(monkeypatch, draw)
        assert all(arm["loss"]["diverged"] == 1 for arm in task["arms"])

    def test_curves_end_where_a_run_diverged(self, monkeypatch):
        def draw(arm, numbers):
            return {"diverged": numbers["seed"] == 4, "last_step": 8 if numbers["seed"] == 4 else 20}

        measured, found = simulate(monkeypatch, draw, FIVE)
        arrays = verdict.curves(measured, found, {"toy": toy()}, FIVE)
        assert arrays["toy/step"].tolist() == list(range(0, 22, 2))
        for place in range(5):
            for kind in CURVES:
                missing = np.isnan(arrays[f"toy/{place}/{kind}"])
                assert missing.shape == (10, 11)
                assert missing.sum(axis=1).tolist() == [0, 6, *[0] * 8]
                assert not missing[1, :5].any()


@pytest.mark.parametrize("target", [None, 0.6])
def test_the_front_is_what_no_other_arm_beats(monkeypatch, target):
    """Against all pairs of arms, for random runs with ties in value."""
    fronts = set()
    for draw_number in range(6):
        rng = np.random.default_rng(draw_number)
        values = dict(zip(NAMES, rng.integers(4, 9, 5) / 10, strict=True))
        steps = dict(zip(NAMES, rng.integers(1, 9, 5).tolist(), strict=True))

        def draw(arm, numbers, values=values, steps=steps):
            return {"test_metric": values[arm]} | ({"target_step": steps[arm]} if target else {})

        (task,) = ask(monkeypatch, draw, FIVE._replace(seeds=2), {"toy": toy(target=target)})
        seconds = {arm["name"]: arm["seconds_to_target"] if target else arm["seconds_to_end"] for arm in task["arms"]}
        front = {
            arm
            for arm in NAMES
            if seconds[arm] is not None
            and not any(
                seconds[other] is not None
                and (values[other], -seconds[other]) != (values[arm], -seconds[arm])
                and values[other] >= values[arm]
                and seconds[other] <= seconds[arm]
                for other in NAMES
            )
        }
        assert {arm["name"] for arm in task["arms"] if arm["pareto"]} == front
        fronts.add(len(front))
    assert len(fronts) > 1


class TestWords:
    def test_one_is_better_than_all(self, monkeypatch):
        (task,) = ask(monkeypatch)
        gelu, last = task["arms"][0]["test"], task["arms"][-1]["test"]
        assert task["sentence"].startswith(
            f"toy: highest test accuracy with gelu, {gelu['value']:.3f} [{gelu['low']:.3f}, {gelu['high']:.3f}], "
            "better than each of the 4 others (10 seeds). It takes 4 µs a step for one network alone, "
        )
        assert "10 steps in the median, 40 µs in all." in task["sentence"]
        assert task["sentence"].endswith(f"Last is sin, {last['value']:.3f} [{last['low']:.3f}, {last['high']:.3f}].")

    def test_better_than_the_other_one(self, monkeypatch):
        (task,) = ask(monkeypatch, settings=FIVE._replace(activations=("relu", "gelu")))
        assert re.search(r"gelu, .*\], better than relu \(10 seeds\)\. It takes", task["sentence"])

    def test_ties(self, monkeypatch):
        def draw(arm, numbers):
            return drawn("sin" if arm == "elu" else "tanh", numbers) | {"test_metric": 0.3 if arm == "elu" else 0.7}

        (task,) = ask(monkeypatch, draw, problems={"toy": toy(target=None)})
        assert (
            "; tanh, gelu and sin cannot be told from it (10 seeds). Fastest of these is relu: 1 µs a step"
            in (task["sentence"])
        )
        assert "20 µs for all 20 steps." in task["sentence"]
        assert "Last is elu, 0.300" in task["sentence"]
        (task,) = ask(monkeypatch, lambda arm, n: {})
        assert "; none of the 4 others can be told from it (10 seeds). Fastest of these is relu" in task["sentence"]
        (task,) = ask(monkeypatch, lambda arm, n: {}, FIVE._replace(seeds=5))
        assert "too few to tell any apart at an error rate of 0.05: take 6 or more" in task["sentence"]
        assert "Last is" not in task["sentence"]

    def test_one_arm_alone(self, monkeypatch):
        (task,) = ask(monkeypatch, settings=FIVE._replace(activations=("relu",)))
        assert re.search(r"relu, 0\.\d+ \[.*\] \(10 seeds\)\. It takes 1 µs a step", task["sentence"])
        assert task["arms"][0]["difference"] is None
        assert task["best"] == ["relu"]

    def test_a_truth_table_is_solved(self, monkeypatch):
        def draw(arm, numbers):
            return {"test_metric": 0.9 if arm == "tanh" or numbers["seed"] % 2 else 0.1}

        (task,) = ask(monkeypatch, draw, problems={"xor": truth_table()})
        assert task["sentence"].startswith("xor: solved by tanh in 100% of the runs [72%, 100%]")
        relu = next(arm for arm in task["arms"] if arm["name"] == "relu")
        assert relu["test"]["value"] == 0.5
        assert task["metric"] == "solved"

    def test_the_target_within_the_budget(self, monkeypatch):
        def draw(arm, numbers):
            return {"test_metric": 0.9 if arm in ("relu", "tanh") else 0.1, "target_step": 10}

        (task,) = ask(monkeypatch, draw, FIVE._replace(budget=15e-6))
        assert (
            "The target, 0.8 on the validation rows, is reached within 15 µs by relu in 100% of the runs (the first: "
            "95 % interval 72% to 100%)" in task["sentence"]
        )

    def test_the_table_has_a_line_for_each_arm_with_the_best_marked(self, monkeypatch):
        (task,) = ask(monkeypatch)
        title, head, *lines, note = verdict.table(task).splitlines()
        assert title == "toy: 20 rows to train, 10 to validate, 20 to test; hidden units 32; 20 steps"
        assert head.split()[:4] == ["activation", "rate", "test", "accuracy"]
        assert [line.split()[line.startswith("*")] for line in lines] == [arm["name"] for arm in task["arms"]]
        assert [line.startswith("*") for line in lines] == [True] + [False] * 4
        assert note.startswith("* the best set")


class TestAcross:
    def test_ranks_over_tasks(self, monkeypatch):
        problems = {name: toy(name) for name in ("one", "two", "three")}
        _, found = simulate(monkeypatch, drawn, FIVE, problems)
        assert found["answer"].splitlines() == [task["sentence"] for task in found["tasks"]]
        ranks = found["across"]["ranks"]
        assert min(ranks, key=ranks.get) == "gelu"
        assert ranks["gelu"] == 1
        assert ranks["sin"] == 5
        assert found["across"]["critical_distance"] is None
        assert set(found["across"]["profile"]["arms"]) == set(NAMES)

    def test_ten_tasks_have_a_critical_distance(self, monkeypatch):
        problems = {str(number): toy(str(number)) for number in range(10)}
        _, found = simulate(monkeypatch, drawn, FIVE._replace(seeds=2), problems)
        assert found["across"]["critical_distance"] == pytest.approx(stats.critical_distance(5, 10))

    @pytest.mark.parametrize(("activations", "tasks"), [(NAMES, ["one"]), (("relu", "gelu"), ["one", "two"])])
    def test_too_few_have_none(self, monkeypatch, activations, tasks):
        _, found = simulate(monkeypatch, drawn, FIVE._replace(activations=activations), {t: toy(t) for t in tasks})
        assert found["across"] is None

    def test_mixtures_that_not_all_tasks_have_do_not_make_a_third(self, monkeypatch):
        """Two activations, of which each task mixes another."""

        def draw(arm, numbers):
            return {"test_metric": 0.8}

        settings = FIVE._replace(activations=("relu", "gelu"), mixtures=True)
        problems = {"deep": toy("deep"), "flat": toy("flat")}
        _, found = simulate(monkeypatch, draw, settings, problems)
        assert [len(task["arms"]) for task in found["tasks"]] == [3, 3]
        assert set(found["across"]["ranks"]) == {arm["name"] for arm in found["tasks"][0]["arms"]}
        found["tasks"][1]["arms"].pop()
        assert verdict._across(found["tasks"]) is None
