"""Answers of every kind that a report must show, judged from drawn runs."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from simulated import simulate, toy, truth_table

from jaxnn import ACTIVATIONS
from jaxnn.lab import Recipe, Settings, Task, splits
from jaxnn.lab.answer import SCHEMA, Question, Record

DOZEN = Settings(learning_rates=(0.01, 0.03, 0.1))
MARKUP = '<img src=x onerror="alert(1)">&amp;'


def runs(arm, numbers, rows):
    """Some are better, some slower; rows are hard or easy."""
    rng = np.random.default_rng([*arm.encode(), numbers["split"], numbers["seed"]])
    skill = 0.5 * (sum(arm.encode()) % 7) / 7 - 1.5 * (arm == "identity")
    if rows.task.truth_table:
        solved = 0.9 * (rng.random() < 0.4 + skill)
        found = {"test_metric": solved, "best_validation_metric": solved, "plane": np.repeat([0, 1, 0], 1200)}
        return found | {"target_step": 10 * int(rng.integers(1, 90))}
    hard = np.random.default_rng(0).normal(1.2, 1, rows.task.rows)[rows.test[numbers["split"]]]
    right = hard + skill + rng.normal(0, 0.5, len(hard)) > 0
    found = {"test_rows": right, "target_step": int(rng.integers(1, 200))}
    found |= {"plane": np.repeat([0, 1], 1800)} if rows.task.features == 2 else {}
    return found | {
        "curve_validation_metric": np.linspace(0.3, right.mean(), 11),
        "curve_loss": np.geomspace(2, 0.1, 11),
    }


def record(patch, tasks, settings=DOZEN, draw=runs, names=None, **options) -> Record:
    judged = {}
    for i, rows in enumerate(tasks):
        _, one = simulate(patch, draw, settings, rows)
        one = replace(one, name=names[i]) if names else one
        judged[one.name] = one
    question = Question(tuple(judged), options)
    versions = {"jaxnn": "0.1.0", "jax": "0.10.2"}
    return Record(SCHEMA, question, judged, 0.05, 0.95, 0.01, True, versions, {"processor": "a processor", "cores": 2})


def _fixed():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), np.arange(60, dtype=np.int32) % 2
    return splits(Task("fixed", x, y, ("no", "yes"), test=(x[:20], y[:20])))


def _markup():
    rows = toy()
    return splits(replace(rows.task, name=MARKUP, class_names=(MARKUP, "</script>"), source=MARKUP))


def _trainable():
    return tuple(name for name, record in ACTIVATIONS.items() if not record.untrainable)


def strange(x):
    return x


strange.__name__ = MARKUP

CASES = {
    "one truth table": lambda p: record(p, [truth_table()], replace(DOZEN, seeds=40)),
    "one small table": lambda p: record(p, [toy(rows=150, name="small")], replace(DOZEN, null_pair=True)),
    "four tasks": lambda p: record(p, [truth_table(), *(toy(name=f"table {i}") for i in range(3))]),
    "twelve tasks": lambda p: record(p, [toy(name=f"a task with a longer name {i}") for i in range(12)]),
    "all activations": lambda p: record(p, [toy(rows=300)], replace(DOZEN, activations=_trainable())),
    "a target with a budget": lambda p: record(
        p, [toy()], replace(DOZEN, budget=1e-4, recipe=Recipe(target=0.8)), target=0.8, budget=1e-4
    ),
    "a task in the plane": lambda p: record(p, [toy(features=2, name="plane")]),
    "a mixture": lambda p: record(
        p, [toy()], replace(DOZEN, mixtures=True, recipe=Recipe(hidden=(8, 8))), mixtures=True, hidden=[8, 8]
    ),
    "everything diverges": lambda p: record(p, [toy()], DOZEN, lambda *_: {"diverged": True}),
    "names with markup": lambda p: record(p, [_markup()], replace(DOZEN, activations=("relu", strange))),
    "brought test rows": lambda p: record(p, [_fixed()]),
    "one activation, not timed": lambda p: record(p, [toy()], replace(DOZEN, activations=("tanh",), timing=False)),
    "a single learning rate": lambda p: record(p, [toy()], replace(DOZEN, learning_rates=(0.1,))),
}  # fmt: skip


@cache
def of(case: str) -> Record:
    """The answer of a case."""
    with pytest.MonkeyPatch.context() as patch:
        return CASES[case](patch)
