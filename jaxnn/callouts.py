"""Callouts: names beside the lines and points of a figure, where they cover neither each other nor the data.

Places are in shares of the axes, so they hold whatever size a layout gives the axes later.
"""

import math
from itertools import pairwise

import numpy as np


def name_lines(axes, lines) -> None:
    """Write the label of each line beside the axes, joined to its last finite point.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> name_lines(axes, axes.plot([0, 1], [2, 3], label="relu"))
    >>> axes.texts[0].get_text(), [float(part) for part in axes.texts[0].xy]
    ('relu', [1.0, 3.0])
    """
    ends = []
    for line in lines:
        x, y = (np.asarray(part, dtype=float) for part in line.get_data())
        finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        if finite.size:
            ends.append((line, x[finite[-1]], y[finite[-1]]))
    if not ends:
        return
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = to_axes.transform([(x, y) for _, x, y in ends])[:, 1]
    heights = np.clip(heights, 0, 1)
    for (line, x, y), height in zip(ends, _spread(heights, 0.09), strict=True):
        axes.annotate(
            line.get_label(),
            (x, y),
            (1.05, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            color=line.get_color(),
            arrowprops={"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.6, "relpos": (0, 0.5)},
        )


def _spread(places, gap):
    """Places in [0, 1] moved apart, in the same order, to `gap` or more."""
    order, moved = np.argsort(places, kind="stable"), np.array(places, dtype=float)
    for before, i in pairwise(order):
        moved[i] = max(moved[i], moved[before] + gap)
    limit = 1.0
    for i in order[::-1]:
        moved[i] = min(moved[i], limit)
        limit = moved[i] - gap
    return moved


def name_points(axes, named, bars) -> None:
    """Write names beside their points, each at the nearest place where it covers no other name and few bars.

    Args:
      axes: all that is drawn is on them already.
      named: (x, y, text) of each point.
      bars: (points, 2), what the names should not cover.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().subplots()
    >>> name_points(axes, [(0.5, 0.5, "relu"), (0.5, 0.5, "tanh")], [(0.5, 0.5)])
    >>> [text.get_text() for text in axes.texts]
    ['relu', 'tanh']
    """
    axes.autoscale_view()
    axes.set_ylim(axes.get_ylim())
    to_axes = axes.transData + axes.transAxes.inverted()
    bars, taken = to_axes.transform(bars), []
    for x, y, text in named:
        if not np.isfinite([x, y]).all():
            continue
        at = to_axes.transform((x, y))
        box = np.array([0.013 * len(text), 0.055])
        place = min(_places(at, box), key=lambda corner: _cost(corner, box, at, bars, taken))
        axes.annotate(
            text,
            (x, y),
            (place[0], place[1] + box[1] / 2),
            textcoords="axes fraction",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            arrowprops={"arrowstyle": "-", "color": "#595959", "linewidth": 0.6},
        )
        taken.append((place, box))


def _places(at, box):
    """Lower left corners of a box around a point, near ones first, inside of the axes."""
    for distance in (0.02, 0.06, 0.1, 0.15, 0.2, 0.3):
        for turn in range(8):
            x, y = math.cos(turn * math.pi / 4), math.sin(turn * math.pi / 4)
            corner = at + distance * np.array([x, y]) + box * ([x, y] - np.ones(2)) / 2
            yield np.clip(corner, 0.005, 0.995 - box)


def _cost(corner, box, at, bars, taken):
    """What a box covers: another name counts most, then bars, then the distance from its own point."""
    names = sum(bool(np.all(np.abs(corner + box / 2 - (c + b / 2)) < (box + b) / 2)) for c, b in taken)
    covered = np.sum(np.all((bars > corner - 0.01) & (bars < corner + box + 0.01), axis=1))
    return 100 * names + covered + 2 * np.linalg.norm(corner + box / 2 - at)
