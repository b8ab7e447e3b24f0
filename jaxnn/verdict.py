"""What the runs of a comparison say: estimates with intervals, the best set, ties as ties, the answer in a sentence.

The answer is plain data, ready for JSON: null where a number is not known or infinite.
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np

from jaxnn import stats
from jaxnn.activations import get as get_activation
from jaxnn.comparison import Measured, Settings, plane, trial_seeds, tuning_means
from jaxnn.plan import Problem
from jaxnn.sweep import CURVES

AGAIN = " (again)"  # the baseline once more, under other seeds


def answer(measured: Measured, problems: Mapping[str, Problem], settings: Settings) -> dict:
    """The answer of a comparison: a dict for `answer.json`.

    Args:
      measured: from `measure`.
      problems, settings: what was compared, and how.

    Returns:
      A dict with "answer", a line for each task, "tasks", one dict each, and "across", the ranks over tasks.
    """
    tasks = [_task(measured, name, problem, settings) for name, problem in problems.items()]
    return _plain(
        {
            "answer": "\n".join(task["sentence"] for task in tasks),
            "tasks": tasks,
            "across": _across(tasks) if len(tasks) > 1 else None,
        }
    )


def curves(
    measured: Measured, found: Mapping, problems: Mapping[str, Problem], settings: Settings
) -> dict[str, np.ndarray]:
    """The learning curves of the verdict's runs, by "task/arm number/name"; NaN from divergence on.

    The metric of a truth table is 1 where it is solved, 0 elsewhere.
    """
    arrays = {}
    for task in found["tasks"]:
        name = task["task"]
        steps = measured.verdict.steps[name]
        arrays[f"{name}/step"] = steps
        for i, arm in enumerate(task["arms"]):
            runs = _runs(measured, name, arm["name"], trial_seeds(settings, problems[name])[1])
            over = runs.table["diverged"][:, None] & (steps > runs.table["last_step"][:, None])
            for curve in CURVES:
                values = runs.curves[curve][:, : len(steps)]
                if problems[name].exhaustive and curve.endswith("metric"):
                    values = values >= problems[name].target
                arrays[f"{name}/{i}/{curve}"] = np.where(over, np.nan, values.astype(np.float32))
    return arrays


def _runs(measured, task, arm, verdict_seeds):
    """The verdict's runs of an arm, by seed."""
    rows = measured.verdict.where(task=task, activation=arm.removesuffix(AGAIN))
    again = rows.table["seed"] >= verdict_seeds.stop
    return rows.take(np.flatnonzero(again if arm.endswith(AGAIN) else ~again))


def _values(runs, problem) -> np.ndarray:
    """What counts, of every run; NaN where it diverged. Of a truth table: is it solved?"""
    values = runs.table["test_metric"].astype(float)
    if problem.exhaustive:
        values = (values >= problem.target).astype(float)
    return np.where(runs.table["diverged"], np.nan, values)


def _estimate(values, exhaustive, confidence=0.95):
    if exhaustive:
        return stats.wilson(np.nansum(values), len(values), confidence)._replace(diverged=np.isnan(values).sum())
    return stats.iqm(values, confidence=confidence)


def _task(measured, name, problem, settings) -> dict:
    arms = list(measured.arms[name]) + ([settings.baseline + AGAIN] if settings.null_pair else [])
    seeds = trial_seeds(settings, problem)[1]
    runs = {arm: _runs(measured, name, arm, seeds) for arm in arms}
    values = {arm: _values(runs[arm], problem) for arm in arms}
    real = {arm: v for arm, v in values.items() if not arm.endswith(AGAIN)}
    best = (
        stats.best_set(real, rate=settings.rate)
        if len(real) > 1
        else stats.BestSet(tuple(real), dict.fromkeys(real, 1.0), settings.rate)
    )
    differences = stats.compare(real, settings.baseline) if len(real) > 1 else {}
    rows = [_arm(measured, name, arm, runs[arm], values, problem, settings, best, differences) for arm in real]
    rows.sort(key=lambda row: (-row["test"]["value"], row["loss"]["value"]))
    _mark_front(rows)
    train, choices = problem.data.train, measured.arms[name][arms[0]]
    task = {
        "task": name,
        "title": train.name,
        "rows": {part: len(rows.y) for part, rows in problem.data._asdict().items()},
        "features": train.x.shape[1],
        "classes": train.classes,
        "class_names": list(train.class_names),
        "feature_names": list(train.feature_names),
        "exhaustive": problem.exhaustive,
        "metric": "solved" if problem.exhaustive else problem.metric,
        "hidden": list(choices.hidden),
        "epochs": problem.epochs,
        "batch_size": problem.batch_size,
        "steps": problem.steps,
        "evaluate_every_steps": problem.steps // problem.epochs * problem.evaluate_every,
        "target": problem.target,
        "budget_seconds": settings.budget,
        "rate": settings.rate,
        "best": list(best.names),
        "baseline": settings.baseline,
        "arms": rows,
        "tuning": _tuning(measured, name, problem, settings),
        "null_pairs": _null_pairs(values, settings),
        "regions": _regions(measured, name, problem, rows),
    }
    return task | {"sentence": sentence(task)}


def _arm(measured, name, arm, runs, values, problem, settings, best, differences) -> dict:
    choices, table = measured.arms[name][arm], runs.table
    seconds = measured.alone[name, arm].seconds
    record = get_activation(choices.activation) if not isinstance(choices.activation, tuple) else None
    loss = np.where(table["diverged"] | ~np.isfinite(table["test_loss"]), np.nan, -table["test_loss"].astype(float))
    loss = stats.iqm(loss, worst=np.nanmin(loss, initial=0.0))
    row = {
        "name": arm,
        "kind": "activation" if record else "mixture",
        "formula": record.formula if record else "",
        "source": record.source if record else "",
        "learning_rate": measured.chosen[name][arm],
        "test": _estimate(values[arm], problem.exhaustive)._asdict(),
        "loss": loss._replace(value=-loss.value, low=-loss.high, high=-loss.low)._asdict(),
        "values": values[arm],
        "p_best": best.p_values[arm],
        "in_best": arm in best.names,
        "difference": differences[arm]._asdict() if arm in differences else None,
        "improvement": None,
        "seconds_per_step_alone": float(np.median(seconds)),
        "seconds_per_step_alone_low": seconds[0],
        "seconds_per_step_alone_high": seconds[-1],
        "seconds_per_step_block": float(np.median(table["seconds"])) / problem.steps,
        "seconds_to_end": float(np.median(seconds)) * problem.steps,
        "trials": table["trial"] + measured.tuning.table["trial"].size,
    }
    if arm != settings.baseline:
        row["improvement"] = stats.probability_of_improvement(values[arm], values[settings.baseline])._asdict()
    return row | _time_to_target(table, problem, settings, float(np.median(seconds)))


def _time_to_target(table, problem, settings, seconds) -> dict:
    """How many runs reach the target, and when: censored, never the mean of the winners."""
    nothing = dict.fromkeys(("reached", "median_steps", "time_to_target", "seconds_to_target", "within_budget"))
    if problem.target is None:
        return nothing
    steps = np.where(table["reached"], table["target_step"], table["last_step"]).astype(float)
    steps[table["diverged"] & ~table["reached"]] = np.nan
    time = stats.kaplan_meier(steps, table["reached"])
    found = {
        "reached": time.reached._asdict(),
        "median_steps": {end: getattr(time.median, end) for end in ("value", "low", "high")},
        "time_to_target": {
            "steps": time.steps,
            "share": time.share.value,
            "low": time.share.low,
            "high": time.share.high,
        },
        "seconds_to_target": float(time.median.value) * seconds,
    }
    if settings.budget is not None:
        soon = table["reached"] & (table["target_step"] * seconds <= settings.budget)
        found["within_budget"] = stats.wilson(soon.sum(), len(soon))._asdict()
    return nothing | found


def _mark_front(rows) -> None:
    """Mark the arms that no other beats in both the test metric and the time."""
    times = [row["seconds_to_target"] if row["reached"] else row["seconds_to_end"] for row in rows]
    for row, seconds in zip(rows, times, strict=True):
        row["pareto"] = bool(np.isfinite(seconds)) and not any(
            other["test"]["value"] >= row["test"]["value"]
            and t <= seconds
            and (other["test"]["value"] > row["test"]["value"] or t < seconds)
            for other, t in zip(rows, times, strict=True)
        )


def _tuning(measured, name, problem, settings) -> dict:
    found = {}
    for arm, choices in measured.arms[name].items():
        table = measured.tuning.where(task=name, activation=arm).table
        rates = settings.learning_rates
        found[arm] = {
            "value": tuning_means(measured.tuning, problem, choices, rates)[0],
            "diverged": [int(table["diverged"][table["learning_rate"] == rate].sum()) for rate in rates],
            "chosen": rates.index(measured.chosen[name][arm]),
        }
    return {"learning_rates": list(settings.learning_rates), "arms": found}


def _null_pairs(values, settings) -> list:
    again = settings.baseline + AGAIN
    if again not in values:
        return []
    p = stats.paired_difference(values[again], values[settings.baseline]).p_value
    return [{"a": settings.baseline, "b": again, "p_value": p}]


def _regions(measured, name, problem, rows):
    if problem.data.train.x.shape[1] != 2:
        return None
    x, y = plane(problem)
    points = np.concatenate([np.c_[part.x, part.y] for part in problem.data[: 1 if problem.exhaustive else 3]])
    arms = {row["name"]: measured.alone[name, row["name"]].region for row in rows[:12]}
    return {"x": x, "y": y, "arms": arms, "points": points[:400]}


def _across(tasks) -> dict | None:
    """Ranks and profile over all tasks, of the arms that all of them have; None for fewer than three."""
    arms = [row["name"] for row in tasks[0]["arms"] if all(_of(task, row["name"]) for task in tasks)]
    if len(arms) < 3:
        return None
    means = np.array([[_of(task, arm)["test"]["value"] for arm in arms] for task in tasks])
    test = stats.friedman(means)
    thresholds = np.linspace(0.5, 1, 51)
    profile = {
        arm: stats.performance_profile(np.concatenate([_of(task, arm)["values"] for task in tasks]), thresholds)
        for arm in arms
    }
    return {
        "tasks": [task["task"] for task in tasks],
        "ranks": dict(zip(arms, test.ranks, strict=True)),
        "p_value": test.p_value,
        "critical_distance": stats.critical_distance(len(arms), len(tasks)) if len(tasks) >= 10 else None,
        "profile": {
            "thresholds": thresholds,
            "arms": {arm: {end: getattr(p, end) for end in ("value", "low", "high")} for arm, p in profile.items()},
        },
    }


def _of(task, arm):
    return next((row for row in task["arms"] if row["name"] == arm), None)


def table(task: Mapping) -> str:
    """The arms of a task as text, best first.

    Args: task, an entry of the answer's "tasks".
    """
    rows, hidden = task["rows"], " x ".join(map(str, task["hidden"]))
    held_out = "" if task["exhaustive"] else f", {rows['validation']} to validate, {rows['test']} to test"
    head = ["", "activation", "rate", "solved" if task["exhaustive"] else f"test {task['metric']}", "95 % interval"]
    head += ["steps to target"] if task["target"] is not None else []
    head += ["µs/step alone", "in a block", "diverged"]
    lines = [head] + [_cells(arm, task) for arm in task["arms"]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(f"{cell:{'<' if i < 2 else '>'}{w}}" for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    return "\n".join(
        [
            f"{task['title']}: {rows['train']} rows to train{held_out}; hidden units {hidden}; {task['steps']:,} steps",
            *(line.rstrip() for line in text),
            "* the best set: what the data cannot tell from the best. Intervals are over seeds, on these test rows.",
            *(f"null pair {pair['a']}, {pair['b']}: p = {pair['p_value']:.3f}" for pair in task["null_pairs"]),
        ]
    )


def _cells(arm, task) -> list[str]:
    test = arm["test"]
    cells = ["*" if arm["in_best"] else " ", arm["name"], f"{arm['learning_rate']:g}", f"{test['value']:.3f}"]
    cells.append(f"[{test['low']:.3f}, {test['high']:.3f}]")
    if task["target"] is not None:
        steps = arm["median_steps"]["value"]
        cells.append("never" if steps is None else f"{steps:.0f}")
    cells += [f"{arm[f'seconds_per_step_{how}'] * 1e6:.2f}" for how in ("alone", "block")]
    return [*cells, str(test["diverged"] or "")]


def sentence(task: Mapping) -> str:
    """The answer for one task, in words.

    Args: task, an entry of the answer's "tasks".
    """
    arms = {row["name"]: row for row in task["arms"]}
    best = [row for row in task["arms"] if row["in_best"]]
    leader = best[0]
    runs, what = leader["test"]["runs"], "solved by" if task["exhaustive"] else f"highest test {task['metric']} with"
    words = [f"{task['title']}: {what} {_name_and_interval(leader, task)}"]
    others = [row["name"] for row in best[1:]]
    if others and len(best) == len(arms):
        all_others = f"none of the {len(others)} others can" if len(others) > 1 else f"{others[0]} cannot"
        words.append(f"; {all_others} be told from it ({runs} seeds)")
    elif others:
        words.append(f"; {_list(others)} cannot be told from it ({runs} seeds)")
    elif len(arms) == 1:
        words.append(f" ({runs} seeds)")
    else:
        rest = [row["name"] for row in task["arms"] if not row["in_best"]]
        words.append(f", better than {rest[0] if len(rest) == 1 else f'each of the {len(rest)} others'} ({runs} seeds)")
    if len(arms) > 1 and 2.0 ** (1 - runs) > task["rate"]:
        least = 1 + math.ceil(-math.log2(task["rate"]))
        words.append(
            f", which are too few to tell any apart at an error rate of {task['rate']:g}: take {least} or more"
        )
    words.append(f". {_fastest(best, task)}")
    if task["target"] is not None and (task["budget_seconds"] is not None or not task["exhaustive"]):
        words.append(" " + _target(task, arms.values()))
    last = task["arms"][-1]
    if last["name"] not in task["best"]:
        words.append(f" Last is {_name_and_interval(last, task)}.")
    return "".join(words)


def _fastest(best, task) -> str:
    """Which of the best set takes the least time, with ties: their ranges over the rounds of timing overlap."""
    fast = min(best, key=_seconds)
    if len(best) == 1:
        return f"It takes {_duration(task, fast)}."
    if np.isfinite(_seconds(fast)) and task["target"] is not None:
        return f"Fastest of these to the target is {fast['name']}: {_duration(task, fast)}."
    fast = min(best, key=lambda row: row["seconds_per_step_alone"])
    tied = [row for row in best if row["seconds_per_step_alone_low"] <= fast["seconds_per_step_alone_high"]]
    if len(tied) == 1:
        return f"Fastest of these is {fast['name']}: {_duration(task, fast)}."
    names = "all of them" if len(tied) == len(best) else _list([row["name"] for row in tied])
    return f"Fastest of these, without a difference that could be measured, are {names}: {_duration(task, fast)}."


def _target(task, arms) -> str:
    """How surely each arm reaches the target, in the time there is."""
    key = "reached" if task["budget_seconds"] is None else "within_budget"
    limit = "" if task["budget_seconds"] is None else f" within {_time(task['budget_seconds'])}"
    what = "solved" if task["exhaustive"] else f"{task['target']:g} on the validation rows"
    reaching = sorted((row for row in arms if row[key]["value"] > 0), key=lambda row: -row[key]["value"])
    if not reaching:
        return f"The target, {what}, is reached{limit} by no run."
    shares = itertools.groupby(reaching, key=lambda row: row[key]["value"])
    told = [f"{_list([row['name'] for row in rows])} in {share:.0%} of the runs" for share, rows in shares]
    first = reaching[0][key]
    return (
        f"The target, {what}, is reached{limit} by {'; '.join(told)} "
        f"(the first: 95 % interval {first['low']:.0%} to {first['high']:.0%})."
    )


def _seconds(row) -> float:
    seconds = row["seconds_to_target"] if row["reached"] else row["seconds_to_end"]
    return seconds if np.isfinite(seconds) else np.inf


def _duration(task, row) -> str:
    step = f"{_time(row['seconds_per_step_alone'])} a step for one network alone"
    if not row["reached"]:
        return f"{step}, {_time(row['seconds_to_end'])} for all {task['steps']:,} steps"
    if not np.isfinite(row["seconds_to_target"]):
        return f"{step}; fewer than half of its runs get there"
    return f"{step}, {row['median_steps']['value']:.0f} steps in the median, {_time(row['seconds_to_target'])} in all"


def _time(seconds) -> str:
    """A short time with its unit."""
    unit, factor = next(((u, f) for u, f in (("µs", 1e6), ("ms", 1e3)) if seconds * f < 1000), ("s", 1))
    number = seconds * factor
    return f"{number:.0f} {unit}" if number >= 9.95 else f"{number:.2g} {unit}"


def _name_and_interval(row, task) -> str:
    test = row["test"]
    if task["exhaustive"]:
        return f"{row['name']} in {test['value']:.0%} of the runs [{test['low']:.0%}, {test['high']:.0%}]"
    return f"{row['name']}, {test['value']:.3f} [{test['low']:.3f}, {test['high']:.3f}]"


def _list(names) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _plain(value):
    """Python's own types, null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value
