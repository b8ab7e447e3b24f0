"""The report: one page of HTML from an answer, which works offline and prints; and a small page for a notebook.

The answer comes first, then what it rests on; what is a row is HTML. Everything that came with the data is escaped, and
the page may load nothing.
"""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib.resources import files

from jaxnn.lab import charts, wording
from jaxnn.lab.answer import Choice, Record, TaskAnswer
from jaxnn.lab.wording import METRICS, percent, points, signed

STRIP = 12  # activations of a card, at most


def page(record: Record) -> str:
    """The whole report.

    Args: record, the answer. Returns HTML.
    """
    style, script = (files("jaxnn.lab").joinpath(f"report.{kind}").read_text() for kind in ("css", "js"))
    seal = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{seal}'; base-uri 'none'"
    tasks = record.tasks.values()
    body = [
        f'<header><h1>Which activation?</h1><p class="lede">{_lede(record)}</p></header>',
        f'<div class="cards">{"".join(_card(task, record) for task in tasks)}</div>',
        _matrix(record) if len(record.tasks) > 1 else "",
        *(_section(task, record) for task in tasks),
        _how(record),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Which activation? {_e(', '.join(record.tasks))}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main><script>{script}</script></body></html>"
    )


def small(record: Record) -> str:
    """The cards alone, for a notebook: no script, its style its own."""
    style = files("jaxnn.lab").joinpath("report.css").read_text()
    cards = "".join(_card(task, record, link=False) for task in record.tasks.values())
    return f'<div class="jaxnn"><style>@scope {{{style}}}</style><div class="cards">{cards}</div></div>'


def _e(text) -> str:
    return escape(str(text), quote=True)


def _lede(record) -> str:
    tasks = list(record.tasks.values())
    compared = max(len(task.choices) for task in tasks)
    networks = sum(task.networks for task in tasks)
    what = f"{_count(compared, 'activation')} on {_count(len(tasks), 'task')}: {networks:,} networks"
    tables = any(not task.truth_table for task in tasks)
    about = f"Numbers are about <em>new rows</em>, with {record.confidence:.0%} intervals." if tables else (
        f"Intervals, {record.confidence:.0%}, are over seeds."
    )  # fmt: skip
    return f"{what}. {about}"


def _count(n, noun) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun.replace('y', 'ie') if noun.endswith('ty') else noun}s"


# Cards


def _card(task: TaskAnswer, record: Record, link: bool = True) -> str:
    name = f'<a href="#{_id(task, record)}">{_e(task.name)}</a>' if link else _e(task.name)
    meta = f"{task.rows:,} rows · {_count(task.features, 'feature')} · {len(task.class_names)} classes"
    why = " ".join(filter(None, (wording.reason(task, record.tolerance), _linear(task), *task.notes)))
    scale = _Scale(task)
    shown = task.choices[:STRIP]
    if task.recommended not in [choice.name for choice in shown]:
        shown = (*shown[:-1], task.choice(task.recommended))
    rows = "".join(
        f'<li class="{charts.kind(choice, task)}"><span class="n">{_e(choice.name)}</span>{scale.track(choice, task)}'
        f'<span class="v">{100 * choice.metric.value:.1f}</span></li>'
        for choice in shown
    )
    more = len(task.choices) - len(shown)
    rest = f'<p class="note">and {more} more, {"below" if link else "in the report"}</p>' if more else ""
    return (
        f'<article class="card"><header><h2>{name}</h2><p class="meta">{meta}</p></header>'
        f'<p class="take">{_e(wording.recommendation(task))}</p><p class="why">{_e(why)}</p>'
        f'<ol class="strip" aria-label="{_e(_measure(task))}, {_e(task.name)}">{rows}</ol>'
        f'<div class="strip-axis"><span></span>{scale.axis()}<span class="v">%</span></div>{rest}</article>'
    )


def _linear(task) -> str:
    """What no activation at all does, in a few words."""
    for reference in task.references:
        if reference.name == "identity" and not wording.diverged(task):
            if reference.ahead.low > 0:
                return f"Without an activation: {percent(reference.metric.value)}."
            return f"A linear classifier does as well, as far as can be told: {percent(reference.metric.value)}."
    return ""


def _measure(task) -> str:
    where = "of the runs" if task.truth_table else "on these rows" if task.fixed_test else "on new rows"
    return f"% {METRICS[task.metric]}" + ("" if task.truth_table else f" {where}")


def _id(task, record) -> str:
    return f"task-{list(record.tasks.values()).index(task)}"


class _Scale:
    """The common scale of a task's intervals."""

    def __init__(self, task):
        best = max(choice.metric.value for choice in task.choices)
        shown = [c.metric for c in task.choices if task.truth_table or c.metric.value >= best - 0.3]
        low, high = min(m.low for m in shown), max(m.high for m in shown)
        near = [
            one.metric for one in task.references if one.metric.high > low - (high - low)
        ]  # others would squeeze it
        low, high = min([low, *(m.low for m in near)]), max([high, *(m.high for m in near)])
        edge = max((high - low) * 0.04, 0.005)
        self.low, self.high = max(low - edge, 0), min(high + edge, 1)
        self.lines = [m.value for m in near if m.value >= self.low][:1] if task.references else []

    def at(self, value) -> str:
        return f"{100 * min(max((value - self.low) / (self.high - self.low), 0), 1):.2f}%"

    def track(self, choice, task) -> str:
        m, mark = choice.metric, charts.kind(choice, task)
        if m.high < self.low:
            return '<span class="track off">‹ off the scale</span>'
        told = f"{percent(m.value)}, {100 * m.low:.1f} to {100 * m.high:.1f}"
        lines = "".join(f'<i class="line-ref" style="left:{self.at(value)}"></i>' for value in self.lines)
        return (
            f'<span class="track {mark}" role="img" aria-label="{told}">{lines}'
            f'<i class="bar" style="left:{self.at(m.low)};right:calc(100% - {self.at(m.high)})"></i>'
            f'<i class="dot" style="left:{self.at(m.value)}"></i></span>'
        )

    def axis(self) -> str:
        marks = charts.ticks(100 * self.low, 100 * self.high, 4)
        told = "".join(f'<i style="left:{self.at(tick / 100)}">{tick:g}</i>' for tick in marks)
        return f'<span class="axis" aria-hidden="true">{told}</span>'


# All tasks


def _matrix(record: Record) -> str:
    tasks = list(record.tasks.values())
    order: dict[str, list[float]] = {}
    for task in tasks:
        for choice in task.choices:
            order.setdefault(choice.name, []).append(choice.at_most)
    ranked = sorted(order, key=lambda name: sum(order[name]) / len(order[name]) + 9 * (len(tasks) - len(order[name])))
    head = "".join(f'<th scope="col"><button>{_e(task.name)}</button></th>' for task in tasks)
    rows = "".join(f'<tr><th scope="row">{_e(name)}</th>{"".join(_behind(task, name) for task in tasks)}</tr>'
                   for name in ranked)  # fmt: skip
    return (
        '<section><h2>All tasks</h2><div class="wide" tabindex="0"><table class="matrix sortable"><caption>How far '
        "behind the best at most, in points. Shaded: cannot be told from the best. Framed: recommended.</caption>"
        f'<thead><tr><th scope="col"><button>activation</button></th>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div></section>"
    )


def _behind(task, name) -> str:
    found = [choice for choice in task.choices if choice.name == name]
    if not found:
        return '<td data-v="9">–</td>'
    mark = {"rec": "in rec", "best": "in", "out": "off"}[charts.kind(found[0], task)]
    return f'<td class="{mark}" data-v="{found[0].at_most:.5f}">{100 * found[0].at_most:.1f}</td>'


# One task


def _section(task: TaskAnswer, record: Record) -> str:
    name = _e(task.name)
    told = [wording.standing(task), *(wording.compared(task, one) for one in task.references), wording.target(task)]
    told += [wording.settled(task)]
    return (
        f'<section id="{_id(task, record)}"><h2>{name}</h2><p class="meta">{_e(wording.about(task))}</p>'
        f'<p class="told">{_e(" ".join(filter(None, told)))}</p>{_forest(task)}'
        '<p class="note">Filled: cannot be told from the best. Hollow: behind. Dashed, or a diamond: a linear '
        f"classifier, no activation at all.</p>{_figures(task)}{_details(task)}</section>"
    )


def _forest(task) -> str:
    scale, timed, several = _Scale(task), task.choices[0].step_seconds is not None, len(task.choices) > 1
    head = [_head("activation"), f'<th scope="col" class="t">{scale.axis()}</th>', _head(_measure(task), "num")]
    head += [_head("at most behind, points", "num")] if several else []
    head += [_head("steps to target", "num")] if task.target is not None else []
    head += [_head("µs a step", "num")] if timed else []
    rates = task.choices[0].tuning.rates
    head.append(_head(f"learning rate {rates[0]:g} … {rates[-1]:g}" if len(rates) > 1 else "learning rate"))
    rows = "".join(_row(choice, task, scale, timed, several) for choice in task.choices)
    for reference in task.references:
        rows += (
            _row(reference.choice, task, scale, timed, several) if reference.choice else _other(reference, len(head))
        )
    return (
        f'<div class="wide"><table class="forest sortable"><thead><tr>{"".join(head)}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _head(text, name="") -> str:
    return f'<th scope="col" class="{name}"><button>{_e(text)}</button></th>'


def _cell(text, value=None, label="", name="num") -> str:
    shown = "" if value is None else f' data-v="{value:.6g}"'
    return f'<td class="{name}" data-l="{_e(label)}"{shown}>{text}</td>'


def _row(choice, task, scale, timed, several) -> str:
    mark, m = charts.kind(choice, task), choice.metric
    also = {"rec": " <small>recommended</small>", "ref": " <small>reference: no activation</small>"}.get(mark, "")
    cells = [f'<td class="t">{scale.track(choice, task)}</td>']
    cells.append(_cell(f"{100 * m.value:.1f} <small>{100 * m.low:.1f}–{100 * m.high:.1f}</small>", m.value, "%"))
    if several:
        behind = None if mark == "ref" else choice.at_most
        cells.append(_cell("" if behind is None else f"{100 * behind:.1f}", 9 if behind is None else behind,
                           "" if behind is None else "at most behind"))  # fmt: skip
    if task.target is not None:
        steps = choice.target.steps.value
        cells.append(_cell("never" if steps is None else f"{steps:,.0f}", steps or 1e12, "steps to target"))
    if timed:
        cells.append(_cell(f"{1e6 * choice.step_seconds.value:.3g}", choice.step_seconds.value, "µs a step"))
    cells.append(_cell(f'{charts.tuning(choice.tuning)}<span class="rate">{choice.tuning.rate:g}</span>',
                       choice.tuning.rate, "learning rate", "sp"))  # fmt: skip
    return f'<tr class="{mark}"><th scope="row">{_e(choice.name)}{also}</th>{"".join(cells)}</tr>'


def _other(reference, columns) -> str:
    """A model of another kind."""
    m = reference.metric
    number = _cell(f"{100 * m.value:.1f} <small>{100 * m.low:.1f}–{100 * m.high:.1f}</small>", m.value, "%")
    return (
        f'<tr class="ref"><th scope="row">{_e(reference.name)} <small>reference</small></th><td class="t">'
        f"<small>{_e(reference.about)}</small></td>{number}{'<td></td>' * (columns - 3)}</tr>"
    )


def _figures(task) -> str:
    shown = _of_interest(task)
    figures = []
    if task.choices[0].step_seconds is not None and len(task.choices) > 1:
        figures.append(_figure(f"{_measure(task).capitalize()} against time.", "Up is better, left is faster.",
                               charts.against_time(task)))  # fmt: skip
    figures.append(_learning(task, shown))
    if task.target is not None:
        figures.append(_figure("Time to the target.", "Share of the runs that have got there.",
                               charts.reaching(task, shown)))  # fmt: skip
    if task.plane is not None:
        maps = "".join(
            f"<div><h4>{_e(name)}</h4>{charts.region(task.plane, name, task.class_names)}</div>"
            for name in [c.name for c in shown if c.name in task.plane.regions]
        )
        marks = ", ".join(f"{shape} {_e(name)}" for shape, name in zip("○●▲+○●▲+○●", task.class_names, strict=False))
        about = f"What most of the networks predict over the plane; rows: {marks}."
        figures.append(
            f'<figure><figcaption><b>Regions.</b> {about}</figcaption><div class="maps">{maps}</div></figure>'
        )
    return f'<div class="two">{"".join(figures)}</div>'


def _figure(title, note, drawing) -> str:
    return f"<figure><figcaption><b>{_e(title)}</b> {_e(note)}</figcaption>{drawing}</figure>"


def _of_interest(task) -> list[Choice]:
    """The best, the recommended, the baseline, the last."""
    chosen = [task.choices[0].name, task.recommended, task.baseline, task.choices[-1].name]
    return [task.choice(name) for name in dict.fromkeys(chosen)]


def _learning(task, shown) -> str:
    known = [v for c in shown for v in (*c.metric_curve.low, *c.metric_curve.median) if v is not None]
    low = 0.0 if task.truth_table or not known else max(0.0, sorted(known)[len(known) // 8] - 0.02)
    maps = "".join(
        f"<div><h4>{_e(c.name)}</h4>{charts.learning(c, task, c.metric_curve, low, 1.0, '%')}</div>" for c in shown
    )
    what = "Share of the seeds that solve it" if task.truth_table else "Validation rows; median of the runs"
    band = "its interval" if task.truth_table else "the middle 80 %"
    which = "the first, the recommended, the baseline and the last of the table"
    return _figure("Learning.", f"{what}, and {band}; {which}.", f'<div class="small">{maps}</div>')


def _details(task) -> str:
    """Everything else, closed."""
    head = ["activation", "mean loss on test rows (middle 80 %)", f"difference from {task.baseline}, points", "p",
            "beats it with a probability of", "at least behind", "leaves the best at an error rate of",
            "target reached", "diverged", "rates chosen", "best epoch", "trials", "formula", "source"]  # fmt: skip
    trained = [*task.choices, *(reference.choice for reference in task.references if reference.choice)]
    rows = "".join(_detail(choice) for choice in trained)
    hard = ""
    if task.hard_rows:
        listed = ", ".join(f"{row.row} ({_e(row.label)}, {row.wrong:.0%})" for row in task.hard_rows)
        hard = f"<h3>Rows that most networks get wrong</h3><p>Number (class, share of the networks): {listed}.</p>"
    return (
        '<details><summary>Everything else: losses, differences, p-values, formulas</summary><div class="wide" '
        f'tabindex="0"><table class="all sortable"><thead><tr>{"".join(map(_head, head))}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{hard}{_settings(task)}</details>"
    )


def _detail(choice) -> str:
    loss, d, wins, reached = choice.loss, choice.difference, choice.wins, choice.target and choice.target.reached
    rates = ", ".join(f"{rate:g} ({n})" for rate, n in zip(choice.tuning.rates, choice.tuning.chosen, strict=True) if n)
    reference = choice.kind == "reference"
    cells = [
        _cell(
            "infinite" if loss.value is None else f"{loss.value:.3g} <small>{_ends(loss)}</small>", loss.value or 9e9
        ),
        _cell(f"{signed(d.value)} <small>{signed(d.low)} to {signed(d.high)}</small>" if d else "", d and d.value),
        _cell(f"{d.p_value:.3f}" if d else "", d and d.p_value),
        _cell(f"{wins.value:.2f} <small>{wins.low:.2f}–{wins.high:.2f}</small>" if wins else "", wins and wins.value),
        _cell("" if reference else f"{100 * choice.at_least:.1f}", choice.at_least),
        _cell("" if reference else f"{choice.p_best:.3f}", choice.p_best),
        _cell(wording.share(reached) if reached else "", reached and reached.value),
        _cell(f"{choice.diverged} of {choice.runs}", choice.diverged),
        _cell(rates, choice.tuning.rate),
        _cell(str(choice.best_epoch), choice.best_epoch),
        _cell(f"{choice.trials[0]}–{choice.trials[-1]}", choice.trials[0]),
        _cell(_e(choice.formula), name="text"),
        _cell(_e(choice.source), name="text"),
    ]
    return f'<tr><th scope="row">{_e(choice.name)}</th>{"".join(cells)}</tr>'


def _ends(found) -> str:
    return "–".join("∞" if end is None else f"{end:.3g}" for end in (found.low, found.high))


def _settings(task) -> str:
    batch = "all rows" if task.batch_size is None else task.batch_size
    told = {
        "rows from": task.source or "given in Python",
        "classes": ", ".join(f"{n} ({r:,})" for n, r in zip(task.class_names, task.class_rows, strict=True)),
        "network": task.network, "initialization": task.init, "optimizer": task.optimizer, "head": task.head,
        "epochs": f"{task.epochs} of batches of {batch}, {task.steps:,} steps",
        "baseline": task.baseline,
        "target": "none" if task.target is None else f"{task.target:g}",
        "budget": "none" if task.budget is None else wording.duration(task.budget),
    }  # fmt: skip
    if task.null_pair is not None:
        told["check"] = f"{task.baseline} against itself under other seeds: p = {task.null_pair:.2f}"
    return f"<h3>Settings</h3><dl>{_terms(told.items())}</dl>"


def _terms(pairs: Iterable) -> str:
    return "".join(f"<div><dt>{_e(name)}</dt><dd>{_e(value)}</dd></div>" for name, value in pairs)


# How


def _how(record: Record) -> str:
    tables = [task for task in record.tasks.values() if not task.truth_table]
    first = next(iter(tables or record.tasks.values()))
    init = "" if record.matched else (
        " All activations start from the same initialization, whatever their gain."
    )  # fmt: skip
    machine = " · ".join(f"{name} {value}" for name, value in (record.versions | record.machine).items())
    again = [told for told in (wording.command(record), wording.call(record)) if told]
    return (
        '<section class="how"><h2>How sure is this, and of what?</h2>'
        f"<p>{_e(wording.sure(first, record))}{init} One that is as good as the best is missing from those "
        f"marked in at most {record.rate:.0%} of comparisons. A recommendation is the fastest of those that are at "
        f"most {points(record.tolerance)} behind the best, or, where these rows promise that of nobody, the one with "
        "the smallest bound.</p><h3>Do it again</h3>"
        + "".join(f"<pre><code>{_e(told)}</code></pre>" for told in again)
        + f"<details><summary>Versions and machine</summary><p>{_e(machine)}</p></details></section>"
    )
