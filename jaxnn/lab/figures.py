"""Figures to take away: of an answer and of an activation; `savefig` writes PNG, SVG or PDF.

No figure needs colour: marks differ in shape, and everything carries its name. matplotlib's global state is left alone.
"""

import math
import textwrap

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import activations
from jaxnn.lab.answer import Record, TaskAnswer
from jaxnn.lab.facts import facts
from jaxnn.lab.wording import METRICS

_BLUE, _ORANGE, _GREY, _SMALL = "#0072b2", "#d55e00", "#595959", 8


def _panels(width, height, rows=1, columns=1, **settings):
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

    >>> label("a $x^2$ of my own")
    'a \\$x^2\\$ of my own'
    """
    text = "".join(c if c.isprintable() else " " for c in str(name)).strip()
    text = text if len(text) <= length else text[: length - 1] + "…"
    return text.replace("$", r"\$")


def answer(record: Record):
    """Every task's activations with their intervals: filled cannot be told from the best, a square is recommended.

    A dashed line is a linear classifier, no activation at all, where it is not far below.

    Args: record, an answer. Returns a matplotlib `Figure`.
    """
    tasks = list(record.tasks.values())
    columns = min(len(tasks), 4)
    rows, most = math.ceil(len(tasks) / columns), max(len(task.choices) for task in tasks)
    figure, panels = _panels(3 * columns + 0.6, rows * (0.19 * most + 0.9), rows, columns)
    for axes, task in zip(panels.flat, tasks, strict=False):
        _intervals(axes, task)
    for axes in panels.flat[len(tasks) :]:
        axes.set_axis_off()
    return figure


def _intervals(axes, task: TaskAnswer) -> None:
    names = [label(choice.name) for choice in task.choices]
    for height, choice in enumerate(task.choices):
        metric, recommended = choice.metric, choice.name == task.recommended
        color = _BLUE if recommended else "black" if choice.in_best else _GREY
        axes.plot([100 * metric.low, 100 * metric.high], [height] * 2, color=color, linewidth=1.2)
        fill = color if choice.in_best or recommended else "white"
        axes.plot(100 * metric.value, height, "s" if recommended else "o", color=color, mfc=fill, markersize=5)
    low = min(choice.metric.low for choice in task.choices)
    for reference in task.references:
        if reference.name == "identity" and reference.metric.value > low - 0.1:
            axes.axvline(100 * reference.metric.value, color=_GREY, linestyle="--", linewidth=1)
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    axes.set_title(label(task.name), fontsize=_SMALL + 2)
    axes.set_xlabel(f"% {METRICS[task.metric]}", fontsize=_SMALL)


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
    figure, [[axes, side]] = _panels(6.8, 3.4, columns=2, width_ratios=(3, 2))
    kinks = [at for at, _ in record.kinks]
    x = np.unique(np.concatenate([np.linspace(-4, 4, 321), kinks]).astype(np.float32))
    value, slope = _values(record, x)
    if record.smoothness is not None and record.smoothness <= 0:
        slope[np.isin(x, np.float32(kinks))] = np.nan  # a gap where the derivative jumps
    for style, y, text in (("-", value, "φ(x)"), ("--", slope, "φ′(x)")):
        lines = axes.plot(x, y, style, color="black" if style == "-" else _ORANGE, linewidth=1.5)
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
