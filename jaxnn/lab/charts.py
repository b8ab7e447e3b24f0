"""The few true charts of the page, as small SVG drawings: text can be selected, colour only repeats what shapes say."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from jaxnn.lab.answer import Choice, Curve, Plane, TaskAnswer, Tuning
from jaxnn.lab.wording import duration, percent


def kind(choice: Choice, task: TaskAnswer) -> str:
    """The class of a mark: rec for the recommended one, best where it cannot be told from the best, out behind."""
    if choice.kind == "reference":
        return "ref"
    return "rec" if choice.name == task.recommended else "best" if choice.in_best else "out"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two.

    >>> ticks(0.931, 1.0)
    [0.94, 0.96, 0.98, 1.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / most
    base = 10 ** math.floor(math.log10(raw))
    step = next(base * m for m in (1, 2, 5, 10) if base * m >= raw)
    return [round(step * i, 10) for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def tuning(found: Tuning) -> str:
    """The tuning curve as a small line, the rate that most splits chose marked."""
    known = [(i, value) for i, value in enumerate(found.values) if value is not None]
    best = found.rates.index(found.rate)
    told = ", ".join(
        f"{rate:g}: {'diverged' if value is None else percent(value)}"
        for rate, value in zip(found.rates, found.values, strict=True)
    )
    low, high = min((v for _, v in known), default=0), max((v for _, v in known), default=1)
    width = 66 / max(len(found.rates) - 1, 1)

    def at(i, value):
        return 4 + width * i, 16 - 12 * (value - low) / max(high - low, 0.02)

    line = " ".join("{:.1f},{:.1f}".format(*at(i, value)) for i, value in known)
    dots = ['<circle cx="{:.1f}" cy="{:.1f}" r="2.6"/>'.format(*at(i, value)) for i, value in known if i == best]
    return (
        f'<svg class="spark" viewBox="0 0 74 20" width="74" height="20" role="img" aria-label="validation metric by '
        f'learning rate, {told}"><polyline points="{line}"/>{"".join(dots)}</svg>'
    )


def against_time(task: TaskAnswer) -> str:
    """Metric against the time of a step, a name at every point."""
    shown = task.choices[:14]
    if task.recommended not in [choice.name for choice in shown]:
        shown = (*shown[:-1], task.choice(task.recommended))
    times = [choice.step_seconds.value * 1e6 for choice in shown]
    values = [100 * choice.metric.value for choice in shown]
    left, right = math.log(min(times)) - 0.1, math.log(max(times)) + 0.1
    low, high = min(values), max(values)
    low, high = low - 0.08 * (high - low) - 0.1, high + 0.08 * (high - low) + 0.1
    width, height, edge = 520, 300, 58

    def x(time):
        return edge + (width - edge - 110) * (math.log(time) - left) / (right - left)

    def y(value):
        return 258 - 240 * (value - low) / (high - low)

    parts = []
    for tick in _log_ticks(math.exp(left), math.exp(right)):
        parts.append(_line(x(tick), 10, x(tick), 260) + _text(x(tick), 276, f"{tick:g}", "middle"))
    for tick in ticks(low, high):
        parts.append(_line(46, y(tick), width - 4, y(tick)) + _text(40, y(tick) + 4, f"{tick:g}", "end"))
    points = [(x(time), y(value)) for time, value in zip(times, values, strict=True)]
    for choice, (a, b), at in zip(shown, points, _spread([b for _, b in points]), strict=True):
        mark = kind(choice, task)
        lead = f'<line class="lead" x1="{a:.0f}" y1="{b:.0f}" x2="{a + 9:.0f}" y2="{at:.0f}"/>'
        parts.append(
            f'{lead}<circle class="{mark}" cx="{a:.0f}" cy="{b:.0f}" r="{5 if mark == "rec" else 4}"/>'
            f'<text class="{mark}" x="{a + 11:.0f}" y="{at + 4:.0f}">{escape(_short(choice.name))}</text>'
        )
    parts.append(_text(width - 4, 294, "µs for one step of one network, this machine (log)", "end"))
    told = "; ".join(f"{c.name}: {v:.1f} %, {duration(t / 1e6)}" for c, v, t in zip(shown, values, times, strict=True))
    return _chart(width, height, f"metric in percent and time of a step of {task.name}: {told}", parts)


def _spread(ys: Sequence[float], gap: float = 13) -> list[float]:
    """Heights of labels near those of their points, none on another."""
    order = np.argsort(ys)
    at = np.array(ys, float)[order]
    for _ in range(200):
        close = np.diff(at) < gap - 1e-6
        if not close.any():
            break
        for i in np.flatnonzero(close):
            push = (gap - (at[i + 1] - at[i])) / 2
            at[i], at[i + 1] = at[i] - push, at[i + 1] + push
        at += max(0, 12 - at[0]) - max(0, at[-1] - 254)
    heights = np.empty(len(ys))
    heights[order] = at
    return heights.tolist()


def _log_ticks(low, high) -> list[float]:
    found = [m * 10.0**e for e in range(-4, 9) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    return found if len(found) > 1 else ticks(low, high)


def learning(choice: Choice, task: TaskAnswer, curve: Curve, low: float, high: float, unit: str) -> str:
    """A learning curve with its band, between two ends of an axis."""
    steps = task.evaluation_steps

    def at(step, value):
        share = 0 if value is None else min(max((value - low) / (high - low or 1), 0), 1)
        return f"{8 + 274 * step / (steps[-1] or 1):.1f},{152 - 140 * share:.1f}"

    middle = " ".join(at(s, v) for s, v in zip(steps, curve.median, strict=True) if v is not None)
    band = [at(s, v) for s, v in zip(steps, curve.high, strict=True)]
    band += [at(s, v) for s, v in zip(steps[::-1], curve.low[::-1], strict=True)]

    def told(value):
        return "diverged" if value is None else percent(value) if unit == "%" else f"{value:.3g}"

    def end(value):
        return f"{100 * value:.0f} %" if unit == "%" else f"{value:.2g}"

    parts = [
        _line(8, 12, 282, 12), _line(8, 152, 282, 152), f'<polygon class="band" points="{" ".join(band)}"/>',
        f'<polyline class="line" points="{middle}"/>', _text(8, 9, end(high)), _text(8, 166, end(low)),
        _text(282, 166, f"{steps[-1]:,} steps", "end"),
    ]  # fmt: skip
    label = f"{choice.name}: from {told(curve.median[0])} to {told(curve.median[-1])} in {steps[-1]:,} steps"
    return _chart(290, 170, label, parts)


def reaching(task: TaskAnswer, choices: Sequence[Choice]) -> str:
    """The share of the runs that have reached the target, by steps (log)."""
    last = max(task.steps, 2)
    first = min((c.target.share_steps[0] for c in choices if c.target.share_steps), default=1) or 1

    def x(step):
        return 46 + 360 * (math.log(max(step, first)) - math.log(first)) / (math.log(last / first) or 1)

    def y(share):
        return 210 - 190 * share

    parts = [_line(46, y(s), 406, y(s)) + _text(40, y(s) + 4, f"{100 * s:.0f} %", "end") for s in (0, 0.5, 1)]
    parts += [_text(x(t), 228, f"{t:g}", "middle") for t in _log_ticks(first, last)]
    ends = []
    for choice in choices:
        path, height = [f"{x(first):.1f},{y(0):.1f}"], 0.0
        for step, share in zip(choice.target.share_steps, choice.target.share, strict=True):
            path += [f"{x(step):.1f},{y(height):.1f}", f"{x(step):.1f},{y(share):.1f}"]
            height = share
        path.append(f"{x(last):.1f},{y(height):.1f}")
        ends.append(y(height))
        parts.append(f'<polyline class="reach {kind(choice, task)}" points="{" ".join(path)}"/>')
    for choice, at in zip(choices, _spread(ends), strict=True):
        parts.append(
            f'<text class="{kind(choice, task)}" x="412" y="{at + 4:.0f}">{escape(_short(choice.name))}</text>'
        )
    parts.append(_text(406, 246, "steps (log)", "end"))
    told = "; ".join(f"{c.name} {percent(c.target.reached.value)}" for c in choices)
    return _chart(520, 250, f"share of the runs at the target by steps; in the end {told}", parts)


def region(plane: Plane, name: str, class_names: Sequence[str]) -> str:
    """The predicted class over the plane, with some rows: a mark of its own for each class."""
    lines = plane.regions[name]
    n, side = len(lines), 240
    cell = side / n
    parts = []
    for i, line in enumerate(lines):
        start = 0
        for j in range(1, n + 1):
            if j == n or line[j] != line[start]:
                label = int(line[start], 36)
                if label:
                    parts.append(
                        f'<rect class="c{label % 4}" x="{start * cell:.0f}" y="{side - (i + 1) * cell:.0f}" '
                        f'width="{(j - start) * cell:.0f}" height="{cell:.0f}"/>'
                    )
                start = j
    (left, right), (low, high) = plane.x, plane.y
    for a, b, label in plane.points[::2]:
        x, y = side * (a - left) / (right - left), side * (high - b) / (high - low)
        parts.append(_mark(x, y, label))
    share = {c: sum(line.count(np.base_repr(i, 36)) for line in lines) / n**2 for i, c in enumerate(class_names)}
    told = ", ".join(f"{c} {percent(s)}" for c, s in share.items())
    return _chart(side, side, f"what {name} predicts over the plane: {told}", parts, "plane")


def _mark(x, y, label) -> str:
    place = f'cx="{x:.0f}" cy="{y:.0f}"'
    if label % 4 == 0:
        return f'<circle class="point hollow" {place} r="2.6"/>'
    if label % 4 == 1:
        return f'<circle class="point full" {place} r="2.6"/>'
    a = 3.2
    shapes = {2: f"M{x - a:.0f} {y + a:.0f}L{x + a:.0f} {y + a:.0f}L{x:.0f} {y - a:.0f}Z",
              3: f"M{x - a:.0f} {y:.0f}H{x + a:.0f}M{x:.0f} {y - a:.0f}V{y + a:.0f}"}  # fmt: skip
    return f'<path class="point full" d="{shapes[label % 4]}"/>'


def _short(name: str) -> str:
    return name if len(name) <= 22 else name[:21] + "…"


def _line(x1, y1, x2, y2) -> str:
    return f'<line class="grid" x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"/>'


def _text(x, y, text, anchor="start") -> str:
    return f'<text class="tick" text-anchor="{anchor}" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'


def _chart(width, height, label, parts, name="chart") -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label, quote=True)}">'
        f"{''.join(parts)}</svg>"
    )
