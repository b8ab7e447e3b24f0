"""Figures of a comparison: one function for each, from the plain data of an answer to a matplotlib `Figure`.

A `task` is an entry of the answer's "tasks"; a function needs only the keys that it draws. No figure needs colour: arms
differ in marker and dash and carry their names, cells of a map carry their numbers. What is null is left out. Names may
be any text. Nothing here touches matplotlib's global state: `figure.savefig("name.pdf")` saves a figure.
"""

import math
import textwrap
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from . import activations
from .answers import curve, intervals, metric_name, numbers, shown, time_field
from .callouts import name_lines, name_points
from .captions import facts

# Okabe & Ito's colours, which people of any colour vision tell apart, with the dash and the marker that say the same.
_STYLES = (
    ("#0072b2", "-", "o"),
    ("#d55e00", "--", "s"),
    ("#009e73", "-.", "^"),
    ("#cc79a7", ":", "D"),
    ("#000000", (0, (5, 1, 1, 1, 1, 1)), "v"),
    ("#7a5c00", (0, (8, 2)), "P"),
    ("#56b4e9", (0, (1, 3)), "X"),
)
_WIDTH, _SMALL, _GREY = 6.4, 8, "#595959"


def _panels(height, rows=1, columns=1, *, width=_WIDTH, **settings):
    """A figure, and its axes (rows, columns)."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib, which an extra brings: pip install 'jaxnn[lab]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, **settings)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=_SMALL)
    return figure, panels


def label(name: str, length: int = 28) -> str:
    r"""A name as matplotlib can draw it: printable, not too long, and no mathematics between dollar signs.

    Args:
      name: any text.
      length: so many characters at most.

    >>> label("a $x^2$ of my own")
    'a \\$x^2\\$ of my own'
    """
    text = "".join(c if c.isprintable() else " " for c in str(name)).strip()
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.replace("$", r"\$")


def _roles(task, i):
    """The name of arm i, and why it is shown."""
    name = task["arms"][i]["name"]
    return label(name) + (" (baseline)" if name == task["baseline"] else "")


def accuracy_intervals(task: Mapping):
    """Test metric of every arm with its interval, best first: filled where it may be the best, hollow where not.

    Arms far below the others are an arrow with a number at the edge, so that the others can be told apart.

    >>> test = {"value": 0.9, "low": 0.8, "high": 0.95, "runs": 20, "diverged": 1}
    >>> arms = [{"name": "relu", "in_best": True, "test": test}]
    >>> figure = accuracy_intervals({"metric": "accuracy", "baseline": "relu", "arms": arms})
    >>> figure.axes[0].get_xlabel()
    'accuracy (share of test rows)'
    """
    arms = task["arms"]
    figure, [[axes]] = _panels(1.0 + 0.2 * len(arms))
    value, low, high = intervals([arm["test"] for arm in arms])
    places = np.arange(len(arms))
    inside = value >= _fence(value, low)
    axes.hlines(places[inside], low[inside], high[inside], color="black", linewidth=1.2)
    best = np.array([arm["in_best"] for arm in arms], dtype=bool)
    for chosen, fill, meaning in ((best, "black", "may be the best"), (~best, "white", "is not the best")):
        chosen = chosen & inside
        axes.plot(value[chosen], places[chosen], "o", color="black", mfc=fill, markersize=5, label=meaning)
    for i, arm in enumerate(arms):
        text = _outcome(arm["test"], value[i])
        axes.text(1.02, i, text, transform=axes.get_yaxis_transform(), va="center", fontsize=_SMALL)
        if value[i] < np.inf and not inside[i]:
            axes.plot(0.01, i, "<", color=_GREY, transform=axes.get_yaxis_transform(), markersize=5)
        if arm["name"] == task["baseline"] and inside[i]:
            axes.axvline(value[i], color=_GREY, linestyle="--", linewidth=0.8, label="the baseline", zorder=0)
    axes.set_yticks(places, [label(arm["name"]) for arm in arms])
    axes.set(xlabel=label(metric_name(task), 60), ylim=(len(arms) - 0.4, -0.6))
    axes.grid(axis="x", linewidth=0.4)
    figure.legend(loc="outside upper center", ncols=3, fontsize=_SMALL, frameon=False)
    return figure


def _fence(value, low):
    """Below it an arm is so far from the others that it would press them together (Tukey's rule, doubled)."""
    finite = value[np.isfinite(value)]
    if finite.size < 4:
        return -np.inf
    first, third = np.quantile(finite, [0.25, 0.75])
    return first - 3 * max(third - first, np.nanmedian(value - low))


def _outcome(test, value):
    """The number beside an interval, and how many runs diverged."""
    if not test or np.isnan(value):
        return "no value"
    return f"{value:.3f}" + (f", {test['diverged']} of {test['runs']} diverged" if test["diverged"] else "")


def pareto(task: Mapping):
    """Test metric against time, with the front: the arms that no other beats in both.

    The time is that to the target where the task has one, else that to the end. Arms of which fewer than half of the
    runs arrive stand as triangles at the right edge.

    >>> arm = {"name": "relu", "in_best": True, "pareto": True, "seconds_to_end": 0.03,
    ...        "test": {"value": 0.9, "low": 0.8, "high": 0.95}}
    >>> pareto({"metric": "accuracy", "baseline": "relu", "arms": [arm]}).axes[0].get_xlabel()
    'time to the end of training, one network alone (s)'
    """
    arms = task["arms"]
    figure, [[axes]] = _panels(3.8)
    seconds = numbers([arm.get(time_field(task)) for arm in arms])
    value, low, high = intervals([arm["test"] for arm in arms])
    front = np.array([arm["pareto"] for arm in arms], dtype=bool) & np.isfinite(seconds)
    for chosen, color, fill, meaning in (
        (~front, _GREY, "white", "beaten in both"),
        (front, "black", "black", "front"),
    ):
        axes.vlines(seconds[chosen], low[chosen], high[chosen], color=color, linewidth=0.8)
        axes.plot(seconds[chosen], value[chosen], "o", color=color, mfc=fill, markersize=5, label=meaning)
    order = np.flatnonzero(front)[np.argsort(seconds[front], kind="stable")]
    axes.plot(seconds[order], value[order], color="black", linewidth=0.8, drawstyle="steps-post")
    never = np.isnan(seconds)
    if never.any():
        axes.plot(np.full(never.sum(), 0.985), value[never], ">", color=_GREY, mfc="white", markersize=6,
                  transform=axes.get_yaxis_transform(), label="fewer than half of the runs arrive")  # fmt: skip
    _time_axis(axes, seconds, task)
    axes.set_ylabel(label(metric_name(task), 60))
    named = [i for i, arm in enumerate(arms) if i < 8 or front[i] or arm["name"] == task["baseline"]]
    right = (axes.transAxes + axes.transData.inverted()).transform((0.985, 0))[0]
    at = np.where(never, right, seconds)
    bars = np.stack([np.tile(at, 9), np.linspace(low, high, 9).ravel()], axis=1)
    name_points(axes, [(at[i], value[i], _roles(task, i)) for i in named], bars)
    figure.legend(loc="outside upper center", ncols=4, fontsize=_SMALL, frameon=False)
    return figure


def _time_axis(axes, seconds, task):
    """Logarithmic where the times differ by more than a factor of three; the budget is a line."""
    known = seconds[np.isfinite(seconds)]
    if known.size and known.min() > 0:
        if known.max() > 3 * known.min():
            axes.set_xscale("log")
            _without_exponents(axes.xaxis)
            axes.set_xlim(known.min() / 1.5, known.max() * 2.5)
        else:
            axes.set_xlim(0, 1.25 * known.max())
    budget = task.get("budget_seconds")
    left, right = axes.get_xlim()
    if budget is not None and left < budget < right:
        axes.axvline(budget, color=_GREY, linestyle=":", linewidth=1, label="budget")
    end = "target (median run)" if time_field(task) == "seconds_to_target" else "end of training"
    axes.set_xlabel(f"time to the {end}, one network alone (s)")


def _without_exponents(axis):
    """Plain numbers on a logarithmic axis, several in a decade."""
    from matplotlib.ticker import LogLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")


def learning_curves(task: Mapping, curves: Mapping[str, np.ndarray]):
    """Loss on training rows and metric on validation rows by step, each line with its 95 % band; see `answers.curve`.

    A line ends where half of the runs have diverged.

    Args:
      task: its arms say which curves are shown, see `shown`.
      curves: "TASK/step" (evaluations,), and "TASK/PLACE/loss" and ".../validation_metric" (runs, evaluations).

    >>> arm = {"name": "relu", "in_best": True}
    >>> task = {"task": "t", "metric": "accuracy", "baseline": "relu", "arms": [arm]}
    >>> curves = {"t/step": [0, 9], "t/0/loss": [[2, 1], [3, 1]], "t/0/validation_metric": [[0.1, 0.9], [0.2, 0.9]]}
    >>> learning_curves(task, curves).axes[0].lines[0].get_ydata().tolist()
    [2.5, 1.0]
    """
    figure, panels = _panels(5.4, rows=2, sharex=True)
    step = np.asarray(curves[f"{task['task']}/step"])
    for axes, kind in zip(panels[:, 0], ("loss", "validation_metric"), strict=True):
        lines = []
        for style, i in zip(_STYLES, shown(task), strict=False):
            value, *band = curve(task, curves, i, kind)
            lines += _line(axes, step, value, band, style, _roles(task, i))
        if kind == "loss" and all(np.nanmin(line.get_ydata(), initial=np.inf) > 0 for line in lines):
            axes.set_yscale("log")
            _without_exponents(axes.yaxis)
        name_lines(axes, lines)
    panels[0, 0].set_ylabel("loss (training rows)")
    panels[1, 0].set(xlabel="training step (updates)", ylabel=label(metric_name(task, "validation"), 60))
    return figure


def _line(axes, x, y, band, style, name, step=None):
    """One line with markers and its band; 120 points of a long one, which is as much as one can see."""
    color, dash, marker = style
    kept = np.unique(np.linspace(0, len(x) - 1, 120).round().astype(int))
    x, y, low, high = (np.asarray(part)[kept] for part in (x, y, *band))
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0, step=step)
    return axes.plot(x, y, color=color, linestyle=dash, marker=marker, markersize=4, linewidth=1.4, label=name,
                     markevery=max(1, len(x) // 8), drawstyle="steps-post" if step else "default")  # fmt: skip


def learning_rate_map(task: Mapping):
    """Validation metric by arm and learning rate, a number in each cell: the tuning that came before the verdict.

    The chosen cell is framed; † marks a cell in which some runs diverged, × one without a value.

    >>> arm = {"value": [0.9, None], "diverged": [0, 5], "chosen": 0}
    >>> task = {"arms": [{"name": "relu"}], "tuning": {"learning_rates": [0.01, 0.1], "arms": {"relu": arm}}}
    >>> figure = learning_rate_map(task)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.900', '×']
    """
    tuning = task["tuning"]
    names = [arm["name"] for arm in task["arms"] if arm["name"] in tuning["arms"]]
    value = numbers([tuning["arms"][name]["value"] for name in names])
    figure, [[axes]] = _panels(1.1 + 0.2 * len(names))
    finite = value[np.isfinite(value)]
    worst, best = np.quantile(finite, [0.2, 1]) if finite.size else (0, 1)  # one bad rate must not pale all others
    if worst == best:  # equals are dark, not white
        worst = finite.min() if finite.min() < best else best - 1
    axes.imshow(value, aspect="auto", cmap="Blues", vmin=worst, vmax=best, interpolation="none", alpha=0.5)
    for i, name in enumerate(names):
        arm = tuning["arms"][name]
        for j, diverged in enumerate(arm["diverged"]):
            text = "×" if np.isnan(value[i, j]) else f"{value[i, j]:.3f}" + ("†" if diverged else "")
            axes.text(j, i, text, ha="center", va="center", fontsize=_SMALL)
        if arm["chosen"] is not None:
            edges = arm["chosen"] + np.array([-0.47, 0.47, 0.47, -0.47, -0.47])
            axes.plot(edges, i + np.array([-0.44, -0.44, 0.44, 0.44, -0.44]), color="black", linewidth=1.6)
    axes.set_xticks(range(value.shape[1]), [f"{rate:g}" for rate in tuning["learning_rates"]])
    axes.set_yticks(range(len(names)), [label(name) for name in names])
    axes.set_xlabel("learning rate")
    return figure


def time_to_target(task: Mapping):
    """Share of the runs that have reached the target by step (Kaplan-Meier), with its band.

    Raises:
      ValueError: no arm has such a curve, because the task has no target.

    >>> curve = {"steps": [10, 20], "share": [0.5, 1.0], "low": [0.1, 0.5], "high": [0.8, 1.0]}
    >>> arm = {"name": "relu", "in_best": True, "time_to_target": curve}
    >>> task = {"metric": "accuracy", "target": 0.97, "steps": 50, "baseline": "relu", "arms": [arm]}
    >>> time_to_target(task).axes[0].lines[0].get_ydata().tolist()
    [0.0, 0.5, 1.0, 1.0]
    """
    places = [i for i in shown(task) if task["arms"][i].get("time_to_target")]
    if not places:
        raise ValueError("no arm has a curve to the target; give the comparison a target, e.g. --target 0.95")
    figure, [[axes]] = _panels(3.4)
    lines = []
    for style, i in zip(_STYLES, places, strict=False):
        arrivals = task["arms"][i]["time_to_target"]
        x = np.array([0, *numbers(arrivals["steps"]), task["steps"]])
        share, *band = (np.array([0, *y, *y[-1:]]) for y in (numbers(arrivals[f]) for f in ("share", "low", "high")))
        lines += _line(axes, x[: len(share)], share, band, style, _roles(task, i), step="post")
    axes.set(xlabel="training step (updates)", ylabel="share of runs at the target", ylim=(-0.03, 1.03))
    axes.set_xlim(0, task["steps"])
    name_lines(axes, lines)
    return figure


def performance_profile(across: Mapping, baseline: str | None = None, most: int = 5):
    """Share of the runs of all tasks that have at least a given test metric: the higher a curve, the better.

    Args:
      across: "across" of the answer.
      baseline: an arm to show in any case.
      most: so many arms of the best mean rank are shown, and the one of the worst.

    >>> curve = {"value": [1.0, 0.5], "low": [0.8, 0.3], "high": [1.0, 0.7]}
    >>> across = {"ranks": {"relu": 1.0}, "profile": {"thresholds": [0.5, 0.9], "arms": {"relu": curve}}}
    >>> performance_profile(across).axes[0].lines[0].get_ydata().tolist()
    [1.0, 0.5]
    """
    profile = across["profile"]
    order = sorted(profile["arms"], key=lambda name: across["ranks"].get(name, math.inf))
    names = [name for name in order if name in {*order[:most], baseline, order[-1]}]
    figure, [[axes]] = _panels(3.4)
    lines = []
    for style, name in zip(_STYLES, names, strict=False):
        value, *band = (numbers(profile["arms"][name][field]) for field in ("value", "low", "high"))
        text = label(name) + (" (baseline)" if name == baseline else "")
        lines += _line(axes, numbers(profile["thresholds"]), value, band, style, text)
    axes.set(
        xlabel="threshold τ of the test metric (from 0 to 1)", ylabel="share of runs with τ or more", ylim=(-0.03, 1.03)
    )
    name_lines(axes, lines)
    return figure


def decision_regions(task: Mapping):
    """The class that one trained network of each arm gives to every point of the plane, in a grid of arms.

    Classes are shades with a dark line between them, and rows of the data are markers.

    >>> regions = {"x": [0, 1], "y": [0, 1], "arms": {"relu": [[0, 0], [0, 1]]}, "points": [[0, 0, 0], [1, 1, 1]]}
    >>> figure = decision_regions({"class_names": ["no", "yes"], "feature_names": ["a", "b"], "regions": regions})
    >>> figure.axes[0].get_title(), figure.axes[0].images[0].get_array().shape
    ('relu', (8, 8, 3))
    """
    regions = task["regions"]
    columns = min(4, len(regions["arms"]))
    rows = math.ceil(len(regions["arms"]) / columns)
    figure, panels = _panels(0.8 + 1.6 * rows, rows, columns, sharex=True, sharey=True)
    x, y = numbers(regions["x"]), numbers(regions["y"])
    half = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
    for axes, (name, cells) in zip(panels.flat, regions["arms"].items(), strict=False):
        axes.imshow(_shades(numbers(cells)), extent=extent, origin="lower", aspect="auto", interpolation="none")
        _mark_points(axes, numbers(regions["points"]).reshape(-1, 3), task["class_names"])
        axes.set_title(label(name, 20), fontsize=_SMALL)
    for axes in panels.flat[len(regions["arms"]) :]:
        axes.set_axis_off()
    x_name, y_name = task.get("feature_names") or ("first feature", "second feature")
    figure.supxlabel(label(x_name, 40), fontsize=9)
    figure.supylabel(label(y_name, 40), fontsize=9)
    handles, texts = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=4, fontsize=_SMALL, frameon=False)
    return figure


def _shades(cells):
    """Classes (y, x) to colours, four pixels a cell, with a dark pixel where two classes meet."""
    cells = np.repeat(np.repeat(cells, 4, axis=0), 4, axis=1)
    shades = np.linspace(0.98, 0.75, max(2, int(np.nanmax(cells, initial=1)) + 1))
    known = np.isfinite(cells)
    image = np.where(known, shades[np.where(known, cells, 0).astype(int)], 1.0)
    image[:-1][cells[:-1] != cells[1:]] = 0.2
    image[:, :-1][cells[:, :-1] != cells[:, 1:]] = 0.2
    return np.repeat(image[..., None], 3, axis=-1)


def _mark_points(axes, points, class_names):
    """Rows as markers, one shape and fill for each class."""
    for k, name in enumerate(class_names):
        x, y, _ = points[points[:, 2] == k].T
        color, _, marker = _STYLES[k % len(_STYLES)]
        axes.plot(x, y, marker, color=color, mfc=("white", color)[k % 2], markersize=3, mew=0.8, label=label(name),
                  rasterized=True)  # fmt: skip


def activation(record):
    """An activation (solid) and its derivative (dashed), with the facts that are known of it.

    Of a gate the last pre-activation moves and the others are 1.

    Args:
      record: an `Activation`, a name, or any callable.

    >>> figure = activation("relu")
    >>> [line.get_label() for line in figure.axes[0].lines][:2]
    ['φ(x)', 'φ′(x)']
    """
    record = activations.get(record)
    figure, [[axes, side]] = _panels(2.6, columns=2, width_ratios=(3, 2))
    kinks = [at for at, _ in record.kinks]
    x = np.unique(np.concatenate([np.linspace(-4, 4, 321), kinks]).astype(np.float32))
    value, slope = _values(record, x)
    if record.smoothness is not None and record.smoothness <= 0:
        slope[np.isin(x, np.float32(kinks))] = np.nan  # a gap where the derivative jumps
    for style, y, text in (("-", value, "φ(x)"), ("--", slope, "φ′(x)")):
        lines = axes.plot(x, y, style, color="black" if style == "-" else _STYLES[1][0], linewidth=1.5)
        lines[0].set_label(text)
    axes.axhline(0, color=_GREY, linewidth=0.5)
    axes.set(xlabel="pre-activation x", ylabel="activation", title=label(record.name))
    axes.set_ylim(max(-2.5, np.nanmin([value, slope]) - 0.2), min(4.2, np.nanmax([value, slope]) + 0.2))
    axes.legend(fontsize=_SMALL, frameon=False)
    side.set_axis_off()
    lines = [f"{key}: {label(text, 200)}" for key, text in facts(record).items()]
    text = "\n".join(textwrap.fill(line, 38, subsequent_indent="   ") for line in lines)
    side.text(0, 1, text, va="top", fontsize=_SMALL).set_in_layout(False)
    return figure


def _values(record, x):
    """φ and φ′ (points, outputs), the trainable parameters as they start."""
    units = jnp.concatenate([jnp.ones((len(x), record.inputs - 1)), jnp.asarray(x)[:, None]], axis=-1)
    moves = jnp.zeros_like(units).at[:, -1].set(1)
    value, slope = jax.jvp(lambda u: record.fn(u, *(value for _, value in record.params)), (units,), (moves,))
    return np.array(value), np.array(slope)
