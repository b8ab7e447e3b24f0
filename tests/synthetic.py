"""Answers as `jaxnn compare` writes them, of invented runs: realistic numbers, and whatever can go wrong."""

import json

import numpy as np

from jaxnn import ACTIVATIONS, stats

NASTY = """<script>alert("&'")</script> $x_2$ \x07"""
LEARNING_RATES = [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1]
RUNS, EVALUATIONS = 20, 31


def plain(value):
    """What JSON can say: null instead of NaN and infinity."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def estimate(e):
    return plain({field: getattr(e, field) for field in ("value", "low", "high", "runs", "diverged")})


def names(number):
    """Activations with a useful gradient, and from the second on what a user may call an arm."""
    known = [name for name, record in ACTIVATIONS.items() if not record.untrainable]
    known.remove("relu")
    return ["relu", NASTY, "celu (elu again)", *known][:number]


def runs(rng, centre, spread, diverged):
    values = np.clip(rng.normal(centre, spread, RUNS), 0, 1).round(3)
    values[:diverged] = np.nan
    return values


def an_arm(name, values, rng, *, index, exhaustive, target, budget, steps, best, differences, baseline):
    lost = np.isnan(values)
    alone = 4e-5 * (1 + index % 7)
    solved = estimate(stats.wilson(np.nansum(values == 1), RUNS)._replace(diverged=lost.sum()))
    arrival = np.where(lost, np.nan, np.minimum(rng.gamma(4, steps / 20, RUNS).round(), steps))
    reached = (np.nan_to_num(values) >= (target or 0)) & ~lost
    curve = stats.kaplan_meier(np.where(reached | lost, arrival, steps), reached)
    median = plain({field: getattr(curve.median, field) for field in ("value", "low", "high")})
    return {
        "name": name,
        "kind": "null pair" if "again" in name else "activation",
        "formula": ACTIVATIONS[name].formula if name in ACTIVATIONS else "",
        "source": ACTIVATIONS[name].source if name in ACTIVATIONS else "",
        "learning_rate": LEARNING_RATES[index % 6],
        "test": solved if exhaustive else estimate(stats.iqm(values, resamples=99)),
        "loss": estimate(stats.iqm(np.where(lost, 3.0, 1.05 - np.nan_to_num(values)), resamples=99)),
        "values": plain(values),
        "p_best": plain(best.p_values[name]),
        "in_best": name in best.names,
        "difference": plain({f: getattr(differences[name], f) for f in ("value", "low", "high", "p_value")})
        if name in differences
        else None,
        "improvement": None if name == baseline[0] else estimate(stats.probability_of_improvement(values, baseline[1])),
        "reached": estimate(curve.reached) if target else None,
        "median_steps": median if target else None,
        "time_to_target": {
            "steps": plain(curve.steps),
            "share": plain(curve.share.value),
            "low": plain(curve.share.low),
            "high": plain(curve.share.high),
        }
        if target
        else None,
        "seconds_per_step_alone": alone,
        "seconds_per_step_block": alone / 3,
        "seconds_to_target": alone * median["value"] if target and median["value"] is not None else None,
        "seconds_to_end": alone * steps,
        "within_budget": estimate(stats.wilson(reached.sum() // 2, RUNS)) if target and budget else None,
        "trials": list(range(600 + RUNS * index, 600 + RUNS * (index + 1))),
    }


def a_task(task="digits", arms=8, *, spread=0.02, target=0.9, budget=0.02, lost=(), exhaustive=False, plane=False):
    """One task and its curves. The arms whose places are in `lost` diverge in all runs, every fifth in three."""
    rng = np.random.default_rng(len(task))
    steps = 690
    chosen = names(arms)
    centres = [0.95 - 0.25 * (i / arms) ** 2 for i in range(arms)]
    values = {
        name: runs(rng, c, spread, RUNS if i in lost else 3 * (i % 5 == 4))
        for i, (name, c) in enumerate(zip(chosen, centres, strict=True))
    }
    if exhaustive:
        values = {name: np.where(np.isnan(v), v, (v > 0.9).astype(float)) for name, v in values.items()}
    best = stats.best_set(values, resamples=499)
    differences = stats.compare(values, "relu", resamples=499)
    settings = {
        "exhaustive": exhaustive,
        "target": target,
        "budget": budget,
        "steps": steps,
        "best": best,
        "differences": differences,
        "baseline": ("relu", values["relu"]),
    }
    rows = [an_arm(name, v, rng, index=i, **settings) for i, (name, v) in enumerate(values.items())]
    rows.sort(key=lambda arm: -arm["test"]["value"])
    mark_front(rows, "seconds_to_target" if target else "seconds_to_end")
    body = {
        "task": task,
        "title": task,
        "rows": {"train": 1077, "validation": 360, "test": 360},
        "features": 2 if plane else 64,
        "classes": 3,
        "class_names": ["zero", "<b>one</b>", "two"],
        "feature_names": ["length", "width & <i>height</i>"] if plane else [],
        "exhaustive": exhaustive,
        "metric": "solved" if exhaustive else "accuracy",
        "hidden": [64],
        "epochs": 30,
        "batch_size": None if exhaustive else 64,
        "steps": steps,
        "evaluate_every_steps": 23,
        "target": target,
        "budget_seconds": budget,
        "sentence": f"On {task} choose {best.names[0]}.",
        "best": list(best.names),
        "baseline": "relu",
        "arms": rows,
        "tuning": tuning(rng, rows, centres),
        "null_pairs": [{"a": "celu", "b": "celu (elu again)", "p_value": 0.6}] if arms > 3 else [],
        "regions": regions(rng, rows) if plane else None,
    }
    return body, curves(rng, body)


def mark_front(rows, time):
    """On the front is an arm that none beats in both test metric and time."""
    key = [(arm["test"]["value"], arm[time]) for arm in rows]
    for arm, (value, seconds) in zip(rows, key, strict=True):
        beaten = any(v >= value and s is not None and s < seconds for v, s in key) if seconds is not None else True
        arm["pareto"] = not beaten


def tuning(rng, rows, centres):
    """Validation metric by learning rate, one entry lost and one where some runs diverged."""
    arms = {}
    for i, arm in enumerate(rows):
        value = (centres[i] - 0.03 * np.abs(np.arange(6) - i % 6) + rng.normal(0, 0.005, 6)).round(3)
        diverged = np.zeros(6, int)
        diverged[5] = 10 if i % 4 == 0 else i % 3
        value[diverged == 10] = np.nan
        arms[arm["name"]] = {"value": plain(value), "diverged": plain(diverged), "chosen": i % 5}
    return {"learning_rates": LEARNING_RATES, "arms": arms}


def regions(rng, rows):
    """A grid of 60 x 60 cells in three classes for each of up to twelve arms, and two hundred points."""
    grid = np.linspace(-1.5, 1.5, 60)
    x, y = np.meshgrid(grid, grid)
    cells = {
        arm["name"]: plain(((x + 0.1 * i) ** 2 + y**2 > 1).astype(int) + (y > 1)) for i, arm in enumerate(rows[:12])
    }
    points = rng.uniform(-1.5, 1.5, (200, 2)).round(3)
    classes = (np.sum(points**2, axis=1) > 1).astype(int) + (points[:, 1] > 1)
    return {
        "x": plain(grid),
        "y": plain(grid),
        "arms": cells,
        "points": [[*plain(point), int(c)] for point, c in zip(points, classes, strict=True)],
    }


def curves(rng, task):
    """Four curves of every arm; a diverged run is NaN from the middle on."""
    step = np.linspace(0, task["steps"], EVALUATIONS).round()
    arrays = {f"{task['task']}/step": step}
    rise = 1 - np.exp(-6 * step / task["steps"])
    for i, arm in enumerate(task["arms"]):
        end = np.array([np.nan if v is None else v for v in arm["values"]])[:, None]
        metric = np.clip(0.1 + (np.nan_to_num(end, nan=0.5) - 0.1) * rise + rng.normal(0, 0.01, (RUNS, 1)), 0, 1)
        metric[np.isnan(end[:, 0]), EVALUATIONS // 2 :] = np.nan
        if task["exhaustive"]:
            metric = np.where(np.isnan(metric), metric, metric > rng.uniform(0.3, 0.9, (RUNS, 1))).astype(float)
        for kind, gap in (("", 0.0), ("validation_", 0.01)):
            arrays[f"{task['task']}/{i}/{kind}loss"] = (2.3 * (1.02 - metric) + gap).astype(np.float32)
            arrays[f"{task['task']}/{i}/{kind}metric"] = np.maximum(metric - gap * (not task["exhaustive"]), 0).astype(
                np.float32
            )
    return arrays


def across(tasks):
    """Mean ranks and profiles of the arms that all tasks have in common."""
    common = [
        arm["name"] for arm in tasks[0]["arms"] if all(arm["name"] in [a["name"] for a in t["arms"]] for t in tasks)
    ]
    test = {task["task"]: {arm["name"]: arm for arm in task["arms"]} for task in tasks}
    thresholds = np.linspace(0, 1, 41)
    ranks = stats.friedman([[arms[name]["test"]["value"] for name in common] for arms in test.values()])
    profiles = {}
    for name in common:
        values = [[np.nan if v is None else v for v in arms[name]["values"]] for arms in test.values()]
        profile = stats.performance_profile(values, thresholds)
        profiles[name] = {field: plain(getattr(profile, field)) for field in ("value", "low", "high")}
    return {
        "tasks": list(test),
        "ranks": dict(zip(common, plain(ranks.ranks), strict=True)),
        "p_value": plain(ranks.p_value),
        "critical_distance": None,
        "profile": {"thresholds": plain(thresholds), "arms": profiles},
    }


def an_answer(*tasks):
    """The answer to several (task, curves), and all curves; checked to be JSON without NaN."""
    bodies = [body for body, _ in tasks]
    answer = {
        "command": "jaxnn compare xor digits --name '<script>&'",
        "created": "2026-11-25T23:10:00Z",
        "seconds": 74.2,
        "folder": "runs/compare <1> & 'more'",
        "versions": {"jaxnn": "0.1.0", "jax": "0.10.2", "jaxlib": "0.10.2", "python": "3.11.2"},
        "machine": {"processor": "AMD <EPYC>", "cores": 2, "devices": "2 x cpu", "platform": "Linux & more"},
        "settings": {
            "init": "matched",
            "optimizer": "adam",
            "head": "softmax",
            "tuning_seeds": 10,
            "seeds": RUNS,
            "rate": 0.05,
            "confidence": 0.95,
            "learning_rates": LEARNING_RATES,
            "target": 0.9,
            "budget_seconds": None,
            "baseline": "relu",
        },
        "answer": f"Choose relu; {NASTY} and celu tie with it.",
        "tasks": bodies,
        "across": across(bodies) if len(bodies) > 1 else None,
    }
    arrays = {key: array for _, part in tasks for key, array in part.items()}
    return json.loads(json.dumps(answer, allow_nan=False)), arrays
