"""What the runs of a comparison say, in numbers: a `Comparison` to the answer for its task."""

import math
from typing import NamedTuple

import numpy as np

from jaxnn.activations import get as get_activation
from jaxnn.lab import inference, stats
from jaxnn.lab.answer import (
    Choice,
    Curve,
    Difference,
    HardRow,
    Interval,
    Plane,
    Recommendation,
    Reference,
    Settle,
    Target,
    TaskAnswer,
    Tuning,
    interval,
    number,
)
from jaxnn.lab.comparison import IDENTITY, Comparison, first_best, tuning_means
from jaxnn.lab.folds import POINTS
from jaxnn.lab.recipe import build
from jaxnn.lab.references import MODELS
from jaxnn.lab.spelling import thawed
from jaxnn.lab.wording import percent

EVALUATIONS = 41  # of a curve, at most
HARD_ROWS = 20


def answer(found: Comparison, first_trial: int = 0) -> TaskAnswer:
    """The answer of a comparison on one task.

    Args: found, from `comparison.run`; first_trial, the number of its first trial in the table of all.
    """
    task, settings, arms = found.splits.task, found.settings, found.arms
    recipe, truth_table = arms[IDENTITY].recipe, task.truth_table
    standing = _seeds_say(found) if truth_table else _rows_say(found)
    choices = {name: _choice(found, name, standing, first_trial) for name in arms}
    ranked = [c for name, c in choices.items() if arms[name].kind != "reference"]
    ranked.sort(key=lambda c: (-c.metric.value, math.inf if c.loss.value is None else c.loss.value))
    take = recommendation(ranked, found.settings.baseline, settings.tolerance, recipe.target is not None)
    verdict = found.verdict.where(activation=found.settings.baseline)
    built = build(thawed(arms[found.settings.baseline].activation), recipe, task)
    return TaskAnswer(
        name=task.name,
        source=task.source,
        rows=task.rows,
        features=task.features,
        feature_names=task.feature_names,
        class_names=task.class_names,
        class_rows=tuple(np.bincount(task.y, minlength=task.classes).tolist()),
        truth_table=truth_table,
        fixed_test=task.test is not None,
        train_rows=found.splits.train_rows,
        validation_rows=0 if truth_table else found.splits.validation.shape[1],
        test_rows=0 if truth_table else found.splits.test.shape[1],
        splits=len(found.splits),
        seeds=verdict.size // len(found.splits),
        networks=sum(table.size for table in (found.tuning, found.verdict, found.again) if table is not None),
        metric="solved" if truth_table else recipe.metric,
        network=_network(built, recipe),
        init=recipe.label("init"),
        optimizer=recipe.label("optimizer"),
        head=built.head.name,
        epochs=recipe.epochs,
        batch_size=None if recipe.batch_size == found.splits.train_rows else recipe.batch_size,
        steps=recipe.steps(found.splits.train_rows),
        target=recipe.target,
        budget=settings.budget,
        baseline=found.settings.baseline,
        recommendation=take,
        choices=tuple(ranked),
        references=_references(found, choices, standing, take.name),
        settle=standing.settle,
        null_pair=_null_pair(found),
        evaluation_steps=tuple(verdict["curve_step"][0][_shown(verdict)].tolist()),
        plane=_plane(found, ranked),
        hard_rows=() if truth_table else _hard_rows(found),
        notes=_notes(found, choices[take.name]),
    )


class _Standing(NamedTuple):
    """How the arms stand to each other, by name: what `_rows_say` and `_seeds_say` find out."""

    means: inference.Means  # in the order of `metric`
    metric: dict[str, Interval]
    difference: dict[str, Difference]  # from the baseline
    best: dict[str, dict]  # of `_member`
    wins: dict[str, Interval]  # over the baseline
    settle: Settle | None


def _by_name(names, estimates) -> dict[str, Interval]:
    return {name: interval(*(part[i] for part in estimates[:3])) for i, name in enumerate(names)}


def _rows_say(found) -> _Standing:
    """Test rows and runs are the replicates."""
    settings, names = found.settings, [*found.arms, *found.references]
    values = np.stack([_row_values(found, name) for name in found.arms] + list(found.references.values()))
    means = inference.means(values, found.splits.test)
    real = [i for i, name in enumerate(names) if name in found.arms and found.arms[name].kind != "reference"]
    some, kept = means.take(real), [names[i] for i in real]
    best = inference.best(some, settings.rate)
    contrast = inference.contrast(some, kept.index(found.settings.baseline), settings.confidence)
    runs = {name: _run_values(found, name) for name in kept}
    splits = len(found.splits)
    wins = {
        name: stats.wilson(_win_share(runs[name], runs[found.settings.baseline]) * splits, splits, settings.confidence)
        for name in kept
    }
    return _Standing(
        means,
        _by_name(names, inference.intervals(means, settings.confidence)),
        {name: Difference(*(float(part[i]) for part in contrast)) for i, name in enumerate(kept)},
        {name: _member(*(part[i] for part in best[:4])) for i, name in enumerate(kept)},
        {name: interval(*estimate[:3]) for name, estimate in wins.items()},
        _settle(some, best, kept, found.splits.task.rows),
    )  # fmt: skip


def _seeds_say(found) -> _Standing:
    """Of a truth table, whose rows are all there is, seeds are the replicates."""
    settings, names = found.settings, list(found.arms)
    values = np.stack([_solved(found, name) for name in names])
    runs = values.shape[1]
    value = values.mean(1)
    spread = values - value[:, None]
    of_runs = spread @ spread.T / max(runs * (runs - 1), 1)
    means = inference.Means(value, np.zeros_like(of_runs), of_runs, runs, runs)
    real = [i for i, name in enumerate(names) if found.arms[name].kind != "reference"]
    kept = {names[i]: values[i] for i in real}
    bounds = inference.best(means.take(real), settings.rate)
    one = stats.BestSet(tuple(kept), dict.fromkeys(kept, 1.0), settings.rate)
    best = stats.best_set(kept, rate=settings.rate) if len(kept) > 1 and runs > 1 else one
    differences = stats.compare(kept, found.settings.baseline) if len(kept) > 1 and runs > 1 else {}
    baseline = kept[found.settings.baseline]
    members = {
        name: _member(
            name in best.names, best.p_values[name], bounds.at_most[i], 0 if name in best.names else bounds.at_least[i]
        )
        for i, name in enumerate(kept)
    }
    return _Standing(
        means,
        _by_name(names, stats.wilson(values.sum(1), runs, settings.confidence)),
        {name: Difference(float(d.value), float(d.low), float(d.high), float(d.p_value))
         for name, d in differences.items()},
        members,
        {name: interval(*stats.probability_of_improvement(v, baseline, settings.confidence)[:3])
         for name, v in kept.items()},
        None,
    )  # fmt: skip


def _member(in_best, p_best, at_most, at_least) -> dict:
    return {
        "in_best": bool(in_best), "p_best": float(p_best), "at_most": float(at_most), "at_least": float(at_least)
    }  # fmt: skip


def _row_values(found, name) -> np.ndarray:
    """e: what an arm does on each test row, (splits, tested), the mean over its seeds; worst where a run diverged."""
    table = found.verdict.where(activation=name)
    values = np.where(table["diverged"][:, None], 0, table["test_rows"].astype(float))
    values = np.round(np.nan_to_num(values, nan=0), 6)  # they are float32
    return values.reshape(len(found.splits), -1, values.shape[1]).mean(1)


def _run_values(found, name) -> np.ndarray:
    """The metric of every run, (splits x seeds,); worst where it diverged."""
    table = found.verdict.where(activation=name)
    return np.where(table["diverged"], 0, np.nan_to_num(table["test_metric"].astype(float)))


def _solved(found, name) -> np.ndarray:
    table = found.verdict.where(activation=name)
    return np.where(table["diverged"], 0.0, table["test_metric"] >= found.arms[name].recipe.target)


def _win_share(a, b) -> float:
    """How often a beats b in the same split under the same seed; a tie counts half."""
    a, b = np.round(a, 6), np.round(b, 6)
    return float(np.mean((a > b) + 0.5 * (a == b)))


def _settle(means, best, names, rows) -> Settle | None:
    """What would tell the first two apart, if they are not yet."""
    if len(names) < 2:
        return None
    second, first = np.argsort(means.value, kind="stable")[-2:]
    if not best.member[second] or means.value[first] == means.value[second] or not best.critical[second]:
        return None
    more_rows, more_runs = inference.needed(means, first, second, best.critical[second])
    scale = rows / means.rows
    return Settle(
        names[first], names[second], *(math.ceil(n) if n < 1e7 else None for n in (more_rows * scale, more_runs))
    )


def _choice(found, name, standing, first_trial) -> Choice:
    arm, table, settings = found.arms[name], found.verdict.where(activation=name), found.settings
    record = None if isinstance(arm.activation, tuple) else get_activation(arm.activation)
    seconds = None if found.step_seconds is None else found.step_seconds[name]
    step = None if seconds is None else Interval(float(np.median(seconds)), float(seconds[0]), float(seconds[-1]))
    steps = arm.recipe.steps(found.splits.train_rows)
    one = arm.kind == "reference" or name == found.settings.baseline
    nothing = _member(False, 0.0, 0.0, 0.0)  # a reference does not stand to the others
    return Choice(
        name=name,
        kind=arm.kind,
        formula=record.formula if record else "",
        source=record.source if record else "",
        tuning=_tuning(found, name),
        metric=standing.metric[name],
        loss=_middle(np.where(table["diverged"], np.inf, table["test_loss"])),
        difference=None if one else standing.difference.get(name),
        wins=None if one else standing.wins[name],
        **standing.best.get(name, nothing),
        step_seconds=step,
        seconds=None if step is None else step.value * steps,
        target=_target(table, arm.recipe, step, settings, len(found.splits)),
        diverged=int(table["diverged"].sum()),
        runs=table.size,
        best_epoch=max(1, math.ceil(np.median(table["best_step"]) / steps * arm.recipe.epochs)),
        trials=tuple((first_trial + found.tuning.size + table["trial"]).tolist()),
        **_curves(table, found),
    )


def _tuning(found, name) -> Tuning:
    settings, table = found.settings, found.tuning.where(activation=name)
    means, others = tuning_means(table, found.splits, settings)
    rates = settings.learning_rates
    return Tuning(
        tuple(map(float, rates)),
        tuple(map(number, means.mean(0))),
        tuple(int(table["diverged"][table["learning_rate"] == rate].sum()) for rate in rates),
        tuple(int(np.sum(found.chosen[name] == rate)) for rate in rates),
        float(rates[first_best(means.mean(0), others.mean(0))]),
    )


def _middle(values) -> Interval:
    """Median and middle 80 % over the runs."""
    return interval(*np.quantile(values, [0.5, 0.1, 0.9], method="inverted_cdf"))


def _target(table, recipe, step, settings, splits) -> Target | None:
    """How surely and how soon the target is reached: censored, never the mean of those that get there."""
    if recipe.target is None:
        return None
    steps = np.where(table["reached"], table["target_step"].astype(float), np.inf)
    if splits == 1:
        last = np.where(table["reached"], table["target_step"], table["last_step"]).astype(float)
        last[table["diverged"] & ~table["reached"]] = np.nan
        time = stats.kaplan_meier(last, table["reached"], settings.confidence)
        median, reached = time.median, time.reached
    else:
        median = stats.over_runs(steps.reshape(splits, -1), _lower_median, confidence=settings.confidence)
        reached = _share(table["reached"], splits, settings.confidence)
    soon = None
    if settings.budget is not None:
        soon = interval(*_share(steps * step.value <= settings.budget, splits, settings.confidence)[:3])
    when, count = np.unique(steps[np.isfinite(steps)], return_counts=True)
    return Target(
        interval(*reached[:3]),
        interval(*median[:3]),
        None if step is None else number(median.value * step.value),
        soon,
        tuple(when.astype(int).tolist()),
        tuple((np.cumsum(count) / len(steps)).tolist()),
    )


def _share(happened, splits, confidence):
    """A share of the networks, with its interval: over whole runs, where there are several."""
    share, runs = float(np.mean(happened)), len(happened) if splits == 1 else splits
    if splits == 1 or share in (0, 1):  # no bootstrap sees a width there
        return stats.wilson(share * runs, runs, confidence)
    return stats.over_runs(np.reshape(happened, (splits, -1)), lambda x: x.mean(-1), confidence=confidence)


def _lower_median(values):
    return np.quantile(values, 0.5, axis=-1, method="inverted_cdf")


def _shown(table) -> np.ndarray:
    """Which evaluations a curve keeps."""
    last = table["curve_step"].shape[1] - 1
    return np.unique(np.linspace(0, last, min(EVALUATIONS, last + 1)).round().astype(int))


def _curves(table, found) -> dict[str, Curve]:
    shown = _shown(table)
    over = table["diverged"][:, None] & (table["curve_step"] > table["last_step"][:, None])
    loss = np.where(over, np.inf, table["curve_loss"])[:, shown]
    metric = np.where(over, 0, np.nan_to_num(table["curve_validation_metric"]))[:, shown]
    if found.splits.task.truth_table:
        solved = metric >= found.arms[found.settings.baseline].recipe.target
        lines = stats.wilson(solved.sum(0), len(solved), found.settings.confidence)[:3]
    else:
        lines = _quantiles(metric)
    return {"metric_curve": _curve(lines), "loss_curve": _curve(_quantiles(loss))}


def _quantiles(runs):
    return np.quantile(runs.astype(float), [0.5, 0.1, 0.9], axis=0, method="inverted_cdf")


def _curve(lines) -> Curve:
    return Curve(*(tuple(number(float(f"{v:.4g}")) for v in line) for line in lines))


def recommendation(choices, baseline: str, tolerance: float, to_target: bool) -> Recommendation:
    """The one to take: of those at most `tolerance` behind by the bound the one that takes the least time.

    Equal times, whose ranges over the rounds overlap, are ties: then the baseline, or the one with the smaller bound.
    Where none is within tolerance, the one with the smallest bound.
    """
    near = [choice for choice in choices if choice.at_most <= tolerance]
    if not near:
        return Recommendation(min(choices, key=lambda choice: choice.at_most).name, (), ())
    times = {choice.name: _seconds(choice, to_target) for choice in near}
    fastest = min(times.values(), key=lambda range_: range_[1])
    ties = [choice for choice in near if times[choice.name][0] <= fastest[2]]
    take = min(ties, key=lambda choice: (choice.name != baseline, choice.at_most))
    return Recommendation(take.name, tuple(c.name for c in near), tuple(c.name for c in ties))


def _seconds(choice, to_target) -> tuple[float, float, float]:
    """Least, median and most seconds, to the target or to the end."""
    step = choice.step_seconds or Interval(1.0, 1.0, 1.0)
    if not to_target:
        return step.low, step.value, step.high
    steps = [math.inf if n is None else n for n in (choice.target.steps.low, choice.target.steps.value,
                                                    choice.target.steps.high)]  # fmt: skip
    return steps[0] * step.low, steps[1] * step.value, steps[2] * step.high


def _references(found, choices, standing, recommended) -> tuple[Reference, ...]:
    """What runs along outside the best set, and how far ahead of it the recommended one is."""
    about = {name: MODELS[name].about for name in found.references}
    if found.arms[IDENTITY].kind == "reference":  # and not one of those that are compared
        about = {IDENTITY: "no activation: a linear classifier"} | about
    names = list(standing.metric)
    at = names.index(recommended)
    references = []
    for name in about:
        place = names.index(name)
        ahead = inference.contrast(standing.means.take([place, at]), 0, found.settings.confidence)
        references.append(
            Reference(
                name, about[name], standing.metric[name], Difference(*(float(part[1]) for part in ahead)),
                choices.get(name),
            )
        )  # fmt: skip
    return tuple(references)


def _null_pair(found) -> float | None:
    """The p-value of the baseline's difference from itself."""
    if found.again is None:
        return None
    again = found._replace(verdict=found.again)
    if found.splits.task.truth_table:
        pair = _solved(found, found.settings.baseline), _solved(again, found.settings.baseline)
        return float(stats.paired_difference(*pair).p_value)
    values = np.stack([_row_values(one, found.settings.baseline) for one in (found, again)])
    return float(inference.contrast(inference.means(values, found.splits.test), 0).p_value[1])


def _network(built, recipe) -> str:
    sizes = getattr(built.network, "sizes", None)
    return "-".join(map(str, sizes)) if sizes else recipe.label("architecture") or type(built.network).__name__


def _plane(found, ranked) -> Plane | None:
    if "plane" not in found.verdict.columns:
        return None
    task, regions = found.splits.task, {}
    for choice in ranked[:12]:
        votes = found.verdict.where(activation=choice.name)["plane"]
        most = np.argmax([(votes == label).sum(0) for label in range(task.classes)], axis=0).reshape(POINTS, POINTS)
        regions[choice.name] = tuple("".join(np.base_repr(label, 36) for label in line) for line in most)
    rows = np.linspace(0, task.rows - 1, min(task.rows, 300)).astype(int)
    points = zip(task.x[rows, 0].tolist(), task.x[rows, 1].tolist(), task.y[rows].tolist(), strict=True)
    across, up = found.splits.axes
    return Plane(across, up, regions, tuple((float(f"{x:.4g}"), float(f"{y:.4g}"), label) for x, y, label in points))


def _hard_rows(found) -> tuple[HardRow, ...]:
    """Rows that most networks get wrong, of all activations' verdicts."""
    table = found.verdict.take(np.flatnonzero(found.verdict["activation"] != IDENTITY))
    rows = found.splits.test[table["split"]]
    task = found.splits.task
    labels = task.y if task.test is None else task.test[1]
    tested = np.bincount(rows.ravel(), minlength=len(labels))
    wrong = np.bincount(rows.ravel(), (~table["test_right"]).ravel(), len(labels)) / np.maximum(tested, 1)
    worst = np.argsort(-wrong, kind="stable")[:HARD_ROWS]
    return tuple(
        HardRow(int(row), float(wrong[row]), task.class_names[labels[row]]) for row in worst if wrong[row] > 0.5
    )


def _notes(found, take) -> tuple[str, ...]:
    """What a reader must know of these rows, a sentence each."""
    task, settings, notes = found.splits.task, found.settings, []
    if task.truth_table:
        runs = found.verdict.where(activation=found.settings.baseline).size
        least = 1 + math.ceil(-math.log2(settings.rate))
        if runs < least:
            notes.append(f"{runs} seeds are too few to tell any apart at a rate of {settings.rate:g}: take {least}.")
        return tuple(notes)
    if task.test is not None:
        notes.append("The test rows were brought along, so this is about those rows only.")
    few = [
        f"{name} ({rows})"
        for name, rows in zip(task.class_names, np.bincount(task.y, minlength=task.classes), strict=True)
        if rows < 5
    ]
    if few:
        notes.append(f"Some parts of some splits lack classes with fewer than five rows: {', '.join(few)}.")
    largest = np.bincount(task.y).argmax()
    always = float(np.mean(task.y == largest))
    if found.arms[IDENTITY].recipe.metric == "accuracy" and take.metric.low <= always:
        notes.append(
            f"Always {task.class_names[largest]!r} would be right in {percent(always)}: "
            "none of these networks is known to do better."
        )
    if found.candidates:
        notes.append(
            f"The mixture is the best of {found.candidates} on validation rows, which other splits test on: its number "
            "is a little too good."
        )
    return tuple(notes)
