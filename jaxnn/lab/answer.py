"""What came out of a comparison: typed records, and the JSON that they are written to and read back from.

This is the one schema of an answer. Words, figures, the page and the folder are functions of a `Record`; none of them
looks anywhere else. A number that is not known, or infinite, is None. Metrics lie between 0 and 1, greater is better.
"""

import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

SCHEMA = 2  # grows with every change of a field's name or meaning


@dataclass(frozen=True)
class Interval:
    """A value, and the interval that holds the true one at the answer's confidence."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """A difference, its interval, and the probability of one so large if there were none (Holm's, for all of them)."""

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Tuning:
    """How an activation did at each learning rate, over all splits and tuning seeds."""

    rates: tuple[float, ...]
    values: tuple[float | None, ...]  # (rates,) mean best metric on validation rows; None where a run diverged
    diverged: tuple[int, ...]  # (rates,) runs
    chosen: tuple[int, ...]  # (rates,) so many splits chose it
    rate: float  # the best over all splits together, which `train` takes


@dataclass(frozen=True)
class Curve:
    """A measure of the verdict's runs over training: their median and the middle 80 % of them.

    A diverged run has the worst value from then on, None where that is infinite. Of a truth table's metric it is the
    share of runs that solve it by then, with its interval.
    """

    median: tuple[float | None, ...]  # (evaluations,)
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


@dataclass(frozen=True)
class Target:
    """How surely, and how soon, runs reach the task's target."""

    reached: Interval  # share of the runs
    steps: Interval  # median over the runs; None where fewer than half get there
    seconds: float | None  # the median, for one network alone
    within_budget: Interval | None  # share of the runs that get there in the budget; None without one
    share_steps: tuple[int, ...]  # (times,) steps at which the share that has got there grows
    share: tuple[float, ...]  # (times,)


@dataclass(frozen=True)
class Choice:
    """One activation (or mixture of some) on one task."""

    name: str
    kind: str  # activation, mixture, custom or reference
    formula: str  # empty where it is not known
    source: str
    tuning: Tuning
    metric: Interval  # on new rows; of a truth table the share of runs that solve it
    loss: Interval  # over the runs: median and the middle 80 %, on test rows
    difference: Difference | None  # from the baseline; None for the baseline itself and for references
    wins: Interval | None  # P(beats the baseline on a new split and seed), ties half; None where `difference` is
    in_best: bool  # cannot be told from the best
    p_best: float  # the error rate at which it would leave the set of the best
    at_most: float  # so far behind the best it is at most
    at_least: float  # and at least
    step_seconds: Interval | None  # one step of one network alone: median, fastest and slowest round; None if not timed
    seconds: float | None  # all steps, for one network alone
    target: Target | None  # None for a task without target
    diverged: int  # runs of the verdict
    runs: int  # of the verdict: splits x seeds
    best_epoch: int  # median over the runs
    trials: tuple[int, ...]  # numbers of the verdict's runs in the table of trials
    metric_curve: Curve  # on validation rows
    loss_curve: Curve  # on training rows


@dataclass(frozen=True)
class Reference:
    """What the activations are held against: no activation at all, or another kind of model; outside the best set."""

    name: str  # identity, gradient boosting, forest
    about: str  # what it is, in a few words
    metric: Interval
    ahead: Difference  # metric of the recommended activation minus this one's
    choice: Choice | None  # of identity, which is tuned and trained like the activations


@dataclass(frozen=True)
class Recommendation:
    """The one name to take, and why: of those at most `tolerance` behind the one that takes least time."""

    name: str
    within_tolerance: tuple[str, ...]  # all that are at most `tolerance` behind; empty where nobody can be promised
    ties: tuple[str, ...]  # of the candidates those whose time cannot be told from the least


@dataclass(frozen=True)
class Settle:
    """What would tell the first two apart at the observed difference; None where that would not, or is not known."""

    first: str
    second: str
    rows: int | None  # rows in all, with splits in proportion
    splits: int | None  # splits of the same rows


@dataclass(frozen=True)
class Plane:
    """Decision regions of a task with two features: the class that most of the verdict's networks predict."""

    x: tuple[float, float]  # from, to: the axis of the first feature
    y: tuple[float, float]
    regions: dict[str, tuple[str, ...]]  # activation -> lines from low y to high, a digit (base 36) a point: its class
    points: tuple[tuple[float, float, int], ...]  # some rows: x, y, class


@dataclass(frozen=True)
class HardRow:
    """A row that most networks get wrong."""

    row: int  # its number in the task
    wrong: float  # share of the networks that tested it
    label: str


@dataclass(frozen=True)
class TaskAnswer:
    """The answer for one task."""

    name: str
    source: str  # where the rows come from
    rows: int
    features: int
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    class_rows: tuple[int, ...]  # (classes,)
    truth_table: bool  # the rows are all there is: seeds are the replicates
    fixed_test: bool  # the test rows were brought along: the answer is about those rows only
    train_rows: int  # of each split
    validation_rows: int
    test_rows: int
    splits: int
    seeds: int  # of the verdict, in each split
    networks: int  # that were trained, those of tuning too
    metric: str  # solved, of a truth table
    network: str  # layers, as 64-64-10; or the architecture's name
    init: str
    optimizer: str
    head: str
    epochs: int
    batch_size: int | None  # None: all rows
    steps: int
    target: float | None
    budget: float | None  # seconds
    baseline: str
    recommendation: Recommendation
    choices: tuple[Choice, ...]  # the highest metric first, equal ones by loss
    references: tuple[Reference, ...]
    settle: Settle | None
    null_pair: float | None  # p-value of the baseline's difference from itself under other seeds
    evaluation_steps: tuple[int, ...]  # (evaluations,) of the curves
    plane: Plane | None
    hard_rows: tuple[HardRow, ...]  # at most 20, those most often wrong first
    notes: tuple[str, ...]  # what a reader must know of these rows, a sentence each

    @property
    def recommended(self) -> str:
        """The name of the recommended activation."""
        return self.recommendation.name

    @property
    def best(self) -> tuple[str, ...]:
        """The activations that cannot be told from the best."""
        return tuple(choice.name for choice in self.choices if choice.in_best)

    def choice(self, name: str) -> Choice:
        """The choice with this name, `identity` among them.

        Raises KeyError for a name that was not compared.
        """
        others = (reference.choice for reference in self.references if reference.choice)
        return {choice.name: choice for choice in (*others, *self.choices)}[name]


@dataclass(frozen=True)
class Question:
    """What was asked: the tasks, and every option whose value is not its default, as they are written in Python."""

    tasks: tuple[str, ...]
    options: dict[str, Any]  # of `lab.compare`: JSON's own types


@dataclass(frozen=True)
class Record:
    """The answer to a question. Equal records are equal answers."""

    schema: int
    question: Question
    tasks: dict[str, TaskAnswer]
    rate: float  # of errors: at which equals may be called different
    confidence: float  # of the intervals
    tolerance: float  # so far behind a recommendation may be
    matched: bool  # initialized by each activation's own gain
    versions: dict[str, str]
    machine: dict[str, str | int]


def to_json(record: Record) -> str:
    """The record as JSON text, its fields by name, None for what is not known.

    >>> to_json(Interval(0.5, 0.25, None))
    '{"value": 0.5, "low": 0.25, "high": null}'
    """
    return json.dumps(_plain(record), ensure_ascii=False)


def from_json(text: str, kind: type = Record) -> Any:
    """The record of a JSON text, equal to the one that was written.

    Raises ValueError for text that is no answer, or one of another schema.

    >>> from_json('{"value": 0.5, "low": 0.25, "high": null}', Interval)
    Interval(value=0.5, low=0.25, high=None)
    """
    try:
        found = json.loads(text)
        if kind is not Interval and isinstance(found, dict) and found.get("schema", SCHEMA) != SCHEMA:
            raise ValueError(f"its schema is {found['schema']}, this version reads {SCHEMA}")
        return _typed(kind, found)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no answer of this version: {error}") from None


def _plain(value):
    """JSON's own types."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.compare}
    if isinstance(value, Mapping):
        return {str(name): _plain(v) for name, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _typed(kind, value):
    """Plain data as the type of a field."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind) if field.compare]
        return kind(**{name: _typed(hints[name], value[name]) for name in names})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:
        found = [one for one in inner if one is not types.NoneType]
        return value if value is None or len(found) > 1 else _typed(found[0], value)
    if origin is dict:
        return {name: _typed(inner[1], v) for name, v in value.items()}
    if origin is tuple:
        each = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_typed(one, v) for one, v in zip(each, value, strict=True))
    return float(value) if kind is float else value


def number(value) -> float | None:
    """A Python number; None for what is not known or infinite.

    >>> number(np.float32(0.5)), number(np.inf)
    (0.5, None)
    """
    return float(value) if value is not None and np.isfinite(value) else None


def interval(value, low, high) -> Interval:
    """An `Interval` of numbers of any kind."""
    return Interval(number(value), number(low), number(high))
