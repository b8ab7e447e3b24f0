"""Comparisons whose runs are drawn instead of trained: cheap, and the truth is known."""

import numpy as np

from jaxnn import Dataset, Problem, Split, comparison, verdict, xor
from jaxnn.plan import Choices
from jaxnn.sweep import CURVES, Outcome, SweepResult


def toy(name="toy", features=3, **more):
    """A task of twenty rows, in name only."""
    rows = Dataset(
        np.zeros((20, features), np.float32), np.arange(20, dtype=np.int32) % 2, 2, name, ("a",) * features, ("0", "1")
    )
    return Problem(Split(rows, rows.take(slice(0, 10)), rows), **{"epochs": 10, "batch_size": 10, "target": 0.8} | more)


def truth_table():
    return comparison.problem(xor(), exhaustive=True, epochs=100)


def simulated_sweep(draw):
    """Stands in for `sweep`: `draw(arm, numbers)` makes outcomes, by name of `Outcome`; the rest follows from them."""

    def sweep(trials, problems, **_):
        told = [trials.trial(number) for number in range(trials.size)]
        rows = [outcome(problems[choices.task], draw(choices.label("activation"), n)) for choices, n in told]
        table = {"trial": np.arange(trials.size)}
        table |= {field: np.array([c.label(field) for c, _ in told]) for field in Choices._fields[:-1]}
        table |= {name: np.array([n[name] for _, n in told]) for name in ("learning_rate", "seed")}
        table |= {name: np.array([row[name] for row in rows]) for name in Outcome._fields}
        table["seconds"] = np.full(trials.size, 1e-3, np.float32)
        curves = {name: np.tile(np.linspace(0, 1, 11, dtype=np.float32), (trials.size, 1)) for name in CURVES}
        steps = {name: np.linspace(0, problem.steps, 11, dtype=int) for name, problem in problems.items()}
        return SweepResult(table, curves, steps)

    return sweep


def outcome(problem, drawn):
    """All fields of an outcome; the test metric stands for every other metric that is not given."""
    value = drawn.get("test_metric", 0.5)
    plain = dict.fromkeys(Outcome._fields, 0.3) | {
        "metric": value, "validation_metric": value, "best_validation_metric": value, "test_metric": value,
        "best_step": problem.steps, "last_step": problem.steps, "diverged": False,
    }  # fmt: skip
    row = plain | drawn
    reached = problem.target is not None and row["best_validation_metric"] >= problem.target and not row["diverged"]
    return row | {"target_step": problem.steps // 2 if reached else row["last_step"], "reached": reached} | drawn


def alone(task, problem, arms, *_):
    """Stands in for what is measured: of the n-th arm n + 1 microseconds a step, and one class in all the plane."""
    return {
        arm: comparison.Alone(np.full(7, 1e-6 * (n + 1)), np.zeros((60, 60), np.int8)) for n, arm in enumerate(arms)
    }


def simulate(monkeypatch, draw, settings, problems=None):
    """Measure by drawing; returns what was measured, and the answer to it."""
    problems = problems or {"toy": toy()}
    with monkeypatch.context() as patch:
        patch.setattr(comparison, "sweep", simulated_sweep(draw))
        patch.setattr(comparison, "_alone", alone)
        measured = comparison.measure(problems, settings)
    return measured, verdict.answer(measured, problems, settings)
