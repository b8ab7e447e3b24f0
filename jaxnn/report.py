"""The report: a comparison as one HTML page that needs nothing else, with the answer first.

It works offline and without JavaScript (which only sorts the tables), prints, and reads well without colour and aloud.
All that comes from the answer is escaped: see `markup`.
"""

import base64
import hashlib
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import captions, plots
from .activations import ACTIVATIONS
from .answers import metric_name, read
from .captions import listing, number, with_interval
from .markup import Markup, join, svg, tag

_MATCHED = {
    "matched": "The initialization is matched to each activation (its own gain).",
    "common": "All activations start from the same initialization.",
}


class _Column(NamedTuple):
    """A column of the ranked table."""

    title: str
    cell: Callable  # arm -> (text, value to sort by)
    first: str = "descending"  # the order of the first click
    class_: str | None = None  # "text" is sorted as text, "replay" is not printed


def write(folder) -> Path:
    """Write report.html into a folder that `jaxnn compare` has left; never half of it.

    Args:
      folder: with answer.json and curves.npz.

    Returns:
      The path of the page.

    Raises:
      FileNotFoundError: the folder holds no answer.json.

    >>> write("no/such/folder")
    Traceback (most recent call last):
      ...
    FileNotFoundError: no/such/folder/answer.json does not exist; expected a folder that `jaxnn compare` wrote
    """
    page = render(*read(folder))
    path = Path(folder) / "report.html"
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".html", encoding="utf-8", delete=False) as file:
        file.write(page)
    os.chmod(file.name, 0o644)  # a temporary file is readable by its owner only
    os.replace(file.name, path)
    return path


def render(answer: Mapping, curves: Mapping[str, np.ndarray]) -> str:
    """The page.

    Args:
      answer: as in answer.json, with null (None) for what is not known.
      curves: the arrays of curves.npz; a task without curves gets no figure of them.

    >>> answer = {"answer": "Nothing to choose from.", "command": "jaxnn compare", "folder": "runs/1", "tasks": []}
    >>> "Nothing to choose from." in render(answer, {})
    True
    """
    parts = [_task(i, task, answer, curves) for i, task in enumerate(answer["tasks"])]
    body = [_opening(answer), *parts, _across(answer), _activations(answer), _again(answer)]
    return (
        "<!doctype html>\n" + tag("html", _head(answer), tag("body", tag("main", *body), _script()), lang="en") + "\n"
    )


def _file(name):
    return resources.files("jaxnn").joinpath(name).read_text(encoding="utf-8")


def _script():
    return tag("script", Markup(_file("report.js")))


def _head(answer):
    """Nothing may load from anywhere, and no script may run but ours."""
    digest = base64.b64encode(hashlib.sha256(_file("report.js").encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"Which activation? {', '.join(task['title'] for task in answer['tasks'])}"),
        tag("style", Markup(_file("report.css"))),
    )


def _opening(answer):
    links = [tag("li", tag("a", task["title"], href=f"#task-{i}")) for i, task in enumerate(answer["tasks"])]
    links += [tag("li", tag("a", "all tasks", href="#across"))] if answer.get("across") else []
    links += [
        tag("li", tag("a", text, href=f"#{name}")) for name, text in (("facts", "activations"), ("again", "again"))
    ]
    settings = answer.get("settings", {})
    confidence = captions.percent(settings.get("confidence", 0.95))
    rate = number(settings.get("rate", 0.05), 2)
    tuned = "its own learning rate, tuned with other seeds than those of the verdict"
    return join(
        tag("h1", "Which activation?"),
        tag("p", answer["answer"], class_="answer"),
        tag(
            "p",
            f"Brackets hold {confidence} intervals. The best set holds every arm that the data cannot tell from the "
            f"best: an arm as good as the best is missing with probability {rate} at most. Its members are ties, "
            "whatever their order. An arm is an activation, or a mixture, at "
            f"{'a given learning rate' if settings.get('tuning_seeds') == 0 else tuned}. "
            f"{_MATCHED.get(settings.get('init'), '')} A run that diverged is counted, never dropped. A dash means "
            "that there is no such number.",
        ),
        tag("nav", tag("ul", *links), aria_label="parts of the report"),
    )


def _task(place, task, answer, curves):
    confidence = answer.get("settings", {}).get("confidence", 0.95)
    name = f"task-{place}"

    def figure(kind, title, *arguments, **words):
        caption = getattr(captions, kind)(task, *arguments, **words)
        return _figure(getattr(plots, kind)(task, *arguments), f"{name}-{kind}-", title, caption)

    parts = [
        tag("h2", task["title"], id=name),
        tag("p", task["sentence"], class_="sentence"),
        tag("p", _setting(task), class_="note"),
        figure("pareto", "Test metric against time", confidence=confidence),
        _ranking(task, answer, confidence),
        figure("accuracy_intervals", "Every arm with its interval", confidence=confidence),
    ]
    if f"{task['task']}/step" in curves:
        parts.append(figure("learning_curves", "Learning curves", curves))
    if any(arm.get("time_to_target") for arm in task["arms"]):
        parts.append(figure("time_to_target", "Steps to the target", confidence=confidence))
    if (task.get("tuning") or {}).get("arms"):
        parts.append(figure("learning_rate_map", "Learning rates"))
    if task.get("regions"):
        parts.append(figure("decision_regions", "Decision regions"))
    return tag("section", *parts, _null_pairs(task), _runs(task, answer), aria_labelledby=name)


def _figure(figure, prefix, title, caption):
    scroll = tag("div", svg(figure, prefix, caption.alt), class_="scroll", tabindex=0, role="group", aria_label=title)
    return tag("figure", scroll, tag("figcaption", tag("strong", f"{title}. "), caption.text))


def _setting(task):
    """Rows, network and training of a task, in words."""
    rows, batch = task["rows"], task.get("batch_size")
    split = f"{rows['train']:,} rows to train, {rows['validation']:,} to validate, {rows['test']:,} to test"
    if task["exhaustive"]:
        split = f"All {rows['train']:,} rows to train and to test (a truth table; nothing is left to generalise to)"
    target = "" if task.get("target") is None else f" Target: {task['metric']} ≥ {task['target']:g}."
    budget = "" if task.get("budget_seconds") is None else f" Budget: {task['budget_seconds']:g} s."
    return (
        f"{split}; {task['features']:,} features, {task['classes']:,} classes. Hidden layers: "
        f"{listing(task['hidden']) or 'none'}. {task['steps']:,} updates in {task['epochs']:,} epochs, "
        f"{f'batches of {batch:,}' if batch else 'all rows in each'}.{target}{budget}"
    )


def _ranking(task, answer, confidence):
    """The table: a row for each arm, best first."""
    columns = _columns(task, answer)
    header = [
        tag("th", c.title, scope="col", data_first=c.first, class_=c.class_, aria_sort=None if i else "ascending")
        for i, c in enumerate(columns)
    ]
    rows = []
    for arm in task["arms"]:
        cells = [_cell(c, arm, "th" if c.title == "arm" else "td") for c in columns]
        rows.append(tag("tr", *cells, class_="best" if arm["in_best"] else None))
    text = (
        f"All {len(task['arms'])} arms, best first, the best set in bold. {captions.runs(task)} "
        f"[{captions.percent(confidence)} interval]: "
        f"{'Wilson’s, of a share of runs' if task['exhaustive'] else 'the bootstrap’s, of the interquartile mean'}. "
        f"Differences are paired by seed, from {task['baseline']}; their p-values are Holm’s. "
        "Times are of this machine."
    )
    table = tag(
        "table",
        tag("caption", tag("span", text)),
        tag("thead", tag("tr", *header)),
        tag("tbody", *rows),
        class_="sortable",
    )
    return tag("div", table, class_="scroll wide", tabindex=0, role="region", aria_label=f"ranking of {task['title']}")


def _cell(column, arm, name):
    text, value = column.cell(arm)
    return tag(name, text, data_value=value, class_=column.class_, scope="row" if name == "th" else None)


def _columns(task, answer):
    """The columns that have anything to say."""
    baseline, place = task["baseline"], {arm["name"]: i for i, arm in enumerate(task["arms"], 1)}
    folder = shlex.quote(answer["folder"])
    columns = [
        _Column("rank", lambda arm: (place[arm["name"]],) * 2, "ascending"),
        _Column("arm", _name, "ascending", "text"),
        _Column(metric_name(task), lambda arm: _estimate(arm["test"]), class_="test"),
        _Column("may be the best", _best),
        _Column(f"difference from {baseline}", _difference),
        _Column(f"probability of improvement over {baseline}", lambda arm: _estimate(arm.get("improvement"))),
        _Column("loss on test rows", lambda arm: _estimate(arm["loss"]), "ascending"),
        _Column("share of runs at the target", lambda arm: _estimate(arm.get("reached"))),
        _Column("median steps to the target", _median, "ascending"),
        _Column("seconds to the target", lambda arm: _plain(arm, "seconds_to_target"), "ascending"),
        _Column("share at the target within the budget", lambda arm: _estimate(arm.get("within_budget"))),
        _Column("seconds to the end", lambda arm: _plain(arm, "seconds_to_end"), "ascending"),
        _Column("µs per update alone", lambda arm: _plain(arm, "seconds_per_step_alone", 1e6), "ascending"),
        _Column("µs per update in a block", lambda arm: _plain(arm, "seconds_per_step_block", 1e6), "ascending"),
        _Column("learning rate", lambda arm: (f"{arm['learning_rate']:g}", arm["learning_rate"]), "ascending"),
        _Column("diverged runs", _diverged, "ascending"),
        _Column("replay one run", lambda arm: _replay(folder, arm), "ascending", "replay"),
    ]
    return [c for c in columns if any(c.cell(arm)[1] is not None for arm in task["arms"])]


def _name(arm):
    kind = "" if arm["kind"] == "activation" else f" ({arm['kind']})"
    return arm["name"] + kind, arm["name"]


def _estimate(estimate):
    return _together(with_interval(estimate)), (estimate or {}).get("value")


def _together(text):
    """An interval or a p-value is not broken into lines."""
    return text.replace(", ", ",\xa0").replace("],\xa0", "], ").replace(" = ", "\xa0=\xa0")


def _plain(arm, field, scale=1):
    value = arm.get(field)
    return ("–", None) if value is None else (number(scale * value), value)


def _p(value):
    return "p < 0.001" if value < 0.001 else f"p = {number(value)}"


def _best(arm):
    p = arm.get("p_best")
    return ("tie" if arm["in_best"] else "no") + ("" if p is None else _together(f"; {_p(p)}")), p


def _difference(arm):
    difference = arm.get("difference")
    if not difference or difference.get("value") is None:
        return "–", None
    p = difference.get("p_value")
    return _together(with_interval(difference) + ("" if p is None else f", {_p(p)}")), difference["value"]


def _median(arm):
    """Steps, "never" where fewer than half of the runs arrive; an interval without an upper end goes to ∞."""
    median = arm.get("median_steps")
    if not median:
        return "–", None
    if median["value"] is None:
        return "never for half", 1e300
    high = "∞" if median["high"] is None else number(median["high"])
    return _together(f"{number(median['value'])} [{number(median['low'])}, {high}]"), median["value"]


def _diverged(arm):
    test = arm["test"] or {}
    return f"{test.get('diverged', '–')} of {test.get('runs', '–')}", test.get("diverged")


def _replay(folder, arm):
    if not arm.get("trials"):
        return "–", None
    return tag("code", f"jaxnn replay {folder} {arm['trials'][0]}"), arm["trials"][0]


def _null_pairs(task):
    """What the comparison says of pairs that are the same function."""
    pairs = [
        f"{pair['a']} and {pair['b']} (p\xa0=\xa0{number(pair['p_value'])})" for pair in task.get("null_pairs") or []
    ]
    if not pairs:
        return None
    return tag(
        "p", f"Null pairs, one function under two sets of seeds, so that any difference is chance: {listing(pairs)}."
    )


def _runs(task, answer):
    """Every run of the verdict: its trial and its value, with formula and source of the arm."""
    header = [
        tag("th", text, scope="col", class_="text") for text in ("arm", "formula", "source", "trial: test metric")
    ]
    rows = []
    for arm in task["arms"]:
        values = zip(arm.get("trials") or [], arm.get("values") or [], strict=False)
        runs = "; ".join(f"{trial}: {'diverged' if value is None else number(value)}" for trial, value in values)
        name = tag("th", _name(arm)[0], scope="row")
        rows.append(
            tag("tr", name, *(tag("td", text, class_="text run") for text in (arm["formula"], arm["source"], runs)))
        )
    table = tag("table", tag("thead", tag("tr", *header)), tag("tbody", *rows))
    words = tag("p", "Replay any of them: ", tag("code", f"jaxnn replay {shlex.quote(answer['folder'])} TRIAL"))
    scroll = tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=f"runs of {task['title']}")
    return tag("details", tag("summary", "Every run, with formulas and sources"), words, scroll)


def _across(answer):
    across = answer.get("across")
    if not across:
        return None
    baseline = answer.get("settings", {}).get("baseline")
    rows = [
        tag("tr", tag("th", name, scope="row"), tag("td", number(rank, 2), data_value=rank))
        for name, rank in sorted(across["ranks"].items(), key=lambda item: item[1])
    ]
    distance = across.get("critical_distance")
    far = f" Two arms differ from a distance of {number(distance, 2)} on (Nemenyi)." if distance is not None else ""
    p = "" if across.get("p_value") is None else f" All arms being equal has {_p(across['p_value'])} (Friedman)."
    header = tag("tr", tag("th", "arm", scope="col", class_="text"), tag("th", "mean rank", scope="col"))
    caption = tag("caption", tag("span", f"Mean rank over {listing(across['tasks'])}; 1 is best.{p}{far}"))
    ranks = tag("div", tag("table", caption, tag("thead", header), tag("tbody", *rows)), class_="scroll", tabindex=0,
                role="region", aria_label="mean ranks")  # fmt: skip
    profile = None
    if across.get("profile"):
        caption = captions.performance_profile(across, baseline)
        figure = plots.performance_profile(across, baseline)
        profile = _figure(figure, "profile-", "Performance profile", caption)
    return tag("section", tag("h2", "All tasks together", id="across"), profile, ranks, aria_labelledby="across")


def _activations(answer, most=6):
    """The first of each best set and the baselines, as functions."""
    names = [name for task in answer["tasks"] for name in (*task["best"][:3], task["baseline"])]
    records = [ACTIVATIONS[name] for name in dict.fromkeys(names) if name in ACTIVATIONS][:most]
    figures = [
        _figure(plots.activation(record), f"facts-{i}-", record.name, captions.activation(record))
        for i, record in enumerate(records)
    ]
    words = tag("p", "The first of each best set, and the baseline.") if figures else tag("p", "None has a record.")
    return tag("section", tag("h2", "Activations", id="facts"), words, *figures, aria_labelledby="facts")


def _again(answer):
    """Command, versions, machine and settings."""
    created = (
        f"Made {answer.get('created', '')} in {number(answer.get('seconds'), 1)} s. The same versions on the same "
    )
    parts = [
        tag("h2", "Again", id="again"),
        tag("p", created + "kind of machine give the same numbers, but for times."),
        tag("pre", tag("code", answer["command"])),
        tag("p", "Any one run, by the number of its trial:"),
        tag("pre", tag("code", f"jaxnn replay {shlex.quote(answer['folder'])} TRIAL")),
    ]
    for key in ("settings", "versions", "machine"):
        pairs = [
            (tag("dt", name.replace("_", " ")), tag("dd", _value(value))) for name, value in answer.get(key, {}).items()
        ]
        parts += [tag("h3", key.capitalize()), tag("dl", *(part for pair in pairs for part in pair))] if pairs else []
    return tag("section", *parts, aria_labelledby="again")


def _value(value):
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
