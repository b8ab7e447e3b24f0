"""What a sweep is to train: trials by grid or by sample, in groups that share their static choices.

A trial is one network trained once. Its task, activation and recipe decide what is compiled; everything else about it
is a number that the compiled program takes as an argument: the split, the seed, the learning rate and any other scalar
of the optimizer, the share of wrong labels. Trials with the same static choices are a group, and a plan is the list of
its groups. The columns of a group are arrays: a million trials are cheap.
"""

import inspect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from jaxnn.activations import Activation
from jaxnn.lab.recipe import Recipe
from jaxnn.lab.spelling import frozen, spelled

WHOLE = ("split", "seed")  # the columns of whole numbers


class Group(NamedTuple):
    """Trials that share their static choices."""

    task: str
    activation: Any  # as for `mlp`, lists and mappings as tuples
    recipe: Recipe
    columns: dict[str, np.ndarray]  # (trials,) each: split, seed, learning_rate, ...

    @property
    def size(self) -> int:
        """Number of trials."""
        return len(self.columns["seed"])


class Trial(NamedTuple):
    """One network trained once."""

    task: str
    activation: Any
    recipe: Recipe
    numbers: dict[str, float]


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

    def trial(self, number: int) -> Trial:
        """The static choices and the numbers of a trial.

        Raises ValueError for a number outside the plan.
        """
        first = 0
        for group in self.groups:
            if first <= number < first + group.size:
                numbers = {name: column[number - first].item() for name, column in group.columns.items()}
                return Trial(group.task, group.activation, group.recipe, numbers)
            first += group.size
        raise ValueError(f"trial {number}; expected 0 to {self.size - 1}")


def grid(**axes) -> Plan:
    """Every combination of the given values: activation x hidden x learning rate x split x seed ...

    Args:
      **axes: values by name, each a sequence or one value. `task`, `activation` and the fields of `Recipe` are static;
        every other one is a number of each trial: `split`, `seed`, `label_noise` and the scalars of the optimizer, such
        as `learning_rate` and `weight_decay`.

    Returns:
      A `Plan` with a group for each combination of static values.

    Raises:
      ValueError: an axis without values, a name that the optimizer does not take, a number below zero, two activations
        of one name.

    >>> plan = grid(activation=["relu", "tanh"], learning_rate=[0.01, 0.1], seed=range(3))
    >>> len(plan.groups), plan.size, plan.trial(7).numbers
    (2, 12, {'split': 0, 'learning_rate': 0.01, 'seed': 1})
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
    seeds, split = np.asarray(ranges.pop("seed")), ranges.pop("split")
    if len(split) > 1:
        raise ValueError(f"split={split}; expected one, because numbers of a sample are ranges")
    for name, values in ranges.items():
        if len(values) != 2 or not 0 <= values[0] < values[1]:
            raise ValueError(f"{name}={values}; expected a range (low, high) with 0 <= low < high, as (1e-4, 1e-1)")
    unit = import_module("scipy.stats.qmc").Sobol(len(ranges), seed=draw).random(points).T
    columns = {
        name: np.repeat(_stretch(u, *ends), len(seeds)) for u, (name, ends) in zip(unit, ranges.items(), strict=True)
    }
    return _plan(static, columns | {"split": np.repeat(split, points * len(seeds)), "seed": np.tile(seeds, points)})


def _stretch(unit, low, high):
    return low * (high / low) ** unit if low > 0 else high * unit


_STATIC = ("task", "activation", *(field.name for field in fields(Recipe)))


def _axes(axes) -> tuple[dict, dict]:
    """The static axes and the numbers, each a list of values."""
    axes = {"task": "", "activation": "relu", "split": 0} | axes | {"seed": axes.get("seed", 0)}
    static, numbers = {}, {}
    for name, values in axes.items():
        if name == "hidden" and (np.isscalar(values) or all(map(np.isscalar, values))):
            values = [values]  # one architecture
        if isinstance(values, str | Activation | Mapping) or not isinstance(values, Sequence | range | np.ndarray):
            values = [values]
        if len(values) == 0:
            raise ValueError(f"{name}: no values; expected at least one, as in {name}=[...]")
        (static if name in _STATIC else numbers)[name] = list(values)
    if "hidden" in static:
        static["hidden"] = [tuple(np.atleast_1d(widths).tolist()) for widths in static["hidden"]]
    distinct(static["activation"])
    return static, numbers


def distinct(activations) -> list[str]:
    """The names of activations as they stand in tables.

    Raises ValueError for two of the same name, with the cure.

    >>> distinct(["relu", "tanh"])
    ['relu', 'tanh']
    """
    names = [spelled(activation) for activation in activations]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"two activations have the name {name!r}; expected each name once: "
                "give a function a name of its own, as in jaxnn.Activation('mine', lambda x: ...)"
            )
    return names


def _plan(static, columns) -> Plan:
    groups = []
    for values in itertools.product(*static.values()):
        task, activation, *choices = map(frozen, values)
        recipe = Recipe(**dict(zip(list(static)[2:], choices, strict=True)))
        check_numbers(recipe, columns)
        kinds = {name: np.int64 if name in WHOLE else np.float64 for name in columns}
        typed = {name: column.astype(kinds[name]) for name, column in columns.items()}
        groups.append(Group(task, activation, recipe, typed))
    return Plan(tuple(groups))


def check_numbers(recipe: Recipe, columns: Mapping[str, np.ndarray]) -> None:
    """Raise a ValueError for numbers that cannot be trained with, by name and value."""
    accepted = _arguments(recipe.make_optimizer)
    optimizer = recipe.label("optimizer")
    for name in columns.keys() - {*WHOLE, "label_noise"} - accepted.keys():
        raise ValueError(
            f"{name!r} is neither a static choice ({', '.join(_STATIC)}) nor split, seed, label_noise or an argument "
            f"of {optimizer}: {', '.join(accepted)}"
        )
    for name, needed in accepted.items():
        if needed and name not in columns:
            raise ValueError(f"{optimizer} needs {name}; give it, as in grid({name}=0.01)")
    for name, column in columns.items():
        high = {"seed": 2**32 - 1, "label_noise": 1}.get(name, np.finfo(np.float32).max)
        number = np.issubdtype(column.dtype, np.number)
        if not number or not np.all((column >= 0) & (column <= high) & (name not in WHOLE or column % 1 == 0)):
            what = {"seed": "whole numbers from 0 to 2³² − 1", "label_noise": "shares from 0 to 1"}
            raise ValueError(
                f"{name}={np.unique(column).tolist()}; expected {what.get(name, 'finite numbers of at least 0')}"
            )


def _arguments(factory) -> dict[str, bool]:
    """The names that a factory takes, and whether it needs them."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind in named}
