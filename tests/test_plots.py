"""Figures show the numbers that went in, whatever the names, and what is null is left out."""

import copy
import math
import subprocess
import sys
from functools import cache
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from synthetic import LEARNING_RATES, NASTY, RUNS, a_task, across

from jaxnn import ACTIVATIONS, Activation, answers, callouts, captions, markup, plots

TASKS = {
    "plane": {"arms": 9, "plane": True},
    "table": {"arms": 8, "exhaustive": True, "lost": (7,)},
    "tied": {"arms": 7, "spread": 0.4, "target": None},
    "lost": {"arms": 7, "lost": (6,)},
}


@cache
def made(name):
    return a_task(name, **TASKS[name])


@pytest.fixture(params=TASKS)
def task(request):
    return copy.deepcopy(made(request.param)[0])


def field(task, name, part=None):
    values = [arm[name] if part is None else arm[name][part] for arm in task["arms"]]
    return np.array(values, dtype=float)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_intervals_show_every_arm_in_its_row(task):
    axes = plots.accuracy_intervals(task).axes[0]
    value = field(task, "test", "value")
    best = np.array([arm["in_best"] for arm in task["arms"]])
    filled, hollow = axes.lines[:2]
    drawn = dict(np.concatenate([np.stack(line.get_data(), axis=1)[:, ::-1] for line in (filled, hollow)]))
    for place, x in drawn.items():
        assert value[int(place)] == x
    assert set(filled.get_ydata()) == set(np.flatnonzero(best))
    bars = {segment[0, 1]: segment[:, 0] for segment in axes.collections[0].get_segments()}
    for place, (low, high) in bars.items():
        assert (low, high) == tuple(task["arms"][int(place)]["test"][end] for end in ("low", "high"))
    outside = set(range(len(value))) - set(drawn)
    assert all(value[place] < value[list(map(int, drawn))].min() for place in map(int, outside))
    for arm, text in zip(task["arms"], texts(axes), strict=True):
        assert text.startswith(f"{arm['test']['value']:.3f}")
        assert ("diverged" in text) == (arm["test"]["diverged"] > 0)


def test_an_arm_far_below_the_others_is_an_arrow():
    arms = [
        {"name": str(v), "in_best": v == 0.95, "test": {"value": v, "low": v, "high": v, "diverged": 0}}
        for v in (0.95, 0.94, 0.93, 0.92, 0.1)
    ]
    axes = plots.accuracy_intervals({"metric": "accuracy", "baseline": "0.94", "arms": arms}).axes[0]
    assert axes.get_xlim()[0] > 0.5
    assert [line.get_marker() for line in axes.lines].count("<") == 1
    assert texts(axes)[-1] == "0.100"


def test_pareto_shows_metric_against_time(task):
    axes = plots.pareto(task).axes[0]
    seconds, value = field(task, answers.time_field(task)), field(task, "test", "value")
    front = np.array([arm["pareto"] for arm in task["arms"]])
    for line, chosen in zip(axes.lines[:2], (~front, front), strict=True):
        assert np.array_equal(line.get_xdata(), seconds[chosen], equal_nan=True)
        assert np.array_equal(line.get_ydata(), value[chosen])
    never = [line for line in axes.lines if line.get_marker() == ">"]
    assert bool(never) == np.isnan(seconds).any()
    if never:
        assert np.array_equal(never[0].get_ydata(), value[np.isnan(seconds)])
    named = set(texts(axes))
    for arm, on_front in zip(task["arms"], front, strict=True):
        assert not on_front or plots.label(arm["name"]) + " (baseline)" * (arm["name"] == "relu") in named


@pytest.mark.parametrize("name", TASKS)
def test_learning_curves_are_the_median_run(name):
    task, curves = made(name)
    upper, lower = plots.learning_curves(task, curves).axes
    shown = answers.shown(task)
    for axes, kind in ((upper, "loss"), (lower, "validation_metric")):
        for i, line in zip(shown, axes.lines, strict=True):
            runs = curves[f"{name}/{i}/{kind}"]
            if kind == "loss":
                expected = np.median(np.where(np.isnan(runs), np.inf, runs), axis=0)
            elif name == "table":
                expected = np.mean(runs == 1, axis=0)
            else:
                expected = np.median(np.where(np.isnan(runs), -np.inf, runs), axis=0)
            expected = np.where(np.isinf(expected), np.nan, expected)
            np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-6)
            assert np.array_equal(line.get_xdata(), curves[f"{name}/step"])
    assert len(texts(lower)) == len(shown)


@pytest.mark.parametrize("kind", ["loss", "validation_metric"])
@pytest.mark.parametrize("name", TASKS)
def test_bands_hold_the_line(name, kind):
    task, curves = made(name)
    axes = plots.learning_curves(task, curves).axes[0 if kind == "loss" else 1]
    for i, collection in zip(answers.shown(task), axes.collections, strict=True):
        value, low, high = answers.curve(task, curves, i, kind)
        known = np.isfinite(value + low + high)
        assert np.all((low <= value)[known] & (value <= high)[known])
        drawn = np.concatenate([path.vertices[:, 1] for path in collection.get_paths()])
        assert {*low[known], *high[known]} <= set(drawn)


def test_the_line_of_an_arm_that_diverges_ends():
    task, curves = made("lost")
    line = plots.learning_curves(task, curves).axes[0].lines[-1]
    assert task["arms"][answers.shown(task)[-1]]["test"]["diverged"] == RUNS
    assert np.isfinite(line.get_ydata()[0])
    assert np.isnan(line.get_ydata()[-1])


def test_long_curves_keep_their_ends():
    task, _ = made("lost")
    step = np.arange(5000)
    curves = {f"lost/{i}/{kind}": np.ones((4, 5000)) * step for i in range(7) for kind in ("loss", "validation_metric")}
    x = plots.learning_curves(task, curves | {"lost/step": step}).axes[0].lines[0].get_xdata()
    assert len(x) <= 120
    assert x[[0, -1]].tolist() == [0, 4999]


def test_shown_are_the_best_the_baseline_and_the_worst():
    task, _ = a_task("digits", 55, spread=0.001)
    task["baseline"] = task["arms"][30]["name"]
    shown = answers.shown(task)
    assert {0, 30, 54} <= set(shown)
    assert len(shown) <= 7
    assert all(arm["in_best"] for i, arm in enumerate(task["arms"]) if i in shown and i not in (30, 54))


@pytest.mark.parametrize("runs", [2, 5, 6, 10, 20, 21, 100])
def test_the_band_is_the_interval_of_the_median(runs):
    """Against scipy's binomial distribution: the widest k with the stated coverage, or the extremes."""
    k = max(int(scipy.stats.binom.ppf(0.025, runs, 0.5)), 1)
    middle, low, high = answers.median_band(np.random.default_rng(0).permutation(runs)[:, None].astype(float))
    assert (low, high) == (k - 1, runs - k)
    assert middle == (runs - 1) / 2
    coverage = 1 - 2 * scipy.stats.binom.cdf(k - 1, runs, 0.5)
    assert coverage >= 0.95 or k == 1


def test_time_to_target_shows_the_steps():
    task, _ = made("plane")
    axes = plots.time_to_target(task).axes[0]
    for i, line in zip(answers.shown(task), axes.lines, strict=True):
        curve = task["arms"][i]["time_to_target"]
        assert line.get_xdata()[1:-1].tolist() == curve["steps"]
        assert line.get_ydata()[1:-1].tolist() == curve["share"]
        assert line.get_drawstyle() == "steps-post"
    with pytest.raises(ValueError, match="give the comparison a target"):
        plots.time_to_target(made("tied")[0])


def test_map_shows_number_and_choice_of_every_cell(task):
    axes = plots.learning_rate_map(task).axes[0]
    tuning = task["tuning"]
    rows = [tuning["arms"][arm["name"]] for arm in task["arms"]]
    value = np.array([row["value"] for row in rows], dtype=float)
    assert np.array_equal(np.ma.filled(axes.images[0].get_array(), np.nan), value, equal_nan=True)
    words = np.array(texts(axes)).reshape(value.shape)
    lost = np.array([row["diverged"] for row in rows]) > 0
    assert np.array_equal(words == "×", np.isnan(value))
    assert np.array_equal(np.char.endswith(words, "†"), lost & np.isfinite(value))
    assert [round(np.mean(line.get_xdata()[:4])) for line in axes.lines] == [row["chosen"] for row in rows]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [f"{rate:g}" for rate in LEARNING_RATES]


def test_profile_shows_the_best_the_baseline_and_the_last():
    common = across([made("plane")[0], made("tied")[0], made("lost")[0]])
    axes = plots.performance_profile(common, baseline="relu", most=2).axes[0]
    order = sorted(common["ranks"], key=common["ranks"].get)
    expected = [name for name in order if name in {*order[:2], "relu", order[-1]}]
    assert len(axes.lines) == len(expected)
    for name, line in zip(expected, axes.lines, strict=True):
        assert line.get_ydata().tolist() == common["profile"]["arms"][name]["value"]
        assert plots.label(name) in line.get_label()


def test_regions_keep_their_classes():
    """Read back by shade: as many shades as classes, in the same order, and dark where two meet."""
    task, _ = made("plane")
    figure = plots.decision_regions(task)
    regions = task["regions"]
    for axes, (name, cells) in zip(figure.axes, regions["arms"].items(), strict=False):
        assert axes.get_title() == plots.label(name, 20)
        inner = np.asarray(axes.images[0].get_array())[1::4, 1::4, 0]
        shades = np.unique(inner)[::-1]
        assert np.array_equal(np.searchsorted(-shades, -inner), np.array(cells))
        points = np.concatenate([np.stack(line.get_data(), axis=1) for line in axes.lines])
        assert sorted(map(tuple, points)) == sorted((x, y) for x, y, _ in regions["points"])
        assert len({line.get_marker() for line in axes.lines}) == 3


@pytest.mark.parametrize("name", ["relu", "silu", "step", "prelu", "swiglu", "crelu", "maxout", "exponential", "rrelu"])
def test_activation_and_derivative(name):
    """Against the function and a central difference, away from the kinks."""
    record, axes = ACTIVATIONS[name], plots.activation(name).axes[0]
    x = axes.lines[0].get_xdata()
    params = [value for _, value in record.params]

    def value(at):
        return record.fn(jnp.concatenate([jnp.ones((len(at), record.inputs - 1)), at[:, None]], 1), *params)

    with jax.enable_x64(True):
        at = jnp.asarray(x, float)
        slope = (value(at + 1e-6) - value(at - 1e-6)) / 2e-6
    far = np.all([np.abs(x - kink) > 0.02 for kink, _ in record.kinks] or [np.isfinite(x)], axis=0)
    for k in range(record.outputs):
        np.testing.assert_allclose(axes.lines[k].get_ydata(), value(jnp.asarray(x))[:, k], rtol=1e-5, atol=1e-6)
        drawn = axes.lines[record.outputs + k].get_ydata()
        np.testing.assert_allclose(drawn[far], np.asarray(slope)[far, k], rtol=1e-4, atol=1e-4)
    low, high = axes.get_ylim()
    assert -2.6 <= low < high <= 4.3


def test_facts_hold_for_any_callable():
    facts = captions.facts(lambda x: 2 * jnp.maximum(x, 0))
    assert facts["gain"] == f"{1 / math.sqrt(2):.4g}"
    assert "formula" not in facts
    words = " ".join(texts(plots.activation(Activation("mine $x$", jnp.tanh, formula="a < b")).axes[1]))
    assert "formula: a < b" in words


def test_axes_have_names_and_units():
    task, curves = made("plane")
    figures = [
        plots.accuracy_intervals(task), plots.pareto(task), plots.learning_curves(task, curves),
        plots.time_to_target(task), plots.activation("relu"),
    ]  # fmt: skip
    labels = [axes.get_xlabel() for figure in figures for axes in figure.axes] + [
        axes.get_ylabel() for figure in figures for axes in figure.axes
    ]
    expected = {
        "accuracy (share of test rows)",
        "accuracy (share of validation rows)",
        "loss (training rows)",
        "pre-activation x",
        "time to the target (median run), one network alone (s)",
        "training step (updates)",
    }
    assert expected <= set(labels)
    assert plots.decision_regions(task).get_supxlabel() == "length"
    assert answers.metric_name({"metric": "macro_f1"}) == "macro_f1 on test rows"


def test_names_are_text_not_mathematics():
    """A name with markup, dollars and a control character is drawn letter by letter."""
    assert plots.label(NASTY, 100) == r"""<script>alert("&'")</script> \$x_2\$"""
    assert plots.label("x" * 100) == "x" * 27 + "…"
    test = {"value": 0.9, "low": 0.8, "high": 0.95, "runs": 20, "diverged": 0}
    names = ["<b>&'", "$x_2$", "$", "a$b", "日本", "\ta\nb"]
    arms = [{"name": name, "in_best": True, "test": test} for name in names]
    figure = plots.accuracy_intervals({"metric": "<i> $y$", "baseline": None, "arms": arms})
    drawn = [e.text for e in ElementTree.fromstring(markup.svg(figure, "a", "b")).iter("text")]
    assert {"<b>&'", "$x_2$", "$", "a$b", "日本", "a b", "<i> $y$ on test rows"} <= set(drawn)


def test_what_is_null_is_left_out():
    task, _ = made("plane")
    task = copy.deepcopy(task)
    nothing = {"value": None, "low": None, "high": None, "runs": 20, "diverged": 20}
    for arm in task["arms"]:
        arm |= {"test": nothing, "seconds_to_target": None, "pareto": False}
    for name in task["tuning"]["arms"]:
        task["tuning"]["arms"][name] = {"value": [None] * 6, "diverged": [10] * 6, "chosen": None}
    for figure in (plots.accuracy_intervals(task), plots.pareto(task), plots.learning_rate_map(task)):
        figure.draw_without_rendering()
    assert set(texts(plots.accuracy_intervals(task).axes[0])) == {"no value"}


def test_spread_keeps_order_and_distance():
    rng = np.random.default_rng(0)
    for _ in range(20):
        places = rng.uniform(0, 1, 7)
        moved = callouts._spread(places, 0.1)
        assert np.array_equal(np.argsort(moved), np.argsort(places))
        assert np.diff(np.sort(moved)).min() > 0.1 - 1e-9
        assert moved.max() <= 1


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxnn\[lab\]'"):
        plots.activation("relu")


def test_no_pyplot_and_no_global_state():
    code = (
        "import sys, matplotlib; from jaxnn import plots, markup; state = matplotlib.rcParams.copy; before = state(); "
        "markup.svg(plots.activation('relu'), 'a', 'b'); "
        "assert 'matplotlib.pyplot' not in sys.modules; assert state() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
