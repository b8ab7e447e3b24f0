"""What a sweep is to train: trials by grid or by sample, in groups that share their static choices.

A trial is one network trained once. Its static choices (activation, hidden widths, head, initializer, optimizer, task)
decide what is compiled; everything else about it is a number that the compiled program takes as an argument: the seed,
the learning rate and any other scalar of the optimizer, the share of wrong labels. Trials with the same static choices
are a group, and a plan is the list of its groups. The columns of a group are arrays: a million trials are cheap.
"""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import optax

from jaxnn import heads, metrics
from jaxnn.activations import Activation
from jaxnn.activations import get as get_activation
from jaxnn.data import Split, check_data
from jaxnn.heads import Head
from jaxnn.mlp import mlp
from jaxnn.training import Network, check_run


class Problem(NamedTuple):
    """What is to be learned: the rows, for how long, and by which measure."""

    data: Split  # of a truth table all three parts are the same rows
    epochs: int
    batch_size: int | None = None  # None for all rows
    evaluate_every: int = 1  # epochs
    metric: str = "accuracy"  # of METRICS
    target: float | None = None  # for the metric on the validation rows

    @property
    def exhaustive(self) -> bool:
        """Are the rows all there is, so that none is held out?"""
        return self.data.validation is self.data.train

    @property
    def steps(self) -> int:
        """Steps of gradient descent in all epochs."""
        return self.epochs * (1 if self.batch_size is None else len(self.data.train.y) // self.batch_size)


class Choices(NamedTuple):
    """The static choices that the trials of a group share."""

    task: str = ""
    activation: Any = "relu"  # as for `mlp`
    hidden: tuple[int, ...] = (8,)  # units of each hidden layer
    head: str | Head | None = None  # softmax where None, sigmoid where there are two classes
    init: str = "matched"
    optimizer: str | Callable = "adam"  # of optax, or a factory like those
    batch_size: int | None = None  # the task's own where None
    network: tuple[str, Network] | None = None  # anybody's, with its name, in place of activation, hidden and init

    def label(self, field: str) -> str:
        """A choice as it stands in the table."""
        value = getattr(self, field)
        if field == "hidden":
            return "" if self.network else "x".join(map(str, value))
        if field == "activation":
            return self.network[0] if self.network else activation_label(value)
        if field == "init" and self.network:
            return "its own"
        if field == "batch_size":
            return "" if value is None else str(value)
        value = getattr(value, "func", value)  # a partial is called as its function
        return value if isinstance(value, str) else getattr(value, "name", getattr(value, "__name__", str(value)))

    def problem(self, problems: Mapping[str, Problem]) -> Problem:
        """The task, with the group's own batch size where it has one."""
        problem = problems[self.task]
        return problem if self.batch_size is None else problem._replace(batch_size=self.batch_size)

    def build(self, problem: Problem) -> tuple[Any, Head]:
        """The network and its head."""
        classes = problem.data.train.classes
        head = heads.get(("sigmoid" if classes == 2 else "softmax") if self.head is None else self.head)
        if self.network:
            return self.network[1], head
        sizes = (problem.data.train.x.shape[1], *self.hidden, head.scores(classes))
        return mlp(sizes, _thawed(self.activation), head, self.init), head

    @property
    def make_optimizer(self) -> Callable:
        """The optax factory."""
        if callable(self.optimizer):
            return self.optimizer
        factory = getattr(optax, str(self.optimizer), None)
        if not inspect.isfunction(factory):
            raise ValueError(f"unknown optimizer {self.optimizer!r}; expected a factory of optax by name, as 'adam'")
        return factory


class Group(NamedTuple):
    """Trials that share their static choices."""

    choices: Choices
    columns: dict[str, np.ndarray]  # (trials,) each: seed, learning_rate, ...

    @property
    def size(self) -> int:
        """Number of trials."""
        return len(self.columns["seed"])


class Plan(NamedTuple):
    """Trials, numbered through the groups."""

    groups: tuple[Group, ...]

    @property
    def size(self) -> int:
        """Number of trials."""
        return sum(group.size for group in self.groups)

    def __add__(self, other):
        """The trials of both."""
        return Plan(self.groups + other.groups)

    def trial(self, number: int) -> tuple[Choices, dict[str, Any]]:
        """The static choices and the numbers of a trial.

        Raises ValueError for a number outside the plan.
        """
        first = 0
        for group in self.groups:
            if first <= number < first + group.size:
                return group.choices, {name: column[number - first].item() for name, column in group.columns.items()}
            first += group.size
        raise ValueError(f"trial {number}; expected 0 to {self.size - 1}")


def activation_label(activation) -> str:
    """An activation as it stands in tables: its name, its shares, or one of these for every layer.

    >>> activation_label({"relu": 0.5, "tanh": 0.5}), activation_label(["relu", "tanh"])
    ('0.5 relu + 0.5 tanh', 'relu, tanh')
    """
    if isinstance(activation, Mapping) or _is_shares(activation):
        return " + ".join(f"{float(share)} {activation_label(a)}" for a, share in dict(activation).items())
    if isinstance(activation, Sequence) and not isinstance(activation, str | Activation):
        return ", ".join(map(activation_label, activation))
    return get_activation(activation).name


def parse_activation(text: str | Any) -> Any:
    """What `activation_label` writes, read back; anything but text is returned as it is.

    >>> parse_activation("gelu"), parse_activation("0.5 relu + 0.5 tanh"), parse_activation("relu, tanh")
    ('gelu', {'relu': 0.5, 'tanh': 0.5}, ['relu', 'tanh'])
    """
    if not isinstance(text, str):
        return text
    if "," in text:
        return [parse_activation(part.strip()) for part in text.split(",")]
    if "+" not in text:
        return text
    try:
        return {name: float(share) for share, name in (part.split() for part in text.split(" + "))}
    except ValueError:
        raise ValueError(f"activation {text!r}; expected shares and names, as '0.5 relu + 0.5 tanh'") from None


def _is_shares(activation) -> bool:
    """Is it a mapping from activation to share, as `frozen` leaves it?"""
    return isinstance(activation, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], float) for pair in activation
    )


def frozen(value):
    """Lists and mappings as tuples, which can be hashed; a named tuple stays what it is."""
    if isinstance(value, Mapping):
        return tuple((frozen(activation), float(share)) for activation, share in value.items())
    return tuple(map(frozen, value)) if type(value) in (list, tuple) else value


def _thawed(activation):
    """An activation as `mlp` takes it."""
    if _is_shares(activation):
        return dict(activation)
    return [_thawed(a) for a in activation] if isinstance(activation, tuple) else activation


def grid(**axes) -> Plan:
    """Every combination of the given values: activation x hidden x learning rate x seed ...

    Args:
      **axes: values by name, each a sequence, a mapping from name to `Network` for `network`, or one value. The names
        of `Choices` are static; every other one is a number of each trial: `seed`, `label_noise` and the scalars of the
        optimizer, such as `learning_rate` and `weight_decay`.

    Returns:
      A `Plan` with a group for each combination of static values.

    Raises:
      ValueError: an axis without values, a name that the optimizer does not take, a number below zero.

    >>> plan = grid(activation=["relu", "tanh"], learning_rate=[0.01, 0.1], seed=range(3))
    >>> len(plan.groups), plan.size, plan.trial(7)[1]
    (2, 12, {'learning_rate': 0.01, 'seed': 1})
    """
    static, numbers = _axes(axes)
    mesh = np.meshgrid(*(np.asarray(values) for values in numbers.values()), indexing="ij")
    columns = {name: column.ravel() for name, column in zip(numbers, mesh, strict=True)}
    return _plan(static, columns)


def sample(points: int, *, seed: Any = (0,), draw: int = 0, **axes) -> Plan:
    """Quasi-random points of continuous ranges: Sobol's sequence, scrambled, uniform in the logarithm.

    Args:
      points: number of points for each combination of static values, best a power of two.
      seed: seeds of the networks; every point is trained under each.
      draw: seed of the scrambling.
      **axes: as for `grid`, but numbers are ranges (low, high); uniform in the logarithm where low is above 0.

    Returns:
      A `Plan`.

    >>> plan = sample(4, activation="relu", learning_rate=(1e-4, 1e-1))
    >>> plan.size, bool(np.ptp(np.log10(plan.groups[0].columns["learning_rate"])) > 1)
    (4, True)
    """
    static, ranges = _axes(axes | {"seed": seed})
    seeds = np.asarray(ranges.pop("seed"))
    for name, values in ranges.items():
        if len(values) != 2 or not 0 <= values[0] < values[1]:
            raise ValueError(f"{name}={values}; expected a range (low, high) with 0 <= low < high, as (1e-4, 1e-1)")
    unit = import_module("scipy.stats.qmc").Sobol(len(ranges), seed=draw).random(points).T
    columns = {
        name: np.repeat(_stretch(u, *ends), len(seeds)) for u, (name, ends) in zip(unit, ranges.items(), strict=True)
    }
    return _plan(static, columns | {"seed": np.tile(seeds, points)})


def _stretch(unit, low, high):
    return low * (high / low) ** unit if low > 0 else high * unit


def _axes(axes) -> tuple[dict, dict]:
    """The static axes and the numbers, each a list of values."""
    axes = axes | {"seed": axes.get("seed", [0])}
    if "network" in axes:
        if not isinstance(axes["network"], Mapping):
            raise ValueError(f"network={axes['network']}; expected names for them, as {{'mine': Network(init, apply)}}")
        axes["network"] = list(axes["network"].items())
    static, numbers = {}, {}
    for name, values in axes.items():
        if name == "hidden" and (np.isscalar(values) or all(map(np.isscalar, values))):
            values = [values]  # one architecture
        if isinstance(values, str | Activation | Mapping) or not isinstance(values, Sequence | range | np.ndarray):
            values = [values]
        if len(values) == 0:
            raise ValueError(f"{name}: no values; expected at least one, as in {name}=[...]")
        (static if name in Choices._fields else numbers)[name] = list(values)
    if "hidden" in static:
        static["hidden"] = [tuple(np.atleast_1d(widths).tolist()) for widths in static["hidden"]]
    return static, numbers


def _plan(static, columns) -> Plan:
    combinations = itertools.product(*static.values())
    choices = [Choices(**dict(zip(static, map(frozen, values), strict=True))) for values in combinations]
    for one in choices:
        _check_columns(one, columns)
    columns = {name: c.astype(np.int64 if name == "seed" else np.float64) for name, c in columns.items()}
    return Plan(tuple(Group(one, columns) for one in choices))


def _check_columns(choices: Choices, columns: Mapping[str, np.ndarray]) -> None:
    accepted = _arguments(choices.make_optimizer)
    for name in columns.keys() - {"seed", "label_noise"} - accepted.keys():
        raise ValueError(
            f"{name!r} is neither a static choice ({', '.join(Choices._fields)}) nor seed, label_noise or an "
            f"argument of {choices.label('optimizer')}: {', '.join(accepted)}"
        )
    for name, column in columns.items():
        low, high = 0, {"seed": 2**32 - 1, "label_noise": 1}.get(name, np.finfo(np.float32).max)
        number = np.issubdtype(column.dtype, np.number)
        if not number or not np.all((low <= column) & (column <= high) & (name != "seed" or column % 1 == 0)):
            what = {"seed": "whole numbers from 0 to 2³² − 1", "label_noise": "shares from 0 to 1"}
            raise ValueError(
                f"{name}={np.unique(column).tolist()}; expected {what.get(name, 'finite numbers of at least 0')}"
            )


def _arguments(factory) -> dict[str, bool]:
    """The names that a factory takes, and whether it needs them."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind in named}


def check(plan: Plan, problems: Mapping[str, Problem]) -> None:
    """Raise a ValueError for what cannot be trained, before anything is compiled.

    Args:
      plan: trials.
      problems: by the names that the plan uses.

    >>> check(grid(task="iris"), {})
    Traceback (most recent call last):
    ValueError: the plan has the task 'iris'; the problems are []
    """
    if plan.size == 0:
        raise ValueError("the plan has no trials; expected at least one, as in grid(learning_rate=0.01)")
    for name in dict.fromkeys(group.choices.task for group in plan.groups):
        if name not in problems:
            raise ValueError(f"the plan has the task {name!r}; the problems are {list(problems)}")
        metrics.get(problems[name].metric)
        for part in problems[name].data:
            check_data(part.x, part.y, part.classes)
    for choices, columns in plan.groups:
        _check_columns(choices, columns)
        for name, needed in _arguments(choices.make_optimizer).items():
            if needed and name not in columns:
                raise ValueError(f"{choices.label('optimizer')} needs {name}; give it, as in grid({name}=0.01)")
        problem = choices.problem(problems)
        check_run(
            choices.build(problem)[0], problem.data.train, problem.data.validation, {}, problem.epochs,
            problem.batch_size, problem.evaluate_every,
        )  # fmt: skip
