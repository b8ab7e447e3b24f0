"""An answer in words: sentences for each task, the table as text, the question as a command and as a call."""

import re
import shlex

from jaxnn.lab.answer import Choice, Interval, Record, Reference, TaskAnswer

METRICS = {
    "accuracy": "right",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC area",
    "solved": "of the runs",
}


def recommendation(task: TaskAnswer) -> str:
    """The one line to act on, at most 20 words."""
    take = task.choice(task.recommended)
    if diverged(task):
        return "Nothing to take: every run diverged. Try smaller learning rates."
    alone = ", and none is better" if task.best == (take.name,) else ", and none is known to be better"
    behind = f", at most {points(take.at_most)} behind the best" if take.at_most >= 5e-4 else alone
    behind = "" if len(task.choices) == 1 else behind
    if task.truth_table:
        return f"Take {take.name}: solves {task.name} in {share(take.metric)} of runs{behind}."
    return f"Take {take.name}: expect {percent(take.metric.value)} {METRICS[task.metric]} {_where(task)} " + (
        f"({_range(take.metric)}){behind}."
    )


def diverged(task: TaskAnswer) -> bool:
    """Did every run diverge?"""
    return all(choice.diverged == choice.runs for choice in task.choices)


def reason(task: TaskAnswer, tolerance: float) -> str:
    """Why this one, by the rule that recommends."""
    take, rule = task.choice(task.recommended), task.recommendation
    if len(task.choices) == 1 or diverged(task):
        return ""
    if not rule.within_tolerance:
        return (
            f"Nobody can be promised to be within {points(tolerance)} of the best with these rows; "
            f"the bound of {take.name} is the smallest."
        )
    near = "all" if len(rule.within_tolerance) == len(task.choices) else "those"
    who = f"Of {near} that are at most {points(tolerance)} behind ({len(rule.within_tolerance)})"
    if len(rule.within_tolerance) == 1:
        return f"It alone is at most {points(tolerance)} behind the best, whatever that is."
    if take.step_seconds is None:
        return f"{who} it is the {'baseline' if take.name == task.baseline else 'surest'}; time was not measured."
    others = [name for name in rule.ties if name != take.name]
    tie = f"; {names(others)} cannot be told from it in time" if others else ""
    return f"{who} it takes the least time: {_time_told(task, take)}{tie}."


def standing(task: TaskAnswer) -> str:
    """Who cannot be told from the best, and who is behind."""
    best, total = task.best, len(task.choices)
    if total == 1 or diverged(task):
        return ""
    counted = f"{task.splits} splits x {task.seeds} seeds" if task.splits > 1 else f"{task.seeds} seeds"
    if len(best) == total:
        return f"None of the {total} can be told from the best ({counted})."
    some = best if len(best) <= 6 else (*best[:5], f"{len(best) - 5} more")
    told = f"{best[0]} is the best" if len(best) == 1 else f"{names(some)} cannot be told from the best"
    last = task.choices[-1]
    more = f"; last is {last.name}, at least {points(last.at_least)} behind" if last.at_least > 0 else ""
    return (
        f"{told[0].upper() if told[0].islower() and len(best) > 1 else told[0]}{told[1:]} of {total} ({counted}){more}."
    )


def compared(task: TaskAnswer, reference: Reference) -> str:
    """How the recommended one stands to a reference."""
    ahead, name = reference.ahead, task.recommended
    what = "A linear classifier, no activation at all,"
    if reference.name != "identity":
        what = f"{reference.name[0].upper()}{reference.name[1:]} (scikit-learn)"
    if diverged(task):
        return f"{what} reaches {percent(reference.metric.value)} ({_range(reference.metric)})."
    told = f"{percent(reference.metric.value)} ({_range(reference.metric)})"
    difference = f"{signed(ahead.value)} ({signed(ahead.low)} to {signed(ahead.high)}) points"
    behind = f"{signed(-ahead.value)} ({signed(-ahead.high)} to {signed(-ahead.low)}) points"
    if task.truth_table:
        return f"{what} solves it in {share(reference.metric)} of the runs."
    if ahead.low > 0:
        return f"{what} reaches {told}: {name} is ahead by {difference}."
    if ahead.high < 0:
        return f"{what} does better: {told}; {name} is behind by {behind}."
    less = f"behind by {behind}" if ahead.value < 0 else f"ahead by {difference}"
    return f"{what} does as well, as far as can be told: {told}; {name} is {less}."


def target(task: TaskAnswer) -> str:
    """How surely the target is reached, and how soon."""
    if task.target is None or (task.truth_table and task.budget is None):
        return ""
    limit = "" if task.budget is None else f" within {duration(task.budget)}"
    key = (lambda c: c.target.reached) if task.budget is None else (lambda c: c.target.within_budget)
    ranked = sorted(task.choices, key=lambda choice: -key(choice).value)
    what = "The target, the table solved," if task.truth_table else f"{percent(task.target)} on validation rows"
    if key(ranked[0]).value == 0:
        return f"{what} is reached{limit} by no run."
    told = [f"{choice.name} in {share(key(choice))}" for choice in ranked[:3] if key(choice).value > 0]
    return f"{what} is reached{limit} by {names(told)} of the runs."


def settled(task: TaskAnswer) -> str:
    """What would tell the first two apart."""
    found = task.settle
    if found is None:
        return ""
    ways = [f"about {found.rows:,} rows" if found.rows else "", f"{found.splits:,} splits" if found.splits else ""]
    ways = [way for way in ways if way]
    if not ways:
        return f"Neither more rows nor more splits alone would tell {found.first} from {found.second}."
    return f"To tell {found.first} from {found.second}, if the difference is what it seems, takes {' or '.join(ways)}."


def about(task: TaskAnswer) -> str:
    """What was trained on what."""
    if task.truth_table:
        return f"{task.rows} rows, all there are; {task.network}, {task.steps:,} steps"
    parts = f"{task.train_rows} train, {task.validation_rows} validate, {task.test_rows} test"
    return f"{task.rows:,} rows, of which {parts} in each of {task.splits} splits; {task.network}, {task.steps:,} steps"


def sure(task: TaskAnswer, record: Record) -> str:
    """How sure this is, and of what."""
    percent_sure = f"{record.confidence:.0%} intervals"
    if task.truth_table:
        return (
            f"A truth table has no other rows: {percent_sure} are over the {task.seeds} seeds, for this network, "
            "optimizer and budget."
        )
    rows = "these test rows only" if task.fixed_test else "new rows of the same kind"
    return (
        f"{percent_sure} hold for {rows}, this network, optimizer and budget. In each split everything is done anew: "
        "scaling, learning rate, training; its test rows are looked at once."
    )


def table(task: TaskAnswer, record: Record) -> str:
    """The activations of a task as text, the highest metric first."""
    timed, aimed = task.choices[0].step_seconds is not None, task.target is not None
    several = len(task.choices) > 1
    head = ["", "activation", f"% {METRICS[task.metric]}", f"{record.confidence:.0%} interval"]
    head += ["behind at most"] if several else []
    head += ["learning rate"] + (["steps to target"] if aimed else []) + (["µs a step"] if timed else []) + ["diverged"]
    identity = next((reference.choice for reference in task.references if reference.choice), None)
    lines = [head] + [_cells(choice, task, several, aimed, timed) for choice in task.choices]
    if identity:
        lines.append(_cells(identity, task, several, aimed, timed))
    for reference in task.references:
        if reference.choice is None:
            lines.append(["-", reference.name, *_number(reference.metric), *[""] * (len(head) - 4)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(f"{cell:{'<' if i < 2 else '>'}{w}}" for i, (cell, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    marks = "> recommended   * cannot be told from the best" + ("   - reference" if task.references else "")
    return "\n".join([f"{task.name}: {about(task)}", *(line.rstrip() for line in text), marks])


def _cells(choice: Choice, task, several, aimed, timed) -> list[str]:
    reference = choice.kind == "reference"
    mark = "-" if reference else ">" if choice.name == task.recommended else "*" if choice.in_best else ""
    cells = [mark, choice.name, *_number(choice.metric)]
    cells += ["" if reference else f"{100 * choice.at_most:.1f}"] if several else []
    rates = [rate for rate, chosen in zip(choice.tuning.rates, choice.tuning.chosen, strict=True) if chosen]
    cells.append(f"{rates[0]:g}" if len(rates) == 1 else f"{min(rates):g}-{max(rates):g}")
    if aimed:
        steps = choice.target.steps.value
        cells.append("never" if steps is None else f"{steps:,.0f}")
    if timed:
        cells.append(f"{choice.step_seconds.value * 1e6:.3g}")
    return [*cells, str(choice.diverged or "")]


def _number(metric: Interval) -> list[str]:
    return [f"{100 * metric.value:.1f}", f"{100 * metric.low:.1f} to {100 * metric.high:.1f}"]


def text(record: Record) -> str:
    """The answer for a terminal: for each task the recommendation, then the table, then what else there is to know."""
    parts = [f"{name}: {recommendation(task)}" for name, task in record.tasks.items()]
    for task in record.tasks.values():
        more = [reason(task, record.tolerance), standing(task), *(compared(task, one) for one in task.references)]
        more += [target(task), settled(task), *task.notes, sure(task, record), _null(task)]
        parts += ["", table(task, record), *(line for line in more if line)]
    return "\n".join(parts)


def _null(task) -> str:
    if task.null_pair is None:
        return ""
    return f"Check: {task.baseline} against itself under other seeds, p = {task.null_pair:.2f}."


def command(record: Record) -> str:
    """The question as a command; empty where rows were given that a command cannot name."""
    if not all(task.source for task in record.tasks.values()):
        return ""
    words = ["jaxnn", "compare", *record.question.tasks]
    for name, value in record.question.options.items():
        flag = "--" + name.replace("_", "-")
        if name == "timing":
            words.append("--no-timing")
        elif value is True:
            words.append(flag)
        else:
            values = value if isinstance(value, list) else [value]
            words += [flag, *(f"{v:g}" if isinstance(v, float) else str(v) for v in values)]
    return shlex.join(words)


def call(record: Record) -> str:
    """The question as a line of Python; rows that were given are (x, y)."""
    given = [name for name, task in record.tasks.items() if not task.source]
    tasks = ["(x, y)" if name in given else repr(name) for name in record.question.tasks]
    told = [tasks[0] if len(tasks) == 1 else f"[{', '.join(tasks)}]"]
    told += [f"{name}={value!r}" for name, value in record.question.options.items()]
    return f"lab.compare({', '.join(told)})"


def percent(value: float) -> str:
    """A share in percent.

    >>> percent(0.97703)
    '97.7 %'
    """
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of shares in points.

    >>> points(0.0091), points(0.01)
    ('0.9 points', '1 point')
    """
    told = f"{100 * value:.1f}".removesuffix(".0")
    return f"{told} point" if told == "1" else f"{told} points"


def signed(value: float) -> str:
    """A difference of shares in points, with its sign and no unit.

    >>> signed(0.012), signed(-0.012)
    ('1.2', '−1.2')
    """
    return f"{100 * value:.1f}".replace("-", "−")


def share(found: Interval) -> str:
    """A share of runs with its interval.

    >>> share(Interval(1.0, 0.963, 1.0))
    '100 % (96 to 100)'
    """
    return f"{100 * found.value:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"


def duration(seconds: float) -> str:
    """A short time with its unit.

    >>> duration(1.28e-06), duration(0.2), duration(75)
    ('1.3 µs', '200 ms', '75 s')
    """
    unit, factor = next(((u, f) for u, f in (("µs", 1e6), ("ms", 1e3)) if seconds * f < 1000), ("s", 1))
    number = seconds * factor
    return f"{number:.0f} {unit}" if number >= 9.95 else f"{number:.2g} {unit}"


def seconds(text: str) -> float:
    """A time as people write it.

    >>> seconds("5s"), seconds("200ms"), seconds("2 min")
    (5.0, 0.2, 120.0)
    """
    if not (match := re.fullmatch(r"([0-9.]+(?:e-?[0-9]+)?) ?(s|ms|min|)", text)):
        raise ValueError(f"{text!r} is no time; write 5s, 200ms or 2min")
    return float(match[1]) * {"s": 1, "": 1, "ms": 1e-3, "min": 60}[match[2]]


def names(words) -> str:
    """A list as people say it.

    >>> names(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _range(found: Interval) -> str:
    return f"{100 * found.low:.1f} to {100 * found.high:.1f}"


def _where(task) -> str:
    return "on these rows" if task.fixed_test else "on new rows"


def _time_told(task, choice) -> str:
    step = f"{duration(choice.step_seconds.value)} a step"
    if choice.target is None:
        return f"{step}, {duration(choice.seconds)} for all {task.steps:,}"
    if choice.target.seconds is None:
        return f"{step}; fewer than half of its runs get there"
    return f"{step}, {choice.target.steps.value:,.0f} steps in the median, {duration(choice.target.seconds)} in all"
