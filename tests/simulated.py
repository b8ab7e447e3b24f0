"""Comparisons whose runs are drawn instead of trained: cheap, and the truth is known."""

import numpy as np

from jaxnn.lab import Splits, Task, comparison, judge, splits, task
from jaxnn.lab.recipe import resolved
from jaxnn.lab.spelling import spelled
from jaxnn.lab.sweeps import CURVES, Table


def toy(rows=60, name="toy", features=3) -> Splits:
    """A task in name only."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(rows, features)), np.arange(rows, dtype=np.int32) % 2
    return splits(Task(name, x, y, ("no", "yes"), tuple("abcdefgh"[:features])))


def truth_table() -> Splits:
    return splits(task("xor"))


def simulated_sweep(draw):
    """Stands in for `sweep`: `draw(activation, numbers, rows)` makes what is measured, by name; the rest follows."""

    def sweep(plan, tasks, **_):
        rows = []
        for number in range(plan.size):
            name, activation, recipe, numbers = plan.trial(number)
            drawn = draw(spelled(activation), numbers, tasks[name])
            rows.append(
                {"task": name, "activation": spelled(activation)} | numbers | measured(recipe, tasks[name], drawn)
            )
        columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        return Table({"trial": np.arange(plan.size)} | columns)

    return sweep


def measured(recipe, rows: Splits, drawn) -> dict:
    """All that `outcome` measures; the test metric stands for every metric that is not given."""
    recipe = resolved(recipe, rows)
    steps = recipe.steps(rows.train_rows)
    if "test_rows" in drawn:
        drawn = {"test_metric": np.mean(drawn["test_rows"])} | drawn
    value = drawn.get("test_metric", 0.5)
    found = {"loss": 0.3, "validation_loss": 0.3, "test_loss": 0.3, "seconds": 1e-3, "diverged": False}
    found |= dict.fromkeys(("metric", "validation_metric", "best_validation_metric", "test_metric"), value)
    found |= {"best_step": steps, "last_step": steps}
    if rows.test is not None:
        tested = rows.test.shape[1]
        found["test_rows"] = np.full(tested, value)
        found["test_right"] = np.asarray(drawn.get("test_rows", np.arange(tested) < value * tested)) > 0.5
    found |= {f"curve_{name}": np.linspace(0, 1, 11) for name in CURVES}
    found |= {"curve_step": np.linspace(0, steps, 11).astype(int)} | drawn
    reached = recipe.target is not None and found["best_validation_metric"] >= recipe.target and not found["diverged"]
    return {"target_step": steps // 2 if reached else found["last_step"], "reached": reached} | found


def step_seconds(_, arms, *__):
    """Stands in for what is timed: of the n-th arm n microseconds a step."""
    return {name: np.full(7, 1e-6 * n) for n, name in enumerate(arms, start=1)}


def simulate(monkeypatch, draw, settings, rows=None):
    """Compare by drawing; returns what was measured, and the answer to it."""
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "sweep", simulated_sweep(draw))
        patch.setattr(comparison, "_step_seconds", step_seconds)
        found = comparison.run(rows or toy(), comparison.checked(settings))
    return found, judge.answer(found)
