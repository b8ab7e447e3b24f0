"""Captions: what each figure of a comparison shows, and in numbers, for those who do not see it.

For every function of `plots` there is one here that returns two texts: the caption, which says how to read the figure,
and the alternative text, which says what it shows.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from . import activations
from .answers import curve, metric_name, numbers, shown, time_field
from .propagation import activation_facts


class Caption(NamedTuple):
    """The two texts of a figure."""

    text: str  # how to read it
    alt: str  # what it shows, in numbers


def number(value: float | None, digits: int = 3) -> str:
    """A number to read, with a dash where there is none.

    >>> number(0.97312), number(4.1e-05), number(1234.5), number(None)
    ('0.973', '4.1e-05', '1,234', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or 0.001 <= abs(value) < 10:
        return f"{value:.{digits}f}".replace("-", "−")
    if abs(value) >= 10:
        return f"{value:,.{0 if abs(value) >= 1000 else 1}f}".replace("-", "−")
    return f"{value:.2g}".replace("-", "−", 1) if value < 0 else f"{value:.2g}"


def listing(names, most: int = 6) -> str:
    """Names as a sentence has them, the first few where there are many.

    >>> listing(["silu", "gelu", "mish"]), listing("abcd", most=2)
    ('silu, gelu and mish', 'a, b and 2 more')
    """
    names = [str(name) for name in names]
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def with_interval(estimate: Mapping | None) -> str:
    """A value and its interval.

    >>> with_interval({"value": 0.9, "low": 0.85, "high": 0.95}), with_interval(None)
    ('0.900 [0.850, 0.950]', '–')
    """
    if not estimate or estimate.get("value") is None:
        return "–"
    value, low, high = (estimate.get(field) for field in ("value", "low", "high"))
    if low is None or high is None or not 0.001 <= max(-low, high) < 10:
        return f"{number(value)} [{number(low)}, {number(high)}]"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]".replace("-", "−")


def percent(confidence: float) -> str:
    """A confidence as people write it.

    >>> percent(0.95)
    '95 %'
    """
    return f"{100 * confidence:g} %"


def runs(task: Mapping) -> str:
    """How many runs each arm has, and what became of those that diverged.

    >>> runs({"arms": [{"test": {"runs": 20, "diverged": 1}}]})
    '20 runs (seeds) for each arm; 1 diverged in all, counted as the worst value.'
    """
    tests = [arm["test"] for arm in task["arms"] if arm["test"]]
    most, lost = max((test["runs"] for test in tests), default=0), sum(test["diverged"] for test in tests)
    fate = "not solved" if task.get("exhaustive") else "the worst value"
    found = f"{lost} diverged in all, counted as {fate}" if lost else "none diverged"
    return f"{most} runs (seeds) for each arm; {found}."


def _few(task):
    """Which arms a figure of curves shows, where it does not show all."""
    chosen, arms = shown(task), task["arms"]
    if len(chosen) == len(arms):
        return "All arms are shown."
    return (
        f"{len(chosen)} of {len(arms)} arms are shown, to keep the lines apart: the first of the best set, the "
        "baseline and the last of the ranking; the table has all."
    )


def accuracy_intervals(task: Mapping, confidence: float = 0.95) -> Caption:
    """Captions `plots.accuracy_intervals`.

    >>> test = {"value": 0.9, "low": 0.8, "high": 0.95, "runs": 20, "diverged": 1}
    >>> task = {"metric": "accuracy", "best": ["relu"], "arms": [{"name": "relu", "in_best": True, "test": test}]}
    >>> accuracy_intervals(task).alt
    'accuracy (share of test rows), best first: relu 0.900 [0.800, 0.950].'
    """
    kind = "share of runs that solve the task" if task.get("exhaustive") else "interquartile mean over the runs"
    how = "Wilson's" if task.get("exhaustive") else "the bootstrap's"
    text = (
        f"Point: {kind}; bar: {how} {percent(confidence)} interval. {runs(task)} Filled points may be the best: "
        f"{len(task['best'])} of {len(task['arms'])} arms, which the data cannot tell apart. They are ties, although "
        "one of them comes first. An arrow at the left edge is an arm far below the others; its number is beside it."
    )
    found = "; ".join(f"{arm['name']} {with_interval(arm['test'])}" for arm in task["arms"])
    return Caption(text, f"{metric_name(task)}, best first: {found}.")


def pareto(task: Mapping, confidence: float = 0.95) -> Caption:
    """Captions `plots.pareto`.

    >>> test = {"value": 0.9, "low": 0.8, "high": 0.95, "runs": 20, "diverged": 0}
    >>> arm = {"name": "relu", "pareto": True, "seconds_to_end": 0.03, "test": test}
    >>> pareto({"metric": "accuracy", "best": ["relu"], "arms": [arm]}).alt
    'accuracy (share of test rows) against seconds_to_end. On the front, fastest first: relu 0.900 in 0.030 s.'
    """
    field = time_field(task)
    what = "the median run reaches the target" if field == "seconds_to_target" else "training ends"
    text = (
        f"Higher is better, further left is faster. Time until {what}: updates times the measured time of one update "
        f"of one network alone on this machine. Bars: {percent(confidence)} intervals. Filled points joined by steps "
        "are the front: no other arm is both better and faster. Which arms tie is in the table, not in the bars."
    )
    front = [arm for arm in task["arms"] if arm["pareto"] and arm.get(field) is not None]
    front.sort(key=lambda arm: arm[field])
    found = "; ".join(f"{a['name']} {number((a['test'] or {}).get('value'))} in {number(a[field])} s" for a in front)
    never = [arm["name"] for arm in task["arms"] if arm.get(field) is None]
    late = f" Fewer than half of the runs arrive with {listing(never)}." if never else ""
    return Caption(text, f"{metric_name(task)} against {field}. On the front, fastest first: {found or 'none'}.{late}")


def learning_curves(task: Mapping, curves: Mapping) -> Caption:
    """Captions `plots.learning_curves`.

    >>> task = {"task": "t", "metric": "accuracy", "baseline": "relu", "arms": [{"name": "relu"}]}
    >>> curves = {"t/step": [0, 9], "t/0/loss": [[2, 1], [3, 1]], "t/0/validation_metric": [[0.1, 0.9], [0.2, 0.9]]}
    >>> learning_curves(task, curves).alt
    'From step 0 to 9: relu loss 2.500 to 1.000, metric 0.150 to 0.900.'
    """
    share = "; below the share of runs that solve the task, with Wilson's" if task.get("exhaustive") else ""
    text = (
        "Above the loss, which is minimised; below the metric, which is reported. Line: the median run; band: the 95 % "
        f"interval of the median (order statistics){share}. A line ends where half of the runs have diverged. "
        + _few(task)
    )
    step = np.asarray(curves[f"{task['task']}/step"])
    parts = []
    for i in shown(task):
        loss, metric = (curve(task, curves, i, kind)[0] for kind in ("loss", "validation_metric"))
        parts.append(f"{task['arms'][i]['name']} loss {_from_to(loss)}, metric {_from_to(metric)}")
    return Caption(text, f"From step {step[0]:g} to {step[-1]:g}: {'; '.join(parts)}.")


def _from_to(values):
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "diverged"
    return f"{number(finite[0])} to {number(finite[-1])}" + ("" if np.isfinite(values[-1]) else ", then diverged")


def learning_rate_map(task: Mapping) -> Caption:
    """Captions `plots.learning_rate_map`.

    >>> arm = {"value": [0.9, None], "diverged": [0, 5], "chosen": 0}
    >>> task = {"metric": "accuracy", "arms": [{"name": "relu"}]}
    >>> learning_rate_map(task | {"tuning": {"learning_rates": [0.01, 0.1], "arms": {"relu": arm}}}).alt
    'Chosen learning rates: 0.01 for relu.'
    """
    rates, arms = task["tuning"]["learning_rates"], task["tuning"]["arms"]
    chosen = {}
    for arm in task["arms"]:
        place = arms.get(arm["name"], {}).get("chosen")
        if place is not None:
            chosen.setdefault(place, []).append(arm["name"])
    edge = [name for place in (0, len(rates) - 1) for name in chosen.get(place, [])]
    where = "all rows" if task.get("exhaustive") else "validation rows"
    text = (
        f"Mean {metric_name({'metric': task['metric']}, 'validation')} by arm and learning rate, darker is better, the "
        f"chosen rate framed. Tuned for each arm on {where} with other seeds than those of the verdict. "
        "Of equal rates the one with the lower loss there is chosen, of a truth table the one that takes fewer steps. "
        "† some runs diverged; × no value. "
    )
    text += f"The choice of {listing(edge)} is at the end of the grid: a wider one might help." if edge else ""
    found = "; ".join(f"{rates[place]:g} for {listing(names, 60)}" for place, names in sorted(chosen.items()))
    return Caption(text.strip(), f"Chosen learning rates: {found or 'none'}.")


def time_to_target(task: Mapping, confidence: float = 0.95) -> Caption:
    """Captions `plots.time_to_target`.

    >>> curve = {"steps": [10, 20], "share": [0.5, 0.75], "low": [0.1, 0.5], "high": [0.8, 1.0]}
    >>> arm = {"name": "relu", "time_to_target": curve, "median_steps": {"value": 10, "low": None, "high": None}}
    >>> time_to_target({"metric": "accuracy", "target": 0.9, "baseline": "relu", "arms": [arm]}).alt
    'Share of runs at the target in the end, and the median of the steps: relu 0.750, 10.0 steps.'
    """
    where = "" if task.get("exhaustive") else " on validation rows"
    text = (
        f"Share of the runs that have reached {task['metric']} ≥ {task['target']:g}{where} after so many updates "
        f"(Kaplan-Meier, {percent(confidence)} band). A run that never arrives, diverged ones among them, keeps its "
        f"line below 1; the mean of the winners would hide it. {_few(task)}"
    )
    parts = []
    for arm in (task["arms"][i] for i in shown(task)):
        if arm.get("time_to_target"):
            median = (arm.get("median_steps") or {}).get("value")
            steps = "never for half of them" if median is None else f"{number(median)} steps"
            share = arm["time_to_target"]["share"]
            parts.append(f"{arm['name']} {number(share[-1] if share else 0)}, {steps}")
    return Caption(text, f"Share of runs at the target in the end, and the median of the steps: {'; '.join(parts)}.")


def performance_profile(across: Mapping, baseline: str | None = None, confidence: float = 0.95) -> Caption:
    """Captions `plots.performance_profile`.

    >>> curve = {"value": [1.0, 0.5], "low": [0.8, 0.3], "high": [1.0, 0.7]}
    >>> across = {"tasks": ["a", "b"], "ranks": {"relu": 1.0}}
    >>> performance_profile(across | {"profile": {"thresholds": [0.5, 0.9], "arms": {"relu": curve}}}).alt
    'Mean area below the profile, the larger the better: relu 0.750.'
    """
    profile = across["profile"]
    text = (
        f"Share of all runs of the tasks {listing(across['tasks'])} with a test metric of τ or more (Wilson's "
        f"{percent(confidence)} band): the higher, the better, and what is to the right is harder. Shown are the five "
        "arms of the best mean rank, the baseline and the last. A diverged run reaches no threshold."
    )
    area = {name: np.nanmean(numbers(arm["value"])) for name, arm in profile["arms"].items()}
    order = sorted(area, key=lambda name: -area[name])
    found = "; ".join(f"{name} {number(area[name])}" for name in order)
    return Caption(text, f"Mean area below the profile, the larger the better: {found}.")


def decision_regions(task: Mapping) -> Caption:
    """Captions `plots.decision_regions`.

    >>> regions = {"x": [0, 1], "y": [0, 1], "arms": {"relu": [[0, 0], [0, 1]]}, "points": []}
    >>> decision_regions({"class_names": ["no", "yes"], "regions": regions}).alt
    'Share of the plane given to each class: relu no 75 %, yes 25 %.'
    """
    text = (
        "The class that one trained network of each arm gives to every point of the plane: shades, with a dark line "
        "where classes meet. Markers are rows of the data. One network is an example, no verdict."
    )
    parts = []
    for name, cells in task["regions"]["arms"].items():
        shares = [np.mean(numbers(cells) == k) for k in range(len(task["class_names"]))]
        parts.append(
            f"{name} "
            + ", ".join(f"{c} {s:.0%}".replace("%", " %") for c, s in zip(task["class_names"], shares, strict=True))
        )
    return Caption(text, f"Share of the plane given to each class: {'; '.join(parts)}.")


def activation(record) -> Caption:
    """Captions `plots.activation`.

    >>> activation("relu").alt[:60]
    'relu and its derivative from −4 to 4. formula: max(x, 0); so'
    """
    record = activations.get(record)
    gate = " Of a gate the last pre-activation moves, the others are 1." if record.inputs > 1 else ""
    text = f"{record.name} (solid) and its derivative (dashed), with the facts that are known of it.{gate}"
    found = "; ".join(f"{key}: {value}" for key, value in facts(record).items())
    return Caption(text, f"{record.name} and its derivative from −4 to 4. {found}.")


def facts(record) -> dict[str, str]:
    """What is known of an activation, in words: of a callable of one's own what can be computed.

    Args:
      record: an `Activation`, a name, or any callable.

    >>> facts("relu")["kinks at"], facts("relu")["gain"]
    ('0', '1.414')
    """
    record = activations.get(record)
    smooth = {None: "", math.inf: "all", -1: "none: it jumps"}.get(record.smoothness, f"{record.smoothness}")
    found = {
        "formula": record.formula,
        "source": record.source,
        "range": str(record.range or ""),
        "non-decreasing": {None: "", True: "yes", False: "no"}[record.monotone],
        "continuous derivatives": smooth,
        "kinks at": ", ".join(f"{at:g}" for at, _ in record.kinks),
        "gain": "" if record.gain is None else f"{record.gain:.4g}",
        "trainable": ", ".join(f"{name} = {value:.3g} at first" for name, value in record.params),
        "random in training": "yes" if record.random else "",
    }
    if record.inputs == record.outputs == 1 and not record.random:
        computed = activation_facts(record)
        found |= {"gain": f"{computed.gain:.4g}", "χ₁ at this gain": f"{computed.chi_1:.3g}"}
    return {key: text for key, text in found.items() if text and text != "nan"}
